"""The operators of ONNX that can be converted, and those that cannot, with what to do about them."""

import operator
from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
import torch.nn.functional as F

from ndtool.export.onnx_import import elementwise, layers, layout, pooling, resize
from ndtool.export.onnx_import.emit import Call, Value
from ndtool.export.onnx_import.reader import OnnxNode

Converter = Callable[[Call], Value | tuple[Value, ...]]

CONVERTERS: Mapping[str, Converter] = MappingProxyType(
    {
        "Abs": elementwise.unary(torch.abs),
        "Add": elementwise.binary(operator.add),
        "AveragePool": pooling.average_pool,
        "BatchNormalization": layers.batch_normalization,
        "Cast": elementwise.cast,
        "Clip": elementwise.clip,
        "Concat": layout.concat,
        "Conv": layers.conv,
        "ConvTranspose": layers.conv_transpose,
        "DepthToSpace": layout.depth_to_space,
        "Div": elementwise.divide,
        "Dropout": elementwise.identity,
        "Elu": elementwise.unary(F.elu, alpha=("alpha", 1.0)),
        "Erf": elementwise.unary(torch.erf),
        "Exp": elementwise.unary(torch.exp),
        "Expand": layout.expand,
        "Flatten": layout.flatten,
        "Gather": layout.gather,
        "Gelu": elementwise.gelu,
        "Gemm": layers.gemm,
        "GlobalAveragePool": pooling.global_average_pool,
        "GlobalMaxPool": pooling.global_max_pool,
        "HardSigmoid": elementwise.hard_sigmoid,
        "HardSwish": elementwise.unary(F.hardswish),
        "Identity": elementwise.identity,
        "InstanceNormalization": layers.instance_normalization,
        "LayerNormalization": layers.layer_normalization,
        "LeakyRelu": elementwise.unary(F.leaky_relu, negative_slope=("alpha", 0.01)),
        "Log": elementwise.unary(torch.log),
        "LogSoftmax": elementwise.softmax(F.log_softmax),
        "MatMul": layers.matmul,
        "Max": elementwise.extremum(torch.maximum, "min"),
        "MaxPool": pooling.max_pool,
        "Min": elementwise.extremum(torch.minimum, "max"),
        "Mish": elementwise.unary(F.mish),
        "Mul": elementwise.multiply,
        "Neg": elementwise.unary(torch.neg),
        "PRelu": layers.prelu,
        "Pad": layout.pad,
        "Pow": elementwise.power,
        "Reciprocal": elementwise.unary(torch.reciprocal),
        "ReduceL2": pooling.reduce_l2,
        "ReduceMax": pooling.reduce_max,
        "ReduceMean": pooling.reduce(torch.mean),
        "ReduceMin": pooling.reduce(torch.amin),
        "ReduceSum": pooling.reduce(torch.sum),
        "Relu": elementwise.unary(F.relu),
        "Reshape": layout.reshape,
        "Resize": resize.resize,
        "Selu": elementwise.unary(F.selu),
        "Sigmoid": elementwise.unary(torch.sigmoid),
        "Slice": layout.slice_,
        "Softmax": elementwise.softmax(F.softmax),
        "Softplus": elementwise.unary(F.softplus),
        "Softsign": elementwise.unary(F.softsign),
        "SpaceToDepth": layout.space_to_depth,
        "Split": layout.split,
        "Sqrt": elementwise.unary(torch.sqrt),
        "Squeeze": layout.squeeze,
        "Sub": elementwise.binary(operator.sub),
        "Sum": elementwise.variadic(torch.add),
        "Tanh": elementwise.unary(torch.tanh),
        "Tile": layout.tile,
        "Transpose": layout.transpose,
        "Unsqueeze": layout.unsqueeze,
        "Upsample": resize.resize,
    }
)

_QUANTISED = ("the model is quantised already", "give the float model: ndtool quantises it itself")
_CONTROL = ("control flow is not static", "fix it before export, e.g. by onnxruntime's or onnxsim's constant folding")
_RECURRENT = ("recurrent layers are not supported", "unroll the loop over time, or use convolutions")
_AFTER = ("it is post-processing, not a layer", "cut the model before it (onnx.utils.extract_model)")
_OTHER = ("it has no converter", "replace it before export, or cut the model before it (onnx.utils.extract_model)")

REFUSED: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        **dict.fromkeys(("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"), _QUANTISED),
        **dict.fromkeys(("QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger"), _QUANTISED),
        **dict.fromkeys(("If", "Loop", "Scan"), _CONTROL),
        **dict.fromkeys(("LSTM", "GRU", "RNN"), _RECURRENT),
        **dict.fromkeys(("ArgMax", "ArgMin", "TopK", "NonMaxSuppression", "NonZero"), _AFTER),
    }
)


def why_unsupported(node: OnnxNode) -> tuple[str, str] | None:
    """Reason and remedy, judged from the operator alone; None where there is a converter."""
    if node.domain:
        return f"operators of the domain {node.domain!r} are not standard", "export the model with ONNX's own operators"
    return None if node.operator in CONVERTERS else REFUSED.get(node.operator, _OTHER)
