"""RESIZE_NEAREST_NEIGHBOR: which row and column is nearest is computed ahead of time."""

import numpy as np

from ndtool.export.c import rules
from ndtool.export.c.call import Alias, Buffer, Call, Constant, Struct, Value
from ndtool.export.c.context import Context
from ndtool.export.c.graph import Op
from ndtool.export.c.operators.movement import constant_inputs, values


def nearest(size: int, target: int, *, align_corners: bool, half_pixel_centers: bool) -> np.ndarray:
    """The index below `size` nearest to each of `target` indices, in float32 as the reference computes it."""
    if align_corners and target > 1:
        scale = np.float32(size - 1) / np.float32(target - 1)
    else:
        scale = np.float32(size) / np.float32(target)
    offset = np.float32(0.5 if half_pixel_centers else 0.0)
    positions = (np.arange(target, dtype=np.float32) + offset) * scale
    whole = np.floor(positions)
    if align_corners:  # rounded, halves away from zero
        whole += positions - whole >= np.float32(0.5)
    return np.minimum(whole.astype(np.int64), size - 1).astype(np.uint16)


def lower(op: Op, context: Context) -> Call | Alias:
    """Rows and columns as tables of indices."""
    source, output = op.inputs[0], op.outputs[0]
    assert source is not None
    batches, height, width, channels = source.shape
    settings = {name: bool(op.options.get(name, False)) for name in ("align_corners", "half_pixel_centers")}
    if (height, width) == output.shape[1:3]:
        return Alias(op=op, input=source, output=output)
    fields: dict[str, Value] = {
        "batches": batches,
        "input_height": height,
        "input_width": width,
        "output_height": output.shape[1],
        "output_width": output.shape[2],
        "channels": channels,
        "rows": Constant(role="rows", values=nearest(height, output.shape[1], **settings)),
        "columns": Constant(role="columns", values=nearest(width, output.shape[2], **settings)),
    }
    arguments = (Buffer(tensor=output), Buffer(tensor=source), Struct(ctype="nd_resize_params", fields=fields))
    return Call(op=op, kernel="nd_resize_nearest", arguments=arguments)


def is_an_image(op: Op) -> str | None:
    """input and output must be NHWC, at most 65535 pixels high and wide, and the size the output's height and width"""
    source, output = op.inputs[0], op.outputs[0]
    assert source is not None
    shapes, size = (source.shape, output.shape), values(op.inputs[1])
    if any(len(shape) != 4 or max(shape) > 65535 for shape in shapes):
        return f"the shapes are {source.shape} and {output.shape}"
    fits = (source.shape[0], *size, source.shape[3]) == output.shape
    return None if fits else f"the shapes are {source.shape} and {output.shape}, the size {size}"


RULES = (
    rules.inputs_are(2),
    rules.has_one_output,
    rules.input_is_int8,
    rules.input_is_computed,
    rules.outputs_are_int8,
    constant_inputs(1, 1, "the size"),
    is_an_image,
)
