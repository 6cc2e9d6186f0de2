"""Operators that only move data: TRANSPOSE, CONCATENATION, SPLIT, SLICE, PACK and the like, as strided copies."""

from collections.abc import Sequence
from itertools import accumulate

import numpy as np

from ndtool.export.c import rules
from ndtool.export.c.call import Alias, Call
from ndtool.export.c.context import Context, Lowered, Rule
from ndtool.export.c.graph import Op, Tensor
from ndtool.export.c.operators.copying import MAX_LOOPS, Axis, contiguous_steps, copy, merged


def values(tensor: Tensor | None) -> tuple[int, ...]:
    """The numbers of a constant, e.g. axes."""
    assert tensor is not None
    assert tensor.data is not None
    return tuple(int(value) for value in tensor.data.reshape(-1))


def _calls(lowered: Sequence[Call | Alias]) -> Lowered:
    """One result as it is; several as calls. Only a copy of everything is an alias, so several have none."""
    if len(lowered) == 1:
        return lowered[0]
    return tuple(part for part in lowered if isinstance(part, Call))


# TRANSPOSE


def permutation(op: Op) -> tuple[int, ...]:
    """For each axis of a TRANSPOSE's output, the input's axis that it was."""
    assert op.inputs[0] is not None
    rank = len(op.inputs[0].shape)
    return tuple(axis + rank if axis < 0 else axis for axis in values(op.inputs[1]))


def _transpose_axes(op: Op) -> list[Axis]:
    source, target = op.inputs[0], op.outputs[0]
    assert source is not None
    steps = contiguous_steps(source.shape)
    return [
        Axis(source.shape[axis], steps[axis], step)
        for axis, step in zip(permutation(op), contiguous_steps(target.shape), strict=True)
    ]


def lower_transpose(op: Op, context: Context) -> Lowered:
    """No code where only axes of 1 move."""
    source = op.inputs[0]
    assert source is not None
    return copy(op, context, source, op.outputs[0], _transpose_axes(op))


# CONCATENATION, PACK, SPLIT, SPLIT_V, UNPACK: blocks side by side


def _blocks(shape: Sequence[int], axis: int) -> tuple[int, int]:
    """How many blocks lie one after the other outside of an axis, and the bytes of one step along it."""
    return int(np.prod(shape[:axis], dtype=np.int64)), int(np.prod(shape[axis + 1 :], dtype=np.int64))


def _join(op: Op, context: Context, rounds: int, runs: Sequence[int]) -> Lowered:
    """Each input's blocks into their place in the output's."""
    output, pitch = op.outputs[0], sum(runs)
    parts = []
    for tensor, run, start in zip(op.inputs, runs, accumulate(runs, initial=0), strict=False):
        assert tensor is not None
        if run > 0:
            axes = [Axis(rounds, run, pitch), Axis(run, 1, 1)]
            parts.append(copy(op, context, tensor, output, axes, output_offset=start))
    return _calls(parts)


def _part(op: Op, context: Context, source: Tensor, rounds: int, runs: Sequence[int]) -> Lowered:
    """The blocks of the input into each output."""
    pitch = sum(runs)
    parts = []
    for output, run, start in zip(op.outputs, runs, accumulate(runs, initial=0), strict=False):
        axes = [Axis(rounds, pitch, run), Axis(run, 1, 1)]
        parts.append(copy(op, context, source, output, axes, input_offset=start))
    return _calls(parts)


def _axis(op: Op, rank: int) -> int:
    axis = int(op.options.get("axis", 0))
    return axis + rank if axis < 0 else axis


def lower_concatenation(op: Op, context: Context) -> Lowered:
    """One copy for each input."""
    shape = op.outputs[0].shape
    axis = _axis(op, len(shape))
    rounds, unit = _blocks(shape, axis)
    return _join(op, context, rounds, [tensor.shape[axis] * unit for tensor in op.inputs if tensor is not None])


def lower_pack(op: Op, context: Context) -> Lowered:
    """One copy for each input."""
    shape = op.outputs[0].shape
    rounds, unit = _blocks(shape, _axis(op, len(shape)))
    return _join(op, context, rounds, [unit] * len(op.inputs))


def lower_unpack(op: Op, context: Context) -> Lowered:
    """One copy for each output."""
    source = op.inputs[0]
    assert source is not None
    rounds, unit = _blocks(source.shape, _axis(op, len(source.shape)))
    return _part(op, context, source, rounds, [unit] * len(op.outputs))


