"""Firmware on an emulated Cortex-M: Unicorn, with every basic block counted by native code."""

import ctypes
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ndtool.benchmarks.elf import FirmwareElf
from ndtool.benchmarks.emulation import native_code
from ndtool.benchmarks.emulation.counts import Counts, Edge, Pace, RawEdges, Segments, block_at, instructions_of
from ndtool.benchmarks.emulation.image import FirmwareImage
from ndtool.benchmarks.emulation.memory import PER_CYCLE, Event, MemoryMap, MemorySystem
from ndtool.benchmarks.emulation.peripherals import Peripherals, leave_it
from ndtool.benchmarks.instructions import Block
from ndtool.benchmarks.targets import Core, Region
from ndtool.errors import NdtoolError

START, STOP = "ndtool_start", "ndtool_stop"
STOPPED, FAULT, TICKS = "ndtool_stopped", "ndtool_fault", "ndtool_ticks"  # of firmware that ndtool builds with a clock
BOARD_INIT = "ndtool_board_init"
MARKERS = "call empty functions ndtool_start and ndtool_stop around the code to be measured"
_PAGE = 4096
_BX_LR = b"\x70\x47"
_PRIVATE_BUS = (0xE0000000, 0x100000)  # SysTick, SCB, FPU, DWT: plain memory here, so that start-up code can write it
_RETURN = 0x9FFFF000  # where a function called from here returns to: a page of its own, where code may be
_BOOT_INSTRUCTIONS = 500_000_000
RUN_INSTRUCTIONS = 10_000_000_000  # the largest network that fits a board is below half of this on a Cortex-M0+


