"""Activations, and extrema with a constant, into the clamp of the operator before them."""

import numpy as np

from ndtool.export.c.graph import Op
from ndtool.export.c.operators.elementwise import computed_input
from ndtool.export.c.operators.tables import INPUTS
from ndtool.export.c.quantisation import activation_range
from ndtool.export.c.rewrites.lookups import table_of
from ndtool.export.c.rewrites.uses import Uses, alike, fused

CLAMPING = frozenset(
    {"ADD", "AVERAGE_POOL_2D", "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "MAX_POOL_2D", "MUL", "SUB"}
)


def clamp_in_the_producer(op: Op, uses: Uses) -> tuple[Op, ...] | None:
    """Any function of one value whose table is a clamp, behind an operator that ends with one: a clamp of a clamp."""
    if len([tensor for tensor in op.inputs if tensor is not None and tensor.data is None]) != 1:
        return None
    source, output = computed_input(op), op.outputs[0]
    maker = uses.sole_maker(source)
    if maker is None or maker.kind not in CLAMPING or table_of(maker) is not None:
        return None
    table = table_of(op)
    if table is None or not alike(source, output) or source.shape != output.shape:
        return None
    low, high = int(table[0]), int(table[-1])
    if not np.array_equal(table, np.clip(INPUTS, low, high)):
        return None
    activation = maker.options.get("fused_activation_function", "NONE")
    own = activation_range(activation, source.scale[0], source.zero_point[0])
    bounds = tuple(min(max(bound, low), high) for bound in own)
    options = {**maker.options, "fused_activation_function": bounds}
    return (fused(maker, op, outputs=op.outputs, options=options),)
