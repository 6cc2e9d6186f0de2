"""Cycles of executed code: a core's pipeline, as a table of rules, and the waits of a board's memory."""

from collections.abc import Sequence
from dataclasses import dataclass

from ndtool.benchmarks.emulation.counts import Edge, Pace
from ndtool.benchmarks.emulation.memory import PER_CYCLE, Event
from ndtool.benchmarks.targets import Target
from ndtool.benchmarks.timing import cortex_m0plus, cortex_m3, cortex_m4, cortex_m7, cortex_m33
from ndtool.benchmarks.timing.about import About, about
from ndtool.benchmarks.timing.pipeline import Pipeline, Rules

RULES: dict[str, Rules] = {
    "cortex-m7": cortex_m7.RULES,
    "cortex-m4": cortex_m4.RULES,
    "cortex-m33": cortex_m33.RULES,
    "cortex-m3": cortex_m3.RULES,
    "cortex-m0plus": cortex_m0plus.RULES,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cycles:
    """Where cycles go: issue, waiting for results, branches, and waiting for each bank of the memory by its name."""

    issue: float
    stalls: float
    branch: float
    memory: tuple[tuple[str, float], ...] = ()

    @property
    def reasons(self) -> tuple[tuple[str, float], ...]:
        """Each with its name."""
        return (("issue", self.issue), ("stalls", self.stalls), ("branch", self.branch), *self.memory)


class TimingModel:
    """The cycles of a target. Edges without memory events cost the pipeline's cycles alone."""

    def __init__(self, target: Target, *, simulated: bool = True):
        """`simulated`: whether the memory system is simulated."""
        self._pipeline = Pipeline(RULES[target.core.name])
        self._banks = target.waits.banks
        self.about: About = about(target, simulated=simulated)

    def pace(self, edge: Edge) -> Pace:
        """When an edge's block accesses memory, waits aside."""
        return self._pipeline.pace(edge)

    def cycles(self, edges: Sequence[Edge]) -> list[Cycles]:
        """Cycles of each edge, all its executions together: of its block, given the block before."""
        return [
            Cycles(issue=core.issue, stalls=core.stalls, branch=core.branch, memory=self._waits(edge))
            for edge, core in zip(edges, self._pipeline.cycles(edges), strict=True)
        ]

    def _waits(self, edge: Edge) -> tuple[tuple[str, float], ...]:
        found = []
        for bank, events in zip(self._banks, edge.events, strict=False):
            cycles = sum(cost * events[Event(event)] for event, cost in bank.cost.items())
            cycles += events[Event.BUSY] / PER_CYCLE
            if cycles:
                found.append((bank.name, cycles))
        return tuple(found)
