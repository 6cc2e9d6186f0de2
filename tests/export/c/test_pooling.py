"""AVERAGE_POOL_2D, MAX_POOL_2D, MEAN and the operators that only reshape, against LiteRT's reference kernels."""

import numpy as np
import pytest
from hypothesis import assume
from hypothesis import strategies as st

from ndtool.errors import NdtoolError
from ndtool.export.c import compile_tflite
from ndtool.tests.export.c.batches import Draw, activations, batched, check_batch, scales, shapes, tensors, zero_points
from ndtool.tests.export.c.harness import (
    DSP,
    O,
    T,
    check_kernel,
    check_on_core,
    constant,
    model,
    random_int8,
    single_op,
)


@st.composite
def pools(draw: Draw) -> O:
    padding = draw(st.sampled_from(["SAME", "VALID"]))
    filter_size = [draw(st.integers(1, 5)) for _ in range(2)]
    size = [(1 if padding == "SAME" else f) + draw(st.integers(0, 6)) for f in filter_size]
    stride = [draw(st.integers(1, 3)) for _ in range(2)]
    covered = [n if padding == "SAME" else n - f + 1 for n, f in zip(size, filter_size, strict=True)]
    out = [-(-n // s) for n, s in zip(covered, stride, strict=True)]
    batches, channels = draw(st.sampled_from([1, 1, 2])), draw(st.integers(1, 6))
    source = draw(tensors((batches, *size, channels)))
    options = {
        "padding": padding,
        **dict(zip(("filterHeight", "filterWidth"), filter_size, strict=True)),
        **dict(zip(("strideH", "strideW"), stride, strict=True)),
        "fusedActivationFunction": draw(activations),
    }
    kind = draw(st.sampled_from(["AVERAGE_POOL_2D", "MAX_POOL_2D"]))
    return O(kind, [source], [draw(tensors((batches, *out, channels), like=source))], options)


@st.composite
def means(draw: Draw) -> O:
    """Any axes of any shape, negative ones too, from one quantisation to the same or another."""
    shape = draw(shapes(1, 5))
    axes = draw(st.lists(st.integers(0, len(shape) - 1), min_size=1, max_size=len(shape), unique=True))
    keep = draw(st.booleans())
    source = draw(tensors(shape))
    kept = np.zeros(shape).mean(axis=tuple(axes), keepdims=keep).shape
    result = draw(tensors(kept, like=source))
    if draw(st.booleans()):
        scale = float(np.float32(source.scale * draw(scales(1e-2, 1e2))))
        result = T(shape=kept, scale=scale, zero_point=draw(zero_points))
    signed = [axis - len(shape) if draw(st.booleans()) else axis for axis in axes]
    return O("MEAN", [source, constant(signed)], [result], {"keepDims": keep})


@st.composite
def reshapings(draw: Draw) -> O:
    shape = draw(shapes(1, 4))
    source = draw(tensors(shape))
    kind = draw(st.sampled_from(["RESHAPE", "SQUEEZE", "EXPAND_DIMS"]))
    if kind == "RESHAPE":
        target = draw(st.permutations(shape))
        return O(kind, [source, constant(target)], [draw(tensors(target, like=source))], {})
    if kind == "SQUEEZE":
        axis = draw(st.integers(0, len(shape)))
        source = T(shape=(*shape[:axis], 1, *shape[axis:]), scale=source.scale, zero_point=source.zero_point)
        return O(kind, [source], [draw(tensors(shape, like=source))], {"squeezeDims": np.array([axis], np.int32)})
    axis = draw(st.integers(0, len(shape)))
    return O(kind, [source, constant([axis])], [draw(tensors((*shape[:axis], 1, *shape[axis:]), like=source))], {})


@batched(pools())
def test_pools_are_the_references(ops, seed):
    check_batch(ops, seed)


@batched(means())
def test_means_are_the_references(ops, seed):
    assume(all(len(t.shape) < 6 for op in ops for t in op.outputs))
    check_batch(ops, seed)


@st.composite
def wide(draw: Draw) -> O:
    """Means and pools of many channels, or over more elements than 16 bits hold the sum of."""
    kind = draw(st.sampled_from(["AVERAGE_POOL_2D", "MAX_POOL_2D", "MEAN"]))
    size = draw(st.sampled_from([(2, 3), (7, 7), (1, 257), (24, 25)]))
    shape = (1, *size, draw(st.integers(1, 37)))
    source = draw(tensors(shape))
    if kind == "MEAN":
        axes = draw(st.sampled_from([[1, 2], [2], [3], [2, 3]]))
        kept = tuple(n for axis, n in enumerate(shape) if axis not in axes)
        scale = float(np.float32(source.scale * draw(scales(0.2, 3))))
        return O(kind, [source, constant(axes)], [T(shape=kept, scale=scale, zero_point=draw(zero_points))], {})
    options = {"padding": "VALID", "strideH": 1, "strideW": 1, "fusedActivationFunction": draw(activations)}
    window = {"filterHeight": size[0], "filterWidth": min(size[1], 100)}
    output = draw(tensors((1, 1, size[1] - window["filterWidth"] + 1, shape[3]), like=source))
    return O(kind, [source], [output], {**options, **window})


@batched(st.one_of(wide(), pools(), means()))
def test_sums_by_words_are_the_references(ops, seed):
    assume(all(len(t.shape) < 6 for op in ops for t in op.outputs))
    check_batch(ops, seed, features=DSP)


@batched(wide(), examples=2)
def test_they_are_on_an_emulated_core(ops, seed):
    check_on_core(model(ops))


@batched(reshapings(), examples=5)
def test_reshaping_is_the_references_and_no_code(ops, seed):
    check_batch(ops, seed)


def test_the_mean_over_space_overwrites_its_input():
    x, y = T(shape=(1, 7, 7, 32), scale=0.1, zero_point=3), T(shape=(1, 32), scale=0.1, zero_point=3)
    content = single_op("MEAN", [x, constant([1, 2])], [y])
    assert compile_tflite(content).arena_bytes == 7 * 7 * 32
    check_kernel(content, random_int8(np.random.default_rng(0), x.shape))


@pytest.mark.parametrize(
    ("axes", "shape", "message"),
    [
        ([1, 4], (1, 5), r"within the input's rank; \[1, 4\] of 3"),
        ([1], (1, 4), r"the size of the axes that are kept; they are \[1, 5\]"),
    ],
)
def test_a_mean_that_does_not_add_up_is_named(axes, shape, message):
    x, y = T(shape=(1, 3, 5), scale=0.1, zero_point=3), T(shape=shape, scale=0.1, zero_point=3)
    with pytest.raises(NdtoolError, match=message):
        compile_tflite(single_op("MEAN", [x, constant(axes)], [y]))


def test_a_pool_that_requantises_is_named():
    x, y = T(shape=(1, 4, 4, 1), scale=0.1, zero_point=3), T(shape=(1, 2, 2, 1), scale=0.2, zero_point=3)
    options = {"padding": "VALID", "strideH": 2, "strideW": 2, "filterHeight": 2, "filterWidth": 2}
    with pytest.raises(NdtoolError, match="the same scale and zero point"):
        compile_tflite(single_op("MAX_POOL_2D", [x], [y], **options))
