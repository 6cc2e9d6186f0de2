"""Counts and modelled cycles by layer, by function and by class of instruction."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

from ndtool.benchmarks.elf import FirmwareElf
from ndtool.benchmarks.emulation.counts import Edge
from ndtool.benchmarks.results import Cost
from ndtool.benchmarks.timing import Cycles


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Edges with the cycles of each."""

    edges: Sequence[Edge]
    cycles: Sequence[Cycles]

    def costs(self, key: Callable[[Edge], Hashable]) -> dict[Hashable, Cost]:
        """Sums over the edges with the same key, dearest first."""
        instructions: dict[Hashable, int] = {}
        parts: dict[Hashable, dict[str, float]] = {}
        for edge, spent in zip(self.edges, self.cycles, strict=True):
            group = key(edge)
            instructions[group] = instructions.get(group, 0) + edge.count * len(edge.block.instructions)
            reasons = parts.setdefault(group, {"issue": 0.0, "stalls": 0.0, "branch": 0.0})
            for reason, amount in spent.reasons:
                reasons[reason] = reasons.get(reason, 0.0) + amount
        cycles = {group: sum(reasons.values()) for group, reasons in parts.items()}
        return {
            group: Cost(instructions=instructions[group], cycles=cycles[group], parts=parts[group])
            for group in sorted(instructions, key=lambda group: -cycles[group])
        }

    def by_segment(self) -> dict[Hashable, Cost]:
        """Costs of each segment."""
        return self.costs(lambda edge: edge.segment)

    def by_function(self, elf: FirmwareElf) -> dict[Hashable, Cost]:
        """Costs of each function, without what it calls."""
        return self.costs(lambda edge: elf.where_function(edge.block.address))

    def mix(self) -> Mapping[str, int]:
        """Instructions of each class, most frequent first."""
        counts: dict[str, int] = {}
        for edge in self.edges:
            for instruction in edge.block.instructions:
                kind = instruction.kind.value
                counts[kind] = counts.get(kind, 0) + edge.count
        return dict(sorted(counts.items(), key=lambda item: -item[1]))
