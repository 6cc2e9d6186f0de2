"""One rounding for outputs with a zero point of -128: a kernel's arithmetic against the reference's two roundings."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ndtool.export.c.operators import sums
from ndtool.export.c.operators.fixed_point import requantize
from ndtool.export.c.operators.relu_words import relu_words
from ndtool.export.c.quantisation import Multiplier

multipliers = st.builds(Multiplier, value=st.integers(1 << 30, (1 << 31) - 1), shift=st.integers(-31, 0))


def kernel(total: np.ndarray, words: np.ndarray, scales_taps: bool) -> np.ndarray:
    """The kernel's outputs for sums of products; every step must fit 32 bits."""
    bias, multiplier, rounding, shift = words.tolist()
    left, right = (shift, 16) if scales_taps else (0, shift)
    scaled = (total << 8 + left) + bias
    high = (scaled * multiplier >> 32) + rounding
    assert max(np.abs(scaled).max(), np.abs(high).max()) < 1 << 31
    return np.clip(high >> right, -128, 127)


def agree(bias: int, weights: np.ndarray, multiplier: Multiplier, scales_taps: bool) -> bool:
    """Every sum of products that int8 inputs can give has the reference's output. False where there are no words."""
    words = relu_words(np.array([bias]), weights[None], [multiplier], scales_taps=scales_taps)
    if words is None:
        return False
    least, most = sums.sum_ranges(np.zeros(1, np.int64), weights[None])
    total = np.arange(least[0], most[0] + 1)
    expected = np.clip(requantize(total + bias, multiplier) - 128, -128, 127)
    np.testing.assert_array_equal(kernel(total, words[0], scales_taps), expected)
    return True


@given(
    weights=st.lists(st.integers(-128, 127), min_size=1, max_size=9),
    multiplier=multipliers,
    position=st.floats(-1.5, 1.5),
    scales_taps=st.booleans(),
)
@settings(max_examples=300, deadline=None)
def test_every_sum_has_the_references_output(weights, multiplier, position, scales_taps):
    """Biases of about the size at which outputs change, for whatever multiplier."""
    bias = int(np.clip(position * 2.0 ** (8 - multiplier.shift), -(1 << 30), 1 << 30))
    agree(bias, np.array(weights, np.int8), multiplier, scales_taps)


@pytest.mark.parametrize("scales_taps", [True, False])
@pytest.mark.parametrize("shift", range(-22, -2))
def test_usual_layers_have_words(shift, scales_taps):
    """3x3 filters whose sums reach the outputs, with biases of all sizes that matter."""
    rng = np.random.default_rng(-shift)
    weights = rng.integers(-127, 128, size=9).astype(np.int8)
    value = int(rng.integers(1 << 30, 1 << 31))
    for part in (-0.5, 0.0, 0.1, 0.5):
        bias = int(part * 2.0 ** (8 - shift)) if shift < -8 else int(part * 60000)
        assert agree(bias, weights, Multiplier(value=value, shift=shift), scales_taps)


def test_a_channel_that_is_always_the_same_needs_no_multiplier():
    words = relu_words(
        np.array([1 << 29]), np.ones((1, 3), np.int8), [Multiplier(value=1 << 30, shift=-22)], scales_taps=True
    )
    assert words is not None
    assert words[0, 1] == 0
    assert kernel(np.arange(-384, 385), words[0], True).tolist() == [-64] * 769


def test_multipliers_of_one_and_more_have_none():
    multiplier = Multiplier(value=1 << 30, shift=1)
    assert relu_words(np.array([0]), np.ones((1, 3), np.int8), [multiplier], scales_taps=True) is None
