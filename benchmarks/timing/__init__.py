"""Cycles of executed code: one model per core behind one interface. None is validated against silicon yet."""

from collections.abc import Sequence
from typing import Protocol

from ndtool.benchmarks.counts import Edge
from ndtool.benchmarks.timing import cortex_m0plus, cortex_m4, cortex_m7, cortex_m33
from ndtool.benchmarks.timing.about import About
from ndtool.benchmarks.timing.pipeline import Pipeline, Rules


class TimingModel(Protocol):
    """Cycles of one core."""

    about: About

    def cycles(self, edges: Sequence[Edge]) -> list[float]:
        """Cycles of each edge, all its executions together: of its block, given the block before."""


RULES: dict[str, Rules] = {
    "cortex-m7": cortex_m7.RULES,
    "cortex-m4": cortex_m4.RULES,
    "cortex-m33": cortex_m33.RULES,
    "cortex-m0plus": cortex_m0plus.RULES,
}


class PipelineModel:
    """A core's in-order pipeline alone: memory answers at once, caches always hit, flash has no wait states."""

    def __init__(self, core: str):
        self._pipeline = Pipeline(RULES[core])
        self.about = About(
            name=f"{core} pipeline 1",
            description="issue, dependencies and branches; no wait states, no cache misses",
            validated=False,
        )

    def cycles(self, edges: Sequence[Edge]) -> list[float]:
        """Cycles of each edge, all its executions together."""
        return self._pipeline.cycles(edges)


def timing_model(core: str) -> TimingModel:
    """The model of a core by its name, e.g. cortex-m7."""
    return PipelineModel(core)
