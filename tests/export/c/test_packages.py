"""Packages of the C library: each is written, built with its example and run; and several libraries in one program.

Build systems that are too large to be installed here have stand-ins, in stand_ins/: Arduino's core, Zephyr's and
ESP-IDF's CMake.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from ndtool import __version__
from ndtool.errors import NdtoolError
from ndtool.export.c import CLibrary, compile_tflite, write_library
from ndtool.export.c.kernel_files import all_kernels, kernel_source
from ndtool.export.c.packages import PACKAGES, package_files
from ndtool.tests.export.c.harness import DSP, WARNINGS, host_compiler
from ndtool.tests.export.c.test_compile import small_network

STAND_INS = Path(__file__).with_name("stand_ins")
STRICT = tuple(flag for flag in WARNINGS if flag != "-Wmissing-prototypes")  # an example is one file
CPP = ("-std=c++11", "-Wall", "-Wextra", "-Wpedantic", "-Werror")
ZIG = (sys.executable, "-m", "ziglang")
M7 = ("-mcpu=cortex-m7", "-mthumb")
ZIG_M7 = ("-target", "thumb-freestanding-eabi", "-mcpu=cortex_m7", "-ffreestanding", "-isystem")
EXAMPLES = {
    "cmake": "example/main.c",
    "arduino": "examples/net/net.ino",
    "zephyr": "samples/net/src/main.c",
    "platformio": "examples/net/src/main.cpp",
    "esp-idf": "examples/net/main/main.c",
}
PASSED = "net: self-test passed\n"
FLAGS_OF_ALL = "-Wall -Wextra -Wpedantic -Werror"

needs_gcc = pytest.mark.skipif(shutil.which("arm-none-eabi-gcc") is None, reason="arm-none-eabi-gcc is not installed")
needs_cmake = pytest.mark.skipif(shutil.which("cmake") is None, reason="CMake is not installed")


def compiled(name: str = "net") -> CLibrary:
    """Convolution in assembly where there is one, several inputs and outputs, float and int8."""
    return compile_tflite(small_network(), name=name, features=DSP)


@pytest.fixture(scope="module")
def library() -> CLibrary:
    return compiled()


def run(command: Sequence[str | Path], cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def objects(folder: Path, command: Sequence[str | Path], sources: Sequence[Path]) -> list[Path]:
    """Compile every file to an object of its own, as build systems do."""
    made = []
    for source in sources:
        made.append(folder / f"{len(made)}.{source.name}.o")
        run([*command, "-c", source, "-o", made[-1]], folder)
    return made


def sources(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.c"))


# ---- what is in them ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", PACKAGES)
def test_a_package_has_the_library_the_self_test_and_an_example(library, kind):
    files = package_files(library, kind)
    folder = "" if kind == "plain" else "src/"
    for file, text in library.files.items():
        assert files[folder + file].endswith(text)
    assert f"{folder}net_golden.c" in files
    assert set(files) - {folder + file for file in library.files} >= {EXAMPLES[kind]} if kind in EXAMPLES else True
    assert list(files) == sorted(files)
    assert [path for path, text in files.items() if re.search(r"@\w+@", path + text)] == []


@pytest.mark.parametrize("kind", PACKAGES)
def test_a_written_package_replaces_the_one_before(library, kind, tmp_path):
    for other in ("cmake", kind):
        write_library(library, tmp_path / "c", other)
    there = {
        path.relative_to(tmp_path / "c").as_posix(): path for path in (tmp_path / "c").rglob("*") if path.is_file()
    }
    assert {name: path.read_text() for name, path in there.items()} == dict(package_files(library, kind))


def test_a_kind_that_there_is_not_and_a_library_without_self_test_are_refused(library):
    with pytest.raises(NdtoolError, match="no package 'mbed': choose from plain, cmake, arduino"):
        package_files(library, "mbed")
    with pytest.raises(NdtoolError, match="golden vectors"):
        package_files(compile_tflite(small_network(), name="net", golden=0), "cmake")


def test_the_manifests_can_be_read(library):
    yaml = pytest.importorskip("yaml")
    arduino = package_files(library, "arduino")["library.properties"]
    fields = dict(line.split("=", 1) for line in arduino.splitlines())
    assert fields["name"] == "net"
    assert fields["version"] == __version__
    assert re.fullmatch(r"\d+\.\d+\.\d+", fields["version"])
    assert fields["includes"] == "net.h"
    assert set(fields) >= {"author", "maintainer", "sentence", "paragraph", "category", "url", "architectures"}
    manifest = json.loads(package_files(library, "platformio")["library.json"])
    assert (manifest["name"], manifest["version"], manifest["headers"]) == ("net", __version__, "net.h")
    zephyr = package_files(compiled("on"), "zephyr")  # which is true in YAML
    module = yaml.safe_load(zephyr["zephyr/module.yml"])
    assert module["name"] == "ndtool_on"
    assert {f"{module['build']['cmake']}/CMakeLists.txt", module["build"]["kconfig"]} <= set(zephyr)
    sample = yaml.safe_load(zephyr["samples/on/sample.yaml"])
    assert sample["sample"]["name"] == "on"
    (test,) = sample["tests"].values()
    assert test["harness_config"]["regex"] == [PASSED.strip().replace("net", "on")]
    component = yaml.safe_load(package_files(library, "esp-idf")["idf_component.yml"])
    assert component["version"] == __version__


def test_kconfig_has_the_option_that_the_sample_sets(library, tmp_path):
    kconfiglib = pytest.importorskip("kconfiglib")
    write_library(library, tmp_path / "c", "zephyr")
    settings = kconfiglib.Kconfig(str(tmp_path / "c" / "zephyr" / "Kconfig"), warn_to_stderr=False)
    settings.load_config(str(tmp_path / "c" / "samples" / "net" / "prj.conf"))
    assert settings.syms["NDTOOL_NET"].str_value == "y"
    assert settings.warnings == []


# ---- compiled on a host and for a Cortex-M --------------------------------------------------------------------------


def host_objects(folder: Path, kind: str, compiler: str) -> list[Path]:
    """A package, its example and what its system would add."""
    c = [*host_compiler(compiler), "-O1", f"-I{folder / 'c/src'}"]
    cpp = [*ZIG, "c++", *CPP, f"-I{STAND_INS / 'arduino'}", f"-I{folder / 'c/src'}"]
    made = objects(folder, [*c, *WARNINGS], sources(folder / "c" / "src"))
    example = folder / "c" / EXAMPLES[kind]
    if example.suffix == ".c":
        return made + objects(folder, [*c, *STRICT], [example])
    for file in (example, STAND_INS / "arduino" / "host.cpp"):
        made.append(folder / f"{file.stem}.cpp.o")
        run([*cpp, "-x", "c++", "-c", file, "-o", made[-1]], folder)
    return made


@pytest.mark.parametrize("compiler", ["cc", "zig"])
@pytest.mark.parametrize("kind", ["cmake", "arduino", "zephyr", "platformio"])
def test_an_example_runs_on_a_host(library, tmp_path, kind, compiler):
    write_library(library, tmp_path / "c", kind)
    made = host_objects(tmp_path, kind, compiler)
    link = [*ZIG, "c++"] if kind in ("arduino", "platformio") else host_compiler(compiler)
    run([*link, *made, "-o", "example"], tmp_path)
    assert run([tmp_path / "example"], tmp_path).startswith(PASSED)


@pytest.mark.parametrize("kind", PACKAGES)
def test_a_package_and_its_example_compile_for_a_cortex_m_with_zig(library, tmp_path, kind):
    write_library(library, tmp_path / "c", kind)
    folder = tmp_path / "c" / ("" if kind == "plain" else "src")
    target = [*ZIG_M7, STAND_INS / "freestanding", "-Os"]
    objects(tmp_path, [*ZIG, "cc", *target, *WARNINGS], sources(folder))
    for_example(tmp_path, kind, [*ZIG, "cc", *target], [*ZIG, "c++", *target])


@needs_gcc
@pytest.mark.parametrize("kind", PACKAGES)
def test_a_package_and_its_example_compile_for_a_cortex_m_with_gcc(library, tmp_path, kind):
    write_library(library, tmp_path / "c", kind)
    folder = tmp_path / "c" / ("" if kind == "plain" else "src")
    objects(tmp_path, ["arm-none-eabi-gcc", *M7, "-Os", *WARNINGS], sources(folder))
    for_example(tmp_path, kind, ["arm-none-eabi-gcc", *M7, "-Os"], ["arm-none-eabi-g++", *M7, "-Os"])


def for_example(folder: Path, kind: str, c: Sequence[str | Path], cpp: Sequence[str | Path]) -> None:
    """Compile a package's example, if it has one."""
    example = folder / "c" / EXAMPLES.get(kind, "none")
    include = f"-I{folder / 'c/src'}"
    if example.suffix == ".c":
        run([*c, *STRICT, include, "-c", example, "-o", "example.o"], folder)
    elif example.suffix:
        arduino = f"-I{STAND_INS / 'arduino'}"
        run([*cpp, *CPP, include, arduino, "-x", "c++", "-c", example, "-o", "example.o"], folder)


