"""PAD into the window that reads it: the border is not written to memory, nor is the image copied."""

from ndtool.export.c.graph import Op, Tensor
from ndtool.export.c.operators.padding import padding_value, paddings
from ndtool.export.c.operators.pooling import pool_windows
from ndtool.export.c.operators.sums import filter_of
from ndtool.export.c.operators.windows import Window, windows
from ndtool.export.c.quantisation import INT8_MIN
from ndtool.export.c.rewrites.uses import Uses, alike, fused


def pad_in_the_convolution(op: Op, uses: Uses) -> tuple[Op, ...] | None:
    """A border of the zero point is what convolutions take for everything outside the image."""
    pad = _pad_before(op, uses)
    if pad is None or padding_value(pad) != _source(op).zero_point[0]:
        return None
    _, height, width, _ = filter_of(op).shape
    return _taken_over(op, pad, windows(_source(op), (height, width), op.options))


def pad_in_the_pool(op: Op, uses: Uses) -> tuple[Op, ...] | None:
    """A border of -128 is as good as none to a maximum, as long as a part of the image is in every window."""
    pad = _pad_before(op, uses)
    if pad is None or padding_value(pad) != INT8_MIN:
        return None
    return _taken_over(op, pad, pool_windows(op))


def _source(op: Op) -> Tensor:
    assert op.inputs[0] is not None
    return op.inputs[0]


def _pad_before(op: Op, uses: Uses) -> Op | None:
    """The PAD that feeds this operator alone, if it pads height and width only and does not requantise."""
    pad = uses.sole_maker(_source(op))
    if pad is None or pad.kind not in ("PAD", "PADV2"):
        return None
    batch, *_, channels = paddings(pad)
    spatial = batch == channels == (0, 0)
    return pad if spatial and alike(_source(pad), pad.outputs[0]) else None


def _taken_over(op: Op, pad: Op, axes: tuple[Window, Window]) -> tuple[Op, ...] | None:
    padding = []
    for window, size, (before, _) in zip(axes, _source(pad).shape[1:3], paddings(pad)[1:3], strict=True):
        before += window.before
        after = (window.output - 1) * window.stride + window.reach - before - size
        if max(before, after) >= window.reach:
            return None  # a window would lie outside the image
        padding.append((before, after))
    options = {**op.options, "padding": tuple(padding)}
    return (fused(op, pad, inputs=(_source(pad), *op.inputs[1:]), options=options),)
