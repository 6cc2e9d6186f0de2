"""Requantisation in 32 bits for cores without a long multiply: the words of a channel that kernels/nd_narrow.h reads.

The int8 output of a sum is monotonic in it, so that two formulas agree everywhere if they agree on both sides of the at
most 255 thresholds at which the output steps. That makes it cheap to prove, channel by channel, that a shorter formula
gives every output of the reference.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ndtool.export.c.graph import Op
from ndtool.export.c.operators import sums
from ndtool.export.c.operators.fixed_point import requantize
from ndtool.export.c.quantisation import Multiplier, activation_range, round_away

Reference = Callable[[np.ndarray], np.ndarray]
"""A channel's scaled sums, not clamped, the output's zero point added: int64 to int64, monotonic."""

BIAS_BITS = 27  # it shares a word with the size
HIGH_BITS = 14  # of the upper part of a multiplier: its rounding, up to three times as large, has 16 bits
LOW_BITS = 16  # at most, of the lower part
LIMIT_BITS = 10
MOST_SHIFT = 24  # the output's eight bits lie above
MOST_SIZE = 20
DISTANCES = sorted(range(-32, 33), key=abs)  # of a multiplier from the nearest one


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """A channel: its real multiplier, the reference and how far its sums below zero are rounded differently.

    `step`: sums below zero come out smaller by 2^-step of an output; None: they do not.
    """

    real: float
    reference: Reference
    step: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """What the channels of a layer share: the output's zero point, its least and its largest value."""

    zero_point: int
    lowest: int
    highest: int

    def reference(self, scaling: Scaling, x: np.ndarray) -> np.ndarray:
        """The int8 outputs of sums, as int64."""
        return np.clip(scaling.reference(x), self.lowest, self.highest)


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """The numbers of a channel."""

    start: int  # of its sums
    size: int  # one output has about 2^size sums
    limit: int  # what larger sums are taken for, in units of 2^(size - 1)
    multiplier: int
    rounding: int
    stepped: bool

    @property
    def low_shift(self) -> int:
        """The number of bits in the lower part of the multiplier."""
        return min(LOW_BITS, 23 - self.size)

    @property
    def shift(self) -> int:
        """From products to outputs."""
        return min(MOST_SHIFT, HIGH_BITS + self.size)

    @property
    def step(self) -> int:
        """What is taken from products that belong to sums below zero."""
        return 1 << self.shift - self.size if self.stepped else 0

    @property
    def words(self) -> tuple[int, int, int] | None:
        """The three words, if everything fits."""
        high, low = self.multiplier >> self.low_shift, self.multiplier & (1 << self.low_shift) - 1
        fields = (
            (self.start + (1 << BIAS_BITS - 1), BIAS_BITS),
            (self.limit, LIMIT_BITS),
            (self.rounding, 16),
            (high, 16),
        )
        if any(not 0 <= value < 1 << bits for value, bits in fields):
            return None
        return (
            (self.start & (1 << BIAS_BITS) - 1) << 5 | (self.size - 1),
            high << 16 | low,
            self.limit << 22 | self.stepped << 21 | self.shift << 16 | self.rounding,
        )

    def outputs(self, x: np.ndarray, layer: Layer) -> np.ndarray:
        """nd_narrow of sums: what its 32 bits make of them. int64 to int64."""
        clamped = np.clip(x, 0, self.limit << self.size - 1)
        total = (clamped * self.multiplier >> self.low_shift) + (layer.lowest << self.shift) + self.rounding
        middle = (2 * layer.zero_point + 1) << self.shift >> 1
        total -= np.where(total < middle, self.step, 0)
        return ((total + (1 << 31)) % (1 << 32) - (1 << 31)) >> self.shift


def layer_of(op: Op) -> Layer:
    """Of an operator with a fused activation."""
    target = op.outputs[0]
    zero_point = target.zero_point[0]
    lowest, highest = activation_range(op.options["fused_activation_function"], target.scale[0], zero_point)
    return Layer(zero_point=zero_point, lowest=lowest, highest=highest)


def fixed_point(multipliers: Sequence[Multiplier], zero_point: int) -> list[Scaling]:
    """Channels that are rounded twice, like those of convolutions."""

    def reference(multiplier: Multiplier) -> Reference:
        return lambda x: requantize(x, multiplier) + zero_point

    return [
        Scaling(real=m.value * 2.0 ** (m.shift - 31), reference=reference(m), step=max(-m.shift, 0))
        for m in multipliers
    ]


def double_precision(reals: Sequence[float], zero_point: int) -> list[Scaling]:
    """Channels that are scaled in double precision and rounded once, like those of FULLY_CONNECTED."""

    def reference(real: float) -> Reference:
        return lambda x: round_away(x * real) + zero_point

    return [Scaling(real=real, reference=reference(real), step=None) for real in reals]


