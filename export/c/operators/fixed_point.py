"""The kernels' 32-bit fixed-point arithmetic on arrays of int64, for tables computed ahead of time.

Source: gemmlowp, fixedpoint.h, whose rounding the reference kernels use; the same functions in C are in
kernels/ndtool_kernels.h.
"""

import numpy as np

from ndtool.export.c.quantisation import Multiplier, quantise_multiplier

INT32_MAX = (1 << 31) - 1
FAST_LIMIT = 1 << 30


def int32(x: np.ndarray) -> np.ndarray:
    """The low 32 bits as a signed number: what a left shift leaves of an int32."""
    return ((x + (1 << 31)) & 0xFFFFFFFF) - (1 << 31)


def high_mul(a: np.ndarray, b: np.ndarray | int) -> np.ndarray:
    """a * b / 2^31 of int32 values, rounded to nearest, halves up, saturated."""
    return np.minimum((a * b + (1 << 30)) >> 31, INT32_MAX)


def rounding_shift(x: np.ndarray, bits: int) -> np.ndarray:
    """x / 2^bits, rounded to nearest, halves away from zero."""
    half = (1 << bits) >> 1
    return np.where(x < 0, -((-x + half) >> bits), (x + half) >> bits)


def requantize(x: np.ndarray, multiplier: Multiplier) -> np.ndarray:
    """x times a multiplier, rounded twice: nd_requantize."""
    shifted = int32(x << max(multiplier.shift, 0))
    return rounding_shift(high_mul(shifted, multiplier.value), max(-multiplier.shift, 0))


def fast_rounding(multiplier: Multiplier, zero_point: int) -> tuple[int, int] | None:
    """The rounding and the right shift of nd_requantize_fast for sums below 2^30; None where it cannot be used."""
    right = -multiplier.shift
    rounding = (zero_point << right) + (1 << right >> 1) if right > 0 else FAST_LIMIT
    return (rounding, right) if abs(rounding) < FAST_LIMIT else None


def rescale(x: np.ndarray, real: float) -> np.ndarray:
    """x times a real number in fixed point. A negative number is applied as its magnitude, then its sign."""
    return requantize(x, quantise_multiplier(abs(real))) * (-1 if real < 0 else 1)
