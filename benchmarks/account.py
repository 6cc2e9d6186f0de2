"""What the runs of a firmware cost: from counts to a measurement."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from ndtool.benchmarks.board.link import BoardLink
from ndtool.benchmarks.build import Firmware
from ndtool.benchmarks.elf import FirmwareElf
from ndtool.benchmarks.emulation.counts import Edge, decoded
from ndtool.benchmarks.firmware_sources import end_symbols
from ndtool.benchmarks.inputs import Ports
from ndtool.benchmarks.instructions import is_dsp
from ndtool.benchmarks.profile import Profile
from ndtool.benchmarks.results import Cost, FunctionResult, LayerResult, Measurement, OnBoard, Peak, SampleResult, Sram
from ndtool.benchmarks.running import GLUE, Machine, Program, Run
from ndtool.benchmarks.targets import Target
from ndtool.benchmarks.timing import Cycles, TimingModel
from ndtool.benchmarks.timing.about import About
from ndtool.errors import NdtoolError
from ndtool.export.c.library import CLibrary
from ndtool.files import sha256_of

_NOT_STATIC = (".stack", ".arena", ".caller")
_MEASURED = About(
    name="measured on hardware",
    description="the core's cycle counter, or SysTick on Armv6-M; clocks and caches as ndtool_board_init has left them",
    validated=True,
    error=None,
    trust="measured",
)


def _refuse_dsp(elf: FirmwareElf, target: Target, edges: Sequence[Edge]) -> None:
    """Raise NdtoolError where DSP instructions were executed for a core without them: Unicorn's Cortex-M3 has some."""
    if target.core.features.dsp:
        return
    for instruction in (i for edge in edges for i in edge.block.instructions if is_dsp(i)):
        place = f"{instruction.address:#010x} in {elf.where(instruction.address)}"
        raise NdtoolError(f"{elf.path}: {instruction.text!r} at {place}: a {target.core.name} has no DSP extension")


def account(
    program: Program, runs: Sequence[Run], mismatches: Sequence[int | None], machine: Machine, firmware: Firmware | None
) -> Measurement:
    """The measurement that the runs make. Costs are those of the run with most instructions.

    `mismatches`: of each run. `firmware`: how it was built; None: not by ndtool.
    """
    library, elf, target = program.library, program.linked, program.target
    worst = max(runs, key=lambda run: (run.counts.instructions or 0, run.counts.cycles or 0))
    timed = bool(worst.counts.edges) and not program.fast
    timing = TimingModel(target, simulated=bool(worst.counts.events)) if timed else None
    edges = decoded(worst.counts, elf, {})
    _refuse_dsp(elf, target, edges)
    none = [Cycles(issue=0.0, stalls=0.0, branch=0.0)] * len(edges)
    profile = Profile(edges=edges, cycles=timing.cycles(edges) if timing else none)
    parts = {key: _told(cost, timed) for key, cost in profile.by_segment().items()}
    whole = _told(profile.costs(lambda _: None).get(None, _none(True)), timed)
    functions = profile.by_function(elf).items()
    return Measurement(
        model=library.name if library else elf.path.name,
        target=target,
        macs=library.macs if library else None,
        cost=replace(whole, instructions=worst.counts.instructions),
        glue=parts.get(GLUE, _none(timed)),
        sram=_sram(elf, library, max(run.stack for run in runs)),
        flash=elf.flash(own=library is not None),
        peak=_peak(library) if library and library.layers else None,
        layers=_layers(library, parts, timed) if library else (),
        functions=tuple(FunctionResult(name=str(name), cost=_told(cost, timed)) for name, cost in functions),
        mix=profile.mix(),
        samples=tuple(map(_sample, runs, mismatches)),
        inputs=program.origin,
        place=program.place,
        emulator=machine.name,
        emulator_note=machine.note,
        compiler=firmware.compiler if firmware else None,
        flags=firmware.flags if firmware else (),
        timing=timing.about if timing else None,
        objective=library.objective if library else None,
        versions={name: version(name) for name in ("ndtool", "unicorn", "capstone", "ziglang")},
    )


def _sample(run: Run, mismatches: int | None) -> SampleResult:
    return SampleResult(
        instructions=run.counts.instructions,
        stack=run.stack,
        mismatches=mismatches,
        output_bytes=sum(output.nbytes for output in run.outputs),
        cycles=run.counts.cycles,
    )


def _told(cost: Cost, timed: bool) -> Cost:
    """A cost without cycles where none were modelled."""
    return cost if timed else Cost(instructions=cost.instructions, cycles=None)


def with_board(found: Measurement, board: BoardLink, firmware: Path, ports: Ports) -> Measurement:
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