def narrow(bias: np.ndarray, weights: np.ndarray, scalings: Sequence[Scaling], layer: Layer) -> np.ndarray | None:
    """The three words of each channel, proved for every sum that can occur, (channels, 3) uint32; None if one has none.

    Args:
        bias: (channels,) int64, as the sums start.
        weights: (channels, ...) int8.
        scalings: one for each channel, or one for all.
        layer: the rest.
    """
    least, most = sums.sum_ranges(bias, weights)
    if max(each.real for each in scalings) > 0.5:
        return None
    words = []
    for n, span in enumerate(zip(least.tolist(), most.tolist(), strict=True)):
        found = _channel(scalings[n if len(scalings) > 1 else 0], int(bias[n]), span, layer)
        if found is None or found.words is None:
            return None
        words.append(found.words)
    return np.array(words, np.uint32)


def narrow_shared(
    bias: np.ndarray, weights: np.ndarray, scaling: Scaling, layer: Layer
) -> tuple[np.ndarray, np.ndarray] | None:
    """As `narrow`, where all channels are scaled alike: starts of their sums, (channels,) int32, and words, (1, 3)."""
    least, most = sums.sum_ranges(bias, weights)
    found = _channel(scaling, 0, (int(least.min()), int(most.max())), layer) if scaling.real <= 0.5 else None
    if found is None or found.words is None:
        return None
    return (bias + found.start).astype(np.int32), np.array([found.words], np.uint32)


def _channel(scaling: Scaling, bias: int, span: tuple[int, int], layer: Layer) -> Channel | None:
    """The numbers of a channel whose sums lie in `span`."""
    results = np.arange(layer.lowest + 1, layer.highest + 1)
    thresholds = _thresholds(scaling, span, results)
    inside = (thresholds > span[0]) & (thresholds <= span[1])
    thresholds, results = thresholds[inside], results[inside]
    if not len(results):
        return _constant(int(layer.reference(scaling, np.array(span))[0]), bias - span[0], layer)
    if max(map(abs, span)) >= 1 << 29:
        return None
    tried = np.concatenate([thresholds, thresholds - 1, np.array(span)])
    expected = layer.reference(scaling, tried)
    real = max(scaling.real, 2.0**-MOST_SIZE)
    for plain in _shapes(scaling, bias):
        wanted = ((results - layer.lowest) << plain.shift) + np.where(thresholds < 0, plain.step, 0)
        nearest = round(real * 2.0 ** (plain.shift + plain.low_shift))
        for multiplier in (nearest + distance for distance in DISTANCES):
            fitted = _fit(multiplier, plain.low_shift, thresholds, wanted, plain.step)
            if fitted is None:
                continue
            offset, rounding = fitted
            end = ((layer.highest - layer.lowest + 1) << plain.shift) - rounding
            limit = min(((end << plain.low_shift) - 1) // multiplier >> plain.size - 1, (1 << LIMIT_BITS) - 1)
            found = replace(plain, start=bias + offset, limit=limit, multiplier=multiplier, rounding=rounding)
            if found.words and np.array_equal(found.outputs(tried + offset, layer), expected):
                return found
    return None


def _shapes(scaling: Scaling, bias: int) -> list[Channel]:
    """What may be tried: as the multiplier suggests, then with more bits for the multiplier and fewer for the sums.

    The latter is for channels that do not reach the largest outputs, but have larger sums for each than most.
    """
    size = min(int(-np.log2(scaling.real)) if scaling.step is None else scaling.step, MOST_SIZE)
    plain = Channel(start=bias, size=size, limit=0, multiplier=0, rounding=0, stepped=scaling.step is not None)
    smaller = range(size - 1, MOST_SHIFT - HIGH_BITS - 1, -1)
    return [plain, replace(plain, stepped=not plain.stepped), *(replace(plain, size=s, stepped=False) for s in smaller)]


def _fit(
    multiplier: int, low_shift: int, thresholds: np.ndarray, wanted: np.ndarray, least_rounding: int
) -> tuple[int, int] | None:
    """What to add to sums and to their products so that these reach `wanted` at the thresholds and not before."""

    def rounding(offset: int) -> tuple[int, int]:
        products = [(thresholds + offset - before) * multiplier >> low_shift for before in (0, 1)]
        return int(np.max(wanted - products[0])), int(np.min(wanted - products[1])) - 1

    offset = int(wanted[0] << low_shift) // multiplier - int(thresholds[0])
    offset += (rounding(offset)[0] - least_rounding) // max(multiplier >> low_shift, 1)
    least, most = rounding(offset)
    return (offset, (least + most) // 2) if least <= most else None


def _constant(value: int, above: int, layer: Layer) -> Channel:
    """A channel with but one output: its sums, at least `above` below their start, are all beyond its limit."""
    limit = value - layer.lowest
    start = above + (limit << 8) if limit else -(1 << BIAS_BITS - 1)
    return Channel(start=start, size=9, limit=limit, multiplier=1 << 29, rounding=0, stepped=False)


def _thresholds(scaling: Scaling, span: tuple[int, int], results: np.ndarray) -> np.ndarray:
    """The least sum that gives each result or more; where none does, one more than the largest."""
    low = np.full(len(results), span[0], np.int64)
    high = np.full(len(results), span[1] + 1, np.int64)
    while np.any(low < high):
        middle = (low + high) >> 1
        enough = scaling.reference(middle) >= results
        high = np.where(enough, middle, high)
        low = np.where(enough | (low >= high), low, middle + 1)
    return low
