"""ADD, SUB, MUL, MAXIMUM and MINIMUM with broadcasting. With a single constant they are tables of the other input."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from ndtool.export.c import rules
from ndtool.export.c.call import Argument, Buffer, Call, Choice, Overlap, Struct, Value
from ndtool.export.c.context import Context, Lowered
from ndtool.export.c.graph import Op, Tensor
from ndtool.export.c.operators.broadcast import MAX_LOOPS, Loops, broadcast_shape, loops
from ndtool.export.c.operators.fixed_point import fast_rounding, requantize
from ndtool.export.c.operators.sum_formula import SumFormula, dsp_formula, plain_formula
from ndtool.export.c.operators.tables import INPUTS, lookup, saturated
from ndtool.export.c.quantisation import Multiplier, activation_range, quantise_multiplier

LEFT_SHIFT = 20  # of the differences that ADD and SUB rescale


def _inputs(op: Op) -> tuple[Tensor, Tensor]:
    first, second = op.inputs
    assert first is not None
    assert second is not None
    return first, second


def _activation_range(op: Op) -> tuple[int, int]:
    output = op.outputs[0]
    activation = op.options.get("fused_activation_function", "NONE")
    return activation_range(activation, output.scale[0], output.zero_point[0])


def _binary(op: Op, context: Context, kernel: str, *parameters: Argument) -> Call:
    first, second = _inputs(op)
    output = op.outputs[0]
    in_place = dict.fromkeys(t for t in (first, second) if t.data is None and t.bytes == output.bytes)
    return Call(
        op=op,
        kernel=kernel,
        arguments=(Buffer(tensor=output), context.operand(first), context.operand(second), *parameters),
        overlaps=tuple(Overlap(input=tensor, distance=0) for tensor in in_place),
    )


def _single_constant(op: Op) -> Tensor | None:
    """The input that is one constant number, where the other has the output's shape."""
    return next((tensor for tensor in _inputs(op) if tensor.data is not None and tensor.data.size == 1), None)


def computed_input(op: Op) -> Tensor:
    """The input that is no constant, where there is but one."""
    return next(tensor for tensor in op.inputs if tensor is not None and tensor.data is None)


def constant_table(op: Op) -> np.ndarray | None:
    """An operator with one constant number as a table of its other input, (256,) int8; None if it has no such."""
    if "table" in op.options:
        return np.asarray(op.options["table"])
    constant = _single_constant(op)
    if constant is None:
        return None
    assert constant.data is not None
    value = constant.data.astype(np.int64).reshape(1)
    pair = (INPUTS, value) if constant is _inputs(op)[1] else (value, INPUTS)
    return FUNCTIONS[op.kind](op, *pair)


# ADD and SUB


def _add_multipliers(op: Op) -> tuple[Multiplier, Multiplier, Multiplier]:
    """Of the two inputs, to twice the larger of their scales, and from there to the output."""
    scale1, scale2 = (float(np.float32(tensor.scale[0])) for tensor in _inputs(op))
    twice_max = 2 * max(scale1, scale2)
    return (
        quantise_multiplier(scale1 / twice_max),
        quantise_multiplier(scale2 / twice_max),
        quantise_multiplier(_add_output_scale(op)),
    )


def _add_output_scale(op: Op) -> float:
    twice_max = 2 * max(float(np.float32(tensor.scale[0])) for tensor in _inputs(op))
    return twice_max / ((1 << LEFT_SHIFT) * float(np.float32(op.outputs[0].scale[0])))


