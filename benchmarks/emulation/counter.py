"""Counting every basic block that Unicorn executes, and what its loads and stores wait for: in C, or in Python."""

import ctypes
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from ndtool.benchmarks.emulation import native_code
from ndtool.benchmarks.emulation.counts import RawEdges, Segments
from ndtool.benchmarks.emulation.memory import Event, MemoryMap, MemorySystem
from ndtool.benchmarks.emulation.peripherals import leave_it
from ndtool.errors import NdtoolError

Plan = Callable[[int, int, int, int], tuple[int, list[int]]]
"""From the addresses and sizes of two blocks to what the second takes, and when it makes its accesses, in ticks."""


class BlockCounter(Protocol):
    """What counts edges: pairs of blocks that were executed one after the other, by the segment they belong to."""

    def watch_memory(self, uc: Any, plan: Plan | None) -> None:
        """From now on, loads and stores are seen, and time passes."""

    def reset(self, limit: int) -> None:
        """Count from 0, and stop Unicorn after `limit` bytes of instructions."""

    @property
    def full(self) -> bool:
        """Whether no memory was left for an edge."""

    def edges(self) -> tuple[RawEdges, Sequence[Any]]:
        """Those seen since the reset, and for each what it made its memories do."""


class _Machine(ctypes.Structure):
    """Functions of Unicorn that native/counter.c calls."""

    _fields_ = (
        ("read_memory", ctypes.c_void_p),
        ("read_register", ctypes.c_void_p),
        ("write_register", ctypes.c_void_p),
        ("status", ctypes.c_int),
    )


_ASK = ctypes.CFUNCTYPE(None, ctypes.c_uint32)


class _NativeCounter:
    """native/counter.c behind Unicorn's block hook."""

    def __init__(self, uc: Any, segments: Segments, waits: MemoryMap | None, library: ctypes.CDLL):
        import unicorn
        from unicorn import arm_const
        from unicorn.unicorn_py3.unicorn import uclib

        library.nd_counter_new.restype = ctypes.c_void_p
        library.nd_counter_edge.restype = ctypes.c_uint64
        library.nd_counter_events.restype = ctypes.POINTER(ctypes.c_uint64)
        flat = [number for triple in segments.ranges for number in triple]
        stop = ctypes.cast(uclib.uc_emu_stop, ctypes.c_void_p)
        self._library, self._initial = library, segments.initial
        self._counter = ctypes.c_void_p(
            library.nd_counter_new((ctypes.c_uint32 * max(len(flat), 1))(*flat), len(segments.ranges), 0, stop)
        )
        if not self._counter:
            raise MemoryError
        self._width = 0
        self._failed: Exception | None = None
        self._hook(uc, unicorn.UC_HOOK_BLOCK, library.nd_counter_block)
        if waits:
            self._width = len(waits.banks)
            banks, caches = ((ctypes.c_uint32 * max(len(flat), 1))(*flat) for flat in waits.native())
            names = ("uc_mem_read", "uc_reg_read", "uc_reg_write")
            pointers = [ctypes.cast(getattr(uclib, name), ctypes.c_void_p) for name in names]
            machine = _Machine(*pointers, arm_const.UC_ARM_REG_CPSR)
            made = library.nd_counter_memory(
                self._counter, banks, self._width, caches, len(waits.caches), ctypes.byref(machine)
            )
            if not made:
                raise MemoryError

    def watch_memory(self, uc: Any, plan: Plan | None) -> None:
        import unicorn

        if self._width:
            if plan:
                self._ask = _ASK(lambda edge: self._planned(edge, plan))
                self._library.nd_counter_ask(self._counter, self._ask)
            self._hook(uc, unicorn.UC_HOOK_MEM_READ | unicorn.UC_HOOK_MEM_WRITE, self._library.nd_counter_access)

    def _planned(self, edge: int, plan: Plan) -> None:
        """Called from C, where an exception would be lost."""
        out = (ctypes.c_uint32 * 5)()
        self._library.nd_counter_edge(self._counter, edge, out)
        try:
            ticks, accesses = plan(*out[:4])
        except (NdtoolError, LookupError, ValueError) as error:
            self._failed, ticks, accesses = error, 0, []
        flat = (ctypes.c_uint32 * len(accesses))(*accesses)
        self._library.nd_counter_plan(self._counter, edge, ticks, flat, len(accesses))

    def _hook(self, uc: Any, kind: int, function: Any) -> None:
        import unicorn
        from unicorn.unicorn_py3.unicorn import uc_hook_h, uclib

        callback = ctypes.cast(function, ctypes.c_void_p)
        status = uclib.uc_hook_add(uc._uch, ctypes.byref(uc_hook_h()), kind, callback, self._counter, 1, 0)
        if status != unicorn.UC_ERR_OK:
            raise unicorn.UcError(status)

    def reset(self, limit: int) -> None:
        self._library.nd_counter_reset(self._counter, self._initial, ctypes.c_uint64(limit))

    @property
    def full(self) -> bool:
        return bool(self._library.nd_counter_full(self._counter))

    def edges(self) -> tuple[RawEdges, Sequence[Any]]:
        if self._failed:
            raise self._failed
        out = (ctypes.c_uint32 * 5)()
        found, events = [], []
        for index in range(self._library.nd_counter_edges(self._counter)):
            if times := self._library.nd_counter_edge(self._counter, index, out):
                found.append((*out, times))
                if self._width:
                    row = self._library.nd_counter_events(self._counter, index)
                    events.append(np.ctypeslib.as_array(row, (self._width, len(Event))).tolist())
        return found, events

    def __del__(self) -> None:
        if counter := getattr(self, "_counter", None):
            self._library.nd_counter_free(counter)


