"""CONV_2D for cores with the DSP extension: nd_conv_dsp and its layout of the weights."""

import numpy as np

from ndtool.export.c.call import Buffer, Call, Constant, Overlap, Scratch, Struct
from ndtool.export.c.graph import Op, Tensor
from ndtool.export.c.operators import sums
from ndtool.export.c.operators.fast import channel_words
from ndtool.export.c.operators.windows import Window, window_distance
from ndtool.export.c.quantisation import Multiplier

PIXELS = 4  # of one tile
TAPS = 4  # the granularity of a window


def dsp_convolution(
    op: Op,
    portable: Struct,
    source: Tensor,
    multipliers: list[Multiplier],
    windows: tuple[Window, Window],
) -> Call | None:
    """The call of nd_conv_dsp, or None where it cannot do the layer: groups, or a multiplier out of its range.

    Args:
        op: the convolution. source: its input.
        portable: the parameters of nd_conv.
        multipliers: of each channel, or one for all.
        windows: over height and width.
    """
    target, weights = op.outputs[0], sums.data_of(sums.filter_of(op))
    if weights.shape[3] != source.shape[3]:
        return None
    words = channel_words(sums.folded_bias(op, weights), weights, multipliers, target.zero_point[0])
    if words is None:
        return None
    taps = -(-weights[0].size // TAPS) * TAPS
    direct = source.shape[3] % 4 == 0 and windows[1].dilation == 1
    distance = window_distance(source, target, *windows, step=PIXELS, buffered=True)
    params = Struct(
        ctype=portable.ctype,
        fields={
            **{name: value for name, value in portable.fields.items() if name not in ("bias", "multipliers", "shifts")},
            "weights": Constant(role="weights", values=paired_weights(weights)),
            "channels": Constant(role="channels", values=_even(words)),
        },
    )
    columns = Scratch(bytes=2 * PIXELS * taps + (0 if direct else taps), ctype="uint32_t")
    return Call(
        op=op,
        kernel="nd_conv_dsp",
        arguments=(Buffer(tensor=target), Buffer(tensor=source), columns, params),
        macs=int(np.prod(target.shape)) * weights[0].size,
        overlaps=(Overlap(input=source, distance=distance),),
        rows=windows[0].rows,
    )


def paired_weights(weights: np.ndarray) -> np.ndarray:
    """Weights in the order in which nd_tile_4 reads them, an odd channel or tap filled up with zeros.

    (channels, ...) to (pairs of channels, groups of four taps, 2, 2, 2) int8: of taps k0 to k3 of a group first k0 and
    k2, then k1 and k3, each of them of both channels.
    """
    flat = weights.reshape(len(weights), -1)
    padded = np.pad(flat, ((0, len(flat) % 2), (0, -flat.shape[1] % TAPS)))
    grouped = padded.reshape(len(padded) // 2, 2, -1, 2, 2)  # pair, channel, group, tap // 2, tap % 2
    return np.ascontiguousarray(grouped.transpose(0, 2, 4, 3, 1))


def _even(words: np.ndarray) -> np.ndarray:
    return np.pad(words, ((0, len(words) % 2), (0, 0)))
