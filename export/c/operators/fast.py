"""What the requantisation of the DSP kernels needs of a layer, and whether it can serve it."""

from collections.abc import Sequence

import numpy as np

from ndtool.export.c.operators import sums
from ndtool.export.c.operators.fixed_point import requantize
from ndtool.export.c.quantisation import INT8_MAX, INT8_MIN, Multiplier

LIMIT = 1 << 30  # twice a sum, and a product with its rounding added, must fit 32 bits


def channel_words(
    bias: np.ndarray, weights: np.ndarray, multipliers: Sequence[Multiplier], zero_point: int
) -> np.ndarray | None:
    """Bias, multiplier, rounding and right shift of each channel, (channels, 4) int32; None if a channel has none.

    A channel has none if its sums can reach 2^30, or if its multiplier is 1/2 or more, which is so for layers only that
    hardly scale their sums. A channel that gives the same output for every input is written as just that.

    Args:
        bias: (channels,) int64, as the kernel's sums start, with the input's zero point folded in.
        weights: (channels, ...) int8.
        multipliers: one for each channel, or one for all.
        zero_point: of the output.
    """
    least, most = sums.sum_ranges(bias, weights)
    rows = []
    for channel, start in enumerate(bias.tolist()):
        multiplier = multipliers[channel if len(multipliers) > 1 else 0]
        ends = np.array([least[channel], most[channel]])
        right = -multiplier.shift
        rounding = (zero_point << right) + (1 << right >> 1) if right > 0 else 0
        if (value := _only_output(ends, multiplier, zero_point)) is not None:
            rows.append((0, 0, 2 * value + 1, 1))
        elif right < 1 or max(abs(rounding), *np.abs(ends).tolist()) >= LIMIT:
            return None
        else:
            rows.append((start, multiplier.value, rounding, right))
    return np.array(rows, np.int32)


def _only_output(ends: np.ndarray, multiplier: Multiplier, zero_point: int) -> int | None:
    """The int8 output of every sum between two, if there is but one: requantisation is monotonic."""
    if multiplier.shift > 0 and ends[0] != ends[1]:
        return None  # a left shift may wrap
    outputs = np.clip(requantize(ends, multiplier) + zero_point, INT8_MIN, INT8_MAX)
    return int(outputs[0]) if outputs[0] == outputs[1] else None


def channel_words_once(
    bias: np.ndarray, multipliers: Sequence[Multiplier | None], zero_point: int
) -> np.ndarray | None:
    """The same for nd_output_floor, which rounds once, halves up; None if a channel has none.

    Arguments as for channel_words. A multiplier that is None has been looked for in vain; those of 1/4 and more are
    out of range.
    """
    rows = []
    for channel, start in enumerate(bias.tolist()):
        multiplier = multipliers[channel if len(multipliers) > 1 else 0]
        if multiplier is None or multiplier.shift > -2:
            return None
        right = -1 - multiplier.shift
        rounding = (zero_point << right) + (1 << right >> 1)
        if abs(rounding) >= LIMIT:
            return None
        rows.append((start, multiplier.value, rounding, right))
    return np.array(rows, np.int32)