class _PythonCounter:
    """The same counts without a compiler."""

    full = False

    def __init__(self, uc: Any, segments: Segments, waits: MemoryMap | None):
        import unicorn

        self._segments, self._store = segments, unicorn.UC_MEM_WRITE
        self._entered: dict[int, int | None] = {}
        self._memory = MemorySystem(waits) if waits else None
        self._banks = len(waits.banks) if waits else 0
        self._plan: Plan | None = None
        self._plans: dict[tuple[int, int, int, int], tuple[int, list[int]]] = {}
        self._ticks = 0  # of the block executed
        self.reset(0)
        uc.hook_add(unicorn.UC_HOOK_BLOCK, self._block)

    def watch_memory(self, uc: Any, plan: Plan | None) -> None:
        import unicorn

        self._plan = plan
        if self._memory:
            uc.hook_add(unicorn.UC_HOOK_MEM_READ | unicorn.UC_HOOK_MEM_WRITE, self._access)

    def reset(self, limit: int) -> None:
        self._counts: dict[tuple[int, int, int, int, int], int] = {}
        self._events: dict[tuple[int, int, int, int, int], list[list[int]]] = {}
        self._here: list[list[int]] = []
        if self._memory:
            self._memory.now += self._ticks
        self._ticks, self._accesses, self._made = 0, [0], 0
        self._previous = (0, 0)
        self._segment = self._segments.initial
        self._bytes, self._limit = 0, limit

    def _block(self, uc: Any, address: int, size: int, _: Any) -> None:
        if address not in self._entered:
            inside = (segment for start, end, segment in self._segments.ranges if start <= address < end)
            self._entered[address] = next(inside, None)
        entered = self._entered[address]
        self._segment = self._segment if entered is None else entered
        key = (*self._previous, address, size, self._segment)
        self._counts[key] = self._counts.get(key, 0) + 1
        self._previous = (address, size)
        self._bytes += size
        if self._memory:
            self._here = self._events.setdefault(key, [[0] * len(Event) for _ in range(self._banks)])
            self._memory.now += self._ticks
            self._ticks, self._accesses, self._made = *self._planned(key[:4]), 0
            self._memory.fetch(address, size, self._here, self._ticks)
        if self._bytes > self._limit:
            uc.emu_stop()

    def _access(self, uc: Any, access: int, address: int, size: int, __: int, ___: Any) -> None:
        leave_it(uc)
        if self._memory and self._here:
            after = self._accesses[min(self._made, len(self._accesses) - 1)]
            self._made += 1
            self._memory.access(address, size, access == self._store, self._here, after)

    def _planned(self, edge: tuple[int, int, int, int]) -> tuple[int, list[int]]:
        if edge not in self._plans:
            ticks, accesses = self._plan(*edge) if self._plan else (0, [])
            self._plans[edge] = ticks, accesses or [0]
        return self._plans[edge]

    def edges(self) -> tuple[RawEdges, Sequence[Any]]:
        return [(*key, times) for key, times in self._counts.items()], list(self._events.values())


def counter_for(uc: Any, segments: Segments, waits: MemoryMap | None, native: bool) -> tuple[BlockCounter, str]:
    """The counter and a note on it. `native`: in C, if that can be compiled; in Python it takes 50 times as long."""
    if native:
        try:
            return _NativeCounter(uc, segments, waits, native_code.load(*native_code.COUNTER)), ""
        except (NdtoolError, OSError):  # no compiler for this host, or what it made cannot be loaded
            pass
    return _PythonCounter(uc, segments, waits), "blocks counted in Python"
