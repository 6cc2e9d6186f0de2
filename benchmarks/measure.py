"""A model's C library or a user's firmware, measured on a target: build, run, compare, account."""

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np

from ndtool.benchmarks.board import Board, BoardLink, require_board
from ndtool.benchmarks.build import Firmware, build_firmware
from ndtool.benchmarks.counts import Counts, Edge, Segments, decoded
from ndtool.benchmarks.elf import FirmwareElf
from ndtool.benchmarks.emulator import BOARD_INIT, START, STOP, Emulator, UnicornEmulator
from ndtool.benchmarks.firmware_sources import ARENA, end_symbols, linker_script, main_c
from ndtool.benchmarks.inputs import Inputs, MemoryPort, Ports, Sample, elf_ports, library_ports, samples_for
from ndtool.benchmarks.instructions import is_dsp
from ndtool.benchmarks.placement import USUAL, Placement
from ndtool.benchmarks.profile import Profile
from ndtool.benchmarks.results import Cost, FunctionResult, LayerResult, Measurement, OnBoard, Peak, SampleResult, Sram
from ndtool.benchmarks.stack import StackRegion, stack_region
from ndtool.benchmarks.targets import Region, Target
from ndtool.benchmarks.timing import Cycles, TimingModel
from ndtool.benchmarks.timing.about import About
from ndtool.errors import NdtoolError
from ndtool.export.c import write_library
from ndtool.export.c.library import CLibrary
from ndtool.files import sha256_of, write_atomic
from ndtool.quantize.runtime import TFLiteModel

EMULATORS = ("unicorn", "qemu")
_GLUE = 0  # segment of what is in no layer; layer i is segment i + 1
_NOT_STATIC = (".stack", ".arena", ".caller")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """One inference in the emulator."""

    counts: Counts
    stack: int
    outputs: Sample


def measure(
    subject: CLibrary | Path,
    target: Target,
    *,
    inputs: Inputs,
    emulator: str = "unicorn",
    compiler: str = "zig",
    keep: Path | None = None,
    reference: bytes | None = None,
    board: BoardLink | None = None,
    board_init: Path | None = None,
    ports: Ports | None = None,
    fast: bool = False,
    place: Placement = USUAL,
) -> Measurement:
    """Measure a library, or a firmware of the user's with markers, on a target.

    Args:
        subject: what compile_tflite made, or an ELF that calls ndtool_start and ndtool_stop.
        target: core or board.
        inputs: one run for each sample.
        emulator: "unicorn" (counts per layer and function) or "qemu" (a second opinion on the total).
        compiler: "zig" or "gcc"; of no effect on an ELF.
        keep: folder for the C library, the firmware, the inputs and the outputs.
        reference: the TFLite model whose reference kernels' outputs every output byte is compared with.
        board: a real one, on which the firmware runs after the emulator: its cycles, stack and outputs are reported.
        board_init: a C file with its ndtool_board_init, for a library.
        ports: of a firmware that ndtool has built earlier; None: as an ELF of the user's says itself.
        fast: counts alone, no cycles.
        place: where weights and arena lie; of no effect on an ELF.

    Raises:
        NdtoolError: a tool is missing, the firmware cannot be built, faults or does not end.
    """
    if emulator not in EMULATORS:
        raise NdtoolError(f"no emulator {emulator!r}: choose from {', '.join(EMULATORS)}")
    if emulator == "qemu" and not isinstance(subject, CLibrary):
        raise NdtoolError(f"{subject}: it is linked for its own board, not for QEMU's: use --emulator unicorn")
    if board:
        require_board(target)
        if emulator != "unicorn":
            raise NdtoolError(f"a board measures, {emulator} does not: leave out --emulator {emulator} or --gdb")
    elif board_init:
        raise NdtoolError("--board-init is for a board: add --gdb HOST:PORT")
    if board_init and not isinstance(subject, CLibrary):
        raise NdtoolError(f"{subject} is linked already: leave out --board-init")
    if emulator == "qemu" and place != USUAL:
        raise NdtoolError("QEMU's boards have one SRAM: --place needs --emulator unicorn")
    with tempfile.TemporaryDirectory(prefix="ndtool-") as room:
        library: CLibrary | None = None
        firmware: Firmware | None = None
        if isinstance(subject, CLibrary):
            library, path = subject, (keep or Path(room)) / "firmware.elf"
            clock = "board" if board else ""
            firmware = build_firmware(
                library, target.core, target.memory, path, compiler=compiler, clock=clock, init=board_init, place=place
            )
        else:
            path = subject
        elf = FirmwareElf(path)
        runnable = elf
        if library and emulator == "qemu":  # the same code at QEMU's addresses, with a clock
            core, there = target.core, Path(room) / "qemu.elf"
            build_firmware(library, core, core.qemu_memory, there, compiler=compiler, clock="qemu")
            runnable = FirmwareElf(there)
        if ports is None:
            ports = library_ports(library, runnable) if library else elf_ports(elf)
        samples = samples_for(inputs, ports.inputs)
        what = _Program(elf=runnable, library=library, target=target, ports=ports, samples=samples, fast=fast)
        runs, machine = _on_board(what, board) if board else _emulated(what, emulator)
        if keep:
            _keep(keep, library, target, samples, runs)
        mismatches = _compare(reference, samples, runs, ports)
        origin = inputs.origin if ports.inputs else "the firmware's own: it has no ndtool_input"
        found = _account(library, elf, target, runs, mismatches, origin, machine, firmware, fast)
        found = replace(found, place=place)
        return _measured(found, board, path, ports) if board else found