def _split_ends(op: Op) -> tuple[Tensor, int]:
    """The tensor that is split and the axis: SPLIT takes (axis, input), SPLIT_V (input, sizes, axis)."""
    source, axes = (op.inputs[1], op.inputs[0]) if op.kind == "SPLIT" else (op.inputs[0], op.inputs[2])
    assert source is not None
    axis = values(axes)[0]
    return source, axis + len(source.shape) if axis < 0 else axis


def lower_split(op: Op, context: Context) -> Lowered:
    """SPLIT and SPLIT_V: one copy for each output."""
    source, axis = _split_ends(op)
    rounds, unit = _blocks(source.shape, axis)
    return _part(op, context, source, rounds, [output.shape[axis] * unit for output in op.outputs])


# DEPTH_TO_SPACE, SPACE_TO_DEPTH: blocks of pixels, NHWC


def _depth_space_axes(op: Op) -> list[Axis]:
    """Loops over batch, rows and columns of blocks, rows and columns within them, channels."""
    source, target = op.inputs[0], op.outputs[0]
    assert source is not None
    fine, coarse = (target.shape, source.shape) if op.kind == "DEPTH_TO_SPACE" else (source.shape, target.shape)
    block, channels = int(op.options["block_size"]), fine[3]
    batches, height, width = coarse[:3]
    row = fine[2] * channels
    sizes = (batches, height, width, block, block, channels)
    coarse_steps = contiguous_steps(sizes)
    fine_steps = (fine[1] * row, block * row, block * channels, row, channels, 1)
    steps = (coarse_steps, fine_steps) if op.kind == "DEPTH_TO_SPACE" else (fine_steps, coarse_steps)
    return [Axis(*axis) for axis in zip(sizes, *steps, strict=True)]


def lower_depth_space(op: Op, context: Context) -> Lowered:
    """DEPTH_TO_SPACE and SPACE_TO_DEPTH."""
    source = op.inputs[0]
    assert source is not None
    return copy(op, context, source, op.outputs[0], _depth_space_axes(op))


# Rules


def constant_inputs(first: int, last: int, names: str) -> Rule:
    """Make the rule that inputs `first` to `last` are integer constants."""

    def rule(op: Op) -> str | None:
        for tensor in op.inputs[first : last + 1]:
            assert tensor is not None
            if tensor.data is None:
                return f"{tensor.name!r} is computed"
            if tensor.dtype not in ("int32", "int64"):
                return f"{tensor.name!r} is {tensor.dtype}"
        return None

    rule.__doc__ = f"{names} must be int32 or int64 constants: fold shape computations before converting"
    return rule


def has_no_gaps(op: Op) -> str | None:
    """every input must be present"""
    return "one is absent" if any(tensor is None for tensor in op.inputs) else None


def permutation_fits(op: Op) -> str | None:
    """the permutation must name every axis of the input once, and the output have the permuted shape"""
    assert op.inputs[0] is not None
    shape, order = op.inputs[0].shape, permutation(op)
    if sorted(order) != list(range(len(shape))):
        return f"it is {order}"
    permuted = tuple(shape[axis] for axis in order)
    return None if permuted == op.outputs[0].shape else f"the output's is {op.outputs[0].shape}, not {permuted}"


def moves_in_six_loops(op: Op) -> str | None:
    """a transposition must not need more than six nested loops: reshape to fewer axes first"""
    count = len(merged(_transpose_axes(op))[0])
    return None if count <= MAX_LOOPS else f"it needs {count}"


def shapes_join(op: Op) -> str | None:
    """the inputs' shapes must be the output's but for the axis, along which they must add up to it"""
    shape = op.outputs[0].shape
    axis = _axis(op, len(shape))
    shapes = [tensor.shape for tensor in op.inputs if tensor is not None]
    if not 0 <= axis < len(shape):
        return f"the axis is {axis} and the output's shape {shape}"
    outside = shape[:axis] + shape[axis + 1 :]
    fits = all(len(s) == len(shape) and s[:axis] + s[axis + 1 :] == outside for s in shapes)
    return None if fits and sum(s[axis] for s in shapes) == shape[axis] else f"they are {shapes} and {shape}"


def shapes_stack(op: Op) -> str | None:
    """every single tensor must have the stacked one's shape without the axis, and there must be as many as its size"""
    packs = op.kind == "PACK"
    whole = op.outputs[0] if packs else op.inputs[0]
    assert whole is not None
    axis = _axis(op, len(whole.shape))
    shapes = [tensor.shape for tensor in (op.inputs if packs else op.outputs) if tensor is not None]
    if not 0 <= axis < len(whole.shape):
        return f"the axis is {axis} and the stacked shape {whole.shape}"
    single = whole.shape[:axis] + whole.shape[axis + 1 :]
    fits = len(shapes) == whole.shape[axis] and all(shape == single for shape in shapes)
    return None if fits else f"they are {shapes} and {whole.shape}"


