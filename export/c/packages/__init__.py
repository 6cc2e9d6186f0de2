"""Packages: the files of a library laid out for a build system, with an example that runs the self-test.

A kind of package is a row of PACKAGES: a folder for the library's own files, and templates in which words are replaced.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from types import MappingProxyType

import ndtool
from ndtool.errors import NdtoolError
from ndtool.export.c.library import CLibrary, Port
from ndtool.files import replacing


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A kind of package."""

    sources: str  # the folder of the library's own files
    files: Mapping[str, str]  # every other file, by its path, from a template; @word@ may stand in the path
    entry: str = "int main(void)\n{\n    return example();\n}"  # of the example in C
    preamble: str = ""  # of every C file: where a build system cannot be given a library's own flags


Beside = Callable[[CLibrary, str], Mapping[str, str]]  # of a library and the folder of its files: more, by their paths

# The IDE of Arduino compiles everything with -Os.
_FLAGS = '#if defined(__GNUC__) && !defined(__clang__)\n#pragma GCC optimize("O3", "fp-contract=off")\n#endif\n'

PACKAGES: Mapping[str, Package] = MappingProxyType(
    {
        "plain": Package(sources=".", files={}),
        "cmake": Package(
            sources="src",
            files={"CMakeLists.txt": "cmake/CMakeLists.txt", "example/main.c": "example.c"},
        ),
        "arduino": Package(
            sources="src",
            files={
                "library.properties": "arduino/library.properties",
                "examples/@name@/@name@.ino": "example.cpp",
            },
            preamble=_FLAGS,
        ),
        "zephyr": Package(
            sources="src",
            files={
                "zephyr/module.yml": "zephyr/module.yml",
                "zephyr/CMakeLists.txt": "zephyr/CMakeLists.txt",
                "zephyr/Kconfig": "zephyr/Kconfig",
                "samples/@name@/CMakeLists.txt": "zephyr/sample.cmake",
                "samples/@name@/prj.conf": "zephyr/prj.conf",
                "samples/@name@/sample.yaml": "zephyr/sample.yaml",
                "samples/@name@/src/main.c": "example.c",
            },
        ),
        "platformio": Package(
            sources="src",
            files={
                "library.json": "platformio/library.json",
                "examples/@name@/platformio.ini": "platformio/platformio.ini",
                "examples/@name@/src/main.cpp": "example.cpp",
            },
        ),
        "esp-idf": Package(
            sources="src",
            files={
                "CMakeLists.txt": "esp-idf/CMakeLists.txt",
                "idf_component.yml": "esp-idf/idf_component.yml",
                "examples/@name@/CMakeLists.txt": "esp-idf/example.cmake",
                "examples/@name@/main/CMakeLists.txt": "esp-idf/main.cmake",
                "examples/@name@/main/main.c": "example.c",
            },
            entry="void app_main(void);\nvoid app_main(void)\n{\n    example();\n}",
        ),
    }
)


def package_files(library: CLibrary, kind: str = "plain") -> Mapping[str, str]:
    """The files of a package: texts by their paths, with forward slashes, relative to its folder.

    Raises:
        NdtoolError: there is no such kind, or the library has no self-test for the example to run.
    """
    if kind not in PACKAGES:
        raise NdtoolError(f"no package {kind!r}: choose from {', '.join(PACKAGES)}")
    row, words = PACKAGES[kind], _words(library, kind)
    if row.files and f"{library.name}_golden.c" not in library.files:
        raise NdtoolError("a package with an example needs the self-test: compile the library with golden vectors")
    own = {
        file if row.sources == "." else f"{row.sources}/{file}": row.preamble + text if file.endswith(".c") else text
        for file, text in library.files.items()
    }
    others = {_filled(path, words): _filled(_template(file), words) for path, file in row.files.items()}
    return dict(sorted({**own, **others}.items()))


def write_library(library: CLibrary, folder: Path, kind: str = "plain", beside: Beside | None = None) -> None:
    """Write a library, packaged, into `folder`, which is replaced as a whole, with what else belongs `beside` it.

    Raises:
        NdtoolError: as `package_files`.
    """
    files = {**package_files(library, kind), **(beside(library, PACKAGES[kind].sources) if beside else {})}
    with replacing(folder) as temporary:
        temporary.mkdir()
        for path, text in files.items():
            (temporary / path).parent.mkdir(parents=True, exist_ok=True)
            (temporary / path).write_text(text, encoding="utf-8", newline="\n")


def _words(library: CLibrary, kind: str) -> Mapping[str, str]:
    """What stands for the words of templates."""
    name = library.name
    inputs = [_port(name, "input", library.inputs, index) for index in range(len(library.inputs))]
    outputs = [_port(name, "output", library.outputs, index) for index in range(len(library.outputs))]
    return {
        "name": name,
        "NAME": name.upper(),
        "version": ndtool.__version__,
        "sources": "\n".join(f"    {file}" for file in library.files if file.endswith(".c")),
        "entry": PACKAGES[kind].entry,
        "fill": "\n".join(f"    fill({p}(arena), {p.upper()}_SIZE, {p.upper()}_ZERO_POINT);" for p in inputs),
        "show": "\n".join(f"    show({p}(arena), {p.upper()}_SIZE);" for p in outputs),
    }


def _port(library: str, which: str, ports: tuple[Port, ...], index: int) -> str:
    return f"{library}_{which}" + (f"_{index}" if len(ports) > 1 else "")


def _filled(text: str, words: Mapping[str, str]) -> str:
    return re.sub(r"@(\w+)@", lambda match: words[match[1]], text)


@cache
def _template(file: str) -> str:
    return (resources.files(__name__) / "templates" / file).read_text(encoding="utf-8")
