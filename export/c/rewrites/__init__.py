"""Rewrites of a checked graph into one that writes the same bytes with fewer operators.

A row of `REWRITES` names, for the last of the operators that become one, what may be done; see `Rewrite` in uses.py.
What is left over, because nothing reads it any more, goes.
"""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from ndtool.export.c.graph import Graph, Op
from ndtool.export.c.operators.elementwise import FUNCTIONS
from ndtool.export.c.operators.tables import TABLES
from ndtool.export.c.rewrites.clamps import clamp_in_the_producer
from ndtool.export.c.rewrites.lookups import look_up_once
from ndtool.export.c.rewrites.paddings import pad_in_the_convolution, pad_in_the_pool
from ndtool.export.c.rewrites.transpositions import mean_first, permute_the_weights, transpose_once
from ndtool.export.c.rewrites.uses import Rewrite, Uses

REWRITES: Mapping[str, tuple[Rewrite, ...]] = MappingProxyType(
    {
        "CONV_2D": (pad_in_the_convolution,),
        "DEPTHWISE_CONV_2D": (pad_in_the_convolution,),
        "FULLY_CONNECTED": (permute_the_weights,),
        "MAX_POOL_2D": (pad_in_the_pool,),
        "MEAN": (mean_first,),
        "TRANSPOSE": (transpose_once,),
        **dict.fromkeys((*TABLES, *FUNCTIONS), (clamp_in_the_producer, look_up_once)),
    }
)


def rewrite(graph: Graph) -> Graph:
    """Apply every rewrite as often as it goes. Inputs and outputs stay the same tensors."""
    graph = _without_the_dead(graph)
    while (ops := _rewritten_once(graph)) is not None:
        graph = _without_the_dead(replace(graph, ops=ops))
    return graph


def _rewritten_once(graph: Graph) -> tuple[Op, ...] | None:
    """The operators after the first rewrite that applies, or None."""
    uses = Uses.of(graph)
    for position, op in enumerate(graph.ops):
        for rule in REWRITES.get(op.kind, ()):
            if (ops := rule(op, uses)) is not None:
                return (*graph.ops[:position], *ops, *graph.ops[position + 1 :])
    return None


def _without_the_dead(graph: Graph) -> Graph:
    """Without operators whose results nothing reads."""
    needed = set(graph.outputs)
    alive: list[Op] = []
    for op in reversed(graph.ops):
        if needed.intersection(op.outputs):
            alive.append(op)
            needed.update(tensor for tensor in op.inputs if tensor is not None)
    return replace(graph, ops=tuple(reversed(alive)))
