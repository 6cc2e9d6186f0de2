"""Firmware on an emulated Cortex-M: Unicorn, with every basic block counted by native code."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from ndtool.benchmarks.elf import FirmwareElf
from ndtool.benchmarks.emulation.counter import counter_for
from ndtool.benchmarks.emulation.counts import Counts, Edge, Pace, Segments, block_at, instructions_of
from ndtool.benchmarks.emulation.image import FirmwareImage
from ndtool.benchmarks.emulation.memory import PER_CYCLE, MemoryMap
from ndtool.benchmarks.emulation.peripherals import Peripherals
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
        self._counter, self.note = counter_for(self._uc, segments, waits, native)
        self.name = f"unicorn {unicorn.__version__} ({core.unicorn_cpu})"
        self._boot(function)
        self._known: dict[tuple[int, int], Block] = {}
        self._counter.watch_memory(self._uc, self._plan if pace else None)
        self._context = self._uc.context_save()
        self._saved = [(start, bytes(self._uc.mem_read(start, size))) for start, size in self._ram]

    def _boot(self, function: Function | None) -> None:
        """Execute from reset to where what is measured begins."""
        stack, reset = reset_vector(self._elf)
        self._uc.reg_write(self._registers.UC_ARM_REG_SP, stack)
        self._go(reset, self._start, _BOOT_INSTRUCTIONS)
        if function:
            for address in function.calls:
                self._return_here()
                self._go(address, _RETURN, _BOOT_INSTRUCTIONS)
            self._return_here()
            self._start = function.entry

    def _return_here(self) -> None:
        """Have the function that is called next return to _RETURN."""
        self._uc.reg_write(self._registers.UC_ARM_REG_LR, _RETURN | 1)

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
