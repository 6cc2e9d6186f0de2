"""TFLite's quantisation arithmetic, bit for bit: what the reference kernels compute while they prepare.

Source: Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference", section 2.2; gemmlowp's fixedpoint.h for the rounding.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

INT8_MIN, INT8_MAX = -128, 127


@dataclass(frozen=True, slots=True)
class Multiplier:
    """A real number, `value` * 2^(shift - 31): value in [2^30, 2^31) or 0, shift (left if > 0) in [-31, 30]."""

    value: int
    shift: int


def quantise_multiplier(real: float) -> Multiplier:
    """The fixed-point form of a real multiplier (a double), as TFLite's QuantizeMultiplier gives it.

    Multipliers below 2^-32 become 0; those of 2^30 and more saturate.
    """
    if real == 0.0:
        return Multiplier(0, 0)
    fraction, shift = math.frexp(real)
    value = math.floor(fraction * (1 << 31) + 0.5)
    if value == 1 << 31:
        value //= 2
        shift += 1
    if shift < -31:
        return Multiplier(0, 0)
    if shift > 30:
        return Multiplier((1 << 31) - 1, 30)
    return Multiplier(value, shift)


def per_channel_multipliers(
    input_scale: float, weight_scales: Iterable[float], output_scale: float
) -> list[Multiplier]:
    """input_scale * weight_scale / output_scale for each channel, in double precision from float32 scales."""
    return [quantise_multiplier(float(input_scale) * float(scale) / float(output_scale)) for scale in weight_scales]


def activation_range(activation: str | tuple[int, int], scale: float, zero_point: int) -> tuple[int, int]:
    """The smallest and largest int8 output under a fused activation: NONE, RELU, RELU6 or RELU_N1_TO_1.

    Computed in float32, halves away from zero, as TFLite's CalculateActivationRangeQuantized does. Where a clamp was
    taken over from another operator, `activation` is the range itself.
    """
    if not isinstance(activation, str):
        return activation

    def quantised(real: float) -> int:
        ratio = float(np.float32(real) / np.float32(scale))
        return zero_point + int(math.copysign(math.floor(abs(ratio) + 0.5), ratio))

    low, high = {
        "NONE": (INT8_MIN, INT8_MAX),
        "RELU": (quantised(0.0), INT8_MAX),
        "RELU6": (quantised(0.0), quantised(6.0)),
        "RELU_N1_TO_1": (quantised(-1.0), quantised(1.0)),
    }[activation]
    return max(low, INT8_MIN), min(high, INT8_MAX)


def multiplier_like_double(
    real: float, sums: tuple[int, int], results: tuple[int, int], *, halves_up: bool = False
) -> Multiplier | None:
    """A multiplier that, rounded once, gives round(sum * real) as double precision computes it.

    LiteRT's FULLY_CONNECTED scales in double precision, halves away from zero, which a 31-bit multiplier can only
    follow where no sum comes too near to a half. This finds a multiplier, the nearest or one a few units beside it,
    that agrees for every sum in `sums` (smallest, largest) whose result matters: both are monotonic, so that it is
    enough to compare them around the sums where the result steps from one value in `results` (smallest, largest) to
    the next. With `halves_up` the kernel rounds halves up, not away from zero.

    Returns:
        None if there is none, or if a result could leave int32.
    """
    nearest = quantise_multiplier(real)
    low, high = sums
    if max(abs(low), abs(high)) * real >= (1 << 31) - 256 or not nearest.value:
        return nearest if real == 0.0 else None
    steps = (np.arange(results[0] + 1, results[1] + 1) - 0.5) / real
    steps = np.floor(steps[(steps > low - 4) & (steps < high + 4)]).astype(np.int64)
    tried = np.clip((steps[:, None] + np.arange(-3, 5)).reshape(-1), low, high)
    expected = round_away(tried * real)
    for distance in sorted(range(-64, 65), key=abs):
        value = nearest.value + distance
        if 0 < value < 1 << 31:
            candidate = Multiplier(value, nearest.shift)
            if np.array_equal(_requantise_once(tried, candidate, halves_up), expected):
                return candidate
    return None


def round_away(values: np.ndarray) -> np.ndarray:
    """To the nearest integer, halves away from zero, like C's round()."""
    whole = np.trunc(values)
    fraction = values - whole
    return (whole + (fraction >= 0.5) - (fraction <= -0.5)).astype(np.int64)


def _requantise_once(sums: np.ndarray, multiplier: Multiplier, halves_up: bool) -> np.ndarray:
    """nd_requantize_once of the kernels, or nd_output_floor."""
    total = 31 - multiplier.shift
    towards_zero = np.zeros_like(sums) if halves_up else (sums < 0).astype(np.int64)
    return np.asarray((sums * multiplier.value + (1 << (total - 1)) - towards_zero) >> total)
