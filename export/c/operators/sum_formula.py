"""A cheap formula for ADD and SUB: two products, a sum and a shift that give the reference's bytes for every input.

The reference rescales both inputs and their sum with roundings of its own. But two int8 have only 65 536 pairs of
values, so that a formula of another kind can be compared with it on all of them. For given factors, every pair says in
which interval the offset must lie; a formula is found where the intervals have a number in common.
"""

from dataclasses import dataclass

import numpy as np

from ndtool.export.c.quantisation import INT8_MAX, INT8_MIN

INPUTS = np.arange(INT8_MIN, INT8_MAX + 1, dtype=np.int64)
LIMIT = (1 << 31) - 1  # of every sum, whatever its order
DSP_SHIFT = 21  # nd_add_dsp's; its factors have 8 bits more
NEIGHBOURS = 6  # how far factors may be from the real ones
NEAR = 1 << 16  # more than neighbours can move a sum
FAR = 1 << 62  # no bound at all


@dataclass(frozen=True, slots=True)
class SumFormula:
    """(factor1 * a + factor2 * b + offset + rounding) >> shift, saturated; see nd_add_fast.c and nd_add_dsp.c."""

    factor1: int
    factor2: int
    offset: int
    rounding: int
    shift: int
    away: bool


def dsp_formula(reference: np.ndarray, slope1: float, slope2: float) -> SumFormula | None:
    """The formula of nd_add_dsp, or None if there is none.

    Args:
        reference: the output of every pair of inputs, (256, 256): entry [i, j] is that of i - 128 and j - 128. Clamped
            to int8, not to a narrower activation range.
        slope1: how much the output grows with the first input, about; slope2: with the second.
    """
    factor1, factor2 = (round(slope * (1 << (DSP_SHIFT + 8))) for slope in (slope1, slope2))
    sums = (factor1 * INPUTS >> 8)[:, None] + (factor2 * INPUTS >> 8)
    low, high = _offsets(sums, reference, DSP_SHIFT)
    offset = (low + high) >> 1
    largest = max(abs(factor1), abs(factor2), (abs(factor1) + abs(factor2)) // 2 + 2 + abs(offset))
    return SumFormula(factor1, factor2, offset, 0, DSP_SHIFT, away=False) if low <= high and largest <= LIMIT else None


def plain_formula(reference: np.ndarray, slope1: float, slope2: float, zeros: tuple[int, int]) -> SumFormula | None:
    """The formula of nd_add_fast, or None if there is none; with the largest shift for which no sum leaves int32.

    Args:
        reference, slope1, slope2: as for `dsp_formula`.
        zeros: the inputs' zero points.
    """
    largest = 128 * (abs(slope1) + abs(slope2)) + 257 + abs(slope1 * zeros[0] + slope2 * zeros[1])
    shift = min(int(np.floor(np.log2(LIMIT / largest))), 30)
    if shift < 1:
        return None
    factors = round(slope1 * (1 << shift)), round(slope2 * (1 << shift))
    return _searched(reference, factors, shift, zeros, away=False) or _searched(
        reference, factors, shift, zeros, away=True
    )


def _searched(
    reference: np.ndarray, factors: tuple[int, int], shift: int, zeros: tuple[int, int], *, away: bool
) -> SumFormula | None:
    """A formula whose factors are the given ones or near them, the nearest first."""
    a, b = (values.reshape(-1) for values in np.meshgrid(INPUTS, INPUTS, indexing="ij"))
    expected = reference.reshape(-1)
    near = _decisive(factors[0] * a + factors[1] * b, expected, shift)
    a, b, expected = a[near], b[near], expected[near]
    steps = range(-NEIGHBOURS, NEIGHBOURS + 1)
    for step1, step2 in sorted(((i, j) for i in steps for j in steps), key=lambda pair: abs(pair[0]) + abs(pair[1])):
        factor1, factor2 = factors[0] + step1, factors[1] + step2
        zero = -factor1 * zeros[0] - factor2 * zeros[1] if away else 0
        sums = factor1 * a + factor2 * b + zero
        low, high = _offsets(sums + (sums >> 63) if away else sums, expected, shift)
        middle = (low + high) >> 1
        if low <= high and 128 * (abs(factor1) + abs(factor2)) + abs(zero) + abs(middle) + 1 <= LIMIT:
            return SumFormula(factor1, factor2, zero, middle, shift, away)
    return None


def _bounds(sums: np.ndarray, expected: np.ndarray, shift: int) -> tuple[np.ndarray, np.ndarray]:
    """For each sum, the smallest and the largest offset that gives the expected output; any will do where saturated."""
    low = np.where(expected > INT8_MIN, (expected << shift) - sums, -FAR)
    high = np.where(expected < INT8_MAX, ((expected + 1) << shift) - 1 - sums, FAR)
    return low, high


def _offsets(sums: np.ndarray, expected: np.ndarray, shift: int) -> tuple[int, int]:
    """The smallest and the largest offset that give the expected output of every sum; none if they are reversed."""
    lows, highs = _bounds(sums, expected, shift)
    low, high = int(lows.max()), int(highs.min())
    if low == -FAR:
        low = 0 if high == FAR else high
    return low, low if high == FAR else high


def _decisive(sums: np.ndarray, expected: np.ndarray, shift: int) -> np.ndarray:
    """The sums that can decide which offset will do, for factors near those of `sums` too."""
    low, high = _bounds(sums, expected, shift)
    return np.asarray((low > low.max() - NEAR) | (high < high.min() + NEAR))
