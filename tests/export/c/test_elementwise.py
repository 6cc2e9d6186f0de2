"""ADD, SUB, MUL, MAXIMUM and MINIMUM against LiteRT's reference kernels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ndtool.errors import NdtoolError
from ndtool.export.c import compile_tflite
from ndtool.export.c.operators.broadcast import loops
from ndtool.tests.export.c.batches import Draw, activations, batched, check_batch, scales, shapes, tensors, zero_points
from ndtool.tests.export.c.harness import DSP, O, T, check_on_core, constant, model, random_int8, single_op

FINEST = 1e-7  # the reference refuses scales that do not hold 6 in 31 bits


@st.composite
def operands(draw: Draw) -> tuple[T, T, tuple[int, ...]]:
    """Two inputs, one of them perhaps constant, and the shape they broadcast to."""
    shape = draw(shapes())
    pair = []
    for _ in range(2):
        kept = draw(st.lists(st.booleans(), min_size=len(shape), max_size=len(shape)))
        own = tuple(size if keep else 1 for size, keep in zip(shape, kept, strict=True))
        pair.append(draw(tensors(own[draw(st.integers(0, len(own))) :] if draw(st.booleans()) else own)))
    if draw(st.integers(0, 3)) == 0:
        values = random_int8(np.random.default_rng(draw(st.integers(0, 2**32 - 1))), pair[1].shape)
        pair[1] = constant(values, "int8", scale=pair[1].scale, zero_point=pair[1].zero_point)
    if draw(st.booleans()):
        pair.reverse()
    return pair[0], pair[1], np.broadcast_shapes(*(tuple(t.shape) for t in pair))


@st.composite
def sums(draw: Draw) -> O:
    first, second, shape = draw(operands())
    larger = max(first.scale, second.scale)
    scale = float(np.float32(max(larger * draw(scales(3e-6, 1e3)), FINEST)))
    output = T(shape=shape, scale=scale, zero_point=draw(zero_points))
    kind = draw(st.sampled_from(["ADD", "SUB"]))
    return O(kind, [first, second], [output], {"fusedActivationFunction": draw(activations)})


@st.composite
def products(draw: Draw) -> O:
    first, second, shape = draw(operands())
    scale = float(np.float32(max(first.scale * second.scale * draw(scales(1e-3, 1e4)), FINEST)))
    output = T(shape=shape, scale=scale, zero_point=draw(zero_points))
    return O("MUL", [first, second], [output], {"fusedActivationFunction": draw(activations)})


@st.composite
def extrema(draw: Draw) -> O:
    first, second, shape = draw(operands())
    return O(draw(st.sampled_from(["MAXIMUM", "MINIMUM"])), [first, second], [draw(tensors(shape))])


@batched(sums())
def test_sums_and_differences_are_the_references(ops, seed):
    check_batch(ops, seed)


@batched(products())
def test_products_are_the_references(ops, seed):
    check_batch(ops, seed)


@batched(extrema())
def test_extrema_are_the_references(ops, seed):
    check_batch(ops, seed)


@st.composite
def realistic(draw: Draw) -> O:
    """Elementwise operators as networks have them: alike or by channel, scales of one order of magnitude."""
    kind = draw(st.sampled_from(["ADD", "SUB", "MUL", "MAXIMUM", "MINIMUM"]))
    shape = (1, draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(1, 21)))
    other = shape if draw(st.booleans()) else (1, 1, 1, shape[3])
    x, y = (T(shape=s, scale=draw(scales(0.02, 0.2)), zero_point=draw(zero_points)) for s in (shape, other))
    scale = x.scale * y.scale * 50 if kind == "MUL" else max(x.scale, y.scale)
    output = T(shape=shape, scale=float(np.float32(scale * draw(scales(0.5, 2)))), zero_point=draw(zero_points))
    options = {} if kind in ("MAXIMUM", "MINIMUM") else {"fusedActivationFunction": draw(activations)}
    return O(kind, [x, y] if draw(st.booleans()) else [y, x], [output], options)


@batched(st.one_of(realistic(), sums(), products(), extrema()))
def test_the_dsp_extensions_kernels_are_the_references(ops, seed):
    check_batch(ops, seed, features=DSP)


@batched(realistic(), examples=3, size=40)
def test_they_are_on_an_emulated_core(ops, seed):
    check_on_core(model(ops))


@batched(realistic(), examples=1)
def test_they_are_on_a_core_without_the_extension(ops, seed):
    check_on_core(model(ops), "cortex-m0plus")


@given(shapes(), st.data())
def test_broadcast_loops_reach_every_element(shape, data):
    kept = [data.draw(st.lists(st.booleans(), min_size=len(shape), max_size=len(shape))) for _ in range(2)]
    own = [tuple(s if k else 1 for s, k in zip(shape, keep, strict=True)) for keep in kept]
    plan = loops(*own)
    for side, steps in zip(own, (plan.step1, plan.step2), strict=True):
        numbered = np.arange(np.prod(side)).reshape(side)
        expected = np.broadcast_to(numbered, np.broadcast_shapes(*own)).reshape(-1)
        index = np.indices(plan.size).reshape(len(plan.size), -1)
        np.testing.assert_array_equal(np.array(steps) @ index, expected)


def test_an_input_twice_in_one_operator():
    x = T(shape=(3, 4), scale=0.1, zero_point=5)
    check_batch([O("ADD", [x, x], [T(shape=(3, 4), scale=0.15, zero_point=-3)], {})], 1)


def test_alternating_broadcast_of_six_axes_is_refused():
    first, second = (2, 1, 2, 1, 2, 1), (1, 2, 1, 2, 1, 2)
    content = single_op("MUL", [T(shape=first, scale=1.0), T(shape=second, scale=1.0)], [T(shape=(2,) * 6, scale=1.0)])
    with pytest.raises(NdtoolError, match="repeat one input first"):
        compile_tflite(content, golden=0)


def test_shapes_that_do_not_broadcast_are_refused():
    content = single_op("MUL", [T(shape=(2, 3), scale=1.0), T(shape=(3, 2), scale=1.0)], [T(shape=(2, 3), scale=1.0)])
    with pytest.raises(NdtoolError, match="must broadcast to the output's"):
        compile_tflite(content, golden=0)


def test_a_tiny_output_scale_is_refused_where_the_reference_would_abort():
    x, y = T(shape=(2,), scale=1.0), T(shape=(2,), scale=1.0)
    with pytest.raises(NdtoolError, match="calibrate with real data"):
        compile_tflite(single_op("ADD", [x, y], [T(shape=(2,), scale=1e-6)]), golden=0)