@needs_gcc
def test_arduinos_flags_of_size_do_not_reach_the_kernels(library, tmp_path):
    bytes_of = {}
    for kind, flags in (("platformio", "-Os"), ("platformio", "-O3"), ("arduino", "-Os")):
        write_library(library, tmp_path / kind, kind)
        source = tmp_path / kind / "src" / "nd_convolve.c"
        (made,) = objects(tmp_path, ["arm-none-eabi-gcc", *M7, flags], [source])
        bytes_of[kind, flags] = code_bytes(made)
    small, fast = bytes_of["platformio", "-Os"], bytes_of["platformio", "-O3"]
    assert bytes_of["arduino", "-Os"] > (small + 3 * fast) / 4 > small


def code_bytes(path: Path) -> int:
    with path.open("rb") as file:
        return sum(s["sh_size"] for s in ELFFile(file).iter_sections() if s.name.startswith(".text"))


# ---- built by CMake -------------------------------------------------------------------------------------------------


def cmake(source: Path, build: Path, *settings: str, target: str | None = None, **environment: str) -> None:
    """Configure and build."""
    run(["cmake", "-S", source, "-B", build, *settings], source, **environment)
    run(["cmake", "--build", build, *(["--target", target] if target else [])], source, **environment)


def ctest(build: Path) -> str:
    return run(["ctest", "--test-dir", build, "--verbose", "--no-tests=error"], build)


