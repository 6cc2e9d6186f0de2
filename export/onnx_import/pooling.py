"""Pools and reductions."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import fx

from ndtool.export.onnx_import.emit import Call, Value
from ndtool.export.onnx_import.problems import UnsupportedError
from ndtool.export.onnx_import.window import Window, padded, spatial_axes, window

MAX_POOLS = (F.max_pool1d, F.max_pool2d)
AVERAGE_POOLS = (F.avg_pool1d, F.avg_pool2d)


def max_pool(op: Call) -> Value:
    """MaxPool; padding that PyTorch cannot express becomes a pad with minus infinity."""
    if len([name for name in op.node.outputs if name]) > 1:
        raise UnsupportedError("its second output (indices) is used", "export the model without return_indices")
    x = op.tensor(0)
    axes, size = spatial_axes(op, x), op.shape(x)[2:]
    win = window(op, tuple(op.attribute("kernel_shape")), size)
    extra = _ceil_padding(op, win, size)
    pads: tuple[int, ...] | int = win.begin
    if not win.fits_torch or any(extra):
        end = tuple(e + more for e, more in zip(win.end, extra, strict=True))
        x, pads = padded(op, x, win.begin, end, float("-inf")), 0
    return op.call(MAX_POOLS[axes - 1], x, win.kernel, win.strides, pads, win.dilations)


def average_pool(op: Call) -> Value:
    """AveragePool; where windows at the edge hold fewer elements than PyTorch thinks, a constant corrects the mean."""
    x = op.tensor(0)
    axes, size = spatial_axes(op, x), op.shape(x)[2:]
    win = window(op, tuple(op.attribute("kernel_shape")), size)
    if any(step != 1 for step in win.dilations):
        raise UnsupportedError("it is dilated", "replace it by a strided or plain pool")
    extra, counts_padding = _ceil_padding(op, win, size), bool(op.attribute("count_include_pad", 0))
    pool = AVERAGE_POOLS[axes - 1]
    plain = counts_padding or not any((*win.begin, *win.end))
    if plain and win.fits_torch and not any(extra):
        return op.call(pool, x, win.kernel, win.strides, win.begin)
    x = padded(op, x, win.begin, tuple(e + more for e, more in zip(win.end, extra, strict=True)))
    correction = _mean_correction(win, size, extra, counts_padding)
    if np.all(correction == 1):
        return op.call(pool, x, win.kernel, win.strides)
    mean = op.call(pool, x, win.kernel, win.strides, part="mean")
    return op.call(torch.mul, mean, op.buffer(correction))


def _ceil_padding(op: Call, win: Window, size: tuple[int, ...]) -> tuple[int, ...]:
    """The elements that ceil_mode adds at the end of each axis; windows that would begin beyond the input do not count.

    Source: ONNX operator MaxPool, ceil_mode.
    """
    extra = []
    for axis, n in enumerate(size):
        room = n + win.begin[axis] + win.end[axis] - win.reach(axis)
        steps = -(-room // win.strides[axis]) if op.attribute("ceil_mode", 0) else room // win.strides[axis]
        if steps * win.strides[axis] >= n + win.begin[axis]:
            steps -= 1
        extra.append(max(0, steps * win.strides[axis] - room))
    return tuple(extra)


def _mean_correction(win: Window, size: tuple[int, ...], extra: tuple[int, ...], counts_padding: bool) -> np.ndarray:
    """(1, 1, *output size): the kernel's elements divided by those of each window that count."""
    factors = np.ones((1, 1), np.float64)
    for axis, n in enumerate(size):
        begin, end, kernel = win.begin[axis], win.end[axis], win.kernel[axis]
        counted = np.zeros(begin + n + end + extra[axis])
        counted[:begin] = counts_padding
        counted[begin : begin + n] = 1
        counted[begin + n : begin + n + end] = counts_padding
        windows = np.lib.stride_tricks.sliding_window_view(counted, kernel)[:: win.strides[axis]]
        factors = factors[..., None] * (kernel / windows.sum(-1))
    return factors.astype(np.float32)


def global_average_pool(op: Call) -> Value:
    """GlobalAveragePool: the mean over the spatial axes."""
    x = op.tensor(0)
    return op.call(torch.mean, x, dim=tuple(range(2, len(op.shape(x)))), keepdim=True)


def global_max_pool(op: Call) -> Value:
    """GlobalMaxPool: a max pool over everything."""
    x = op.tensor(0)
    return op.call(MAX_POOLS[spatial_axes(op, x) - 1], x, op.shape(x)[2:])


def reduce(function: Callable[..., Any]) -> Callable[[Call], Value]:
    """ReduceMean and its kin: axes are an attribute or, later, an input."""

    def convert(op: Call) -> Value:
        x = op.tensor(0)
        axes = _reduced_axes(op, x)
        return op.call(function, x, dim=axes, keepdim=bool(op.attribute("keepdims", 1))) if axes else x

    return convert


def reduce_max(op: Call) -> Value:
    """ReduceMax; over the spatial axes of an image it is a max pool, which microcontrollers have a kernel for."""
    x = op.tensor(0)
    axes, keep = _reduced_axes(op, x), bool(op.attribute("keepdims", 1))
    if not axes:
        return x
    if axes != (2, 3) or len(op.shape(x)) != 4:
        return op.call(torch.amax, x, dim=axes, keepdim=keep)
    pooled = op.call(F.max_pool2d, x, op.shape(x)[2:], part="" if keep else "pool")
    return pooled if keep else op.call(torch.flatten, pooled, 1)


def reduce_l2(op: Call) -> Value:
    """ReduceL2: the root of the sum of squares."""
    x = op.tensor(0)
    axes = _reduced_axes(op, x)
    square = op.call(torch.mul, x, x, part="square")
    total = op.call(torch.sum, square, dim=axes, keepdim=bool(op.attribute("keepdims", 1)), part="sum")
    return op.call(torch.sqrt, total if axes else square)


def _reduced_axes(op: Call, x: fx.Node) -> tuple[int, ...]:
    """The axes, sorted and not negative; none: nothing to reduce."""
    rank = len(op.shape(x))
    axes = op.integers(1, "axes")
    if not axes:
        return () if op.attribute("noop_with_empty_axes", 0) else tuple(range(rank))
    return tuple(sorted(axis % rank for axis in axes))
