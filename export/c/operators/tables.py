"""Functions of one int8 value as tables of 256 bytes, computed ahead of time exactly as the reference does at run time.

LiteRT's reference kernels compute some of these functions in single-precision floats with the C library's functions
(and keep a table themselves) and others in fixed-point integers. Both are followed operation by operation, so a table
is equal byte for byte. Entry i of a table belongs to the input i - 128.
"""

import ctypes
import ctypes.util
from collections.abc import Callable, Mapping
from functools import cache
from types import MappingProxyType

import numpy as np

from ndtool.errors import NdtoolError
from ndtool.export.c import rules
from ndtool.export.c.call import Alias, Buffer, Call, Constant, Overlap
from ndtool.export.c.context import Context
from ndtool.export.c.graph import Op, Tensor
from ndtool.export.c.operators.fixed_point import rescale
from ndtool.export.c.quantisation import INT8_MAX, INT8_MIN, quantise_multiplier

INPUTS = np.arange(INT8_MIN, INT8_MAX + 1, dtype=np.int64)
INT16 = np.iinfo(np.int16)


def lookup(op: Op, source: Tensor, table: np.ndarray) -> Call | Alias:
    """The call that maps every byte of `source` through a table; no call where the table changes nothing."""
    output = op.outputs[0]
    if np.array_equal(table, INPUTS):
        return Alias(op=op, input=source, output=output)
    return Call(
        op=op,
        kernel="nd_lookup",
        arguments=(Buffer(tensor=output), Buffer(tensor=source), source.bytes, Constant(role="table", values=table)),
        overlaps=(Overlap(input=source, distance=0),),
    )


def saturated(values: np.ndarray) -> np.ndarray:
    """Values as int8, clamped to its range."""
    return np.clip(values, INT8_MIN, INT8_MAX).astype(np.int8)


def _ends(op: Op) -> tuple[Tensor, Tensor]:
    source = op.inputs[0]
    assert source is not None
    return source, op.outputs[0]


def _scale(tensor: Tensor) -> np.float32:
    return np.float32(tensor.scale[0])


@cache
def _mathematics() -> ctypes.CDLL:
    """The host's C library of mathematics, which LiteRT computes with there."""
    for name in (ctypes.util.find_library("m"), "libm.so.6", None):  # None: what Python itself is linked with
        try:
            library = ctypes.CDLL(name)
        except OSError:
            continue
        if hasattr(library, "expf"):
            return library
    raise NdtoolError(
        "no C library of mathematics (libm) is found, which tables are computed with: install the system's"
    )


@cache
def _libm(name: str) -> Callable[[float], float]:
    """A float function of the host's C library: the one LiteRT calls there; NumPy's differ in the last place."""
    function = getattr(_mathematics(), name)
    function.restype, function.argtypes = ctypes.c_float, [ctypes.c_float]
    return function


def _map(name: str, x: np.ndarray) -> np.ndarray:
    """A function of the C library, e.g. expf, of every element."""
    function = _libm(name)
    return np.array([function(value) for value in x.tolist()], dtype=np.float32)


def _rounded(x: np.ndarray) -> np.ndarray:
    """C's roundf: halves away from zero."""
    whole = np.trunc(x)
    fraction = np.subtract(x, whole, where=np.isfinite(x), out=np.zeros_like(x))
    return whole + np.copysign(np.abs(fraction) >= np.float32(0.5), x).astype(np.float32)


# Functions of real numbers, in float32 throughout.


def _tanh(op: Op, x: np.ndarray) -> np.ndarray:
    return _map("tanhf", x)


def _logistic(op: Op, x: np.ndarray) -> np.ndarray:
    return np.float32(1) / (np.float32(1) + _map("expf", -x))


def _elu(op: Op, x: np.ndarray) -> np.ndarray:
    return np.where(x < 0, _map("expm1f", x), x)


def _exp(op: Op, x: np.ndarray) -> np.ndarray:
    return _map("expf", x)


def _log(op: Op, x: np.ndarray) -> np.ndarray:
    """The smallest value that the output can hold where the logarithm is not defined."""
    output = op.outputs[0]
    lowest = np.float32(-128 - output.zero_point[0]) * _scale(output)
    return np.where(x > 0, _map("logf", np.where(x > 0, x, np.float32(1))), lowest)


def _gelu(op: Op, x: np.ndarray) -> np.ndarray:
    """x / 2 * erfc(-x / sqrt(2)), or its approximation by tanh."""
    half, one = np.float32(0.5), np.float32(1)
    if not op.options.get("approximate", False):
        return half * x * _map("erfcf", x * np.float32(-np.sqrt(0.5)))
    cubic = x + np.float32(0.044715) * x * x * x
    return half * x * (one + _map("tanhf", np.float32(np.sqrt(2 / np.pi)) * cubic))


REAL_FUNCTIONS: Mapping[str, Callable[[Op, np.ndarray], np.ndarray]] = MappingProxyType(
    {"TANH": _tanh, "LOGISTIC": _logistic, "ELU": _elu, "EXP": _exp, "LOG": _log, "GELU": _gelu}
)


def _real_table(op: Op) -> np.ndarray:
    source, output = _ends(op)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        x = _scale(source) * (INPUTS - source.zero_point[0]).astype(np.float32)
        steps = _rounded(REAL_FUNCTIONS[op.kind](op, x) * (np.float32(1) / _scale(output)))
        return saturated(steps + np.float32(output.zero_point[0]))


# Functions computed in integers.


def _quantize(op: Op) -> np.ndarray:
    source, output = _ends(op)
    values = rescale(INPUTS - source.zero_point[0], float(_scale(source)) / float(_scale(output)))
    return saturated(values + output.zero_point[0])