# Running


@dataclass(frozen=True, slots=True, kw_only=True)
class _Machine:
    """What ran the firmware."""

    name: str
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Program:
    """What is run."""

    elf: FirmwareElf
    library: CLibrary | None
    target: Target
    ports: Ports
    samples: Sequence[Sample]
    fast: bool


def _emulated(program: _Program, emulator: str) -> tuple[list[_Run], _Machine]:
    target = program.target
    memory = target.core.qemu_memory if emulator == "qemu" else target.memory
    with closing(_emulator(emulator, program.elf, program.library, target, program.fast)) as machine:
        return _run_all(machine, program, memory), _Machine(name=machine.name, note=machine.note)


def _on_board(program: _Program, link: BoardLink) -> tuple[list[_Run], _Machine]:
    """The board's cycles, stack and outputs, with what the emulator counts of the same runs."""
    with closing(Board(program.elf, link, loops=program.library is not None)) as board:
        runs = _run_all(board, program, program.target.memory)
        name, notes = board.name, [board.note]
    try:
        counted, machine = _emulated(program, "unicorn")
    except NdtoolError as error:
        if program.library is not None:
            raise
        notes.append(f"instructions not counted: {error}")  # a program of the user's may need its board's peripherals
    else:
        notes += [f"instructions counted by {machine.name}", machine.note]
        both = zip(runs, counted, strict=True)
        runs = [replace(run, counts=replace(seen.counts, cycles=run.counts.cycles)) for run, seen in both]
    return runs, _Machine(name=name, note="; ".join(filter(None, notes)))


def _run_all(machine: Emulator, program: _Program, memory: Mapping[str, Region]) -> list[_Run]:
    elf, library, runs = program.elf, program.library, []
    for index, sample in enumerate(program.samples):
        if index:
            machine.rewind()
        if library:  # the arena's contents are free between calls: results must not depend on them
            machine.write(elf.symbols[ARENA].address, np.random.default_rng(index).bytes(library.arena_bytes))
        stack = stack_region(elf, memory.values(), machine.stack_pointer())
        runs.append(_run(machine, stack, program.ports, sample))
    return runs


def _emulator(name: str, elf: FirmwareElf, library: CLibrary | None, target: Target, fast: bool) -> Emulator:
    if name == "qemu":
        from ndtool.benchmarks.qemu import QemuEmulator

        return QemuEmulator(elf, target.core)
    waits = None if fast or not target.has_waits else target.waits
    segments = _segments(elf, library)
    pace = TimingModel(target).pace if waits else None
    return UnicornEmulator(elf, target.core, target.memory, segments, waits=waits, pace=pace, skip=(BOARD_INIT,))


def _segments(elf: FirmwareElf, library: CLibrary | None) -> Segments:
    """Glue is the harness and the run function; a kernel belongs to the layer it was called from."""
    ranges = []
    if library:
        owners = {layer.symbol: index + 1 for index, layer in enumerate(library.layers)}
        owners |= {f"{library.name}_run": _GLUE, "main": _GLUE, START: _GLUE, STOP: _GLUE}
        for symbol, segment in owners.items():
            if symbol in elf.symbols:
                function = elf.symbols[symbol]
                ranges.append((function.address, function.address + function.bytes, segment))
            elif segment != _GLUE:
                raise NdtoolError(f"{elf.path}: no function {symbol}: layers must be functions of their own")
    return Segments(ranges=tuple(ranges), initial=_GLUE)


