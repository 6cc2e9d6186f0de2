"""CONV_2D for cores with the DSP extension: nd_convolve and nd_convolve_1x1, each with two kernels of tiles."""

import numpy as np

from ndtool.export.c.call import Buffer, Call, Constant, Overlap, Scratch, Struct
from ndtool.export.c.context import Features
from ndtool.export.c.graph import Op, Tensor
from ndtool.export.c.operators import sums
from ndtool.export.c.operators.fast import channel_words
from ndtool.export.c.operators.pairs import column_order, paired_weights, shared_order, with_channels
from ndtool.export.c.operators.windows import Window, trailing_distance, window_reads
from ndtool.export.c.quantisation import INT8_MIN, Multiplier

PIXELS = 4  # of one tile
AHEAD = 8  # bytes behind the columns that nd_tile_4_dual loads, and does not use


def dsp_convolution(
    op: Op,
    portable: Struct,
    source: Tensor,
    multipliers: list[Multiplier],
    windows: tuple[Window, Window],
    features: Features,
) -> tuple[Call, ...]:
    """The calls of DSP kernels, none where none can do the layer: groups, weights or a multiplier out of range.

    Args:
        op: the convolution. source: its input.
        portable: the parameters of nd_conv.
        multipliers: of each channel, or one for all.
        windows: over height and width.
        features: of the target, which has the DSP extension.
    """
    target, weights = op.outputs[0], sums.data_of(sums.filter_of(op))
    if weights.shape[3] != source.shape[3]:
        return ()
    bias = sums.folded_bias(op, weights)
    words = channel_words(bias, weights, multipliers, target.zero_point[0])
    order = _order(windows, source.shape[3])
    pairs = paired_weights(weights.reshape(len(weights), -1), order)
    if words is None or pairs is None:
        return ()
    pointwise = weights[0].size == source.shape[3] and source.shape[3] % 4 == 0 and _plain(windows)
    params = Struct(
        ctype=portable.ctype,
        fields={
            **{name: value for name, value in portable.fields.items() if name not in ("bias", "multipliers", "shifts")},
            "weights": Constant(role="weights", values=with_channels(pairs, words)),
            "exact": int(_negative_sums_matter(op, bias, weights, portable)),
        },
    )
    piece = 0 if pointwise else _piece(windows, source.shape[3])

    def call(tile: str, behind: int) -> Call:
        columns = Scratch(bytes=4 * PIXELS * len(order) + behind, ctype="uint32_t")
        return Call(
            op=op,
            kernel=f"nd_conv_{'1x1_' if pointwise else ''}{tile}",
            arguments=(Buffer(tensor=target), Buffer(tensor=source), columns, params),
            macs=int(np.prod(target.shape)) * weights[0].size,
            overlaps=(Overlap(input=source, distance=_distance(source, target, windows)),),
            rows=windows[0].rows,
        )

    fewest = call("dsp", piece)
    return (call("dual", max(piece, AHEAD)), fewest) if features.dual_issue else (fewest,)


def _order(windows: tuple[Window, Window], depth: int) -> np.ndarray:
    """The order of taps in a column: `shares` of nd_convolve says which."""
    height, width = windows
    shares = (width.filter, width.stride, width.dilation, width.output % PIXELS, depth % 4) == (3, 1, 1, 0, 0)
    return shared_order(height.filter, depth) if shares else column_order(height.filter, width.filter * depth)


def _distance(source: Tensor, target: Tensor, windows: tuple[Window, Window]) -> int:
    """How far the output must trail the input: four pixels at a time are read, then written, the last one by one."""
    reads = window_reads(source.shape[0], *windows, source.shape[3])
    tiles = len(reads) // PIXELS * PIXELS
    starts = np.concatenate([np.arange(0, tiles, PIXELS), np.arange(tiles, len(reads))])
    ends = np.append(starts[1:], len(reads)) * target.shape[3]
    return trailing_distance(ends, np.minimum.reduceat(reads, starts), buffered=True)


def _plain(windows: tuple[Window, Window]) -> bool:
    return all(window.stride == 1 for window in windows)


def _piece(windows: tuple[Window, Window], depth: int) -> int:
    """Bytes of the piece of the image that nd_convolve copies for windows that are not in the image as they are."""
    height, width = windows
    inside = all((w.output - 1) * w.stride + w.reach - w.before <= w.input and not w.before for w in windows)
    each = PIXELS * width.filter if width.output % PIXELS or width.dilation > 1 else 0
    together = 0 if inside or width.output < PIXELS else (PIXELS - 1) * width.stride + width.filter
    return max(each, together) * height.filter * depth


def _negative_sums_matter(op: Op, bias: np.ndarray, weights: np.ndarray, params: Struct) -> bool:
    """Whether a negative sum can give more than the smallest output: it gives at most the zero point."""
    low = params.fields["activation_min"]
    assert isinstance(low, int)
    least, _ = sums.sum_ranges(bias, weights)
    return op.outputs[0].zero_point[0] > max(low, INT8_MIN) and bool(least.min() < 0)
