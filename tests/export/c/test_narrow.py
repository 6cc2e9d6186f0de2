"""Requantisation in 32 bits: proved by thresholds, tried on sums of every size."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ndtool.export.c.operators import narrow
from ndtool.export.c.quantisation import quantise_multiplier

SEEDS = st.integers(0, 2**32 - 1)


@st.composite
def layers(draw: st.DrawFn) -> narrow.Layer:
    low, high = sorted((draw(st.integers(-128, 127)), draw(st.integers(-128, 127))))
    whole = draw(st.booleans())
    zero_point = draw(st.sampled_from([-128, -5, 0, 127, low]))
    return narrow.Layer(zero_point=zero_point, lowest=-128 if whole else low, highest=127 if whole else max(high, low))


@st.composite
def channels(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, float]:
    """A bias, weights and a real multiplier at which outputs neither vanish nor all saturate, most of the time."""
    rng = np.random.default_rng(draw(SEEDS))
    weights = rng.integers(-127, 128, size=(1, draw(st.integers(1, 700))), dtype=np.int8)
    spread = 128 * 74 * weights.size**0.5
    bias = rng.integers(-int(spread), int(spread) + 1, size=1) * draw(st.sampled_from([0, 1, 1, 30]))
    return bias, weights, 64 / spread * 2.0 ** draw(st.floats(-6, 4))


def sums_to_try(rng: np.random.Generator, bias: np.ndarray, weights: np.ndarray, real: float) -> np.ndarray:
    """Sums of all sizes, and those at which outputs step."""
    magnitudes = np.abs(weights.astype(np.int64)).sum()
    low, high = int(bias[0] - 127 * magnitudes), int(bias[0] + 127 * magnitudes)
    near = ((np.arange(-260, 260)[:, None] + 0.5) / real + np.arange(-2, 3)).reshape(-1).astype(np.int64)
    return np.clip(np.concatenate([rng.integers(low, high + 1, size=5000), near, [low, high, 0, -1, 1]]), low, high)


def given_sums(words: np.ndarray, layer: narrow.Layer, sums: np.ndarray) -> np.ndarray:
    """nd_narrow, from the words alone, in Python integers of 32 bits."""
    first, second, third = (int(word) for word in words)
    size, shift = (first & 31) + 1, third >> 16 & 31
    limit, step = third >> 22 << (size - 1), (third >> 21 & 1) << (shift - size)
    middle = ((2 * layer.zero_point + 1) << shift) >> 1
    low_shift = 16 if size < 7 else 23 - size
    results = []
    for x in np.clip(sums, 0, limit).tolist():
        low, high = x * (second & 0xFFFF), x * (second >> 16)
        assert low < 1 << 32
        assert high < 1 << 32
        total = (high + (low >> low_shift) + (layer.lowest << shift) + (third & 0xFFFF)) % (1 << 32)
        total -= total >> 31 << 32
        results.append((total - (step if total < middle else 0)) >> shift)
    return np.array(results)


@given(channels(), layers(), SEEDS)
@settings(max_examples=150, deadline=None)
def test_every_output_is_the_references(channel, layer, seed):
    bias, weights, real = channel
    for scalings in (
        narrow.fixed_point([quantise_multiplier(real)], layer.zero_point),
        narrow.double_precision([real], layer.zero_point),
    ):
        words = narrow.narrow(bias, weights, scalings, layer)
        if words is None:
            continue
        start = int(words.view(np.int32)[0, 0]) >> 5
        sums = sums_to_try(np.random.default_rng(seed), bias, weights, real)
        expected = layer.reference(scalings[0], sums)
        np.testing.assert_array_equal(given_sums(words[0], layer, sums - bias[0] + start), expected)


@given(channels(), SEEDS)
@settings(max_examples=60, deadline=None)
def test_channels_that_are_scaled_alike_can_share_their_words(channel, seed):
    bias, weights, real = channel
    rng = np.random.default_rng(seed)
    many = rng.integers(-127, 128, size=(5, weights.size), dtype=np.int8)
    biases = bias + rng.integers(-1000, 1001, size=5)
    layer = narrow.Layer(zero_point=-3, lowest=-128, highest=127)
    scaling = narrow.double_precision([real], -3)[0]
    found = narrow.narrow_shared(biases, many, scaling, layer)
    if found is None:
        return
    starts, words = found
    for n in range(5):
        sums = sums_to_try(rng, biases[n : n + 1], many[n : n + 1], real)
        got = given_sums(words[0], layer, sums - biases[n] + starts[n])
        np.testing.assert_array_equal(got, layer.reference(scaling, sums))


def test_nearly_every_trained_looking_channel_has_words():
    """Sums of a few hundred products whose outputs use the range: a multiplier near the nearest is found."""
    rng = np.random.default_rng(0)
    layer = narrow.Layer(zero_point=3, lowest=-128, highest=127)
    missing = 0
    for _ in range(200):
        weights = np.clip(rng.normal(0, 40, size=(1, rng.integers(8, 600))), -127, 127).astype(np.int8)
        real = 64 / (40 * 60 * weights.size**0.5) * rng.uniform(0.5, 2)
        scalings = narrow.fixed_point([quantise_multiplier(real)], 3)
        missing += narrow.narrow(rng.integers(-9999, 9999, size=1), weights, scalings, layer) is None
    assert missing <= 2


@pytest.mark.parametrize("value", [-128, -127, 3, 127])
def test_a_channel_that_is_always_the_same_needs_no_multiplier(value):
    """Dead channels of trained networks: an enormous bias or scale."""
    layer = narrow.Layer(zero_point=-128, lowest=-128, highest=127)
    real = 2.0**-21
    bias = np.array([round((value + 128) / real)])
    weights = np.full((1, 4), 3, np.int8)
    scalings = narrow.fixed_point([quantise_multiplier(real)], -128)
    words = narrow.narrow(bias, weights, scalings, layer)
    assert words is not None
    start = int(words.view(np.int32)[0, 0]) >> 5
    assert set(given_sums(words[0], layer, np.arange(-12 * 127, 12 * 127 + 1) + start)) == {value}


def test_large_multipliers_have_no_words():
    layer = narrow.Layer(zero_point=0, lowest=-128, highest=127)
    scalings = narrow.fixed_point([quantise_multiplier(0.75)], 0)
    assert narrow.narrow(np.zeros(1, np.int64), np.ones((1, 4), np.int8), scalings, layer) is None
