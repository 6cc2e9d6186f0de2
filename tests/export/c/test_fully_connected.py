"""FULLY_CONNECTED against LiteRT's reference kernels, and the multipliers that follow its double precision."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ndtool.errors import NdtoolError
from ndtool.export.c import compile_tflite
from ndtool.export.c.quantisation import Multiplier, multiplier_like_double
from ndtool.tests.export.c.batches import Draw, activations, batched, check_batch, scales, zero_points
from ndtool.tests.export.c.harness import DSP, O, T, check_kernel, constant, random_int8, single_op


@st.composite
def layers(draw: Draw) -> O:
    """Per tensor and per channel, with and without bias, flattening inputs or keeping their dimensions."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    inputs, outputs, rows = draw(st.integers(1, 40)), draw(st.integers(1, 11)), draw(st.sampled_from([1, 1, 2, 3]))
    per_channel, keep = draw(st.booleans()), draw(st.booleans())
    source = T(shape=(1, rows, inputs), scale=draw(scales(1e-3, 1.0)), zero_point=draw(zero_points))
    base = draw(scales(1e-4, 1e-1))
    scale = (base * rng.uniform(0.1, 1, size=outputs if per_channel else 1)).astype(np.float32)
    least = draw(st.sampled_from([-127, -127, -127, -128]))  # -128 does not always fit the pairs of DSP kernels
    weights = constant(rng.integers(least, 128, size=(outputs, inputs)), "int8", scale=scale)
    spread = 128 * 74 * inputs**0.5
    bias = constant(rng.integers(-int(spread), int(spread) + 1, size=outputs), scale=(scale * np.float32(source.scale)))
    fraction = draw(st.sampled_from([0.02, 0.5, 1.0, 30.0]))
    result = T(
        shape=(1, rows, outputs) if keep else (rows, outputs),
        scale=float(np.float32(source.scale * base * spread / 64 * fraction)),
        zero_point=draw(zero_points),
    )
    options = {"fusedActivationFunction": draw(activations), "keepNumDims": keep}
    return O("FULLY_CONNECTED", [source, weights, bias if draw(st.booleans()) else None], [result], options)


@batched(layers())
def test_fully_connected_layers_are_the_references(ops, seed):
    check_batch(ops, seed)


@batched(layers())
def test_fully_connected_layers_with_dsp_are_the_references(ops, seed):
    check_batch(ops, seed, features=DSP)


@pytest.mark.parametrize("scale", [0.01, [0.01, 0.02, 0.005, 0.01, 0.02, 0.03]], ids=["per tensor", "per channel"])
def test_what_outputs_share_is_stored_once(scale):
    """Six outputs are filled up to eight, ten inputs to twelve; a bias is 4 bytes, what is shared 12."""
    rng = np.random.default_rng(0)
    x, y = T(shape=(3, 10), scale=0.1, zero_point=-3), T(shape=(3, 6), scale=0.2, zero_point=4)
    weights = constant(rng.integers(-127, 128, size=(6, 10)), "int8", scale=scale)
    content = single_op("FULLY_CONNECTED", [x, weights, None], [y], fusedActivationFunction="RELU6")
    library = compile_tflite(content, golden=0, features=DSP)
    assert library.layers[0].kernel == "nd_fully_connected_dsp"
    assert library.weight_bytes == 8 * 12 + (8 * 4 + 12 if np.ndim(scale) == 0 else 8 * 16)
    check_kernel(content, random_int8(rng, (3, 10)), features=DSP)


def sums_as_outputs(sums: np.ndarray, input_scale: float, weight_scale: float, output_scale: float) -> bytes:
    """A layer whose sums are its biases: output n is sums[n], scaled and rounded."""
    x = T(shape=(1, 1), scale=input_scale, zero_point=0)
    weights = constant(np.zeros((len(sums), 1)), "int8", scale=weight_scale)
    bias = constant(sums, scale=float(np.float32(input_scale) * np.float32(weight_scale)))
    y = T(shape=(1, len(sums)), scale=output_scale, zero_point=0)
    return single_op("FULLY_CONNECTED", [x, weights, bias], [y])


def test_halves_are_rounded_away_from_zero_once():
    content = sums_as_outputs(np.arange(-300, 301), 0.5, 0.25, 0.5)
    check_kernel(content, np.zeros((1, 1), np.int8))


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=10, deadline=None)
def test_sums_beside_every_half_are_rounded_as_in_double_precision(seed):
    """Large sums, where the 31-bit multiplier nearest to the scale rounds some of them the other way."""
    rng = np.random.default_rng(seed)
    a, b, c = (float(np.float32(rng.uniform(*limits))) for limits in ((0.001, 0.3), (0.0005, 0.02), (1e4, 1e6)))
    output_scale = float(np.float32(a * b * c))
    real = float(np.float32(a)) * float(np.float32(b)) / output_scale
    halves = (np.arange(-130, 130) + 0.5) / real
    sums = np.unique(np.concatenate([np.floor(halves), np.ceil(halves)])).astype(np.int64)
    check_kernel(sums_as_outputs(sums, a, b, output_scale), np.zeros((1, 1), np.int8))


def test_double_precision_is_computed_where_no_multiplier_follows_it():
    """With sums near 2^31 nearly every multiplier of 31 bits rounds one of them wrong."""
    real = 0.001 * 0.01 / 170.1
    halves = (np.arange(-126, 126) + 0.5) / real
    sums = np.unique(np.concatenate([np.floor(halves), np.ceil(halves)])).astype(np.int64)
    content = sums_as_outputs(sums, 0.001, 0.01, 170.1)
    assert compile_tflite(content, golden=0).layers[0].kernel == "nd_fully_connected_double"
    check_kernel(content, np.zeros((1, 1), np.int8))


@given(st.floats(1e-6, 2.0), st.integers(1, 10**7), st.integers(0, 2**32 - 1))
@settings(max_examples=200, deadline=None)
def test_a_chosen_multiplier_rounds_every_sum_like_double_precision(real, reach, seed):
    chosen = multiplier_like_double(real, (-reach, reach), (-128, 127))
    if chosen is None:
        return
    sums = np.random.default_rng(seed).integers(-reach, reach + 1, size=1000)
    near = np.clip(np.round((np.arange(-130, 130) + 0.5) / real), -reach, reach).astype(np.int64)
    for total in {*sums.tolist(), *near.tolist()}:
        scaled = total * real
        expected = int(abs(scaled) + 0.5) * (1 if scaled > 0 else -1) if abs(scaled) < 200 else round(scaled)
        shift = 31 - chosen.shift
        got = (total * chosen.value + (1 << (shift - 1)) - (total < 0)) >> shift
        assert max(-128, min(127, got)) == max(-128, min(127, expected)), (total, real)


def test_a_scale_of_zero_gives_a_multiplier_of_zero():
    assert multiplier_like_double(0.0, (-100, 100), (-128, 127)) == Multiplier(0, 0)


def test_sizes_that_do_not_belong_together_are_named():
    x = T(shape=(1, 7), scale=0.1, zero_point=-3)
    y = T(shape=(1, 4), scale=0.2, zero_point=4, name="scores")
    weights = constant(np.ones((4, 6)), "int8", scale=0.01)
    with pytest.raises(NdtoolError, match=r"FULLY_CONNECTED 'scores': .* in size; they are \[1, 7\], \[4, 6\]"):
        compile_tflite(single_op("FULLY_CONNECTED", [x, weights, None], [y]))
