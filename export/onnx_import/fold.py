"""Constant folding: what does not depend on the input's values is computed once, by ONNX's reference evaluator."""

import math
from collections.abc import Sequence

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from ndtool.errors import first_line
from ndtool.export.onnx_import.problems import UnsupportedError
from ndtool.export.onnx_import.reader import LARGEST, OnnxNode

# fmt: off
FOLDABLE = frozenset((
    "Abs", "Add", "And", "Cast", "CastLike", "Ceil", "Concat", "Constant", "ConstantOfShape", "CumSum",
    "DequantizeLinear", "Div", "Equal", "Erf", "Exp", "Expand", "Flatten", "Floor", "Gather", "GatherElements",
    "GatherND", "Gemm", "Greater", "GreaterOrEqual", "Identity", "Less", "LessOrEqual", "Log", "MatMul", "Max",
    "Min", "Mod", "Mul", "Neg", "NonZero", "Not", "OneHot", "Or", "Pad", "Pow", "Range", "Reciprocal",
    "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "Reshape", "Round", "ScatterElements",
    "ScatterND", "Sigmoid", "Sign", "Slice", "Softmax", "Split", "Sqrt", "Squeeze", "Sub", "Sum", "Tanh",
    "Tile", "Transpose", "Trilu", "Unsqueeze", "Where", "Xor",
))
# fmt: on


def fold(node: OnnxNode, inputs: Sequence[np.ndarray | None]) -> tuple[np.ndarray, ...] | None:
    """The outputs of a node whose inputs are all constants (or absent); None where it is not one to fold.

    Raises:
        UnsupportedError: the node cannot be computed (a contradiction in the file), or is unreasonably large.
    """
    if node.domain or node.operator not in FOLDABLE:
        return None
    if _size(node, inputs) > LARGEST:
        raise UnsupportedError(f"it makes a constant of more than {LARGEST} elements", "use smaller sizes")
    evaluator = ReferenceEvaluator(_single(node))
    feed = {name: value for name, value in zip(node.inputs, inputs, strict=True) if value is not None}
    try:
        with np.errstate(all="ignore"):
            results = evaluator.run(None, feed)
    except (ValueError, TypeError, IndexError, RuntimeError, NotImplementedError, AttributeError) as error:
        raise UnsupportedError(f"its constants contradict ({first_line(error)})", "export the model again") from error
    return tuple(np.asarray(result) for result in results)


def _single(node: OnnxNode) -> onnx.ModelProto:
    """A model of this one node: the evaluator takes versions of operators from a model only."""

    def anything(name: str) -> onnx.ValueInfoProto:
        return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.UNDEFINED, None)

    names = dict.fromkeys(name for name in node.inputs if name)
    outputs = [anything(name) for name in node.outputs if name]
    graph = onnx.helper.make_graph([node.proto], "fold", [anything(name) for name in names], outputs)
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", node.version)])


def _size(node: OnnxNode, inputs: Sequence[np.ndarray | None]) -> int:
    """An upper estimate of the elements of the result, for operators whose result is larger than their inputs."""
    if node.operator == "Constant":
        return 0
    sizes = [value.size for value in inputs if value is not None]
    last = inputs[-1] if inputs and inputs[-1] is not None else np.zeros(0, np.int64)
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
            pads = np.abs(np.ravel(np.asarray(inputs[1] if len(inputs) > 1 else node.attributes["pads"], np.int64)))
            return sizes[0] + int(pads.sum()) * max(sizes)
        case "MatMul" | "Gemm" | "GatherND":
            return sizes[0] * sizes[1]
        case "Concat":
            return sum(sizes)
        case "Gather" if inputs[0] is not None and inputs[0].ndim and sizes[0]:
            axis = node.attributes.get("axis", 0)
            return sizes[0] * sizes[1] // inputs[0].shape[axis if -inputs[0].ndim <= axis < inputs[0].ndim else 0]
    return 0 if not sizes else math.prod(max(axes) for axes in _broadcast(inputs))


def _broadcast(inputs: Sequence[np.ndarray | None]) -> list[tuple[int, ...]]:
    shapes = [value.shape for value in inputs if value is not None]
    rank = max(len(shape) for shape in shapes)
    padded = [(1,) * (rank - len(shape)) + shape for shape in shapes]
    return list(zip(*padded, strict=True))
