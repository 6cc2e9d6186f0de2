"""The C files of kernels/: their texts, and which kernel calls which."""

import re
from collections.abc import Iterable
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path


def with_callees(kernels: Iterable[str]) -> frozenset[str]:
    """Kernels and those that they call."""
    used, waiting = set(kernels), list(kernels)
    while waiting:
        for other in _callees(waiting.pop()) - used:
            used.add(other)
            waiting.append(other)
    return frozenset(used)


@cache
def _callees(kernel: str) -> frozenset[str]:
    """The other kernels that a kernel calls, or hands on to be called."""
    code = re.sub(r"/\*.*?\*/", "", kernel_source(f"{kernel}.c"), flags=re.DOTALL)
    return frozenset(re.findall(r"\bnd_\w+", code)) & frozenset(all_kernels()) - {kernel}


@cache
def all_kernels() -> tuple[str, ...]:
    """Every kernel there is."""
    return tuple(Path(file).stem for file in kernel_files() if file.endswith(".c"))


@cache
def kernel_files() -> tuple[str, ...]:
    """The names of all files of kernels/, in alphabetical order."""
    return tuple(sorted(file.name for file in _folder().iterdir() if file.name.endswith((".c", ".h"))))


def _folder() -> Traversable:
    return resources.files("ndtool.export.c") / "kernels"


@cache
def kernel_source(file: str) -> str:
    """A file of kernels/."""
    return (_folder() / file).read_text(encoding="utf-8")


def header_sources() -> tuple[str, ...]:
    """The texts of all headers of kernels/."""
    return tuple(kernel_source(file) for file in kernel_files() if file.endswith(".h"))
