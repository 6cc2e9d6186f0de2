"""Operators with weights: to the torch.nn layers of the same name."""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import fx, nn

from ndtool.export.onnx_import.emit import Call, Value, as_tensor, parameter
from ndtool.export.onnx_import.problems import UnsupportedError
from ndtool.export.onnx_import.window import Window, padded, spatial_axes, window

CONVOLUTIONS: tuple[Callable[..., nn.Module], ...] = (nn.Conv1d, nn.Conv2d)  # by spatial axes
TRANSPOSED_CONVOLUTIONS: tuple[Callable[..., nn.Module], ...] = (nn.ConvTranspose1d, nn.ConvTranspose2d)


def conv(op: Call) -> Value:
    """Conv: padding that PyTorch cannot express becomes a pad of its own."""
    x, weight, bias = op.tensor(0), op.required(1, "weight"), op.constant(2, "bias")
    axes, groups = spatial_axes(op, x), op.attribute("group", 1)
    win = window(op, weight.shape[2:], op.shape(x)[2:])
    if not win.symmetric:
        x = padded(op, x, win.begin, win.end)
    layer = CONVOLUTIONS[axes - 1](
        weight.shape[1] * groups,
        weight.shape[0],
        win.kernel,
        stride=win.strides,
        padding=win.begin if win.symmetric else 0,
        dilation=win.dilations,
        groups=groups,
        bias=bias is not None,
        device="meta",
    )
    return op.layer(_with_weights(layer, weight, bias), x)


def conv_transpose(op: Call) -> Value:
    """ConvTranspose: uneven padding becomes a crop of the whole result."""
    x, weight, bias = op.tensor(0), op.required(1, "weight"), op.constant(2, "bias")
    axes, groups = spatial_axes(op, x), op.attribute("group", 1)
    win, extra = _transposed_window(op, weight.shape[2:], op.shape(x)[2:])
    layer = TRANSPOSED_CONVOLUTIONS[axes - 1](
        weight.shape[0],
        weight.shape[1] * groups,
        win.kernel,
        stride=win.strides,
        padding=win.begin if win.symmetric else 0,
        output_padding=extra,
        dilation=win.dilations,
        groups=groups,
        bias=bias is not None,
        device="meta",
    )
    layer = _with_weights(layer, weight, bias)
    if win.symmetric:
        return op.layer(layer, x)
    whole = op.layer(layer, x, part="whole")
    return padded(op, whole, tuple(-p for p in win.begin), tuple(-p for p in win.end))


