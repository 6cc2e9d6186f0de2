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
    """The other kernels that a kernel calls."""
    kernels_there = {Path(file.name).stem for file in _folder().iterdir() if file.name.endswith(".c")}
    called = re.findall(r"\b(nd_\w+)\(", kernel_source(f"{kernel}.c"))
    return frozenset(called) & kernels_there - {kernel}


def _folder() -> Traversable:
    return resources.files("ndtool.export.c") / "kernels"


@cache
def kernel_source(file: str) -> str:
    """A file of kernels/."""
    return (_folder() / file).read_text(encoding="utf-8")


@cache
def header_sources() -> tuple[str, ...]:
    """The texts of all headers of kernels/."""
    names = sorted(file.name for file in _folder().iterdir() if file.name.endswith(".h"))
    return tuple(map(kernel_source, names))
