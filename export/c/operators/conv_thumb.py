"""CONV_2D for cores without DSP instructions and long multiplies: nd_conv_thumb and its layout of the weights."""

import numpy as np

from ndtool.export.c.call import Buffer, Call, Constant, Overlap, Scratch, Struct
from ndtool.export.c.graph import Op, Tensor
from ndtool.export.c.operators import narrow, sums
from ndtool.export.c.operators.windows import Window, window_distance
from ndtool.export.c.quantisation import Multiplier

PIXELS = 4  # of one tile
CHANNELS = 8  # that lie together
TAPS = 2  # the granularity of a window


def thumb_convolution(
    op: Op,
    portable: Struct,
    source: Tensor,
    multipliers: list[Multiplier],
    windows: tuple[Window, Window],
) -> Call | None:
    """The call of nd_conv_thumb, or None where it cannot do the layer: groups, or a multiplier out of its range.

    Args:
        op: the convolution. source: its input.
        portable: the parameters of nd_conv.
        multipliers: of each channel, or one for all.
        windows: over height and width.
    """
    target, weights = op.outputs[0], sums.data_of(sums.filter_of(op))
    if weights.shape[3] != source.shape[3] or not pairs_are_exact(weights):
        return None
    channels = narrow_channels(op, sums.folded_bias(op, weights), weights, multipliers)
    if channels is None:
        return None
    taps = -(-weights[0].size // TAPS) * TAPS
    edged = any(window.has_edges for window in windows) or windows[1].dilation > 1
    edges = PIXELS * weights[0, 0].size if edged and weights.shape[1:3] != (1, 1) else 0
    params = Struct(
        ctype=portable.ctype,
        fields={
            **{name: value for name, value in portable.fields.items() if name not in ("bias", "multipliers", "shifts")},
            "weights": Constant(role="weights", values=interleaved_weights(weights)),
            "bias": channels,
        },
    )
    return Call(
        op=op,
        kernel="nd_conv_thumb",
        arguments=(
            Buffer(tensor=target),
            Buffer(tensor=source),
            Scratch(bytes=2 * PIXELS * taps + edges, ctype="uint32_t"),
            params,
        ),
        macs=int(np.prod(target.shape)) * weights[0].size,
        overlaps=(
            Overlap(input=source, distance=window_distance(source, target, *windows, step=PIXELS, buffered=True)),
        ),
        rows=windows[0].rows,
    )


def narrow_channels(op: Op, bias: np.ndarray, weights: np.ndarray, multipliers: list[Multiplier]) -> Constant | None:
    """The words of each channel of a convolution; None if one has none. `weights`: (channels, ...)."""
    layer = narrow.layer_of(op)
    words = narrow.narrow(bias, weights, narrow.fixed_point(multipliers, layer.zero_point), layer)
    return None if words is None else Constant(role="channels", values=words.view(np.int32))


def pairs_are_exact(weights: np.ndarray) -> bool:
    """Whether the products of every two taps fit 16 bits: they do unless both weights are -128. (channels, ...)."""
    return not np.any(np.all(_in_pairs(weights) == -128, axis=2))


def interleaved_weights(weights: np.ndarray) -> np.ndarray:
    """Weights in the order in which nd_thumb_tile reads them, filled up with zeros.

    (channels, ...) to (groups of eight channels, even number of taps, 8) int8.
    """
    flat = _in_pairs(weights).reshape(len(weights), -1)
    padded = np.pad(flat, ((0, -len(flat) % CHANNELS), (0, 0)))
    return np.ascontiguousarray(padded.reshape(-1, CHANNELS, flat.shape[1]).transpose(0, 2, 1))


def _in_pairs(weights: np.ndarray) -> np.ndarray:
    """(channels, pairs of taps, 2)"""
    flat = weights.reshape(len(weights), -1)
    return np.pad(flat, ((0, 0), (0, -flat.shape[1] % TAPS))).reshape(len(flat), -1, TAPS)
