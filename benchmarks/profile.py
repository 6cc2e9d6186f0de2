"""Counts and modelled cycles by layer, by function and by class of instruction."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

from ndtool.benchmarks.counts import Edge
from ndtool.benchmarks.elf import FirmwareElf
from ndtool.benchmarks.results import Cost


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Edges with the cycles of each."""

    edges: Sequence[Edge]
    cycles: Sequence[float]

    def costs(self, key: Callable[[Edge], Hashable]) -> dict[Hashable, Cost]:
        """Sums over the edges with the same key, dearest first."""
        instructions: dict[Hashable, int] = {}
        cycles: dict[Hashable, float] = {}
        for edge, amount in zip(self.edges, self.cycles, strict=True):
            group = key(edge)
            instructions[group] = instructions.get(group, 0) + edge.count * len(edge.block.instructions)
            cycles[group] = cycles.get(group, 0.0) + amount
        ordered = sorted(instructions, key=lambda group: -cycles[group])
        return {group: Cost(instructions=instructions[group], cycles=cycles[group]) for group in ordered}

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