def all_quantised_alike(op: Op) -> str | None:
    """inputs and output must have one scale and zero point, as the reference demands: requantise the inputs first"""
    target = op.outputs[0]
    for tensor in op.inputs:
        assert tensor is not None
        if (tensor.scale, tensor.zero_point) != (target.scale, target.zero_point):
            return f"{tensor.name!r} has ({tensor.scale[0]:g}, {tensor.zero_point[0]})"
    return None


def has_no_activation(op: Op) -> str | None:
    """there must be no fused activation, which the reference has not either"""
    activation = op.options.get("fused_activation_function", "NONE")
    return None if activation == "NONE" else f"it is {activation}"


def splits_one_int8(op: Op) -> str | None:
    """the tensor that is split must be computed, int8 and quantised per tensor"""
    source = op.inputs[1 if op.kind == "SPLIT" else 0]
    assert source is not None
    good = source.data is None and source.dtype == "int8" and len(source.scale) == 1
    return None if good else f"{source.name!r} is not"


def outputs_add_up(op: Op) -> str | None:
    """the outputs' shapes must be the input's but for the axis, along which they must add up to it"""
    source, axes = op.inputs[1 if op.kind == "SPLIT" else 0], op.inputs[0 if op.kind == "SPLIT" else 2]
    if len(values(axes)) != 1:
        return "there is not one axis"
    source, axis = _split_ends(op)
    shape = source.shape
    shapes = [output.shape for output in op.outputs]
    if not 0 <= axis < len(shape):
        return f"the axis is {axis} and the input's shape {shape}"
    outside = shape[:axis] + shape[axis + 1 :]
    fits = all(len(s) == len(shape) and s[:axis] + s[axis + 1 :] == outside for s in shapes)
    return None if fits and sum(s[axis] for s in shapes) == shape[axis] else f"they are {shapes} and {shape}"


def split_is_as_stated(op: Op) -> str | None:
    """it must make equal parts (SPLIT) or those of its sizes (SPLIT_V)"""
    _, axis = _split_ends(op)
    made = [output.shape[axis] for output in op.outputs]
    if op.kind == "SPLIT":
        return None if len(set(made)) == 1 else f"the parts are {made}"
    stated = values(op.inputs[1])
    fits = len(stated) == len(made) and all(size in (-1, part) for size, part in zip(stated, made, strict=True))
    return None if fits else f"the sizes are {stated} and the parts {made}"


def blocks_fit(op: Op) -> str | None:
    """shapes must be NHWC, with height, width and channels in the ratio that the block size gives"""
    source, target = op.inputs[0], op.outputs[0]
    assert source is not None
    block = int(op.options.get("block_size", 0))
    fine, coarse = (target.shape, source.shape) if op.kind == "DEPTH_TO_SPACE" else (source.shape, target.shape)
    if len(fine) == 4 and len(coarse) == 4 and block > 0:
        expected = (coarse[0], coarse[1] * block, coarse[2] * block)
        if fine[:3] == expected and fine[3] * block * block == coarse[3]:
            return None
    return f"they are {source.shape} and {target.shape}, the block size {block}"


_ONE_INT8 = (rules.has_one_output, rules.input_is_int8, rules.input_is_computed, rules.outputs_are_int8)
TRANSPOSE_RULES = (
    rules.inputs_are(2),
    *_ONE_INT8,
    constant_inputs(1, 1, "the permutation"),
    permutation_fits,
    moves_in_six_loops,
)
_JOIN_RULES = (
    rules.inputs_are(1, 1024),
    has_no_gaps,
    rules.has_one_output,
    rules.inputs_are_int8,
    rules.outputs_are_int8,
)
CONCATENATION_RULES = (*_JOIN_RULES, all_quantised_alike, has_no_activation, shapes_join)
PACK_RULES = (*_JOIN_RULES, shapes_stack)
UNPACK_RULES = (rules.inputs_are(1), rules.input_is_int8, rules.input_is_computed, rules.outputs_are_int8, shapes_stack)
_SPLIT_RULES = (splits_one_int8, rules.outputs_are_int8)
SPLIT_RULES = (
    rules.inputs_are(2),
    *_SPLIT_RULES,
    constant_inputs(0, 0, "the axis"),
    outputs_add_up,
    split_is_as_stated,
)
SPLIT_V_RULES = (
    rules.inputs_are(3),
    *_SPLIT_RULES,
    constant_inputs(1, 2, "sizes and axis"),
    outputs_add_up,
    split_is_as_stated,
)
DEPTH_SPACE_RULES = (rules.inputs_are(1), *_ONE_INT8, blocks_fit)