def _relu(op: Op) -> np.ndarray:
    """Requantised, then clamped to the bounds as the output's scale rounds them."""
    source, output = _ends(op)
    values = rescale(INPUTS - source.zero_point[0], float(_scale(source) / _scale(output))) + output.zero_point[0]
    bounds = _rounded(np.array(RELU_BOUNDS[op.kind], dtype=np.float32) / _scale(output)) + output.zero_point[0]
    return np.clip(values, max(bounds[0], INT8_MIN), min(bounds[1], INT8_MAX)).astype(np.int8)


def _leaky_relu(op: Op) -> np.ndarray:
    source, output = _ends(op)
    differences = INPUTS - source.zero_point[0]
    negative = rescale(differences, float(_scale(source) * np.float32(op.options["alpha"]) / _scale(output)))
    positive = rescale(differences, float(_scale(source) / _scale(output)))
    return saturated(np.where(differences >= 0, positive, negative) + output.zero_point[0])


def _abs(op: Op) -> np.ndarray:
    source, output = _ends(op)
    magnitudes = np.abs(INPUTS - source.zero_point[0])
    if _scale(source) != _scale(output):
        magnitudes = rescale(magnitudes, float(_scale(source) / _scale(output)))
    return saturated(magnitudes + output.zero_point[0])


def _high_mul16(a: np.ndarray, b: int) -> np.ndarray:
    """a * b / 2^15 of int16 values, rounded to nearest, halves up, saturated."""
    return np.minimum((a * b + (1 << 14)) >> 15, INT16.max)


def _rounding_shift16(x: np.ndarray, bits: int) -> np.ndarray:
    """x / 2^bits of int16 values, halves away from zero; above 15 bits the reference's mask wraps to -1."""
    mask = (1 << bits) - 1 if bits < 16 else -1
    return (x >> bits) + ((x & mask) > (mask >> 1) + (x < 0))


def _multiplier16(real: np.float32) -> tuple[int, int]:
    """A multiplier in Q0.15 and its exponent."""
    multiplier = quantise_multiplier(float(real))
    return min((multiplier.value + (1 << 15)) >> 16, INT16.max), multiplier.shift


def _hard_swish_multiplier(op: Op) -> tuple[int, int]:
    """From the input's scale / 128 to the output's scale."""
    source, output = _ends(op)
    return _multiplier16(np.float32(1 / 128) * _scale(source) / _scale(output))


def _hard_swish(op: Op) -> np.ndarray:
    """x * relu6(x + 3) / 6 as x, in steps of scale / 128, times (clamp(x / 3, -1, 1) + 1) / 2 in Q0.15."""
    source, output = _ends(op)
    fine = (INPUTS - source.zero_point[0]) * 128
    multiplier, exponent = _hard_swish_multiplier(op)
    gate_multiplier, gate_exponent = _multiplier16(
        np.float32(1 / 128) * _scale(source) / (np.float32(3) / np.float32(32768))
    )
    gate = fine
    if gate_exponent > 0:  # all of the left shift but its last bit, whose saturation is the one that counts
        gate = np.clip(gate << (gate_exponent - 1), INT16.min, INT16.max)
    gate = _high_mul16(gate, gate_multiplier)
    if gate_exponent > 0:
        gate = np.clip(gate << 1, INT16.min, INT16.max)
    gate = (_rounding_shift16(gate, max(-gate_exponent, 0)) + (1 << 15)) >> 1
    product = gate * _high_mul16(fine, multiplier)
    value = np.where(product < 0, -(-product >> 15), product >> 15)  # towards zero
    return saturated(_rounding_shift16(value, -exponent) + output.zero_point[0])


RELU_BOUNDS: Mapping[str, tuple[float, float]] = MappingProxyType(
    {"RELU": (0.0, np.inf), "RELU6": (0.0, 6.0), "RELU_N1_TO_1": (-1.0, 1.0), "RELU_0_TO_1": (0.0, 1.0)}
)
TABLES: Mapping[str, Callable[[Op], np.ndarray]] = MappingProxyType(
    {
        "ABS": _abs,
        "HARD_SWISH": _hard_swish,
        "LEAKY_RELU": _leaky_relu,
        "QUANTIZE": _quantize,
        **dict.fromkeys(RELU_BOUNDS, _relu),
        **dict.fromkeys(REAL_FUNCTIONS, _real_table),
    }
)


def table(op: Op) -> np.ndarray:
    """The table of any operator of `TABLES`, or the one that it was given with the work of others. (256,) int8."""
    return np.asarray(op.options["table"]) if "table" in op.options else TABLES[op.kind](op)


def lower(op: Op, context: Context) -> Call | Alias:
    """Any operator of `TABLES`."""
    return lookup(op, _ends(op)[0], table(op))


def has_the_inputs_shape(op: Op) -> str | None:
    """input and output must have the same shape"""
    source, output = _ends(op)
    return None if source.shape == output.shape else f"{source.shape} and {output.shape}"


def output_scale_is_not_finer(op: Op) -> str | None:
    """the output's scale must be at least the input's / 128: calibrate with data that the activation lets through"""
    source, output = _ends(op)
    return None if _hard_swish_multiplier(op)[1] <= 0 else f"{output.scale[0]:g} and {source.scale[0]:g}"


def slope_is_ordinary(op: Op) -> str | None:
    """the slope for negative values must be a number of at most 2^16"""
    return None if abs(op.options["alpha"]) <= 1 << 16 else f"it is {op.options['alpha']:g}"


RULES = (
    rules.inputs_are(1),
    rules.has_one_output,
    rules.input_is_int8,
    rules.input_is_computed,
    rules.outputs_are_int8,
    has_the_inputs_shape,
)
