"""Weights of the DSP kernels: two output channels in one int16, so that SMLAD multiplies both without unpacking them.

For weights a and b of a pair of channels and an input x, the int16 h = 256 b + a is stored in the room of two int8.
Then sum(h x) - sum(a x) is 256 sum(b x), see nd_tile_4.
"""

import numpy as np

from ndtool.export.c.operators import sums

TAPS = 4  # bytes that are widened at a time


def column_order(rows: int, width: int) -> np.ndarray:
    """The order of a window's taps in a column, (words, 2): two of each word, as nd_widen_4 leaves them.

    A window has `rows` rows of `width` bytes. Of four bytes of a row first the even ones, then the odd ones; then what
    is left of all rows. -1 fills up the last word.
    """
    taps = np.arange(rows * width).reshape(rows, width)
    whole = width // TAPS * TAPS
    quads = taps[:, :whole].reshape(-1, 2, 2).transpose(0, 2, 1).reshape(-1, 2)
    rest = taps[:, whole:].reshape(-1)
    return np.concatenate([quads, np.pad(rest, (0, rest.size % 2), constant_values=-1).reshape(-1, 2)])


def shared_order(rows: int, depth: int) -> np.ndarray:
    """The same as nd_widen_shared leaves them, for windows of rows * 3 * depth taps. (words, 2)."""
    taps = np.arange(rows * 3 * depth).reshape(rows, 3, depth // TAPS, 2, 2)  # row, pixel, four, tap // 2, tap % 2
    return taps.transpose(0, 2, 4, 1, 3).reshape(-1, 2)


def paired_weights(weights: np.ndarray, order: np.ndarray) -> np.ndarray | None:
    """Weights as nd_tile_4 reads them, or None where a pair does not fit 16 bits or its second sum 24.

    Args:
        weights: (channels, taps) int8. An odd channel is paired with zeros.
        order: (words, 2), of taps, -1 where there is none.

    Returns:
        (pairs of channels, words, 2 taps, 2 bytes) int8.
    """
    padded = np.pad(weights.astype(np.int64), ((0, len(weights) % 2), (0, 1)))  # tap -1 is 0
    ordered = padded[:, order]
    first, second = ordered[0::2], ordered[1::2]
    high = second - (first < 0)  # the low byte borrows 1 where it is negative
    least, most = sums.sum_ranges(np.zeros(len(second), np.int64), second)
    if high.min() < -128 or least.min() < -(1 << 23) or most.max() >= 1 << 23:
        return None
    return np.stack([first, high], axis=-1).astype(np.int8)


def paired_fours(weights: np.ndarray) -> np.ndarray | None:
    """Weights as nd_fully_connected_dsp reads them, or None as for paired_weights.

    (outputs, inputs) int8, both filled up with zeros to a multiple of four, to (fours of outputs, words, 2 pairs,
    2 inputs, 2 bytes) int8.
    """
    padded = np.pad(weights, [(0, -size % 4) for size in weights.shape])
    pairs = paired_weights(padded, column_order(1, padded.shape[1]))
    return None if pairs is None else pairs.reshape(-1, 2, *pairs.shape[1:]).transpose(0, 2, 1, 3, 4)


def with_channels(pairs: np.ndarray, channels: np.ndarray) -> np.ndarray:
    """The weights of each pair followed by its two channels' words, the bias twice: (pairs, bytes) int8.

    pairs: of paired_weights. channels: (channels, 4) int32, of channel_words.
    """
    twice = channels * np.array([2, 1, 1, 1], np.int32)
    padded = np.pad(twice, ((0, len(twice) % 2), (0, 0))).astype("<i4").reshape(len(pairs), -1)
    return np.concatenate([pairs.reshape(len(pairs), -1), padded.view(np.int8)], axis=1)
