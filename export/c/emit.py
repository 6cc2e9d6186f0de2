"""A plan becomes files: pure, sorted, without dates, the same bytes every time."""

import hashlib
import re
from collections.abc import Mapping
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from ndtool.export.c import emit_code, emit_data, emit_header
from ndtool.export.c.emission import Emission

HEADER = "ndtool_kernels.h"
NAMES = "ndtool_names.h"


def emit(e: Emission) -> Mapping[str, str]:
    """Every file of the library by its name; of the kernels and their headers only those that are used."""
    files = {
        f"{e.name}.h": emit_header.header(e),
        f"{e.name}.c": emit_code.code(e),
        f"{e.name}_weights.h": emit_data.weights_header(e),
        f"{e.name}_weights.c": emit_data.weights(e),
        HEADER: _renamed(kernel_source(HEADER)),
        NAMES: names(),
    }
    if e.golden:
        files[f"{e.name}_golden.c"] = emit_data.golden(e)
    if e.pixels is not None:
        files[f"{e.name}_pixels.c"] = emit_data.pixels(e)
    for kernel in kernels(e):
        source = kernel_source(f"{kernel}.c")
        files[f"{kernel}.c"] = f"{_shared(kernel)}{source}"
        files |= {header: kernel_source(header) for header in re.findall(r'#include "(nd_\w+\.h)"', source)}
    return dict(sorted(files.items()))


def kernels(e: Emission) -> set[str]:
    """The kernels that a library calls, and those that they call."""
    used = {call.kernel for call in e.calls}
    if any(port.is_float for port in e.inputs):
        used.add("nd_quantize")
    if any(port.is_float for port in e.outputs):
        used.add("nd_dequantize")
    waiting = list(used)
    while waiting:
        for other in _callees(waiting.pop()) - used:
            used.add(other)
            waiting.append(other)
    return used


@cache
def _callees(kernel: str) -> frozenset[str]:
    """The other kernels that a kernel calls."""
    called = re.findall(r"\b(nd_\w+)\(", kernel_source(f"{kernel}.c"))
    return frozenset(called) & frozenset(all_kernels()) - {kernel}


# Several libraries in one program. The linker knows a kernel by its name and a digest of all kernels: libraries with
# the same kernels share one copy of each, for their symbols are weak; those of another ndtool have other names.


@cache
def names() -> str:
    """ndtool_names.h: the kernels' names for the linker, the same in every library."""
    defines = "".join(f"#define {kernel} {_symbol(kernel)}\n" for kernel in all_kernels())
    return (
        "/* ndtool_names.h: what the linker calls the kernels: a digest of them all is part of their names, so that a\n"
        " * program may hold libraries with the same kernels, which share them, and with others. */\n"
        f"#ifndef NDTOOL_NAMES_H\n#define NDTOOL_NAMES_H\n\n{defines}\n#endif\n"
    )


def _renamed(header: str) -> str:
    """The kernels' header, including their names."""
    return re.sub(r"^(#include <stdint\.h>\n)", rf'\1\n#include "{NAMES}"\n', header, count=1, flags=re.MULTILINE)


def _shared(kernel: str) -> str:
    """Before a kernel's file: its symbol is weak. Here alone: where it is called it would become optional."""
    return f"#pragma weak {_symbol(kernel)}\n"


def _symbol(kernel: str) -> str:
    return f"{kernel}_{_digest()}"


@cache
def _digest() -> str:
    """Of all files of kernels/."""
    files = sorted(file.name for file in _folder().iterdir() if file.name.endswith((".c", ".h")))
    return hashlib.sha256("\0".join(kernel_source(file) for file in files).encode()).hexdigest()[:8]


@cache
def all_kernels() -> tuple[str, ...]:
    """Every kernel there is."""
    return tuple(sorted(Path(file.name).stem for file in _folder().iterdir() if file.name.endswith(".c")))


def _folder() -> Traversable:
    return resources.files("ndtool.export.c") / "kernels"


@cache
def kernel_source(file: str) -> str:
    """A file of kernels/."""
    return (_folder() / file).read_text(encoding="utf-8")