class Emulator(Protocol):
    """A machine that stands at ndtool_start; `run` goes on to ndtool_stop, `rewind` back to ndtool_start."""

    name: str
    note: str  # how counts or the machine differ from what was asked for; empty: they do not

    def read(self, address: int, count: int) -> bytes:
        """Memory."""

    def write(self, address: int, data: bytes) -> None:
        """Set memory."""

    def stack_pointer(self) -> int:
        """SP now."""

    def run(self) -> Counts:
        """Execute from ndtool_start to ndtool_stop."""

    def rewind(self) -> None:
        """Be at ndtool_start again, ready for another run."""

    def close(self) -> None:
        """Let go of the machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """What is measured in a firmware without markers: a call of the function at `entry`.

    Reset is executed as far as `ready`; then the functions at `calls` are called in turn, to set up what it needs.
    """

    ready: int
    entry: int
    calls: tuple[int, ...] = ()


class UnicornEmulator:
    """A firmware in Unicorn, brought from reset to ndtool_start, or to the call of a function."""

    def __init__(
        self,
        elf: FirmwareElf | FirmwareImage,
        core: Core,
        memory: Mapping[str, Region],
        segments: Segments,
        *,
        function: Function | None = None,
        waits: MemoryMap | None = None,
        pace: Callable[[Edge], Pace] | None = None,
        native: bool = True,
        limit: int = RUN_INSTRUCTIONS,
        skip: Collection[str] = (),
    ):
        """Load and start the firmware.

        Args:
            elf: the firmware.
            core: what executes it; the instruction set is the core's own (a Cortex-M0 refuses SMLAD).
            memory: regions that exist beside what the ELF loads.
            segments: what counts are kept apart by.
            function: what to measure in place of the code between the markers; peripherals are then stubs.
            waits: the memory system to simulate; None: none, which is faster.
            pace: what blocks take beside waiting for memory, so that it is known when a memory is asked again; None: no
                time.
            native: count in C, compiled on first use; otherwise, or where that fails, in Python, some 50 times slower.
            limit: instructions after which a run is given up.
            skip: functions that return at once: they wait for what is not emulated.

        Raises:
            NdtoolError: a marker is missing, or the firmware faults or does not come to ndtool_start.
        """
        import unicorn
        from unicorn import arm_const

        self._elf, self._core, self._limit, self._pace = elf, core, limit, pace
        self._start = function.ready if function else elf.address_of(START, MARKERS)
        self._stop = _RETURN if function else elf.address_of(STOP, MARKERS)
        self._registers = arm_const
        self._unicorn = unicorn
        # Not UC_MODE_MCLASS: with it Unicorn takes every core for a Cortex-M33.
        self._uc = unicorn.Uc(unicorn.UC_ARCH_ARM, unicorn.UC_MODE_THUMB)
        self._uc.ctl_set_cpu_model(getattr(arm_const, f"UC_CPU_ARM_{core.unicorn_cpu}"))
        self._ram = _map(self._uc, elf, memory)
        for name in skip:
            if name in elf.symbols:
                self._uc.mem_write(elf.symbols[name].address, _BX_LR)
        if function:
            self._uc.mem_map(_RETURN, _PAGE)
            Peripherals(self._uc)
        self._fault: tuple[str, int, int] | None = None
        self._uc.hook_add(unicorn.UC_HOOK_MEM_INVALID, self._invalid)
        self._counter, self.note = _counter(self._uc, segments, waits, native)
        self.name = f"unicorn {unicorn.__version__} ({core.unicorn_cpu})"
        stack, reset = reset_vector(elf)
        self._uc.reg_write(arm_const.UC_ARM_REG_SP, stack)
        self._go(reset, self._start, _BOOT_INSTRUCTIONS)
        if function:
            for address in function.calls:
                self._uc.reg_write(arm_const.UC_ARM_REG_LR, _RETURN | 1)
                self._go(address, _RETURN, _BOOT_INSTRUCTIONS)
            self._uc.reg_write(arm_const.UC_ARM_REG_LR, _RETURN | 1)
            self._start = function.entry
        self._known: dict[tuple[int, int], Block] = {}
        self._counter.watch_memory(self._uc, self._plan if pace else None)
        self._context = self._uc.context_save()
        self._saved = [(start, bytes(self._uc.mem_read(start, size))) for start, size in self._ram]

    def read(self, address: int, count: int) -> bytes:
        """Memory."""
        try:
            return bytes(self._uc.mem_read(address, count))
        except self._unicorn.UcError as error:
            raise NdtoolError(f"{self._elf.path}: {count} bytes at {address:#010x} are not in its memory") from error

    def write(self, address: int, data: bytes) -> None:
        """Set memory."""
        try:
            self._uc.mem_write(address, data)
        except self._unicorn.UcError as error:
            message = f"{self._elf.path}: {len(data)} bytes at {address:#010x} are not in its memory"
            raise NdtoolError(message) from error

    def stack_pointer(self) -> int:
        """SP now."""
        return int(self._uc.reg_read(self._registers.UC_ARM_REG_SP))

    def run(self) -> Counts:
        """Execute from ndtool_start to ndtool_stop.

        Raises:
            NdtoolError: a fault, or the limit of instructions.
        """
        self._go(self._start, self._stop, self._limit)
        edges, events = self._counter.edges()
        return Counts(instructions=instructions_of(edges, self), edges=edges, events=events)

    def code(self, address: int, count: int) -> bytes:
        """Instructions as they are in memory now."""
        return self.read(address, count)

    def rewind(self) -> None:
        """Back to ndtool_start, with registers and memory as they were."""
        self._uc.context_restore(self._context)
        for start, data in self._saved:
            self._uc.mem_write(start, data)

    def close(self) -> None:
        """Nothing is held but memory."""

    def blocks(self) -> dict[tuple[int, int], Block]:
        """Those that were decoded, for counts.decoded."""
        return self._known

    def _plan(self, previous: int, previous_size: int, address: int, size: int) -> tuple[int, list[int]]:
        """What an edge's block takes and when it makes its accesses, in ticks."""
        edge = Edge(
            previous=block_at(previous, previous_size, self, self._known) if previous_size else None,
            block=block_at(address, size, self, self._known),
            segment=0,
            count=1,
        )
        found = self._pace(edge) if self._pace else Pace(cycles=0.0, accesses=())
        return round(PER_CYCLE * found.cycles), [round(PER_CYCLE * each) for each in found.accesses]

    def _go(self, address: int, until: int, limit: int) -> None:
        self._fault = None
        self._counter.reset(2 * limit)
        try:
            self._uc.emu_start(address | 1, until)
        except self._unicorn.UcError as error:
            raise self._fault_error(error) from error
        pc = int(self._uc.reg_read(self._registers.UC_ARM_REG_PC)) & ~1
        if pc != until:
            if self._counter.full:
                raise NdtoolError(f"{self._elf.path}: no memory is left for counting")
            raise NdtoolError(
                f"{self._elf.path}: {self._elf.where(until)} is not reached within {limit:,} instructions: "
                f"it is still in {self._elf.where(pc)}"
            )

    def _invalid(self, _: Any, access: int, address: int, size: int, value: int, __: Any) -> bool:
        word = {
            self._unicorn.UC_MEM_READ_UNMAPPED: "reads",
            self._unicorn.UC_MEM_WRITE_UNMAPPED: "writes",
            self._unicorn.UC_MEM_FETCH_UNMAPPED: "executes",
            self._unicorn.UC_MEM_WRITE_PROT: "writes read-only",
        }
        self._fault = (word.get(access, "accesses"), address, size)
        return False

    def _fault_error(self, error: Exception) -> NdtoolError:
        pc = int(self._uc.reg_read(self._registers.UC_ARM_REG_PC)) & ~1
        place = f"{self._elf.path}: fault at {pc:#010x} in {self._elf.where(pc)}"
        if self._fault:
            verb, address, size = self._fault
            return NdtoolError(f"{place}: it {verb} {size} bytes at {address:#010x}, where there is no such memory")
        number = getattr(error, "errno", None)
        if number == self._unicorn.UC_ERR_INSN_INVALID:
            code = bytes(self._uc.mem_read(pc, 4)).hex(" ", 2)
            return NdtoolError(f"{place}: undefined instruction ({code}) on a {self._core.name}")
        if number == self._unicorn.UC_ERR_EXCEPTION:
            cause = (
                "svc, bkpt or a usage fault" if self._core.features.unaligned else "an unaligned access, svc or bkpt"
            )
            return NdtoolError(f"{place}: an exception ({cause})")
        return NdtoolError(f"{place}: {error}")


