"""Who makes and who reads each tensor of a graph, and what a rewrite is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from ndtool.export.c.graph import Graph, Op, Tensor


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Uses:
    """The uses of a graph's tensors."""

    makers: Mapping[Tensor, Op]
    readers: Mapping[Tensor, tuple[Op, ...]]  # an operator that reads a tensor twice is there twice
    outputs: frozenset[Tensor]

    @staticmethod
    def of(graph: Graph) -> "Uses":
        """The uses of the tensors of `graph`."""
        readers: dict[Tensor, tuple[Op, ...]] = {}
        for op in graph.ops:
            for tensor in op.inputs:
                if tensor is not None:
                    readers[tensor] = (*readers.get(tensor, ()), op)
        makers = {tensor: op for op in graph.ops for tensor in op.outputs}
        return Uses(makers=makers, readers=readers, outputs=frozenset(graph.outputs))

    def inner_maker(self, tensor: Tensor) -> Op | None:
        """The operator that makes a tensor, if it is no output of the graph."""
        return None if tensor in self.outputs else self.makers.get(tensor)

    def sole_maker(self, tensor: Tensor) -> Op | None:
        """The operator that makes a tensor, if but one operator reads it, once, and it is no output of the graph."""
        return self.inner_maker(tensor) if len(self.readers.get(tensor, ())) == 1 else None


Rewrite = Callable[[Op, Uses], tuple[Op, ...] | None]
"""What an operator becomes when it takes over the work of one before it, or None where it cannot. The operators given
write what the operator wrote; the one before goes as soon as nothing reads it. Exact for every input."""


def alike(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are quantised alike."""
    return (one.scale, one.zero_point) == (other.scale, other.zero_point)


def fused(op: Op, other: Op, **changes: object) -> Op:
    """`op` with `changes`, having taken over the work of `other`: what a layer's comment says."""
    work = (*op.options.get("fused", ()), other.kind, *other.options.get("fused", ()))
    options = {**changes.pop("options", op.options), "fused": work}  # type: ignore[dict-item]
    return replace(op, options=options, **changes)  # type: ignore[arg-type]
