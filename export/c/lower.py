"""A checked graph becomes kernel calls in execution order."""

from collections.abc import Mapping
from dataclasses import dataclass

from ndtool.export.c.call import Alias, Call, Choice, Slot
from ndtool.export.c.context import Context
from ndtool.export.c.graph import Graph, Tensor
from ndtool.export.c.operators import OPERATORS


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Program:
    """What is executed, in order. `storage` maps a tensor that is another under a new shape to the one with memory."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    slots: tuple[Slot, ...]
    storage: Mapping[Tensor, Tensor]

    @property
    def calls(self) -> tuple[Call, ...]:
        """Every kernel call, those of strips as they are without the strip."""
        return tuple(call for slot in self.slots for call in slot.calls)

    def stored(self, tensor: Tensor) -> Tensor:
        """The tensor whose memory holds this one."""
        return self.storage.get(tensor, tensor)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Draft:
    """A program whose kernels are still to be chosen: the candidates of each call, the preferred first."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    candidates: tuple[tuple[Call, ...], ...]
    storage: Mapping[Tensor, Tensor]

    def program(self, slots: tuple[Slot, ...]) -> Program:
        """The program that executes these."""
        return Program(inputs=self.inputs, outputs=self.outputs, slots=slots, storage=self.storage)


def lower(graph: Graph, context: Context) -> Draft:
    """The kernels that can compute each operator of a graph that passed the checks."""
    candidates: list[tuple[Call, ...]] = []
    storage: dict[Tensor, Tensor] = {}
    for op in graph.ops:
        lowered = OPERATORS[op.kind].lower(op, context)
        if isinstance(lowered, Alias):
            storage[lowered.output] = storage.get(lowered.input, lowered.input)
        elif isinstance(lowered, Choice):
            candidates.append(lowered.candidates)
        else:
            calls = lowered if isinstance(lowered, tuple) else (lowered,)
            candidates.extend((call,) for call in calls)
    return Draft(inputs=graph.inputs, outputs=graph.outputs, candidates=tuple(candidates), storage=storage)
