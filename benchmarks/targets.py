"""The cores and boards that firmware is built for and measured on, read from targets/*.toml."""

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ndtool.benchmarks.emulation.memory import Bank, Cache, Event, MemoryMap
from ndtool.errors import NdtoolError
from ndtool.export.c.context import Features

_FOLDER = Path(__file__).with_name("targets")
VIRTUAL_BYTES = 32 * 1024 * 1024  # emulated length of a region: firmware that does not fit is still linked and measured


@dataclass(frozen=True, slots=True, kw_only=True)
class Core:
    """An instruction set and a pipeline, with its names in the tools used."""

    name: str  # "cortex-m7"
    features: Features  # what the C compiler may use on it
    zig_cpu: str  # with features: "cortex_m7+fp_armv8d16sp"
    gcc_flags: tuple[str, ...]
    hard_float: bool
    unicorn_cpu: str  # suffix of UC_CPU_ARM_…
    qemu_machine: str
    qemu_note: str  # how the machine differs from the core; empty: it does not
    qemu_memory: Mapping[str, "Region"]
    qemu_systick_hz: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """A memory region. `bytes` is None where the target sets no limit (a bare core).

    `fetch` and `data` name the caches on the way to it, as in memory.Bank; `wait` has the cycles of each memory.Event;
    `rest` and `busy` are what a line takes beyond its first word, in cycles.
    """

    origin: int
    bytes: int | None
    fetch: str | None = None
    data: str | None = None
    wait: Mapping[Event, float] = field(default_factory=dict)
    rest: float = 0.0
    busy: float = 0.0

    @property
    def emulated_bytes(self) -> int:
        """The length that is mapped and linked against: never less than what the part has."""
        return max(VIRTUAL_BYTES, self.bytes or 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A board, or a bare core with a nominal clock and no memory limits."""

    name: str
    title: str
    core: Core
    clock_hz: int
    memory: Mapping[str, Region]  # "flash" and "sram" always; "dtcm" and others where there are such
    caches: tuple[Cache, ...] = ()

    @property
    def has_waits(self) -> bool:
        """Whether any memory makes the core wait: of a bare core none does."""
        return any(region.wait for region in self.memory.values())

    @property
    def waits(self) -> MemoryMap:
        """The memory system to simulate. A region within another is looked at first and ends where it ends."""
        banks = [
            Bank(
                name=name,
                start=region.origin,
                end=region.origin + (region.bytes or VIRTUAL_BYTES if self._is_within(name) else region.emulated_bytes),
                fetch=region.fetch,
                data=region.data,
                cost=region.wait,
                rest=region.rest,
                busy=region.busy,
            )
            for name, region in self.memory.items()
        ]
        return MemoryMap(banks=tuple(sorted(banks, key=lambda bank: bank.end - bank.start)), caches=self.caches)

    def _is_within(self, name: str) -> bool:
        """Whether a region lies in what is mapped for another one, and is not larger than it."""
        mine = self.memory[name]
        return any(
            other.origin <= mine.origin < other.origin + other.emulated_bytes and (other.bytes or 0) > (mine.bytes or 0)
            for key, other in self.memory.items()
            if key != name
        )

    @property
    def is_board(self) -> bool:
        """Whether the target has memory limits."""
        return self.memory["sram"].bytes is not None


def target_names() -> tuple[str, ...]:
    """The targets there are: bare cores first, then boards, each in alphabetical order."""
    every = {path.stem: _read(path.stem) for path in _FOLDER.glob("*.toml")}
    return tuple(sorted(every, key=lambda name: ("qemu" not in every[name], name)))


def load_target(name: str) -> Target:
    """A core or board by name.

    Raises:
        NdtoolError: there is no such target; the message has the closest name.
    """
    names = target_names()
    if name not in names:
        close = difflib.get_close_matches(name.lower(), names, n=1)
        hint = f"did you mean {close[0]}?" if close else f"choose from {', '.join(names)}"
        raise NdtoolError(f"no target {name!r}: {hint}")
    content = _read(name)
    memory = {key: _region(value) for key, value in content["memory"].items()}
    return Target(
        name=name,
        title=content["title"],
        core=_core(content.get("core", name)),
        clock_hz=content["clock_hz"],
        memory=MappingProxyType(memory),
        caches=tuple(_cache(key, value) for key, value in content.get("cache", {}).items()),
    )


@cache
def _read(stem: str) -> dict[str, Any]:
    return tomllib.loads((_FOLDER / f"{stem}.toml").read_text(encoding="utf-8"))


def _core(name: str) -> Core:
    content = _read(name)
    zig, qemu = content["zig"], content["qemu"]
    return Core(
        name=name,
        features=Features(**content["features"]),
        zig_cpu=zig["cpu"],
        gcc_flags=tuple(content["gcc"]["flags"]),
        hard_float=zig["hard_float"],
        unicorn_cpu=content["unicorn"]["cpu"],
        qemu_machine=qemu["machine"],
        qemu_note=qemu.get("note", ""),
        qemu_memory=MappingProxyType({key: _region(qemu[key]) for key in ("flash", "sram")}),
        qemu_systick_hz=qemu["systick_hz"],
    )


def _region(content: Mapping[str, Any]) -> Region:
    kilobytes = content.get("kilobytes")
    return Region(
        origin=content["origin"],
        bytes=None if kilobytes is None else kilobytes * 1024,
        fetch=content.get("fetch"),
        data=content.get("data"),
        wait=MappingProxyType({Event[event.upper()]: float(value) for event, value in content.get("wait", {}).items()}),
        rest=float(content.get("rest", 0)),
        busy=float(content.get("busy", content.get("rest", 0))),
    )


def _cache(name: str, content: Mapping[str, Any]) -> Cache:
    line = content["line"]
    return Cache(
        name=name,
        bytes=content["bytes"],
        line=line,
        sector=content.get("sector", line),
        ways=content["ways"],
        random=content.get("random", False),
        allocate=content.get("allocate", False),
    )
