"""RESHAPE, SQUEEZE, EXPAND_DIMS: the same bytes under another shape, so no code."""

from ndtool.export.c import rules
from ndtool.export.c.call import Alias
from ndtool.export.c.context import Context
from ndtool.export.c.graph import Op


def alias(op: Op, context: Context) -> Alias:
    """The output is the input's place in the arena."""
    source = op.inputs[0]
    assert source is not None
    return Alias(op=op, input=source, output=op.outputs[0])


def keeps_its_size(op: Op) -> str | None:
    """input and output must have the same number of elements"""
    source, target = op.inputs[0], op.outputs[0]
    assert source is not None
    return None if source.bytes == target.bytes else f"{source.bytes} and {target.bytes}"


RULES = (
    rules.inputs_are(1, 2),
    rules.has_one_output,
    rules.input_is_int8,
    rules.input_is_computed,
    rules.outputs_are_int8,
    keeps_its_size,
)
