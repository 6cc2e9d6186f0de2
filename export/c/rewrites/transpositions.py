"""TRANSPOSE into another one, behind a MEAN, or into the weights of a FULLY_CONNECTED."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ndtool.export.c.graph import Op, Tensor
from ndtool.export.c.operators.mean import axes_form_few_runs, summed_axes
from ndtool.export.c.operators.movement import moves_in_six_loops, permutation
from ndtool.export.c.operators.sums import data_of, filter_of
from ndtool.export.c.rewrites.uses import Uses, alike, fused


def _source(op: Op) -> Tensor:
    assert op.inputs[0] is not None
    return op.inputs[0]


def _numbers(name: str, values: Sequence[int]) -> Tensor:
    """A constant like those of a model file."""
    return Tensor(index=-1, name=name, shape=(len(values),), dtype="int32", data=np.array(values, np.int32))


def _transpose_before(op: Op, uses: Uses) -> Op | None:
    """The TRANSPOSE that feeds this operator alone."""
    maker = uses.sole_maker(_source(op))
    return maker if maker is not None and maker.kind == "TRANSPOSE" else None


def transpose_once(op: Op, uses: Uses) -> tuple[Op, ...] | None:
    """The permutation of a permutation. One that moves nothing, or only axes of 1, is no code."""
    first = _transpose_before(op, uses)
    if first is None:
        return None
    order = [permutation(first)[axis] for axis in permutation(op)]
    both = fused(op, first, inputs=(_source(first), _numbers("permutation", order)))
    return (both,) if moves_in_six_loops(both) is None else None


def mean_first(op: Op, uses: Uses) -> tuple[Op, ...] | None:
    """The mean over the axes as they lie, and a transposition of the fewer numbers that are left, often of nothing."""
    moved = _transpose_before(op, uses)
    if moved is None or not alike(_source(moved), moved.outputs[0]):
        return None
    source, output, order = _source(moved), op.outputs[0], permutation(moved)
    summed = {order[axis] for axis in summed_axes(op)}
    kept = [axis for axis in range(len(order)) if axis not in summed]
    if op.options.get("keep_dims", False):
        shape = tuple(size if axis in kept else 1 for axis, size in enumerate(source.shape))
        remaining = list(order)
    else:
        shape = tuple(source.shape[axis] for axis in kept)
        remaining = [kept.index(axis) for axis in order if axis in kept]
    if tuple(shape[axis] for axis in remaining) != output.shape:
        return None
    result = replace(output, index=-1, shape=shape)
    mean = fused(op, moved, inputs=(source, _numbers("axes", sorted(summed))), outputs=(result,))
    transposition = replace(moved, inputs=(result, _numbers("permutation", remaining)), outputs=op.outputs)
    fits = axes_form_few_runs(mean) is None and moves_in_six_loops(transposition) is None
    return (mean, transposition) if fits else None


def permute_the_weights(op: Op, uses: Uses) -> tuple[Op, ...] | None:
    """A whole image, transposed and then flattened for one row of outputs: the weights take its order instead."""
    shaped = uses.sole_maker(_source(op))
    moved = shaped if shaped is None or shaped.kind != "RESHAPE" else uses.sole_maker(_source(shaped))
    weights = filter_of(op)
    if moved is None or moved.kind != "TRANSPOSE" or _source(op).bytes != weights.shape[1]:
        return None
    if not alike(_source(moved), _source(op)):
        return None
    back = np.argsort(permutation(moved))
    values = data_of(weights).reshape(weights.shape[0], *moved.outputs[0].shape)
    permuted = np.ascontiguousarray(values.transpose(0, *(1 + back))).reshape(weights.shape)
    if np.array_equal(permuted, data_of(weights)):
        return None  # only axes of 1 move
    inputs = (_source(moved), replace(weights, index=-1, data=permuted), *op.inputs[2:])
    return (fused(op, moved, inputs=inputs),)
