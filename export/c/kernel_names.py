"""What the linker calls kernels, so that a program may hold several libraries.

It knows a kernel by its name and a digest of all kernels: libraries with the same kernels share one copy of each, for
their symbols are weak; those of another ndtool have other names.
"""

import hashlib
import re
from functools import cache

from ndtool.export.c.kernel_files import all_kernels, kernel_files, kernel_source

NAMES = "ndtool_names.h"


@cache
def names() -> str:
    """ndtool_names.h: the kernels' names for the linker, the same in every library."""
    defines = "".join(f"#define {kernel} {_symbol(kernel)}\n" for kernel in all_kernels())
    return (
        "/* ndtool_names.h: what the linker calls the kernels: a digest of them all is part of their names, so that a\n"
        " * program may hold libraries with the same kernels, which share them, and with others. */\n"
        f"#ifndef NDTOOL_NAMES_H\n#define NDTOOL_NAMES_H\n\n{defines}\n#endif\n"
    )


def renamed(header: str) -> str:
    """The kernels' header, including their names."""
    return re.sub(r"^(#include <stdint\.h>\n)", rf'\1\n#include "{NAMES}"\n', header, count=1, flags=re.MULTILINE)


def weak(kernel: str) -> str:
    """Before a kernel's file: its symbol is weak. Here alone: where it is called it would become optional."""
    return f"#pragma weak {_symbol(kernel)}\n"


def _symbol(kernel: str) -> str:
    return f"{kernel}_{_digest()}"


@cache
def _digest() -> str:
    """Of all files of kernels/."""
    return hashlib.sha256("\0".join(map(kernel_source, kernel_files())).encode()).hexdigest()[:8]