@needs_cmake
@pytest.mark.parametrize("settings", [(), ("-DCMAKE_BUILD_TYPE=Debug",)], ids=["default", "debug"])
def test_the_cmake_package_builds_and_tests_itself(library, tmp_path, settings):
    write_library(library, tmp_path / "c", "cmake")
    cmake(tmp_path / "c", tmp_path / "build", f"-DCMAKE_C_FLAGS={FLAGS_OF_ALL}", *settings)
    assert PASSED in ctest(tmp_path / "build")


@needs_cmake
def test_two_cmake_packages_are_parts_of_one_project(tmp_path):
    for name in ("one", "two"):
        write_library(compiled(name), tmp_path / name, "cmake")
    (tmp_path / "main.c").write_text(BOTH)
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.13)\nproject(both LANGUAGES C)\n"
        "add_subdirectory(one)\nadd_subdirectory(two)\nadd_executable(both main.c)\n"
        "target_link_libraries(both PRIVATE ndtool::one ndtool::two)\n"
    )
    cmake(tmp_path, tmp_path / "build", f"-DCMAKE_C_FLAGS={FLAGS_OF_ALL}")
    run([tmp_path / "build" / "both"], tmp_path)
    assert not list((tmp_path / "build").rglob("*_example"))  # only where a package is the whole project


@needs_cmake
@needs_gcc
def test_the_cmake_package_is_cross_compiled_with_gcc_and_runs_in_qemu(library, tmp_path):
    write_library(library, tmp_path / "c", "cmake")
    cmake(tmp_path / "c", tmp_path / "build", f"-DCMAKE_TOOLCHAIN_FILE={STAND_INS / 'cortex_m7/gcc.cmake'}")
    with (tmp_path / "build" / "ndtool_net_example").open("rb") as file:
        assert ELFFile(file)["e_machine"] == "EM_ARM"
    if shutil.which("qemu-system-arm"):
        assert PASSED in ctest(tmp_path / "build")


@needs_cmake
@pytest.mark.skipif(sys.platform != "linux", reason="needs an `ar` that takes ELF files")
def test_the_cmake_package_is_cross_compiled_with_zig(library, tmp_path):
    write_library(library, tmp_path / "c", "cmake")
    toolchain = f"-DCMAKE_TOOLCHAIN_FILE={STAND_INS / 'cortex_m7/zig.cmake'}"
    cmake(tmp_path / "c", tmp_path / "build", toolchain, target="ndtool_net", PYTHON=sys.executable)
    assert (tmp_path / "build" / "libndtool_net.a").is_file()


@needs_cmake
def test_the_zephyr_sample_finds_its_module(library, tmp_path):
    write_library(library, tmp_path / "c", "zephyr")
    settings = (f"-DZephyr_DIR={STAND_INS / 'zephyr'}", f"-DCMAKE_C_FLAGS={FLAGS_OF_ALL}")
    cmake(tmp_path / "c" / "samples" / "net", tmp_path / "build", *settings)
    assert run([tmp_path / "build" / "app"], tmp_path).startswith(PASSED)