def _unclamped_sum(op: Op, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    first, second = _inputs(op)
    multiplier1, multiplier2, output = _add_multipliers(op)
    term1 = requantize((a - first.zero_point[0]) << LEFT_SHIFT, multiplier1)
    term2 = requantize((b - second.zero_point[0]) << LEFT_SHIFT, multiplier2)
    return requantize(term1 + term2 if op.kind == "ADD" else term1 - term2, output) + op.outputs[0].zero_point[0]


def _sum(op: Op, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.clip(_unclamped_sum(op, a, b), *_activation_range(op)).astype(np.int8)


def lower_add(op: Op, context: Context) -> Lowered:
    """ADD and SUB: by a formula found for their scales, where there is one."""
    if (table := constant_table(op)) is not None:
        return lookup(op, computed_input(op), table)
    first, second = _inputs(op)
    walk = loops(first.shape, second.shape)
    reference = saturated(_unclamped_sum(op, INPUTS[:, None], INPUTS)).astype(np.int64)
    slope1, slope2 = (
        float(np.float32(t.scale[0])) / float(np.float32(op.outputs[0].scale[0])) for t in (first, second)
    )
    slope2 = slope2 if op.kind == "ADD" else -slope2
    candidates = []
    if context.features.dsp and _in_rows(walk) and (formula := dsp_formula(reference, slope1, slope2)):
        candidates.append(_add_fast(op, context, "nd_add_dsp", walk, formula))
    if formula := plain_formula(reference, slope1, slope2, (first.zero_point[0], second.zero_point[0])):
        candidates.append(_add_fast(op, context, "nd_add_fast", walk, formula))
    return Choice(candidates=tuple(candidates)) if candidates else _add(op, context, walk)


def _in_rows(walk: Loops) -> bool:
    """Whether the innermost loop moves through both inputs."""
    return walk.step1[-1] == walk.step2[-1] == 1


def _add_fast(op: Op, context: Context, kernel: str, walk: Loops, formula: SumFormula) -> Call:
    low, high = _activation_range(op)
    fields: dict[str, Value] = {
        **walk.fields("broadcast."),
        "factor1": formula.factor1,
        "factor2": formula.factor2,
        "offset": formula.offset,
        "rounding": formula.rounding,
        "shift": formula.shift,
        "away": int(formula.away),
        "activation_min": low,
        "activation_max": high,
    }
    return _binary(op, context, kernel, Struct(ctype="nd_add_fast_params", fields=fields))


def _add(op: Op, context: Context, walk: Loops) -> Call:
    """As the reference computes it."""
    first, second = _inputs(op)
    multiplier1, multiplier2, output = _add_multipliers(op)
    low, high = _activation_range(op)
    fast = fast_rounding(output, op.outputs[0].zero_point[0])
    fields: dict[str, Value] = {
        **walk.fields("broadcast."),
        "input1_zero_point": first.zero_point[0],
        "input1_multiplier": multiplier1.value,
        "input1_shift": multiplier1.shift,
        "input2_zero_point": second.zero_point[0],
        "input2_multiplier": multiplier2.value,
        "input2_shift": multiplier2.shift,
        "output_zero_point": op.outputs[0].zero_point[0],
        "output_multiplier": output.value,
        "output_shift": output.shift,
        "sign": 1 if op.kind == "ADD" else -1,
        "rounding": fast[0] if fast else 0,
        "activation_min": low,
        "activation_max": high,
    }
    kernel = "nd_add_rounded" if fast else "nd_add"
    return _binary(op, context, kernel, Struct(ctype="nd_add_params", fields=fields))


# MUL


def _mul_multiplier(op: Op) -> Multiplier:
    """The ratio of the scales, in float32."""
    scale1, scale2 = (np.float32(tensor.scale[0]) for tensor in _inputs(op))
    return quantise_multiplier(float(scale1 * scale2 / np.float32(op.outputs[0].scale[0])))


def _product(op: Op, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    first, second = _inputs(op)
    product = (a - first.zero_point[0]) * (b - second.zero_point[0])
    scaled = requantize(product, _mul_multiplier(op)) + op.outputs[0].zero_point[0]
    return np.clip(scaled, *_activation_range(op)).astype(np.int8)


def lower_mul(op: Op, context: Context) -> Lowered:
    """MUL."""
    if (table := constant_table(op)) is not None:
        return lookup(op, computed_input(op), table)
    first, second = _inputs(op)
    walk = loops(first.shape, second.shape)
    multiplier = _mul_multiplier(op)
    fast = fast_rounding(multiplier, op.outputs[0].zero_point[0])
    low, high = _activation_range(op)
    fields: dict[str, Value] = {
        **walk.fields("broadcast."),
        "input1_zero_point": first.zero_point[0],
        "input2_zero_point": second.zero_point[0],
        "output_zero_point": op.outputs[0].zero_point[0],
        "output_multiplier": multiplier.value,
        "output_shift": multiplier.shift,
        **dict(zip(("rounding", "right_shift"), fast or (0, 0), strict=True)),
        "activation_min": low,
        "activation_max": high,
    }
    params = Struct(ctype="nd_mul_params", fields=fields)
    portable = _binary(op, context, "nd_mul", params)
    if not (context.features.dsp and fast and _in_rows(walk)):
        return portable
    return Choice(candidates=(_binary(op, context, "nd_mul_dsp", params), portable))


# MAXIMUM and MINIMUM

EXTREMA: Mapping[str, np.ufunc] = MappingProxyType({"MAXIMUM": np.maximum, "MINIMUM": np.minimum})


def _extremum(op: Op, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return EXTREMA[op.kind](a, b).astype(np.int8)


def lower_extremum(op: Op, context: Context) -> Lowered:
    """MAXIMUM and MINIMUM, of the raw bytes: the reference does not look at scales."""
    if (table := constant_table(op)) is not None:
        return lookup(op, computed_input(op), table)
    first, second = _inputs(op)
    shape = Struct(ctype="nd_broadcast", fields=loops(first.shape, second.shape).fields())
    return _binary(op, context, "nd_extremum", -1 if op.kind == "MINIMUM" else 0, shape)


FUNCTIONS: Mapping[str, Callable[[Op, np.ndarray, np.ndarray], np.ndarray]] = MappingProxyType(
    {"ADD": _sum, "SUB": _sum, "MUL": _product, "MAXIMUM": _extremum, "MINIMUM": _extremum}
)


# Rules


def has_a_computed_input(op: Op) -> str | None:
    """one input must not be a constant: fold constants before converting"""
    return "both are" if all(tensor.data is not None for tensor in _inputs(op)) else None


def shapes_broadcast(op: Op) -> str | None:
    """the inputs' shapes must broadcast to the output's"""
    shape1, shape2 = (tensor.shape for tensor in _inputs(op))
    target = op.outputs[0].shape
    return None if broadcast_shape(shape1, shape2) == target else f"they are {shape1}, {shape2} and {target}"


def broadcasts_in_four_loops(op: Op) -> str | None:
    """broadcasting must not alternate between the inputs along more than four groups of axes: repeat one input first"""
    shape1, shape2 = (tensor.shape for tensor in _inputs(op))
    return None if len(loops(shape1, shape2).size) <= MAX_LOOPS else f"the shapes are {shape1} and {shape2}"


def output_scale_is_not_tiny(op: Op) -> str | None:
    """the output's scale must be more than the larger input scale / 2^19: calibrate with real data"""
    return None if _add_output_scale(op) < 1.0 else f"it is {op.outputs[0].scale[0]:g}"


EXTREMUM_RULES = (
    rules.inputs_are(2),
    rules.has_one_output,
    rules.inputs_are_int8,
    rules.outputs_are_int8,
    has_a_computed_input,
    shapes_broadcast,
    broadcasts_in_four_loops,
)
MUL_RULES = (*EXTREMUM_RULES, rules.activation_is_known)
ADD_RULES = (*MUL_RULES, output_scale_is_not_tiny)
