"""DEPTHWISE_CONV_2D for cores without DSP instructions and long multiplies: nd_depthwise_thumb and its strips."""

import numpy as np

from ndtool.export.c.call import Buffer, Call, Constant, Overlap, Scratch, Struct
from ndtool.export.c.graph import Op, Tensor
from ndtool.export.c.operators import sums
from ndtool.export.c.operators.conv_thumb import narrow_channels
from ndtool.export.c.operators.windows import Window, window_distance
from ndtool.export.c.quantisation import Multiplier

PIXELS = 4  # of one tile
TILE_BYTES = 20
MOST_COLUMNS = 7  # of a filter


def thumb_depthwise(
    op: Op,
    portable: Struct,
    source: Tensor,
    multipliers: list[Multiplier],
    windows: tuple[Window, Window],
) -> Call | None:
    """The call of nd_depthwise_thumb, or None where it cannot do the layer.

    Args: those of thumb_convolution; the parameters are those of nd_depthwise.
    """
    target = op.outputs[0]
    height, width = windows
    rows = strip_rows(height, width, source.shape[3])
    if target.shape[3] != source.shape[3] or width.filter > MOST_COLUMNS or rows is None:
        return None
    weights = np.ascontiguousarray(np.moveaxis(sums.data_of(sums.filter_of(op))[0], 2, 0))
    channels = narrow_channels(op, sums.folded_bias(op, weights), weights, multipliers)
    if channels is None:
        return None
    params = Struct(
        ctype=portable.ctype,
        fields={
            **{name: value for name, value in portable.fields.items() if name not in ("bias", "multipliers", "shifts")},
            "weights": Constant(role="weights", values=weights),
            "bias": channels,
        },
    )
    step = rows * width.output
    return Call(
        op=op,
        kernel="nd_depthwise_thumb",
        arguments=(
            Buffer(tensor=target),
            Buffer(tensor=source),
            Scratch(bytes=strip_bytes(rows, height, width, source.shape[3]), ctype="uint32_t"),
            rows,
            params,
        ),
        macs=int(np.prod(target.shape)) * height.filter * width.filter,
        overlaps=(Overlap(input=source, distance=_distance(source, target, windows, rows, step)),),
        rows=height.rows if width.output >= PIXELS else None,  # a band of rows is a strip, or several
    )


def strip_rows(height: Window, width: Window, depth: int) -> int | None:
    """Rows of the output that are made at a time: those that leave least to do twice; None if there is no way.

    A strip has at least four pixels, also the last one.
    """
    possible = [
        rows
        for rows in range(1, height.output + 1)
        if rows * width.output >= PIXELS and (height.output % rows) * width.output not in range(1, PIXELS)
    ]
    enough = height.input * width.input * depth // 3  # what a strip may take for more rows than must be
    small = [rows for rows in possible if strip_bytes(rows, height, width, depth) <= enough]
    return min(small or possible[:1], key=lambda rows: (_tiles(rows, height, width), rows), default=None)


def strip_bytes(rows: int, height: Window, width: Window, depth: int) -> int:
    """The image under some rows of the output, its borders included, and the list of tiles."""
    area = _reach(rows, height) * _reach(width.output, width) * depth
    return -(-area // 4) * 4 + TILE_BYTES * -(-rows * width.output // PIXELS)


def _reach(outputs: int, window: Window) -> int:
    return (outputs - 1) * window.stride + window.reach


def _tiles(rows: int, height: Window, width: Window) -> int:
    whole, left = divmod(height.output, rows)
    return whole * -(-rows * width.output // PIXELS) + -(-left * width.output // PIXELS)


def _distance(source: Tensor, target: Tensor, windows: tuple[Window, Window], rows: int, step: int) -> int:
    """Strips are read before they are written; every batch starts anew."""
    if source.shape[0] > 1 and windows[0].output % rows:
        step = 1  # strips of different sizes: as if each were one pixel, written while the next are still to be read
    return window_distance(source, target, *windows, step=step, buffered=step > 1)
