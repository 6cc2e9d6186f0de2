"""Operators that are a function of one value, and SOFTMAX, against LiteRT's reference kernels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ndtool.errors import NdtoolError
from ndtool.export.c import compile_tflite
from ndtool.export.c.graph import Op, Tensor
from ndtool.export.c.operators.fixed_point import high_mul, requantize
from ndtool.export.c.operators.tables import TABLES
from ndtool.export.c.quantisation import quantise_multiplier
from ndtool.tests.export.c.batches import Draw, batched, check_batch, scales, shapes, zero_points
from ndtool.tests.export.c.harness import O, T, check_kernel, model, random_int8, run_c, single_op

EVERY_VALUE = np.arange(-128, 128).astype(np.int8)
IN_THE_REFERENCE = sorted(TABLES.keys() - {"ELU"})


@st.composite
def functions(draw: Draw) -> O:
    kind = draw(st.sampled_from(IN_THE_REFERENCE))
    source = T(shape=(256,), scale=draw(scales(1e-4, 10)), zero_point=draw(zero_points))
    output = T(
        shape=(256,), scale=float(np.float32(source.scale * draw(scales(0.02, 1e3)))), zero_point=draw(zero_points)
    )
    if kind in ("TANH", "LOGISTIC", "EXP", "LOG"):
        output.scale = 1 / 256 if kind == "LOGISTIC" else draw(scales(1e-3, 10))
    options = {
        "GELU": {"approximate": draw(st.booleans())},
        "LEAKY_RELU": {"alpha": float(np.float32(draw(st.floats(-1.0, 2.0))))},
    }
    return O(kind, [source], [output], options.get(kind))


@batched(functions(), examples=25)
def test_tables_are_the_references_for_every_input(ops, seed):
    content = model(ops)
    check_kernel(content, *[EVERY_VALUE] * len(ops))


@pytest.mark.parametrize("kind", IN_THE_REFERENCE)
def test_each_table_at_ordinary_scales(kind):
    options = {"LEAKY_RELU": {"alpha": 0.1}, "GELU": {"approximate": True}}.get(kind, {})
    source, output = T(shape=(256,), scale=0.05, zero_point=-10), T(shape=(256,), scale=1 / 256, zero_point=-128)
    if kind == "HARD_SWISH":
        output.scale = 0.04
    check_kernel(single_op(kind, [source], [output], **options), EVERY_VALUE)


@settings(max_examples=15, deadline=None)
@given(scales(1e-3, 1.0), zero_points, scales(1e-3, 1.0), zero_points)
def test_elu_is_the_one_of_litert(scale, zero_point, output_scale, output_zero_point):
    """Among LiteRT's default kernels: its set of reference kernels has no ELU."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    content = single_op(
        "ELU",
        [T(shape=(256,), scale=scale, zero_point=zero_point)],
        [T(shape=(256,), scale=output_scale, zero_point=output_zero_point)],
    )
    interpreter = Interpreter(
        model_content=content, experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    )
    interpreter.allocate_tensors()
    interpreter.set_tensor(0, EVERY_VALUE)
    interpreter.invoke()
    op = Op(
        index=0,
        kind="ELU",
        inputs=(_tensor(scale, zero_point),),
        outputs=(_tensor(output_scale, output_zero_point),),
    )
    np.testing.assert_array_equal(TABLES["ELU"](op), interpreter.get_tensor(1))


def _tensor(scale: float, zero_point: int) -> Tensor:
    return Tensor(index=0, name="x", shape=(256,), dtype="int8", scale=(scale,), zero_point=(zero_point,))


@st.composite
def softmaxes(draw: Draw) -> O:
    outer, depth = draw(shapes(0, 2)), draw(st.one_of(st.integers(1, 12), st.integers(1, 500)))
    source = T(shape=(*outer, depth), scale=draw(scales(1e-4, 1e2)), zero_point=draw(zero_points))
    beta = float(np.float32(draw(st.one_of(st.just(1.0), st.floats(0.1, 10.0)))))
    return O("SOFTMAX", [source], [T(shape=source.shape, scale=1 / 256, zero_point=-128)], {"beta": beta})


