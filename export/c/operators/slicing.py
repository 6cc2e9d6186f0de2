"""SLICE and STRIDED_SLICE: a part of the input, in steps that may be negative."""

from collections.abc import Sequence
from dataclasses import dataclass

from ndtool.export.c import rules
from ndtool.export.c.context import Context, Lowered
from ndtool.export.c.graph import Op
from ndtool.export.c.operators.copying import MAX_LOOPS, Axis, contiguous_steps, copy, merged
from ndtool.export.c.operators.movement import constant_inputs, values


@dataclass(frozen=True, slots=True)
class Range:
    """Indices start, start + step, ... along one axis of the input. A shrunk axis is missing in the output."""

    start: int
    step: int
    count: int
    shrunk: bool = False


def _slice_ranges(op: Op) -> list[Range]:
    source = op.inputs[0]
    assert source is not None
    return [
        Range(begin, 1, axis - begin if size == -1 else size)
        for axis, begin, size in zip(source.shape, values(op.inputs[1]), values(op.inputs[2]), strict=True)
    ]


def _strided_ranges(op: Op) -> list[Range]:
    """As numpy slices, except that begin_mask and end_mask stand for an absent bound."""
    source = op.inputs[0]
    assert source is not None
    begins, ends, steps = (values(tensor) for tensor in op.inputs[1:4])
    ranges = []
    for axis, size in enumerate(source.shape):
        if axis >= len(begins):
            ranges.append(Range(0, 1, size))
            continue
        ranges.append(_strided_range(op, axis, size, begins[axis], ends[axis], steps[axis]))
    return ranges


def _strided_range(op: Op, axis: int, size: int, begin: int, end: int, step: int) -> Range:
    """One axis of STRIDED_SLICE. A count of 0 or less: nothing."""
    if _mask(op, "shrink_axis_mask", axis):
        start = begin + size if begin < 0 else begin
        return Range(start, 1, 1 if 0 <= start < size else 0, shrunk=True)
    low, high = (0, size) if step > 0 else (-1, size - 1)
    start = min(max(begin + size if begin < 0 else begin, low), high)
    stop = min(max(end + size if end < 0 else end, low), high)
    if _mask(op, "begin_mask", axis):
        start = 0 if step > 0 else size - 1
    if _mask(op, "end_mask", axis):
        stop = size if step > 0 else -1
    return Range(start, step, -(-(stop - start) // step))


def _mask(op: Op, name: str, axis: int) -> bool:
    return bool(int(op.options.get(name, 0)) >> axis & 1)


def _ranges(op: Op) -> list[Range]:
    return _slice_ranges(op) if op.kind == "SLICE" else _strided_ranges(op)


def _axes(op: Op, ranges: Sequence[Range]) -> list[Axis]:
    source = op.inputs[0]
    assert source is not None
    inputs, outputs = contiguous_steps(source.shape), contiguous_steps([part.count for part in ranges])
    return [
        Axis(part.count, part.step * input_step, output_step)
        for part, input_step, output_step in zip(ranges, inputs, outputs, strict=True)
    ]


def lower(op: Op, context: Context) -> Lowered:
    """One copy; no code where the slice is everything."""
    source = op.inputs[0]
    assert source is not None
    ranges = _ranges(op)
    offset = sum(part.start * step for part, step in zip(ranges, contiguous_steps(source.shape), strict=True))
    return copy(op, context, source, op.outputs[0], _axes(op, ranges), input_offset=offset)


# Rules


def has_bounds_of_every_axis(op: Op) -> str | None:
    """begin and size must have one number for each axis of the input"""
    source = op.inputs[0]
    assert source is not None
    counts = [len(values(tensor)) for tensor in op.inputs[1:3]]
    return None if counts == [len(source.shape)] * 2 else f"they have {counts[0]} and {counts[1]}"


def has_strides(op: Op) -> str | None:
    """begin, end and strides must have one number for each of the leading axes, strides not 0"""
    source = op.inputs[0]
    assert source is not None
    counts = [len(values(tensor)) for tensor in op.inputs[1:4]]
    if len(set(counts)) > 1 or counts[0] > len(source.shape):
        return f"they have {counts[0]}, {counts[1]} and {counts[2]}"
    return "a stride is 0" if 0 in values(op.inputs[3]) else None


def has_only_known_masks(op: Op) -> str | None:
    """there must be no ellipsis, new axis or offset: reshape instead of adding an axis"""
    used = [name for name in ("ellipsis_mask", "new_axis_mask", "offset") if op.options.get(name, 0)]
    return f"it has {used[0]}" if used else None


def lies_within_the_input(op: Op) -> str | None:
    """the slice must lie within the input and have the output's shape"""
    source, target = op.inputs[0], op.outputs[0]
    assert source is not None
    ranges = _ranges(op)
    shape = tuple(part.count for part in ranges if not part.shrunk)
    within = all(
        part.count > 0 and 0 <= part.start < size and 0 <= part.start + (part.count - 1) * part.step < size
        for part, size in zip(ranges, source.shape, strict=True)
    )
    return None if within and shape == target.shape else f"it is {shape} of {source.shape}, the output {target.shape}"


def slices_in_six_loops(op: Op) -> str | None:
    """a slice must not need more than six nested loops: reshape to fewer axes first"""
    count = len(merged(_axes(op, _ranges(op)))[0])
    return None if count <= MAX_LOOPS else f"it needs {count}"


_ONE_INT8 = (rules.has_one_output, rules.input_is_int8, rules.input_is_computed, rules.outputs_are_int8)
SLICE_RULES = (
    rules.inputs_are(3),
    *_ONE_INT8,
    constant_inputs(1, 2, "begin and size"),
    has_bounds_of_every_axis,
    lies_within_the_input,
    slices_in_six_loops,
)
STRIDED_SLICE_RULES = (
    rules.inputs_are(4),
    *_ONE_INT8,
    constant_inputs(1, 3, "begin, end and strides"),
    has_strides,
    has_only_known_masks,
    lies_within_the_input,
    slices_in_six_loops,
)
