"""A firmware run in an emulator or on a board: painted stack, inputs set, what is between the markers executed."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np

from ndtool.benchmarks.board.link import Board, BoardLink
from ndtool.benchmarks.elf import FirmwareElf
from ndtool.benchmarks.emulation.counts import Counts, Segments
from ndtool.benchmarks.emulation.emulator import BOARD_INIT, START, STOP, Emulator, UnicornEmulator
from ndtool.benchmarks.emulation.stack import StackRegion, stack_region
from ndtool.benchmarks.firmware_sources import ARENA
from ndtool.benchmarks.inputs import Ports, Sample
from ndtool.benchmarks.placement import Placement
from ndtool.benchmarks.targets import Region, Target
from ndtool.benchmarks.timing import TimingModel
from ndtool.errors import NdtoolError
from ndtool.export.c.library import CLibrary

EMULATORS = ("unicorn", "qemu")
GLUE = 0  # segment of what is in no layer; layer i is segment i + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One inference in the emulator."""

    counts: Counts
    stack: int
    outputs: Sample


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What ran the firmware."""

    name: str
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What is run, on which samples.

    library: what it was built from; None: a firmware of the user's. linked: what ships, `elf`: what runs, which is the
    same but in QEMU. origin: where the samples come from. fast: counts alone, no cycles.
    """

    library: CLibrary | None
    linked: FirmwareElf
    elf: FirmwareElf
    target: Target
    place: Placement
    ports: Ports
    samples: Sequence[Sample]
    origin: str
    fast: bool


def emulated(program: Program, emulator: str) -> tuple[list[Run], Machine]:
    """One run for each sample, in the emulator of that name."""
    target = program.target
    memory = target.core.qemu_memory if emulator == "qemu" else target.memory
    with closing(_emulator(emulator, program)) as machine:
        return _run_all(machine, program, memory), Machine(name=machine.name, note=machine.note)


def on_board(program: Program, link: BoardLink) -> tuple[list[Run], Machine]:
    """The board's cycles, stack and outputs, with what the emulator counts of the same runs."""
    with closing(Board(program.elf, link, loops=program.library is not None)) as board:
        runs = _run_all(board, program, program.target.memory)
        name, notes = board.name, [board.note]
    try:
        counted, machine = emulated(program, "unicorn")
    except NdtoolError as error:
        if program.library is not None:
            raise
        notes.append(f"instructions not counted: {error}")  # a program of the user's may need its board's peripherals
    else:
        notes += [f"instructions counted by {machine.name}", machine.note]
        both = zip(runs, counted, strict=True)
        runs = [replace(run, counts=replace(seen.counts, cycles=run.counts.cycles)) for run, seen in both]
    return runs, Machine(name=name, note="; ".join(filter(None, notes)))


def _run_all(machine: Emulator, program: Program, memory: Mapping[str, Region]) -> list[Run]:
    elf, library, runs = program.elf, program.library, []
    for index, sample in enumerate(program.samples):
        if index:
            machine.rewind()
        if library:  # the arena's contents are free between calls: results must not depend on them
            machine.write(elf.symbols[ARENA].address, np.random.default_rng(index).bytes(library.arena_bytes))
        stack = stack_region(elf, memory.values(), machine.stack_pointer())
        runs.append(_run(machine, stack, program.ports, sample))
    return runs


def _emulator(name: str, program: Program) -> Emulator:
    elf, target = program.elf, program.target
    if name == "qemu":
        from ndtool.benchmarks.emulation.qemu import QemuEmulator

        return QemuEmulator(elf, target.core)
    waits = None if program.fast or not target.has_waits else target.waits
    segments = _segments(elf, program.library)
    pace = TimingModel(target).pace if waits else None
    return UnicornEmulator(elf, target.core, target.memory, segments, waits=waits, pace=pace, skip=(BOARD_INIT,))


def _segments(elf: FirmwareElf, library: CLibrary | None) -> Segments:
    """Glue is the harness and the run function; a kernel belongs to the layer it was called from."""
    ranges = []
    if library:
        owners = {layer.symbol: index + 1 for index, layer in enumerate(library.layers)}
        owners |= {f"{library.name}_run": GLUE, "main": GLUE, START: GLUE, STOP: GLUE}
        for symbol, segment in owners.items():
            if symbol in elf.symbols:
                function = elf.symbols[symbol]
                ranges.append((function.address, function.address + function.bytes, segment))
            elif segment != GLUE:
                raise NdtoolError(f"{elf.path}: no function {symbol}: layers must be functions of their own")
    return Segments(ranges=tuple(ranges), initial=GLUE)


def _run(machine: Emulator, stack: StackRegion, ports: Ports, sample: Sample) -> Run:
    """Paint the stack, set the inputs, execute the code between the markers."""
    stack.paint(machine)
    for port, value in zip(ports.inputs, sample, strict=True):
        machine.write(port.address, np.ascontiguousarray(value).tobytes())
    counts = machine.run()
    outputs = tuple(port.value(machine.read(port.address, port.size)) for port in ports.outputs)
    return Run(counts=counts, stack=stack.depth(machine), outputs=outputs)