def _run(machine: Emulator, stack: StackRegion, ports: Ports, sample: Sample) -> _Run:
    """Paint the stack, set the inputs, execute the code between the markers."""
    stack.paint(machine)
    for port, value in zip(ports.inputs, sample, strict=True):
        machine.write(port.address, np.ascontiguousarray(value).tobytes())
    counts = machine.run()
    outputs = tuple(port.value(machine.read(port.address, port.size)) for port in ports.outputs)
    return _Run(counts=counts, stack=stack.depth(machine), outputs=outputs)


def _compare(
    reference: bytes | None, samples: Sequence[Sample], runs: Sequence[_Run], ports: Ports
) -> list[int | None]:
    """Output bytes of each run that differ from LiteRT's reference kernels."""
    if reference is None:
        return [None] * len(runs)
    model = TFLiteModel(reference, reference=True)
    return [
        _differing(model.run(*map(_shaped, sample, ports.inputs)), run.outputs)
        for sample, run in zip(samples, runs, strict=True)
    ]


def _shaped(value: np.ndarray, port: MemoryPort) -> np.ndarray:
    return value.reshape(port.shape)


def _differing(expected: Sample, found: Sample) -> int:
    different = 0
    for right, mine in zip(expected, found, strict=True):
        a, b = (np.frombuffer(value.tobytes(), dtype=np.uint8) for value in (right, mine))
        different += max(len(a), len(b)) if len(a) != len(b) else int(np.count_nonzero(a != b))
    return different


# Accounting


def _refuse_dsp(elf: FirmwareElf, target: Target, edges: Sequence[Edge]) -> None:
    """Raise NdtoolError where DSP instructions were executed for a core without them: Unicorn's Cortex-M3 has some."""
    if target.core.features.dsp:
        return
    for instruction in (i for edge in edges for i in edge.block.instructions if is_dsp(i)):
        place = f"{instruction.address:#010x} in {elf.where(instruction.address)}"
        raise NdtoolError(f"{elf.path}: {instruction.text!r} at {place}: a {target.core.name} has no DSP extension")


def _account(
    library: CLibrary | None,
    elf: FirmwareElf,
    target: Target,
    runs: Sequence[_Run],
    mismatches: Sequence[int | None],
    origin: str,
    machine: _Machine,
    firmware: Firmware | None,
    fast: bool,
) -> Measurement:
    worst = max(runs, key=lambda run: (run.counts.instructions or 0, run.counts.cycles or 0))
    timing = TimingModel(target, simulated=bool(worst.counts.events)) if worst.counts.edges and not fast else None
    edges = decoded(worst.counts, elf, {})
    _refuse_dsp(elf, target, edges)
    none = [Cycles(issue=0.0, stalls=0.0, branch=0.0)] * len(edges)
    profile = Profile(edges=edges, cycles=timing.cycles(edges) if timing else none)
    parts = {key: _told(cost, timing is not None) for key, cost in profile.by_segment().items()}
    whole = _told(profile.costs(lambda _: None).get(None, _none(True)), timing is not None)
    return Measurement(
        model=library.name if library else elf.path.name,
        target=target,
        macs=library.macs if library else None,
        cost=replace(whole, instructions=worst.counts.instructions),
        glue=parts.get(_GLUE, _none(timing is not None)),
        sram=_sram(elf, library, max(run.stack for run in runs)),
        flash=elf.flash(own=library is not None),
        peak=_peak(library) if library and library.layers else None,
        layers=_layers(library, parts, timing is not None) if library else (),
        functions=tuple(
            FunctionResult(name=str(name), cost=_told(cost, timing is not None))
            for name, cost in profile.by_function(elf).items()
        ),
        mix=profile.mix(),
        samples=tuple(
            SampleResult(
                instructions=run.counts.instructions,
                stack=run.stack,
                mismatches=different,
                output_bytes=sum(output.nbytes for output in run.outputs),
                cycles=run.counts.cycles,
            )
            for run, different in zip(runs, mismatches, strict=True)
        ),
        inputs=origin,
        emulator=machine.name,
        emulator_note=machine.note,
        compiler=firmware.compiler if firmware else None,
        flags=firmware.flags if firmware else (),
        timing=timing.about if timing else None,
        objective=library.objective if library else None,
        versions={name: version(name) for name in ("ndtool", "unicorn", "capstone", "ziglang")},
    )


