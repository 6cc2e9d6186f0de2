"""MEAN over any axes."""

from itertools import groupby

import numpy as np

from ndtool.export.c import rules
from ndtool.export.c.call import Buffer, Call, Overlap, Struct
from ndtool.export.c.context import Context
from ndtool.export.c.graph import Op, Tensor
from ndtool.export.c.operators.fixed_point import fast_rounding
from ndtool.export.c.operators.windows import trailing_distance
from ndtool.export.c.quantisation import Multiplier, quantise_multiplier

RUNS = 3  # loops of the kernel over what is kept, and over what is summed


def mean(op: Op, context: Context) -> Call:
    """The mean; the division is part of the multiplier."""
    source, target = _ends(op)
    kept, summed = _runs(op)
    count = int(np.prod([size for size, _ in summed]))
    multiplier = mean_multiplier(source.scale[0], target.scale[0], count)
    rounding, right_shift = fast_rounding(multiplier, target.zero_point[0]) or (0, 0)
    padding = [(1, 0)] * RUNS
    kept, summed = (padding + kept)[-RUNS:], (padding + summed)[-RUNS:]
    params = Struct(
        ctype="nd_mean_params",
        fields={
            "kept": tuple(size for size, _ in kept),
            "kept_step": tuple(step for _, step in kept),
            "summed": tuple(size for size, _ in summed),
            "summed_step": tuple(step for _, step in summed),
            "offset": -source.zero_point[0] * count,
            "multiplier": multiplier.value,
            "shift": multiplier.shift,
            "rounding": rounding,
            "right_shift": right_shift,
            "output_zero_point": target.zero_point[0],
        },
    )
    return Call(
        op=op,
        kernel="nd_mean",
        arguments=(Buffer(tensor=target), Buffer(tensor=source), params),
        overlaps=(Overlap(input=source, distance=_distance(kept)),),
    )


def mean_multiplier(input_scale: float, output_scale: float, count: int) -> Multiplier:
    """input_scale / output_scale / count, as LiteRT's reference MEAN folds the count into the multiplier."""
    scale = quantise_multiplier(input_scale / output_scale)
    shift = min(count.bit_length() - 1, 32, 31 + scale.shift)
    return Multiplier((scale.value << shift) // count, scale.shift - shift)


def _ends(op: Op) -> tuple[Tensor, Tensor]:
    assert op.inputs[0] is not None
    return op.inputs[0], op.outputs[0]


def summed_axes(op: Op) -> set[int]:
    """The axes over which the mean is taken."""
    source, _ = _ends(op)
    axes = op.inputs[1]
    assert axes is not None
    assert axes.data is not None
    return {int(axis) % len(source.shape) for axis in axes.data.reshape(-1)}


def _runs(op: Op) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Neighbouring axes of one fate as one loop: (size, step in the input) of the kept and of the summed."""
    source, _ = _ends(op)
    axes = summed_axes(op)
    runs: tuple[list[tuple[int, int]], list[tuple[int, int]]] = ([], [])
    step = source.bytes
    relevant = [axis for axis, size in enumerate(source.shape) if size > 1]
    for is_summed, group in groupby(relevant, key=lambda axis: axis in axes):
        size = int(np.prod([source.shape[axis] for axis in group]))
        step //= size
        runs[is_summed].append((size, step))
    return runs


def _distance(kept: list[tuple[int, int]]) -> int:
    """Each element is written after its inputs are read, in order."""
    reads = np.zeros(1, dtype=np.int64)
    for size, step in kept:
        reads = (reads[:, None] + np.arange(size) * step).reshape(-1)
    return trailing_distance(np.arange(1, len(reads) + 1), reads, buffered=True)


def axes_are_constant(op: Op) -> str | None:
    """the axes must be a constant, within the input's rank"""
    source, _ = _ends(op)
    axes = op.inputs[1]
    assert axes is not None
    if axes.data is None or axes.dtype != "int32":
        return f"{axes.name!r} is {axes.dtype}" + ("" if axes.data is not None else ", computed")
    rank = len(source.shape)
    return None if all(-rank <= axis < rank for axis in axes.data.reshape(-1)) else f"{axes.data.tolist()} of {rank}"


def output_is_the_kept_part(op: Op) -> str | None:
    """the output must have the size of the axes that are kept"""
    source, target = _ends(op)
    kept = [size for axis, size in enumerate(source.shape) if axis not in summed_axes(op)]
    return None if target.bytes == int(np.prod(kept)) else f"they are {kept} and {list(target.shape)}"


def axes_form_few_runs(op: Op) -> str | None:
    """the kept axes, and the summed ones, must lie in at most three runs"""
    kept, summed = _runs(op)
    return None if max(len(kept), len(summed)) <= RUNS else f"they lie in {len(kept)} and {len(summed)}"


def sum_fits(op: Op) -> str | None:
    """at most 2^22 elements may be summed"""
    source, target = _ends(op)
    count = source.bytes // max(target.bytes, 1)
    return None if 1 <= count <= 1 << 22 else f"they are {count}"


RULES = (
    rules.inputs_are(2),
    rules.has_one_output,
    rules.input_is_int8,
    rules.input_is_computed,
    rules.outputs_are_int8,
    axes_are_constant,
    output_is_the_kept_part,
    axes_form_few_runs,
    sum_fits,
)