@needs_cmake
def test_the_esp_idf_example_finds_its_component(library, tmp_path):
    write_library(library, tmp_path / "c", "esp-idf")
    environment = {"IDF_PATH": str(STAND_INS / "esp-idf")}
    flags = f"-DCMAKE_C_FLAGS={FLAGS_OF_ALL}"
    cmake(tmp_path / "c" / "examples" / "net", tmp_path / "build", flags, **environment)
    assert run([tmp_path / "build" / "net_example"], tmp_path).startswith(PASSED)


# ---- several libraries in one program -------------------------------------------------------------------------------

BOTH = """#include "one.h"
#include "two.h"

static uint32_t first[ONE_ARENA_WORDS], second[TWO_ARENA_WORDS];

int main(void)
{
    return one_selftest(first) + 16 * two_selftest(second);
}
"""


def both(folder: Path, one: CLibrary, two: CLibrary, compiler: str) -> Mapping[str, int]:
    """Link both in either order, run the self-tests; the kernels' symbols and how many there are."""
    libraries = {"one": one, "two": two}
    command = [*host_compiler(compiler), "-O1", "-ffunction-sections", *WARNINGS]
    made = {}
    for name, library in libraries.items():
        write_library(library, folder / name)
        (folder / f"objects_{name}").mkdir()
        made[name] = objects(folder / f"objects_{name}", command, sources(folder / name))
    (folder / "main.c").write_text(BOTH)
    for names in (("one", "two"), ("two", "one")):
        files = [path for name in names for path in made[name]]
        include = [f"-I{folder / name}" for name in names]
        run([*command, *include, "main.c", *files, "-Wl,--gc-sections", "-o", "both"], folder)
        run([folder / "both"], folder)
    with (folder / "both").open("rb") as file:
        symbols = [symbol.name for symbol in ELFFile(file).get_section_by_name(".symtab").iter_symbols()]
    return {name: symbols.count(name) for name in symbols if re.fullmatch(r"nd_\w+_[0-9a-f]{8}", name)}


@pytest.mark.skipif(sys.platform != "linux", reason="reads the program as an ELF file")
@pytest.mark.parametrize("compiler", ["cc", "zig"])
def test_libraries_with_the_same_kernels_share_them(tmp_path, compiler):
    kernels = both(tmp_path, compiled("one"), compiled("two"), compiler)
    assert {re.sub(r"_[0-9a-f]{8}$", "", name) for name in kernels} >= {"nd_conv_dsp", "nd_fully_connected_dsp"}
    assert set(kernels.values()) == {1}


@pytest.mark.skipif(sys.platform != "linux", reason="reads the program as an ELF file")
def test_libraries_of_other_kernels_keep_them_apart(tmp_path):
    """The second is as of another ndtool, whose fully connected layers take their arguments in another order."""
    two = compiled("two")
    (digest,) = set(re.findall(r"nd_conv_([0-9a-f]{8})", two.files["ndtool_names.h"]))
    files = {name: text.replace(digest, "0badc0de") for name, text in two.files.items()}
    for name, pattern in {
        "ndtool_kernels.h": r"(void nd_fully_connected_dsp\()(int8_t \*output), (const int8_t \*input)",
        "nd_fully_connected_dsp.c": r"(void nd_fully_connected_dsp\()(int8_t \*output), (const int8_t \*input)",
        "two.c": r"(nd_fully_connected_dsp\()([^,]*), ([^,]*)",
    }.items():
        files[name], count = re.subn(pattern, r"\1\3, \2", files[name])
        assert count == 1
    kernels = both(tmp_path, compiled("one"), replace(two, files=files), "cc")
    assert len([name for name in kernels if name.startswith("nd_fully_connected_dsp_")]) == 2


def test_two_folders_thrown_together_are_a_program_too(tmp_path):
    for name in ("one", "two"):
        for file, text in compiled(name).files.items():
            (tmp_path / file).write_text(text)
    (tmp_path / "main.c").write_text(BOTH)
    run([*host_compiler(), *WARNINGS, *sources(tmp_path), "-o", "both"], tmp_path)
    run([tmp_path / "both"], tmp_path)


def test_no_assembly_names_a_kernel():
    """Its name there would not be the one that ndtool_names.h gives."""
    names = "|".join(all_kernels())
    for kernel in all_kernels():
        strings = re.findall(r'(?<!#include )"([^"\n]*)"', kernel_source(f"{kernel}.c"))
        assert [text for text in strings if re.search(rf"\b({names})\b", text)] == [], kernel
