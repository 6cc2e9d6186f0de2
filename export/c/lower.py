"""A checked graph becomes kernel calls in execution order."""

from collections.abc import Mapping
from dataclasses import dataclass

from ndtool.export.c.call import Alias, Call, Choice
from ndtool.export.c.context import Context
from ndtool.export.c.graph import Graph, Tensor
from ndtool.export.c.operators import OPERATORS


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Program:
    """Kernel calls in order. `storage` maps a tensor that is another under a new shape to the one that has memory."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    calls: tuple[Call, ...]
    storage: Mapping[Tensor, Tensor]

    def stored(self, tensor: Tensor) -> Tensor:
        """The tensor whose memory holds this one."""
        return self.storage.get(tensor, tensor)


def lower(graph: Graph, context: Context) -> Program:
    """Choose a kernel for every operator of a graph that passed the checks."""
    calls: list[Call] = []
    storage: dict[Tensor, Tensor] = {}
    for op in graph.ops:
        lowered = OPERATORS[op.kind].lower(op, context)
        if isinstance(lowered, Choice):
            lowered = lowered.candidates[0]
        if isinstance(lowered, Alias):
            storage[lowered.output] = storage.get(lowered.input, lowered.input)
        else:
            calls.extend(lowered if isinstance(lowered, tuple) else (lowered,))
    return Program(inputs=graph.inputs, outputs=graph.outputs, calls=tuple(calls), storage=storage)