def _told(cost: Cost, timed: bool) -> Cost:
    """A cost without cycles where none were modelled."""
    return cost if timed else Cost(instructions=cost.instructions, cycles=None)


def _measured(found: Measurement, board: BoardLink, firmware: Path, ports: Ports) -> Measurement:
    """With the board's cycles in the place of the modelled ones, which are of the same run."""
    by_cost = max(found.samples, key=lambda run: (run.instructions or 0, run.cycles or 0))

    def uncounted(cost: Cost) -> Cost:
        return replace(cost, cycles=None)

    return replace(
        found,
        cost=replace(found.cost, cycles=by_cost.cycles),
        glue=uncounted(found.glue),
        layers=tuple(replace(layer, cost=uncounted(layer.cost)) for layer in found.layers),
        functions=tuple(replace(function, cost=uncounted(function.cost)) for function in found.functions),
        timing=_MEASURED,
        board=OnBoard(
            server=board.server,
            firmware_sha256=sha256_of(firmware),
            inputs=tuple((port.address, port.size) for port in ports.inputs),
            modelled_cycles=found.cost.cycles,
            modelled_by=found.timing,
        ),
    )


_MEASURED = About(
    name="measured on hardware",
    description="the core's cycle counter, or SysTick on Armv6-M; clocks and caches as ndtool_board_init has left them",
    validated=True,
    error=None,
    trust="measured",
)


def _none(counted: bool) -> Cost:
    """The cost of what did not run: nothing, or unknown."""
    return Cost(instructions=0, cycles=0.0) if counted else Cost(instructions=None, cycles=None)


def _sram(elf: FirmwareElf, library: CLibrary | None, stack: int) -> Sram:
    if library is None:
        stacks = [section.name for section in elf.sections if "stack" in section.name.lower()]
        return Sram(arena=0, stack=stack, static=elf.static_bytes(*stacks))
    return Sram(
        arena=library.arena_bytes,
        stack=stack,
        static=elf.static_bytes(*_NOT_STATIC),
        caller=elf.section_bytes(".caller"),
    )


def _peak(library: CLibrary) -> Peak:
    layer = library.peak
    return Peak(
        symbol=layer.symbol,
        name=layer.name,
        kind=layer.kind,
        live_bytes=layer.live_bytes,
        live_tensors=layer.live_tensors,
        lower_bound_bytes=library.lower_bound_bytes,
    )


def _layers(library: CLibrary, parts: Mapping[object, Cost], counted: bool) -> tuple[LayerResult, ...]:
    ends = set(end_symbols(library))
    return tuple(
        LayerResult(
            symbol=layer.symbol,
            name=layer.name,
            kind=layer.kind,
            kernel=layer.kernel,
            output_shape=layer.output_shape,
            macs=layer.macs,
            weight_bytes=layer.weight_bytes,
            live_bytes=layer.live_bytes,
            is_end=layer.symbol in ends,
            cost=parts.get(index + 1, _none(counted)),
            alternatives=layer.alternatives,
            steps=layer.steps,
        )
        for index, layer in enumerate(library.layers)
    )


def _keep(
    folder: Path, library: CLibrary | None, target: Target, samples: Sequence[Sample], runs: Sequence[_Run]
) -> None:
    """The library, the harness and every input and output as raw bytes; the ELF is there already."""
    if library:
        write_library(library, folder / "c")
        write_atomic(folder / "main.c", main_c(library))
        write_atomic(folder / "firmware.ld", linker_script(library, target.memory))
    for index, (sample, run) in enumerate(zip(samples, runs, strict=True)):
        for kind, values in (("input", sample), ("output", run.outputs)):
            for position, value in enumerate(values):
                file = folder / kept_name(kind, position, len(values), index)
                write_atomic(file, np.ascontiguousarray(value).tobytes())


def kept_name(kind: str, position: int, count: int, run: int) -> str:
    """The file of one of the `count` inputs or outputs of a run; kind is "input" or "output"."""
    suffix = f"_{position}" if count > 1 else ""
    return f"{kind}{suffix}.{run}.bin"
