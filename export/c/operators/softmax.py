"""SOFTMAX over the last axis: the exponentials as a table, the rest in integers at run time."""

import math

import numpy as np

from ndtool.export.c import rules
from ndtool.export.c.call import Buffer, Call, Constant, Overlap
from ndtool.export.c.context import Context
from ndtool.export.c.graph import Op
from ndtool.export.c.operators.fixed_point import INT32_MAX, high_mul, int32, rounding_shift
from ndtool.export.c.operators.tables import has_the_inputs_shape
from ndtool.export.c.quantisation import quantise_multiplier

INTEGER_BITS = 5  # differences are Q5.26: exp(-32) is nothing
FRACTION_BITS = 31 - INTEGER_BITS
MAX_DEPTH = 4095  # the sum of exponentials is Q12.19


def lower(op: Op, context: Context) -> Call:
    """The table belongs to the input's scale and beta."""
    source, output = op.inputs[0], op.outputs[0]
    assert source is not None
    depth = source.shape[-1]
    table = exponentials(_real_multiplier(op))
    return Call(
        op=op,
        kernel="nd_softmax",
        arguments=(
            Buffer(tensor=output),
            Buffer(tensor=source),
            source.bytes // depth,
            depth,
            Constant(role="exponentials", values=table),
            table.size,
        ),
        overlaps=(Overlap(input=source, distance=0),),
    )


def _real_multiplier(op: Op) -> float:
    """beta * scale in Q5.26, saturated."""
    source = op.inputs[0]
    assert source is not None
    beta = float(np.float32(op.options["beta"]))
    return min(beta * float(np.float32(source.scale[0])) * (1 << FRACTION_BITS), (1 << 31) - 1.0)


def exponentials(real: float) -> np.ndarray:
    """exp(-d * real / 2^26) in Q0.31 for d = 0, 1, ... as far as it counts, at most 255. real > 1."""
    multiplier = quantise_multiplier(real / (1 << 31))
    left = multiplier.shift + 31
    largest = math.floor(((1 << INTEGER_BITS) - 1) * (1 << FRACTION_BITS) / (1 << left))
    differences = np.arange(min(largest, 255) + 1, dtype=np.int64)
    return _exp_of_negative(high_mul(int32(-differences << left), multiplier.value)).astype(np.int32)


def _exp_of_negative(a: np.ndarray) -> np.ndarray:
    """exp(a) in Q0.31 of a <= 0 in Q5.26: a polynomial on [-1/4, 0) times exp(-2^k) for each bit 2^k of the rest."""
    quarter = 1 << (FRACTION_BITS - 2)
    fraction = (a & (quarter - 1)) - quarter
    rest = fraction - a
    result = _exp_near_zero(fraction << INTEGER_BITS)
    for exponent in range(-2, INTEGER_BITS):
        factor = round(math.exp(-(2.0**exponent)) * (1 << 31))
        result = np.where(rest & (1 << (FRACTION_BITS + exponent)), high_mul(result, factor), result)
    return np.where(a == 0, INT32_MAX, result)


def _exp_near_zero(a: np.ndarray) -> np.ndarray:
    """exp(a) in Q0.31 of a in [-1/4, 0), Q0.31: exp(-1/8) (1 + x + x^2/2 + x^3/6 + x^4/24) with x = a + 1/8."""
    eighth, third = round(math.exp(-1 / 8) * (1 << 31)), round((1 << 31) / 3)
    x = a + (1 << 28)
    x2 = high_mul(x, x)
    x3, x4 = high_mul(x2, x), high_mul(x2, x2)
    tail = rounding_shift(high_mul(rounding_shift(x4, 2) + x3, third) + x2, 1)
    return eighth + high_mul(x + tail, eighth)


def has_an_axis(op: Op) -> str | None:
    """the input must have 1 to 4095 values along its last axis: apply SOFTMAX to fewer classes, or leave it out"""
    source = op.inputs[0]
    assert source is not None
    return None if source.shape and 1 <= source.shape[-1] <= MAX_DEPTH else f"its shape is {source.shape}"


def scale_is_in_range(op: Op) -> str | None:
    """beta times the input's scale must be positive and more than 2^-26"""
    return None if _real_multiplier(op) > 1.0 else f"it is {_real_multiplier(op) / (1 << FRACTION_BITS):g}"


def output_is_a_probability(op: Op) -> str | None:
    """the output must have scale 1/256 and zero point -128, as the reference demands: quantise the model anew"""
    output = op.outputs[0]
    if abs(output.scale[0] * 256 - 1) <= 0.001 and output.zero_point[0] == -128:
        return None
    return f"it has {output.scale[0]:g} and {output.zero_point[0]}"


RULES = (
    rules.inputs_are(1),
    rules.has_one_output,
    rules.input_is_int8,
    rules.input_is_computed,
    rules.outputs_are_int8,
    has_the_inputs_shape,
    has_an_axis,
    scale_is_in_range,
    output_is_a_probability,
)
