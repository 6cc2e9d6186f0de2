"""Operators that move elements without changing them: shapes, slices, pads, concatenations."""

import math
import operator

import numpy as np
import torch
import torch.nn.functional as F
from torch import fx

from ndtool.export.onnx_import.emit import Call, Value
from ndtool.export.onnx_import.problems import UnsupportedError

FEW = 16  # so many pieces are sliced and concatenated rather than gathered


def reshape(op: Call) -> Value:
    """Reshape to a constant shape; the batch is left open where the first size is 1."""
    x, target = op.tensor(0), [int(size) for size in op.required(1, "shape").ravel()]
    shape = op.shape(x)
    if not op.attribute("allowzero", 0):
        target = [shape[axis] if size == 0 and axis < len(shape) else size for axis, size in enumerate(target)]
    return _reshaped(op, x, target)


def flatten(op: Call) -> Value:
    """Flatten to a matrix."""
    x = op.tensor(0)
    shape, axis = op.shape(x), op.attribute("axis", 1)
    axis = axis + len(shape) if axis < 0 else axis
    if axis == 1:
        return op.call(torch.flatten, x, 1)
    return op.call(torch.reshape, x, (math.prod(shape[:axis]), math.prod(shape[axis:])))


def _reshaped(op: Call, x: fx.Node, target: list[int]) -> fx.Node:
    total = math.prod(op.shape(x))
    if -1 in target:
        known = math.prod(size for size in target if size != -1)
        target = [total // known if size == -1 and known else size for size in target]
    if target == list(op.shape(x)):
        return x
    if target and target[0] == 1 and op.shape(x)[:1] == (1,):
        target[0] = -1  # the batch, which is 1 here and may be more when the module is used
        return op.call(torch.flatten, x, 1) if len(target) == 2 else op.call(torch.reshape, x, tuple(target))
    return op.call(torch.reshape, x, tuple(target))


def transpose(op: Call) -> Value:
    """Transpose; two in a row become one, or none."""
    x = op.tensor(0)
    order = tuple(op.attribute("perm", tuple(reversed(range(len(op.shape(x)))))))
    if x.op == "call_function" and x.target is torch.permute:
        source, inner = x.args
        assert isinstance(source, fx.Node)
        assert isinstance(inner, tuple)
        x, order = source, tuple(inner[axis] for axis in order)
    return x if order == tuple(range(len(order))) else op.call(torch.permute, x, order)


def squeeze(op: Call) -> Value:
    """Squeeze the axes given, or all of size 1."""
    x = op.tensor(0)
    shape = op.shape(x)
    axes = op.integers(1, "axes")
    chosen = [i for i, size in enumerate(shape) if size == 1] if axes is None else [a % len(shape) for a in axes]
    if any(shape[axis] != 1 for axis in chosen):
        raise UnsupportedError(f"it squeezes axes {chosen} of {shape}", "export the model again")
    return op.call(torch.squeeze, x, tuple(sorted(chosen))) if chosen else x


def unsqueeze(op: Call) -> Value:
    """Insert axes of size 1 at the places given, counted in the result."""
    x, axes = op.tensor(0), op.integers(1, "axes") or ()
    rank = len(op.shape(x)) + len(axes)
    places = sorted(axis % rank for axis in axes)
    for index, axis in enumerate(places, 1):
        x = op.call(torch.unsqueeze, x, axis, part="" if index == len(places) else f"axis_{axis}")
    return x


def concat(op: Call) -> Value:
    """Concat along an axis."""
    return op.call(torch.cat, [op.tensor(index) for index in range(len(op.inputs))], dim=op.attribute("axis"))


def split(op: Call) -> tuple[Value, ...]:
    """Split into parts of the sizes given, or into equal ones; the last may be smaller."""
    x, axis = op.tensor(0), op.attribute("axis", 0)
    size, count = op.shape(x)[axis], len(op.node.outputs)
    sizes = op.integers(1, "split") or _equal_parts(size, op.attribute("num_outputs", count))
    if sum(sizes) != size or len(sizes) < count:
        raise UnsupportedError(f"it splits {size} elements into {sizes}", "export the model again")
    starts = [sum(sizes[:index]) for index in range(count)]
    return tuple(_sliced(op, x, axis, start, start + part) for start, part in zip(starts, sizes, strict=False))


def _equal_parts(size: int, count: int) -> tuple[int, ...]:
    part = -(-size // count)
    return (*(part,) * (count - 1), size - part * (count - 1))


def slice_(op: Call) -> Value:
    """Slice; what runs backwards is put together from single elements."""
    x, shape = op.tensor(0), op.shape(op.tensor(0))
    starts, ends = op.integers(1, "starts") or (), op.integers(2, "ends") or ()
    axes = op.integers(3, "axes") or tuple(range(len(starts)))
    steps = (op.integers(4, "steps") if op.node.version >= 10 else None) or (1,) * len(starts)
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        indices = range(*slice(start, _end(end, step, shape[axis]), step).indices(shape[axis]))
        x = take(op, x, axis % len(shape), indices)
    return x


def _end(end: int, step: int, size: int) -> int | None:
    """ONNX writes "to the very beginning" as an end below -size; Python as None."""
    return None if step < 0 and end < -size else end


def gather(op: Call) -> Value:
    """Gather with constant indices."""
    if isinstance(op.value(0), np.ndarray):
        raise UnsupportedError("its indices are computed from the input (an embedding)", "give the model the vectors")
    x, indices = op.tensor(0), op.required(1, "indices")
    shape, rank = op.shape(x), len(op.shape(x))
    axis = op.attribute("axis", 0) % rank
    flat = [int(index) % shape[axis] for index in indices.ravel()]
    taken = take(op, x, axis, flat)
    if indices.ndim == 0:
        return op.call(torch.squeeze, taken, axis)
    if indices.ndim == 1:
        return taken
    return op.call(torch.reshape, taken, (*shape[:axis], *indices.shape, *shape[axis + 1 :]))


def take(op: Call, x: fx.Node, axis: int, indices: range | list[int]) -> fx.Node:
    """The elements at constant indices of one axis: a slice where they are evenly spaced, pieces where they are few."""
    places = list(indices)
    size = op.shape(x)[axis]
    if places == list(range(size)):
        return x
    step = places[1] - places[0] if len(places) > 1 else 1
    if not places:
        return _sliced(op, x, axis, 0, 0)
    if step > 0 and places == list(range(places[0], places[-1] + 1, step)):
        return _sliced(op, x, axis, places[0], places[-1] + 1, step)
    if len(places) <= FEW:
        pieces = [_sliced(op, x, axis, place, place + 1) for place in places]
        return op.call(torch.cat, pieces, dim=axis)
    return op.call(torch.index_select, x, axis, op.buffer(np.array(places, np.int64)))


def _sliced(op: Call, x: fx.Node, axis: int, start: int, end: int, step: int = 1) -> fx.Node:
    axis = axis % len(op.shape(x))
    whole = slice(None)
    return op.call(operator.getitem, x, (*(whole,) * axis, slice(start, end, step if step != 1 else None)))


def pad(op: Call) -> Value:
    """Pad with a constant, by reflection, or with the edge; torch pads spatial axes only unless it is a constant."""
    x = op.tensor(0)
    rank, pads = len(op.shape(x)), op.integers(1, "pads") or ()
    axes = op.integers(3, "axes") or tuple(range(rank))
    amounts = {axis % rank: (pads[i], pads[i + len(axes)]) for i, axis in enumerate(axes)}
    torch_pads = [side for axis in reversed(range(rank)) for side in amounts.get(axis, (0, 0))]
    if not any(torch_pads):
        return x
    mode = op.attribute("mode", "constant")
    if mode == "constant":
        number = op.attribute("value", 0.0) if op.node.version < 11 else op.constant(2, "constant value")
        return op.call(F.pad, x, _without_tail(torch_pads), "constant", float(np.asarray(number or 0.0).item()))
    if mode not in ("reflect", "edge") or any(torch_pads[2 * (rank - 2) :]) or rank not in (3, 4):
        raise UnsupportedError(f"mode {mode!r} over these axes", "pad with a constant, or spatial axes only")
    return op.call(F.pad, x, torch_pads[: 2 * (rank - 2)], {"reflect": "reflect", "edge": "replicate"}[mode])


def _without_tail(pads: list[int]) -> list[int]:
    """Pads without the leading axes (last in torch's order) that are not padded."""
    while len(pads) > 2 and pads[-2:] == [0, 0]:
        pads = pads[:-2]
    return pads


def expand(op: Call) -> Value:
    """Expand by broadcasting to a constant shape."""
    x, wanted = op.tensor(0), tuple(int(size) for size in op.required(1, "shape").ravel())
    try:
        target = np.broadcast_shapes(op.shape(x), wanted)
    except ValueError:
        raise UnsupportedError(f"{op.shape(x)} does not broadcast to {wanted}", "export the model again") from None
    return x if target == op.shape(x) else op.call(torch.broadcast_to, x, target)


def tile(op: Call) -> Value:
    """Tile: repeat along each axis."""
    return op.call(torch.tile, op.tensor(0), tuple(int(n) for n in op.required(1, "repeats").ravel()))


def depth_to_space(op: Call) -> Value:
    """DepthToSpace, depth-column-row or column-row-depth order. Source: ONNX operator DepthToSpace."""
    x, b = op.tensor(0), op.attribute("blocksize")
    if op.attribute("mode", "DCR") == "CRD":
        return op.call(F.pixel_shuffle, x, b)
    _, c, h, w = op.shape(x)
    blocks = op.call(torch.reshape, x, (-1, b, b, c // (b * b), h, w), part="blocks")
    ordered = op.call(torch.permute, blocks, (0, 3, 4, 1, 5, 2), part="order")
    return op.call(torch.reshape, ordered, (-1, c // (b * b), h * b, w * b))


def space_to_depth(op: Call) -> Value:
    """SpaceToDepth. Source: ONNX operator SpaceToDepth."""
    x, b = op.tensor(0), op.attribute("blocksize")
    _, c, h, w = op.shape(x)
    blocks = op.call(torch.reshape, x, (-1, c, h // b, b, w // b, b), part="blocks")
    ordered = op.call(torch.permute, blocks, (0, 3, 5, 1, 2, 4), part="order")
    return op.call(torch.reshape, ordered, (-1, c * b * b, h // b, w // b))
