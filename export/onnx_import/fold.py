"""Constant folding: what does not depend on the input's values is computed once, by ONNX's reference evaluator."""

import math
from collections.abc import Mapping

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from ndtool.errors import NdtoolError
from ndtool.export.onnx_import.reader import OnnxNode, first_line

LARGEST = 2**28  # elements of a tensor: keeps a hostile file from filling the memory

FOLDABLE = frozenset(
    """Abs Add And Cast CastLike Ceil Concat Constant ConstantOfShape CumSum DequantizeLinear Div Equal Erf Exp Expand
    Flatten Floor Gather GatherElements GatherND Gemm Greater GreaterOrEqual Identity Less LessOrEqual Log MatMul Max Min
    Mod Mul Neg NonZero Not OneHot Or Pad Pow Range Reciprocal ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum
    Reshape Round ScatterElements ScatterND Sigmoid Sign Slice Softmax Split Sqrt Squeeze Sub Sum Tanh Tile Transpose
    Trilu Unsqueeze Where Xor""".split()
)


def fold(node: OnnxNode, constants: Mapping[str, np.ndarray]) -> tuple[np.ndarray, ...] | None:
    """The outputs of a node whose inputs are all constants; None where it is not one to fold.

    Raises:
        NdtoolError: the node cannot be computed (a contradiction in the file), or is unreasonably large.
    """
    present = [name for name in node.inputs if name]
    if node.domain or node.operator not in FOLDABLE or any(name not in constants for name in present):
        return None
    inputs = [constants[name] if name else None for name in node.inputs]
    if _size(node, inputs) > LARGEST:
        raise NdtoolError(f"{node.operator} '{node.name}': makes a constant of more than {LARGEST} elements: shrink it")
    evaluator = ReferenceEvaluator(_single(node))
    try:
        with np.errstate(all="ignore"):
            results = evaluator.run(None, {name: constants[name] for name in present})
    except (ValueError, TypeError, IndexError, RuntimeError, NotImplementedError, AttributeError) as error:
        raise NdtoolError(f"{node.operator} '{node.name}': cannot be computed: {first_line(error)}") from error
    return tuple(np.asarray(result) for result in results)


def _single(node: OnnxNode) -> onnx.ModelProto:
    """A model of this one node: the evaluator takes versions of operators from a model only."""

    def anything(name: str) -> onnx.ValueInfoProto:
        return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.UNDEFINED, None)

    names = dict.fromkeys(name for name in node.inputs if name)
    outputs = [anything(name) for name in node.outputs if name]
    graph = onnx.helper.make_graph([node.proto], "fold", [anything(name) for name in names], outputs)
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", node.version)])


def _size(node: OnnxNode, inputs: list[np.ndarray | None]) -> int:
    """An upper estimate of the elements of the result, for operators whose result is larger than their inputs."""
    if node.operator == "Constant":
        return 0
    sizes = [value.size for value in inputs if value is not None]
    last = inputs[-1] if inputs and inputs[-1] is not None else np.zeros(0)
    match node.operator:
        case "ConstantOfShape":
            return math.prod(int(size) for size in inputs[0].ravel()) if inputs[0] is not None else 0
        case "Expand" | "Tile":
            return max(sizes) * math.prod(max(1, int(size)) for size in last.ravel())
        case "Range":
            start, limit, step = (float(value) if value is not None else 0.0 for value in inputs)
            return int(min(abs((limit - start) / step), 2.0**62)) if step else 0
        case "OneHot":
            return sizes[0] * abs(int(inputs[1].ravel()[0])) if inputs[1] is not None else 0
        case "Pad":
            pads = inputs[1] if len(inputs) > 1 else node.attributes.get("pads", ())
            return sizes[0] + sum(abs(int(pad)) for pad in np.ravel(pads)) * max(sizes)
        case "MatMul" | "Gemm":
            return sizes[0] * sizes[1]
    return 0 if not sizes else math.prod(max(axes) for axes in _broadcast(inputs))


def _broadcast(inputs: list[np.ndarray | None]) -> list[tuple[int, ...]]:
    shapes = [value.shape for value in inputs if value is not None]
    rank = max(len(shape) for shape in shapes)
    padded = [(1,) * (rank - len(shape)) + shape for shape in shapes]
    return list(zip(*padded, strict=True))
