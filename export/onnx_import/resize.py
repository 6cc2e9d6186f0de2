"""Resize and Upsample: to torch's interpolation where both read the same places of the input."""

import math
from collections.abc import Callable

import numpy as np
import torch.nn.functional as F
from torch import fx

from ndtool.export.onnx_import.emit import Call, Value
from ndtool.export.onnx_import.problems import UnsupportedError
from ndtool.export.onnx_import.reader import LARGEST

Coordinates = Callable[[np.ndarray, int, int, float], np.ndarray]

# Output index to input coordinate, from (index, input size, output size, scale).
# Source: ONNX operator Resize, attribute coordinate_transformation_mode.
COORDINATES: dict[str, Coordinates] = {
    "half_pixel": lambda i, n, m, s: (i + 0.5) / s - 0.5,
    "half_pixel_symmetric": lambda i, n, m, s: n / 2 * (1 - m / (n * s)) + (i + 0.5) / s - 0.5,
    "pytorch_half_pixel": lambda i, n, m, s: (i + 0.5) / s - 0.5 if m > 1 else i * 0.0,
    "align_corners": lambda i, n, m, s: i * (n - 1) / (m - 1) if m > 1 else i * 0.0,
    "asymmetric": lambda i, n, m, s: i / s,
}
ROUNDING: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "round_prefer_floor": lambda x: np.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: np.floor(x + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}
REMEDY = "use nearest, or bilinear with half_pixel or align_corners coordinates"


def resize(op: Call) -> Value:
    """Resize (operator set 10 on) and Upsample (9) of the spatial axes."""
    x = op.tensor(0)
    shape = op.shape(x)
    sizes, scales = _target(op, shape)
    if sizes == shape:
        return x
    if math.prod(sizes) > LARGEST:
        raise UnsupportedError(f"its result {sizes} is too large", "use a smaller size")
    if len(shape) not in (3, 4) or sizes[:2] != shape[:2]:
        raise UnsupportedError(f"it resizes {shape} to {sizes}", "resize the spatial axes of an image only")
    if op.attribute("antialias", 0) or op.attribute("exclude_outside", 0):
        raise UnsupportedError("it filters against aliasing", REMEDY)
    mode = op.attribute("mode", "nearest")
    if mode == "nearest":
        return _nearest(op, x, sizes, scales)
    if mode in ("linear", "bilinear"):
        return _linear(op, x, sizes, scales)
    raise UnsupportedError(f"its mode is {mode!r}", REMEDY)


def _target(op: Call, shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """The size of every axis of the result, and the scale that ONNX computes coordinates with."""
    legacy = op.node.operator == "Upsample" or op.node.version < 11
    scales = op.constant(1 if legacy else 2, "scales")
    sizes = None if legacy else op.constant(3, "sizes")
    axes = [axis % len(shape) for axis in op.attribute("axes", range(len(shape)))]
    if sizes is not None and sizes.size:
        if op.attribute("keep_aspect_ratio_policy", "stretch") != "stretch":
            raise UnsupportedError("it keeps the aspect ratio", "give the final sizes")
        target = dict(zip(axes, (int(size) for size in sizes), strict=True))
        full = tuple(target.get(axis, size) for axis, size in enumerate(shape))
        return full, tuple(new / old for new, old in zip(full, shape, strict=True))
    if scales is None or not scales.size:
        raise UnsupportedError("it has neither scales nor sizes", "export the model again")
    factor = dict(zip(axes, (float(scale) for scale in scales), strict=True))
    full_scales = tuple(factor.get(axis, 1.0) for axis in range(len(shape)))
    return tuple(int(np.floor(n * s)) for n, s in zip(shape, full_scales, strict=True)), full_scales


def _places(op: Call, n: int, m: int, scale: float) -> np.ndarray:
    """(m,): where the operator reads each output element in an axis of n elements."""
    legacy = op.node.operator == "Upsample" or op.node.version < 11
    name = "asymmetric" if legacy else op.attribute("coordinate_transformation_mode", "half_pixel")
    if name not in COORDINATES:
        raise UnsupportedError(f"its coordinates are {name!r}", REMEDY)
    return COORDINATES[name](np.arange(m, dtype=np.float64), n, m, scale)


def _nearest(op: Call, x: fx.Node, sizes: tuple[int, ...], scales: tuple[float, ...]) -> fx.Node:
    """Nearest neighbours, where ONNX's indices are those of one of torch's two kinds."""
    legacy = op.node.operator == "Upsample" or op.node.version < 11
    rounding = ROUNDING["floor" if legacy else op.attribute("nearest_mode", "round_prefer_floor")]
    kinds = {"nearest", "nearest-exact"}
    for n, m, scale in list(zip(op.shape(x), sizes, scales, strict=True))[2:]:
        wanted = np.clip(rounding(_places(op, n, m, scale)), 0, n - 1)
        index = np.arange(m)
        if not np.array_equal(wanted, np.floor(index * n / m)):
            kinds.discard("nearest")
        if not np.array_equal(wanted, np.clip(np.floor((index + 0.5) * n / m), 0, n - 1)):
            kinds.discard("nearest-exact")
    if not kinds:
        raise UnsupportedError("it picks other neighbours than PyTorch can", "use asymmetric coordinates with floor")
    return op.call(F.interpolate, x, size=sizes[2:], mode=min(kinds))  # "nearest" comes first


def _linear(op: Call, x: fx.Node, sizes: tuple[int, ...], scales: tuple[float, ...]) -> fx.Node:
    """Linear interpolation, where ONNX's coordinates are those of torch, with or without aligned corners."""
    kinds = {False, True}
    for n, m, scale in list(zip(op.shape(x), sizes, scales, strict=True))[2:]:
        wanted = np.clip(_places(op, n, m, scale), 0, n - 1)
        index = np.arange(m, dtype=np.float64)
        for aligned, name in ((False, "half_pixel"), (True, "align_corners")):
            there = np.clip(COORDINATES[name](index, n, m, m / n), 0, n - 1)
            if not np.allclose(wanted, there, atol=1e-6):
                kinds.discard(aligned)
    if not kinds:
        raise UnsupportedError("it interpolates between other points than PyTorch can", REMEDY)
    mode = "linear" if len(sizes) == 3 else "bilinear"
    return op.call(F.interpolate, x, size=sizes[2:], mode=mode, align_corners=min(kinds))
