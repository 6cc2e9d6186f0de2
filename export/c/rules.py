"""Rules that several operators share. See `Rule` in context.py; a rule's docstring is what docs and errors print."""

from ndtool.export.c.context import Rule
from ndtool.export.c.graph import Op, Tensor
from ndtool.export.c.quantisation import INT8_MAX, INT8_MIN

MIN_SCALE, MAX_SCALE = 2.0**-40, 2.0**40  # float32 holds every product and ratio of three such scales


def inputs_are(least: int, most: int | None = None) -> Rule:
    """Make the rule that an operator has `least` to `most` inputs, of which the first `least` are present."""
    most = least if most is None else most

    def rule(op: Op) -> str | None:
        missing = any(tensor is None for tensor in op.inputs[:least])
        return None if least <= len(op.inputs) <= most and not missing else f"it has {len(op.inputs)}"

    count = f"{least}" if least == most else f"{least} to {most}"
    rule.__doc__ = f"the operator must have {count} input{'' if most == 1 else 's'}"
    return rule


def has_one_output(op: Op) -> str | None:
    """the operator must have one output"""
    return None if len(op.outputs) == 1 else f"it has {len(op.outputs)}"


def _quantised_int8(tensor: Tensor) -> str | None:
    if tensor.dtype != "int8":
        return f"{tensor.name!r} is {tensor.dtype}"
    if len(tensor.scale) != 1:
        how = "per channel" if tensor.scale else "not at all"
        return f"{tensor.name!r} is quantised {how}"
    if not MIN_SCALE <= tensor.scale[0] <= MAX_SCALE:
        return f"{tensor.name!r} has the scale {tensor.scale[0]:g}, which no calibration gives"
    if not INT8_MIN <= tensor.zero_point[0] <= INT8_MAX:
        return f"{tensor.name!r} has the zero point {tensor.zero_point[0]}"
    return None


def input_is_int8(op: Op) -> str | None:
    """the first input must be int8, quantised per tensor"""
    return _quantised_int8(op.inputs[0])  # type: ignore[arg-type]


def inputs_are_int8(op: Op) -> str | None:
    """every input must be int8, quantised per tensor"""
    found = (_quantised_int8(tensor) for tensor in op.inputs if tensor is not None)
    return next((finding for finding in found if finding), None)


def outputs_are_int8(op: Op) -> str | None:
    """every output must be int8, quantised per tensor"""
    return next((finding for finding in map(_quantised_int8, op.outputs) if finding), None)


def input_is_computed(op: Op) -> str | None:
    """the first input must not be a constant"""
    tensor = op.inputs[0]
    return f"{tensor.name!r} is a constant" if tensor is not None and tensor.data is not None else None


def output_quantised_as_input(op: Op) -> str | None:
    """input and output must have the same scale and zero point"""
    source, target = op.inputs[0], op.outputs[0]
    assert source is not None
    if (source.scale, source.zero_point) == (target.scale, target.zero_point):
        return None
    return f"({source.scale[0]:g}, {source.zero_point[0]}) and ({target.scale[0]:g}, {target.zero_point[0]})"


def activation_is_known(op: Op) -> str | None:
    """the fused activation must be none, RELU, RELU6 or RELU_N1_TO_1"""
    activation = op.options.get("fused_activation_function", "NONE")
    return None if activation in ("NONE", "RELU", "RELU6", "RELU_N1_TO_1") else f"it is {activation}"
