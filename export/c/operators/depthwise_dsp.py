"""DEPTHWISE_CONV_2D for cores with the DSP extension: nd_depthwise_dsp, its bands, weights and channels' words."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ndtool.export.c.call import Buffer, Call, Constant, Overlap, Scratch, Struct
from ndtool.export.c.graph import Op
from ndtool.export.c.operators import sums
from ndtool.export.c.operators.fast import channel_words
from ndtool.export.c.operators.fixed_point import requantize
from ndtool.export.c.operators.relu_words import SCALE, relu_words
from ndtool.export.c.operators.windows import Window, trailing_distance
from ndtool.export.c.quantisation import INT8_MAX, INT8_MIN, Multiplier

PLANES = 4  # channels at a time
PLANES_BYTES = 4608  # a band of rows takes about so many, more only where one row of outputs needs them
HEADER_WORDS = 7  # nd_plane without its working memory


def dsp_depthwise(
    op: Op, portable: Struct, multipliers: list[Multiplier], windows: tuple[Window, Window]
) -> Call | None:
    """The call of a kernel of nd_depthwise_dsp, or None where none can do the layer.

    None can where there are several output channels for an input channel, where taps of a row are dilated, more than 7
    or more than 2 apart from window to window, and where multipliers or sums are out of the fast arithmetic's range.
    None should where rows have one output only: a kernel makes two at least.

    Args:
        op: the convolution.
        portable: the parameters of nd_depthwise.
        multipliers: of each channel, or one for all.
        windows: over height and width.
    """
    source, target = op.inputs[0], op.outputs[0]
    assert source is not None
    weights = np.moveaxis(sums.data_of(sums.filter_of(op))[0], 2, 0)  # (channels, height, width)
    height, width = windows
    taps = _taps(height, width)
    if taps is None or target.shape[3] != source.shape[3]:
        return None
    bias = sums.folded_bias(op, weights)
    words = None
    relu = target.zero_point[0] == INT8_MIN
    if relu:
        words = relu_words(bias, weights, multipliers, scales_taps=taps == 3)
    if words is None:
        relu, words = False, _scaled_words(bias, weights, multipliers, target.zero_point[0])
    if words is None:
        return None
    padded = _padded(weights, taps)
    bands = Bands(height=height, width=width, filter_height=padded.shape[1], taps=taps)
    low, high = _bounds(bias, weights, multipliers, portable)
    dropped = ("bias", "multipliers", "shifts", "channel_step")
    params = Struct(
        ctype=portable.ctype,
        fields={
            **{name: value for name, value in portable.fields.items() if name not in dropped},
            "filter_height": padded.shape[1],
            "filter_width": taps,
            "activation_min": low,
            "activation_max": high,
            "weights": Constant(role="weights", values=padded),
            "bias": Constant(role="channels", values=words),
        },
    )
    scratch = Scratch(bytes=bands.scratch_bytes, ctype="uint32_t")
    distance = bands.distance(source.shape[0], source.shape[3])
    return Call(
        op=op,
        kernel=f"nd_depthwise_{taps}{'_2' if width.stride == 2 else ''}{'_relu' if relu else ''}",
        arguments=(Buffer(tensor=target), Buffer(tensor=source), scratch, bands.rows, params),
        macs=int(np.prod(target.shape)) * height.filter * width.filter,
        overlaps=(Overlap(input=source, distance=distance, exact=True),),
        rows=height.rows,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Bands:
    """How nd_depthwise_dsp goes through an image."""

    height: Window
    width: Window
    filter_height: int  # filled up
    taps: int  # of a row, filled up

    @property
    def reach(self) -> int:
        """Rows that one row of outputs needs."""
        return (self.filter_height - 1) * self.height.dilation + 1

    @property
    def row_bytes(self) -> int:
        """Of one row in all planes."""
        columns = self.width.output * self.width.stride + self.taps + 1
        return PLANES * 2 * (columns + columns % 2)

    @property
    def outputs(self) -> int:
        """Rows of outputs in a band: as many in one as in another, as far as possible."""
        fitting = max(1, (PLANES_BYTES // self.row_bytes - self.reach) // self.height.stride + 1)
        bands = -(-self.height.output // fitting)
        return -(-self.height.output // bands)

    @property
    def rows(self) -> int:
        """Rows of a plane."""
        return (self.outputs - 1) * self.height.stride + self.reach

    @property
    def scratch_bytes(self) -> int:
        """nd_plane, its working memory and the planes."""
        more = self.filter_height * self.taps + 1 + self.outputs if self.taps > 3 else 0
        return 4 * (HEADER_WORDS + more) + self.rows * self.row_bytes

    def distance(self, batches: int, channels: int) -> int:
        """Bytes by which the output may begin before the input; a whole number of pixels and of words.

        Then an output lands on a pixel of the same channel, so that channels do not disturb each other. In each, a
        band's outputs are written when all rows are read that the band and those before it need.
        """
        starts = np.arange(0, self.height.output, self.outputs)
        kept = np.where(starts > 0, max(self.reach - self.height.stride, 0), 0)
        rows = np.clip(starts * self.height.stride + kept - self.height.before, 0, self.height.input)
        ends = np.minimum(starts + self.outputs, self.height.output)
        images = np.arange(batches)[:, None]
        reads = (images * self.height.input + rows) * self.width.input
        written = (images * self.height.output + ends) * self.width.output
        pixels = trailing_distance(written.reshape(-1), reads.reshape(-1), buffered=True)
        whole = 4 // int(np.gcd(channels, 4))
        return -(-pixels // whole) * whole * channels


def _taps(height: Window, width: Window) -> int | None:
    """The width to which a filter is filled up; None if there is no kernel for it, or none that pays."""
    dilated = width.dilation > 1 and width.filter > 1
    if dilated or width.stride > 2 or width.filter > 7 or width.output < 2:
        return None
    if width.filter <= 3:
        return 3 if height.filter <= 3 else 5  # the kernel for 3 columns is one for 3 rows
    return 5 if width.filter <= 5 else 7


def _padded(weights: np.ndarray, taps: int) -> np.ndarray:
    """(channels, height, width) to (channels, height, taps), or to (channels, 3, 3)."""
    below = max(0, 3 - weights.shape[1]) if taps == 3 else 0
    return np.ascontiguousarray(np.pad(weights, ((0, 0), (0, below), (0, taps - weights.shape[2]))))


def _scaled_words(
    bias: np.ndarray, weights: np.ndarray, multipliers: Sequence[Multiplier], zero_point: int
) -> np.ndarray | None:
    """channel_words with 2^SCALE times the bias; None if there are none or sums so much larger do not fit."""
    words = channel_words(bias, weights, multipliers, zero_point)
    if words is None:
        return None
    magnitudes = np.abs(weights.reshape(len(weights), -1).astype(np.int64)).sum(axis=1)
    if np.any((np.abs(words[:, 0].astype(np.int64)) - INT8_MIN * magnitudes) << SCALE >= 1 << 31):
        return None
    return words * np.array([1 << SCALE, 1, 1, 1], np.int32)


def _bounds(
    bias: np.ndarray, weights: np.ndarray, multipliers: Sequence[Multiplier], portable: Struct
) -> tuple[int, int]:
    """The activation's bounds; those of int8, which cost nothing, where no output is beyond them."""
    low, high = portable.fields["activation_min"], portable.fields["activation_max"]
    zero_point = portable.fields["output_zero_point"]
    assert isinstance(low, int)
    assert isinstance(high, int)
    assert isinstance(zero_point, int)
    ends = np.stack(sums.sum_ranges(bias, weights))
    if len(multipliers) == 1:
        outputs = requantize(ends, multipliers[0]) + zero_point
    else:
        outputs = np.stack([requantize(ends[:, c], m) for c, m in enumerate(multipliers)]) + zero_point
    return INT8_MIN if outputs.min() >= low else low, INT8_MAX if outputs.max() <= high else high