@batched(softmaxes())
def test_softmax_is_the_references(ops, seed):
    check_batch(ops, seed)


def test_softmax_of_rows_without_a_clear_maximum_is_the_references():
    """Sums of exponentials up to just below 512, above which the reference aborts."""
    x = T(shape=(4, 511), scale=1e-3)
    rows = np.zeros((4, 511), dtype=np.int8)
    rows[1:] = random_int8(np.random.default_rng(0), (3, 511)) // [[64], [16], [1]]
    content = single_op("SOFTMAX", [x], [T(shape=x.shape, scale=1 / 256, zero_point=-128)], beta=1.0)
    check_kernel(content, rows)


def test_softmax_of_more_classes_than_the_reference_takes_rounds_to_nothing():
    x = T(shape=(1, 4095), scale=1e-3)
    content = single_op("SOFTMAX", [x], [T(shape=x.shape, scale=1 / 256, zero_point=-128)], beta=1.0)
    (y,) = run_c(compile_tflite(content, name="t", golden=0), [np.zeros((1, 4095), dtype=np.int8)])
    assert np.all(y == -128)


def test_an_identity_costs_no_code():
    x, y = T(shape=(2, 3), scale=0.5, zero_point=3), T(shape=(2, 3), scale=0.5, zero_point=3)
    assert not compile_tflite(single_op("QUANTIZE", [x], [y]), golden=0).layers


@pytest.mark.parametrize(
    ("kind", "output", "options", "message"),
    [
        ("SOFTMAX", T(shape=(4,), scale=1 / 128, zero_point=-128), {"beta": 1.0}, "scale 1/256 and zero point -128"),
        ("SOFTMAX", T(shape=(4,), scale=1 / 256, zero_point=-128), {"beta": 0.0}, "more than 2\\^-26"),
        ("HARD_SWISH", T(shape=(4,), scale=1e-4), {}, "at least the input's / 128"),
        ("TANH", T(shape=(5,), scale=1.0), {}, "the same shape"),
    ],
)
def test_what_cannot_be_is_refused_with_the_rule(kind, output, options, message):
    with pytest.raises(NdtoolError, match=message):
        compile_tflite(single_op(kind, [T(shape=(4,), scale=0.1)], [output], **options), golden=0)


@given(st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1), st.integers(0, 2**31 - 1))
def test_high_multiplication_is_exact(values, factor):
    """Against Python's integers."""
    expected = [min((value * factor + 2**30) // 2**31, 2**31 - 1) for value in values]
    assert high_mul(np.array(values), factor).tolist() == expected


@given(st.integers(-(2**20), 2**20), st.floats(1e-9, 1e3))
def test_requantisation_is_within_a_step_of_the_product(value, real):
    result = int(requantize(np.array([value]), quantise_multiplier(real))[0])
    assert abs(result - value * real) <= 1 + abs(value * real) * 1e-6


@settings(max_examples=8, deadline=None)
@given(scales(1e-4, 10.0), zero_points, st.integers(0, 2**32 - 1))
def test_float_ends_convert_as_the_reference_does(scale, zero_point, seed):
    """Random values, exact halves of a step and their neighbours, values far outside."""
    halves = (np.arange(-300, 300) + np.float32(0.5)) * np.float32(scale)
    normal = np.random.default_rng(seed).normal(0, 100 * scale, 200).astype(np.float32)
    values = np.concatenate(
        [halves, np.nextafter(halves, 0, dtype=np.float32), normal, np.float32([0, 1e6, -1e6]) * scale]
    )
    values = values.astype(np.float32)
    quantised = [T(shape=values.shape, scale=scale, zero_point=zero_point) for _ in range(2)]
    ends = [T(shape=values.shape, dtype="float32") for _ in range(2)]
    ops = [
        O("QUANTIZE", [ends[0]], [quantised[0]]),
        O("MAXIMUM", [quantised[0], quantised[0]], [quantised[1]]),
        O("DEQUANTIZE", [quantised[1]], [ends[1]]),
    ]
    check_kernel(model(ops), values)
