"""The float ends of a model: QUANTIZE at a float input and DEQUANTIZE at a float output are functions of their own."""

from dataclasses import dataclass

from ndtool.export.c.graph import Graph, Op, Tensor


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ends:
    """A graph between int8 ends, and the operators that were taken off: one, or None, for each input and output."""

    graph: Graph
    quantise: tuple[Op | None, ...]
    dequantise: tuple[Op | None, ...]


def peel(graph: Graph) -> Ends:
    """Take off QUANTIZE where it alone reads a float32 input, and DEQUANTIZE where only an output takes its result.

    What cannot be taken off stays, and is found by the checks.
    """
    readers: dict[Tensor, list[Op]] = {}
    for op in graph.ops:
        for tensor in op.inputs:
            if tensor is not None:
                readers.setdefault(tensor, []).append(op)
    makers = {tensor: op for op in graph.ops for tensor in op.outputs}

    quantise = []
    for tensor in graph.inputs:
        ops = readers.get(tensor, [])
        alone = tensor.dtype == "float32" and len(ops) == 1 and tensor not in graph.outputs
        quantise.append(ops[0] if alone and _converts(ops[0], "QUANTIZE") else None)

    dequantise = []
    for tensor in graph.outputs:
        maker = makers.get(tensor)
        alone = tensor.dtype == "float32" and tensor not in readers
        dequantise.append(maker if alone and maker is not None and _converts(maker, "DEQUANTIZE") else None)

    inner = Graph(
        name=graph.name,
        inputs=tuple(op.outputs[0] if op else tensor for op, tensor in zip(quantise, graph.inputs, strict=True)),
        outputs=tuple(_source(op) if op else tensor for op, tensor in zip(dequantise, graph.outputs, strict=True)),
        ops=tuple(op for op in graph.ops if op not in (*quantise, *dequantise)),
    )
    return Ends(graph=inner, quantise=tuple(quantise), dequantise=tuple(dequantise))


def _source(op: Op) -> Tensor:
    assert op.inputs[0] is not None
    return op.inputs[0]


def _converts(op: Op, kind: str) -> bool:
    """Whether an operator is a plain conversion between a float32 and an int8 tensor of one shape."""
    if op.kind != kind or len(op.inputs) != 1 or len(op.outputs) != 1 or op.inputs[0] is None:
        return False
    source, target = op.inputs[0], op.outputs[0]
    if kind == "DEQUANTIZE":
        source, target = target, source
    return (
        (source.dtype, target.dtype) == ("float32", "int8")
        and len(target.scale) == 1
        and source.shape == target.shape
        and op.inputs[0].data is None
    )
