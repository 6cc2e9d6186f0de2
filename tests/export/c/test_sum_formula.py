"""The cheap formula of ADD and SUB, against the reference's arithmetic for every pair of inputs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ndtool.export.c.context import Context, Features
from ndtool.export.c.graph import Graph, Op, Tensor
from ndtool.export.c.lower import lower
from ndtool.export.c.operators.elementwise import lower_add
from ndtool.export.c.operators.sum_formula import INPUTS, SumFormula, dsp_formula, plain_formula
from ndtool.tests.export.c.batches import scales, zero_points

LIMIT = 1 << 31


def reference(scale: tuple[float, float, float], zero: tuple[int, int, int], sign: int) -> np.ndarray:
    """What LiteRT's reference ADD or SUB gives for all pairs, written out for one element. (256, 256) int64."""
    twice_max = 2 * max(scale[:2])
    terms = [_requantised((INPUTS - zero[i]) << 20, scale[i] / twice_max) * (1 if i == 0 else sign) for i in range(2)]
    total = terms[0][:, None] + terms[1]
    return np.clip(_requantised(total, twice_max / (2**20 * scale[2])) + zero[2], -128, 127)


def _requantised(x: np.ndarray, real: float) -> np.ndarray:
    fraction, exponent = np.frexp(real)
    multiplier = int(np.floor(fraction * 2**31 + 0.5))
    if multiplier == 1 << 31:
        multiplier, exponent = 1 << 30, exponent + 1
    assert exponent <= 0
    if exponent < -31:
        return np.zeros_like(x)
    high = (x * multiplier + (1 << 30)) >> 31
    magnitude = (np.abs(high) + ((1 << -exponent) >> 1)) >> -exponent
    return np.where(high < 0, -magnitude, magnitude)


def dsp_outputs(f: SumFormula) -> np.ndarray:
    """nd_add_dsp of all pairs; no sum leaves int32."""
    first = f.offset + (f.factor1 * (INPUTS << 8) >> 16)[:, None]
    total = first + (f.factor2 * (INPUTS << 8) >> 16)
    assert max(abs(first).max(), abs(total).max()) < LIMIT
    assert max(abs(f.factor1), abs(f.factor2)) < LIMIT
    return np.clip(total >> 21, -128, 127)


def plain_outputs(f: SumFormula) -> np.ndarray:
    """nd_add_fast of all pairs; no sum leaves int32, in any order."""
    total = f.factor1 * INPUTS[:, None] + f.factor2 * INPUTS + f.offset
    assert 128 * (abs(f.factor1) + abs(f.factor2)) + abs(f.offset) + abs(f.rounding) + 1 <= LIMIT
    return np.clip((total + (total >> 63 if f.away else 0) + f.rounding) >> f.shift, -128, 127)


@settings(deadline=None, max_examples=60)
@given(
    st.tuples(scales(1e-3, 1e1), scales(1e-3, 1e1), scales(1e-2, 1e2)),
    st.tuples(zero_points, zero_points, zero_points),
    st.sampled_from([1, -1]),
)
def test_what_is_found_is_the_reference_for_all_pairs(scale, zero, sign):
    scale = (*scale[:2], float(np.float32(scale[2] * max(scale[:2]))))
    expected = reference(scale, zero, sign)
    slopes = scale[0] / scale[2], sign * scale[1] / scale[2]
    if formula := dsp_formula(expected, *slopes):
        np.testing.assert_array_equal(dsp_outputs(formula), expected)
    if formula := plain_formula(expected, *slopes, zero[:2]):
        np.testing.assert_array_equal(plain_outputs(formula), expected)


def test_realistic_scales_nearly_always_have_a_formula():
    rng = np.random.default_rng(0)
    found = []
    for _ in range(60):
        scale = np.float32(rng.uniform(0.01, 0.2, 3))
        scale[2] = scale[:2].max() * rng.uniform(0.8, 1.6)
        zero = rng.integers(-128, 128, 3)
        expected = reference(tuple(map(float, scale)), tuple(map(int, zero)), 1)
        slopes = float(scale[0]) / float(scale[2]), float(scale[1]) / float(scale[2])
        found.append((dsp_formula(expected, *slopes), plain_formula(expected, *slopes, (int(zero[0]), int(zero[1])))))
    dsp, plain = (sum(formula is not None for formula in kind) for kind in zip(*found, strict=True))
    assert dsp >= 57
    assert plain >= 57


@pytest.mark.parametrize(
    ("scale", "zero", "away"),
    [
        ((0.25, 0.25, 0.5), (3, -7, 5), False),  # factors a little larger than the real ones do
        ((0.5, 0.0625, 0.125), (18, 15, -17), True),
    ],
)
def test_ties_go_away_from_zero_where_scales_are_powers_of_two(scale, zero, away):
    """The sum is exactly between two outputs for many pairs, and the reference rounds negative ones down."""
    expected = reference(scale, zero, 1)
    formula = plain_formula(expected, scale[0] / scale[2], scale[1] / scale[2], zero[:2])
    assert formula is not None
    assert formula.away == away
    np.testing.assert_array_equal(plain_outputs(formula), expected)


def tensor(shape: tuple[int, ...], scale: float) -> Tensor:
    return Tensor(index=0, name="t", shape=shape, dtype="int8", scale=(scale,), zero_point=(0,))


@pytest.mark.parametrize(
    ("features", "shape", "output", "kernel"),
    [
        (Features(dsp=True), (2, 8), 0.3, "nd_add_dsp"),
        (Features(dsp=True), (2, 1), 0.3, "nd_add_fast"),  # the second input is repeated
        (Features(dsp=True), (2, 8), 0.37 / 2, "nd_add_fast"),  # ties
        (Features(), (2, 8), 0.3, "nd_add_fast"),
        (Features(), (2, 8), 1e-9, "nd_add"),  # no formula in 32 bits
    ],
)
def test_the_kernel_that_a_layer_gets(features, shape, output, kernel):
    x, y, z = tensor((2, 8), 0.37 / 4), tensor(shape, 0.37 / 4), tensor((2, 8), output)
    op = Op(index=0, kind="ADD", inputs=(x, y), outputs=(z,), options={"fused_activation_function": "NONE"})
    draft = lower(Graph(name="g", inputs=(x, y), outputs=(z,), ops=(op,)), Context(features=features))
    assert [candidates[0].kernel for candidates in draft.candidates] == [kernel]
    assert lower_add(op, Context(features=features)) is not None
