"""What a measurement found. Every number says what it is: counted, planned, linked, painted or modelled."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ndtool.benchmarks.elf import Flash
from ndtool.benchmarks.placement import USUAL, Placement
from ndtool.benchmarks.targets import Target
from ndtool.benchmarks.timing.about import About


@dataclass(frozen=True, slots=True, kw_only=True)
class Sram:
    """Bytes of SRAM: the arena is planned, the stack painted and read back, .data and .bss linked.

    `caller` are the float buffers of the caller, which are not part of the total.
    """

    arena: int
    stack: int
    static: int
    caller: int = 0

    @property
    def total(self) -> int:
        """What the firmware needs."""
        return self.arena + self.stack + self.static


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Instructions are counted, cycles modelled (None where the emulator counts no blocks)."""

    instructions: int | None
    cycles: float | None
    parts: Mapping[str, float] = field(default_factory=dict)  # cycles by reason: issue, stalls, branch, "in" a memory


def total(costs: Iterable[Cost]) -> Cost:
    """The sum, unknown where a part is."""
    parts = list(costs)
    instructions = [cost.instructions for cost in parts if cost.instructions is not None]
    cycles = [cost.cycles for cost in parts if cost.cycles is not None]
    return Cost(
        instructions=sum(instructions) if len(instructions) == len(parts) else None,
        cycles=sum(cycles) if len(cycles) == len(parts) else None,
        parts={
            reason: sum(cost.parts.get(reason, 0.0) for cost in parts)
            for reason in dict.fromkeys(reason for cost in parts for reason in cost.parts)
        },
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerResult:
    """One call of the library. `is_end`: it converts float inputs or outputs; the rest as in export.c.library.Layer."""

    symbol: str
    name: str
    kind: str
    kernel: str
    output_shape: tuple[int, ...]
    macs: int
    weight_bytes: int
    live_bytes: int
    is_end: bool
    cost: Cost
    alternatives: tuple[tuple[str, float | None], ...] = ()
    steps: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelResult:
    """All layers of one kernel together."""

    name: str
    layers: int
    macs: int
    cost: Cost


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionResult:
    """One function between the markers, without what it calls."""

    name: str
    cost: Cost


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleResult:
    """One run. `mismatches`: output bytes that differ from LiteRT's reference kernels; None: not compared.

    `cycles` are measured on a board; None: no board, or it has no cycle counter.
    """

    instructions: int | None
    stack: int
    mismatches: int | None
    output_bytes: int
    cycles: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Peak:
    """The operator during which most of the arena is alive, and what is alive then."""

    symbol: str
    name: str
    kind: str
    live_bytes: int
    live_tensors: tuple[tuple[str, int], ...]
    lower_bound_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OnBoard:
    """What ran on a board, and what was modelled of the same firmware and inputs; None: it cannot be emulated."""

    server: str
    firmware_sha256: str
    inputs: tuple[tuple[int, int], ...]  # addresses and bytes
    modelled_cycles: float | None
    modelled_by: About | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """A firmware on a target. Costs are those of the run with most instructions.

    With `board`, the cycles of it all, the stack and the outputs are the board's, and no part has cycles.
    """

    model: str
    target: Target
    macs: int | None  # None: a firmware that ndtool has not built
    cost: Cost
    glue: Cost  # between the markers, but in no layer
    sram: Sram
    flash: Flash
    peak: Peak | None
    layers: tuple[LayerResult, ...]
    functions: tuple[FunctionResult, ...]
    mix: Mapping[str, int]  # instructions by class
    samples: tuple[SampleResult, ...]
    inputs: str  # where they come from
    emulator: str
    emulator_note: str
    compiler: str | None
    flags: tuple[str, ...]
    timing: About | None
    versions: Mapping[str, str]
    untrained: bool = False  # random weights
    place: Placement = USUAL
    placements: tuple[tuple[Placement, float], ...] = ()  # others, with the cycles that they would take
    objective: str | None = None  # what kernels were chosen for; None: a firmware that ndtool has not built
    board: OnBoard | None = None  # None: emulated
    model_sha256: str | None = None  # of the model's file; None: a firmware that ndtool has not built

    @property
    def kernels(self) -> tuple[KernelResult, ...]:
        """The layers by kernel, the most expensive first."""
        found = []
        for name in dict.fromkeys(layer.kernel for layer in self.layers):
            own = [layer for layer in self.layers if layer.kernel == name]
            macs, cost = sum(layer.macs for layer in own), total(layer.cost for layer in own)
            found.append(KernelResult(name=name, layers=len(own), macs=macs, cost=cost))
        return tuple(sorted(found, key=lambda kernel: -(kernel.cost.instructions or 0)))

    @property
    def latency_error(self) -> float | None:
        """The relative error of the latency that the timing model has earned; None: it was never compared."""
        return self.timing.error if self.timing else None

    @property
    def latency_ms(self) -> float | None:
        """Cycles at the target's clock."""
        return None if self.cost.cycles is None else 1e3 * self.cost.cycles / self.target.clock_hz

    @property
    def latency_text(self) -> str:
        """For people, e.g. "23.812 ms ± 4 %"."""
        if self.latency_ms is None:
            return "-"
        error = self.latency_error
        return f"{self.latency_ms:,.3f} ms".replace(",", " ") + (f" ± {math.ceil(100 * error)} %" if error else "")

    @property
    def bit_exact(self) -> bool | None:
        """Whether every output byte equals LiteRT's reference; None: not compared."""
        compared = [sample.mismatches for sample in self.samples if sample.mismatches is not None]
        return not any(compared) if compared else None

    @property
    def instruction_range(self) -> tuple[int | None, int | None]:
        """The fewest and most instructions of any run; None where they are not counted."""
        counts = [sample.instructions for sample in self.samples if sample.instructions is not None]
        return (min(counts), max(counts)) if counts else (None, None)

    @property
    def excess(self) -> Mapping[str, int]:
        """Bytes by which a region of the target is exceeded; empty where all fits."""
        used = {"flash": self.flash.total, "sram": self.sram.total - self.sram.arena, "dtcm": 0}
        used[self.place.arena] += self.sram.arena
        if self.place.weights != "flash":  # copied there from flash at start
            used[self.place.weights] += self.flash.weights
        found = {}
        for name, amount in used.items():
            limit = self.target.memory[name].bytes if amount else None
            if limit is not None and amount > limit:
                found[name] = amount - limit
        return found

    @property
    def fits(self) -> bool | None:
        """Whether flash and SRAM suffice; None on a bare core, which has no limits."""
        return not self.excess if self.target.is_board else None
