"""What the depthwise kernels need of a channel whose outputs have a zero point of -128, where one rounding does.

Such a kernel sums up 2^(8 + left) times what the reference does and gives floor((floor(sum * multiplier / 2^32) +
rounding) / 2^right), clamped to int8. Where multiplier is the layer's own that is exact: what is negative becomes -128,
so that the halves there do not matter, and the two roundings of the others are one,
floor((floor(x + 1/2) + n) / 2^k) = floor((x + 1/2 + n) / 2^k).

Channels of very small multipliers have a multiplier of fewer bits. It is used only if every output changes at the same
sum as the reference's.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from ndtool.export.c.operators import sums
from ndtool.export.c.quantisation import INT8_MAX, INT8_MIN, Multiplier

SCALE = 8  # inputs are widened to 2^SCALE times themselves
RIGHT = 16  # of the kernels that scale their taps
LARGEST_RIGHT = 22  # of the others: the rounding must fit 32 bits
LARGEST_LEFT = 8  # taps scaled must fit 16 bits
BIASES_TRIED = 16  # each is another fraction of what is rounded

Words = tuple[int, int, int, int]  # bias, multiplier, rounding, and left or right


def relu_words(
    bias: np.ndarray, weights: np.ndarray, multipliers: Sequence[Multiplier], *, scales_taps: bool
) -> np.ndarray | None:
    """Bias, multiplier, rounding and shift of each channel, (channels, 4) int32; None if one has none.

    Args:
        bias: (channels,) int64, with the input's zero point folded in.
        weights: (channels, ...) int8.
        multipliers: one for each channel, or one for all.
        scales_taps: the shift is `left`, of the taps, and `right` is always 16; else it is `right`, and `left` is 0.
    """
    flat = weights.reshape(len(weights), -1)
    magnitudes = np.abs(flat.astype(np.int64)).sum(axis=1) * -INT8_MIN
    ranges = np.stack(sums.sum_ranges(np.zeros_like(bias), flat), axis=1)
    rows = []
    for channel, start in enumerate(bias.tolist()):
        multiplier = multipliers[channel if len(multipliers) > 1 else 0]
        least, most = ranges[channel].tolist()
        words = _words(start, (least, most), int(magnitudes[channel]), multiplier, scales_taps)
        if words is None:
            return None
        rows.append(words)
    return np.array(rows, np.int32)


def _words(
    start: int, products: tuple[int, int], magnitude: int, multiplier: Multiplier, scales_taps: bool
) -> Words | None:
    """`products`: the smallest and the largest sum of products; `magnitude`: no part of such a sum is larger."""
    shift = -multiplier.shift
    if shift < 0:
        return None  # a left shift may wrap
    first, last = (_output(start + product, multiplier.value, shift) for product in products)
    left = max(0, RIGHT - SCALE + 1 - shift) if scales_taps else 0
    right = RIGHT if scales_taps else min(shift + SCALE - 1, LARGEST_RIGHT)
    if first == last:
        left, candidates = 0, iter([(0, 0, (first << right) + (1 << right >> 1))])
    else:
        candidates = _candidates(start, (first, last), multiplier.value, shift, SCALE + left, right)
    for total, rescaled, rounding in candidates:
        fits = (abs(total) + magnitude) << SCALE + left < 1 << 31 and abs(rounding) < 1 << 30
        if fits and left <= LARGEST_LEFT:
            return total << SCALE + left, rescaled, rounding, left if scales_taps else right
    return None


def _candidates(
    start: int, outputs: tuple[int, int], multiplier: int, shift: int, scale: int, right: int
) -> Iterator[tuple[int, int, int]]:
    """Bias, multiplier and rounding of a kernel's channel that gives the reference's outputs between two."""
    lost = 31 + shift + scale - 32 - right  # bits of the multiplier
    middle = (INT8_MIN << right) + (1 << right >> 1)
    if lost < 0:
        return
    if lost == 0:
        yield start, multiplier, middle + ((1 << scale >> 2) if shift else 0)
    later = range(outputs[0] + 1, outputs[1] + 1)
    firsts = [_first_sum(output, multiplier, shift) - start for output in later]
    for rescaled in (multiplier >> lost, (multiplier >> lost) + 1):
        for bias in (start, *range(BIASES_TRIED)):
            steps = list(zip(later, firsts, strict=True))
            # with the rounding, a sum must reach its output and the sum before must not
            least = max((output << right) - ((first + bias) * rescaled << scale >> 32) for output, first in steps)
            most = min((output << right) - ((first + bias - 1) * rescaled << scale >> 32) for output, first in steps)
            if least < most:
                yield bias, rescaled, least


def _output(total: int, multiplier: int, shift: int) -> int:
    """The reference's int8 output of a sum."""
    if total < 0:
        return INT8_MIN
    product = (total * multiplier + (1 << 30)) >> 31
    return min(((product + (1 << shift >> 1)) >> shift) + INT8_MIN, INT8_MAX)


def _first_sum(output: int, multiplier: int, shift: int) -> int:
    """The smallest sum of which the reference makes an output above -128."""
    product = ((output - INT8_MIN) << shift) - (1 << shift >> 1)
    return -(-((product << 31) - (1 << 30)) // multiplier)