def reset_vector(elf: FirmwareElf | FirmwareImage) -> tuple[int, int]:
    """Initial SP and PC: the first two words of the lowest loaded segment, or where an image says.

    Raises:
        NdtoolError: these are no address of code with the Thumb bit.
    """
    lowest = min((s for s in elf.segments if s.data), key=lambda s: s.load_address, default=None)
    first = elf.vectors - lowest.load_address if lowest and isinstance(elf, FirmwareImage) else 0
    if lowest is not None and len(lowest.data) >= first + 8:
        stack, reset = (int.from_bytes(lowest.data[at : at + 4], "little") for at in (first, first + 4))
        loaded = any(s.address <= reset < s.address + len(s.data) for s in elf.segments)
        if reset & 1 and loaded and stack % 4 == 0:
            return stack, reset & ~1
    raise NdtoolError(f"{elf.path}: no vector table: its lowest bytes must be the initial SP and the reset handler")


def _map(uc: Any, elf: FirmwareElf | FirmwareImage, memory: Mapping[str, Region]) -> list[tuple[int, int]]:
    """Map the target's regions and whatever else the ELF occupies; returns what firmware may change."""
    ranges = [(region.origin, region.origin + region.emulated_bytes) for region in memory.values()]
    ranges.append((_PRIVATE_BUS[0], sum(_PRIVATE_BUS)))
    for segment in elf.segments:
        for address, size in ((segment.address, segment.memory_bytes), (segment.load_address, len(segment.data))):
            if size:
                ranges.append((address // _PAGE * _PAGE, -(-(address + size) // _PAGE) * _PAGE))
    merged: list[list[int]] = []
    for start, end in sorted(ranges):
        if merged and start <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], end)
        else:
            merged.append([start, end])
    for start, end in merged:
        uc.mem_map(start, end - start)
    for segment in elf.segments:
        uc.mem_write(segment.load_address, segment.data)
        uc.mem_write(segment.address, segment.data)
    writable = [section.address for section in elf.sections if section.writable]
    return [(a, b - a) for a, b in merged if any(a <= address < b for address in writable)]


class _Machine(ctypes.Structure):
    """Functions of Unicorn that native/counter.c calls."""

    _fields_ = (
        ("read_memory", ctypes.c_void_p),
        ("read_register", ctypes.c_void_p),
        ("write_register", ctypes.c_void_p),
        ("status", ctypes.c_int),
    )


_Plan = Callable[[int, int, int, int], tuple[int, list[int]]]
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

    def watch_memory(self, uc: Any, plan: _Plan | None) -> None:
        """From now on, loads and stores are seen, and time passes."""
        import unicorn

        if self._width:
            if plan:
                self._ask = _ASK(lambda edge: self._planned(edge, plan))
                self._library.nd_counter_ask(self._counter, self._ask)
            self._hook(uc, unicorn.UC_HOOK_MEM_READ | unicorn.UC_HOOK_MEM_WRITE, self._library.nd_counter_access)

    def _planned(self, edge: int, plan: _Plan) -> None:
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
        self._plan: _Plan | None = None
        self._plans: dict[tuple[int, int, int, int], tuple[int, list[int]]] = {}
        self._ticks = 0  # of the block executed
        self.reset(0)
        uc.hook_add(unicorn.UC_HOOK_BLOCK, self._block)

    def watch_memory(self, uc: Any, plan: _Plan | None) -> None:
        """From now on, loads and stores are seen, and time passes."""
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


def _counter(
    uc: Any, segments: Segments, waits: MemoryMap | None, native: bool
) -> tuple[_NativeCounter | _PythonCounter, str]:
    """The counter and a note on it."""
    if native:
        try:
            return _NativeCounter(uc, segments, waits, native_code.load(*native_code.COUNTER)), ""
        except (NdtoolError, OSError):  # no compiler for this host, or what it made cannot be loaded
            pass
    return _PythonCounter(uc, segments, waits), "blocks counted in Python"