def _transposed_window(op: Call, kernel: tuple[int, ...], size: tuple[int, ...]) -> tuple[Window, tuple[int, ...]]:
    """The window and output padding of a ConvTranspose. Source: ONNX operator ConvTranspose."""
    ones = (1,) * len(kernel)
    strides, dilations = tuple(op.attribute("strides", ones)), tuple(op.attribute("dilations", ones))
    extra = tuple(op.attribute("output_padding", (0,) * len(kernel)))
    mode, wanted = op.attribute("auto_pad", "NOTSET"), op.attribute("output_shape")
    if wanted is None and mode in ("SAME_UPPER", "SAME_LOWER"):
        wanted = [n * s for n, s in zip(size, strides, strict=True)]
    if wanted is None:
        pads = tuple(op.attribute("pads", (0,) * 2 * len(kernel))) if mode == "NOTSET" else (0,) * 2 * len(kernel)
        begin, end = pads[: len(kernel)], pads[len(kernel) :]
    else:
        wanted = list(wanted)[-len(kernel) :]
        totals = [
            max(s * (n - 1) + e + (k - 1) * d + 1 - w, 0)
            for s, n, e, k, d, w in zip(strides, size, extra, kernel, dilations, wanted, strict=True)
        ]
        smaller, larger = tuple(t // 2 for t in totals), tuple(t - t // 2 for t in totals)
        begin, end = (smaller, larger) if mode == "SAME_UPPER" else (larger, smaller)
    return Window(kernel=kernel, strides=strides, dilations=dilations, begin=begin, end=end), extra


def gemm(op: Call) -> Value:
    """Gemm: alpha * A' @ B' + beta * C; with constant B and a vector C a Linear layer."""
    alpha, beta = op.attribute("alpha", 1.0), op.attribute("beta", 1.0)
    b, c = op.value(1), op.value(2)
    vector = c if isinstance(c, np.ndarray) and c.size == (c.shape[-1] if c.ndim else 1) else None
    if isinstance(b, np.ndarray) and not op.attribute("transA", 0) and (c is None or vector is not None):
        weight = alpha * (b if op.attribute("transB", 0) else b.T)
        bias = None if vector is None else np.broadcast_to(beta * vector.ravel(), weight.shape[:1])
        return linear(op, op.tensor(0), weight, bias)
    a = op.call(torch.transpose, op.tensor(0), 0, 1, part="a") if op.attribute("transA", 0) else op.tensor(0)
    b = op.call(torch.transpose, op.tensor(1), 0, 1, part="b") if op.attribute("transB", 0) else op.tensor(1)
    if c is None:
        return op.call(torch.mul, op.call(torch.matmul, a, b, part="product"), alpha)
    return op.call(torch.addmm, op.tensor(2), a, b, beta=beta, alpha=alpha)


def matmul(op: Call) -> Value:
    """MatMul: with a constant matrix on the right a Linear layer without bias."""
    b = op.value(1)
    if isinstance(b, np.ndarray) and b.ndim == 2:
        return linear(op, op.tensor(0), b.T, None)
    return op.call(torch.matmul, op.tensor(0), op.tensor(1))


def linear(op: Call, x: fx.Node, weight: np.ndarray, bias: np.ndarray | None) -> fx.Node:
    """A Linear layer; weight is (outputs, inputs)."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    return op.layer(_with_weights(layer, weight, bias), x)


def batch_normalization(op: Call) -> Value:
    """BatchNormalization with its stored statistics."""
    if op.attribute("training_mode", 0):
        raise UnsupportedError("it is in training mode", "export the model in evaluation mode (model.eval())")
    x = op.tensor(0)
    rank, channels = len(op.shape(x)), op.shape(x)[1]
    kinds = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d}
    if rank not in kinds:
        raise UnsupportedError(f"its input has {rank} axes", "only 2 to 4 are supported")
    layer = kinds[rank](channels, eps=op.attribute("epsilon", 1e-5), device="meta")
    layer.weight, layer.bias = parameter(op.required(1, "scale")), parameter(op.required(2, "bias"))
    layer.running_mean = as_tensor(op.required(3, "mean"))
    layer.running_var = as_tensor(op.required(4, "variance"))
    layer.num_batches_tracked = torch.tensor(0)
    return op.layer(layer.eval(), x)


def layer_normalization(op: Call) -> Value:
    """LayerNormalization over the last axes."""
    x, rank = op.tensor(0), len(op.shape(op.tensor(0)))
    shape = op.shape(x)[op.attribute("axis", -1) % rank :]
    weight, bias = np.broadcast_to(op.required(1, "scale"), shape), op.constant(2, "bias")
    layer = nn.LayerNorm(shape, eps=op.attribute("epsilon", 1e-5), bias=bias is not None, device="meta")
    return op.layer(_with_weights(layer, weight, None if bias is None else np.broadcast_to(bias, shape)), x)


def instance_normalization(op: Call) -> Value:
    """InstanceNormalization with its scale and bias."""
    scale, bias = op.buffer(op.required(1, "scale")), op.buffer(op.required(2, "bias"))
    return op.call(F.instance_norm, op.tensor(0), weight=scale, bias=bias, eps=op.attribute("epsilon", 1e-5))


def prelu(op: Call) -> Value:
    """PRelu: one slope, one per channel, or any shape that broadcasts to the input's."""
    x, slope = op.tensor(0), op.required(1, "slope")
    shape = op.shape(x)
    per_channel = (shape[1], *(1,) * (len(shape) - 2)) if len(shape) > 1 else ()
    if slope.size == 1 or (len(shape) > 1 and slope.shape in (per_channel, (1, *per_channel))):
        layer = nn.PReLU(slope.size, device="meta")
        layer.weight = parameter(slope.ravel())
        return op.layer(layer, x)
    positive, negative = op.call(F.relu, x, part="positive"), op.call(torch.clamp, x, max=0.0, part="negative")
    return op.call(torch.add, positive, op.call(torch.mul, negative, op.buffer(slope), part="slope"))


def _with_weights(layer: nn.Module, weight: np.ndarray, bias: np.ndarray | None) -> nn.Module:
    layer.weight = parameter(weight)
    if bias is not None:
        layer.bias = parameter(bias)
    return layer
