"""Fusion: each rewrite fires where it may and nowhere else, and changes no byte."""

import numpy as np
import pytest
from hypothesis import strategies as st

from ndtool.export.c import compile_tflite
from ndtool.export.c.checks import check
from ndtool.export.c.graph import Graph
from ndtool.export.c.reader import read_graph
from ndtool.export.c.rewrites import rewrite
from ndtool.tests.export.c.batches import Draw, batched, zero_points
from ndtool.tests.export.c.harness import DSP, O, T, check_kernel, constant, model, random_int8

RNG = np.random.default_rng(0)
NONE = {"fusedActivationFunction": "NONE"}


def rewritten(content: bytes) -> Graph:
    """The graph of a model after the checks and the rewrites."""
    graph = read_graph(content, "t")
    check(graph)
    return rewrite(graph)


def kinds(content: bytes) -> list[str]:
    """The operators that are left."""
    return [op.kind for op in rewritten(content).ops]


def check_bytes(content: bytes) -> None:
    """The rewritten library gives the reference's bytes, by portable kernels and by those of the DSP extension."""
    shapes = [tensor.shape for tensor in read_graph(content, "t").inputs]
    inputs = [random_int8(np.random.default_rng(1), shape) for shape in shapes]
    check_kernel(content, *inputs)
    check_kernel(content, *inputs, features=DSP)


def image(shape: tuple[int, ...], scale: float = 0.1, zero_point: int = -9) -> T:
    return T(shape=shape, scale=scale, zero_point=zero_point)


def window_op(
    x: T,
    kind: str,
    *,
    filter_size: int = 3,
    stride: int = 2,
    dilation: int = 1,
    padding: str = "VALID",
    activation: str = "NONE",
    output: tuple[float, int] = (0.2, 4),
) -> O:
    """A convolution or a maximum of windows over `x`."""
    _, height, width, channels = x.shape
    reach = (filter_size - 1) * dilation + 1
    sizes = [-(-(n if padding == "SAME" else n - reach + 1) // stride) for n in (height, width)]
    options = {"padding": padding, "strideW": stride, "strideH": stride, "fusedActivationFunction": activation}
    if kind == "MAX_POOL_2D":
        result = T(shape=(1, *sizes, channels), scale=x.scale, zero_point=x.zero_point)
        return O(kind, [x], [result], {**options, "filterWidth": filter_size, "filterHeight": filter_size})
    options |= {"dilationWFactor": dilation, "dilationHFactor": dilation}
    square = (filter_size, filter_size)
    if kind == "DEPTHWISE_CONV_2D":
        options["depthMultiplier"] = 1
        shape, out, axis = (1, *square, channels), channels, 3
    else:
        shape, out, axis = (5, *square, channels), 5, 0
    weights = constant(random_int8(RNG, shape), "int8", scale=[0.01] * out, axis=axis)
    bias = constant(RNG.integers(-500, 500, out), "int32", scale=[0.001] * out)
    return O(kind, [x, weights, bias], [image((1, *sizes, out), *output)], options)


def padded(x: T, pads: list[list[int]], value: int | None = None) -> O:
    """A PAD, or a PADV2 with a value."""
    shape = tuple(n + sum(pair) for n, pair in zip(x.shape, pads, strict=True))
    output = T(shape=shape, scale=x.scale, zero_point=x.zero_point)
    if value is None:
        return O("PAD", [x, constant(pads)], [output])
    fill = constant([value], "int8", scale=x.scale, zero_point=x.zero_point)
    return O("PADV2", [x, constant(pads), fill], [output])


AROUND = [[0, 0], [1, 1], [1, 1], [0, 0]]


# Padding


@pytest.mark.parametrize("kind", ["CONV_2D", "DEPTHWISE_CONV_2D"])
@pytest.mark.parametrize("value", [None, -9])
def test_padding_is_taken_over_by_the_convolution(kind, value):
    pad = padded(image((1, 8, 8, 4)), AROUND, value)
    content = model([pad, window_op(pad.outputs[0], kind)])
    assert kinds(content) == [kind]
    check_bytes(content)


@st.composite
def padded_windows(draw: Draw) -> tuple[O, O]:
    """Any border that leaves a part of the image in every window, ahead of any window."""
    kind = draw(st.sampled_from(["CONV_2D", "DEPTHWISE_CONV_2D", "MAX_POOL_2D"]))
    pooled = kind == "MAX_POOL_2D"
    filter_size, dilation = draw(st.integers(2, 4)), 1 if pooled else draw(st.integers(1, 2))
    reach = (filter_size - 1) * dilation + 1
    pads = [[0, 0], *([draw(st.integers(0, reach - 1)) for _ in range(2)] for _ in range(2)), [0, 0]]
    x = image((1, reach + draw(st.integers(0, 4)), reach + draw(st.integers(0, 4)), draw(st.integers(1, 6))))
    x.zero_point = draw(zero_points)
    pad = padded(x, pads, -128 if pooled else None)
    padding = draw(st.sampled_from(["SAME", "VALID"]))
    stride = draw(st.integers(1, 3))
    return pad, window_op(
        pad.outputs[0], kind, filter_size=filter_size, stride=stride, dilation=dilation, padding=padding
    )


@batched(padded_windows(), size=8)
def test_any_border_is_the_references(ops, seed):
    check_bytes(model([op for pair in ops for op in pair]))


def test_asymmetric_padding_and_that_of_the_window_itself_add_up():
    pad = padded(image((1, 7, 8, 4)), [[0, 0], [2, 0], [0, 1], [0, 0]])
    content = model([pad, window_op(pad.outputs[0], "CONV_2D", filter_size=5, padding="SAME", stride=1)])
    (op,) = rewritten(content).ops
    assert op.options["padding"] == ((4, 2), (2, 3))
    check_bytes(content)


def test_padding_with_the_least_value_is_taken_over_by_the_maximum():
    pad = padded(image((1, 8, 8, 4)), AROUND, -128)
    content = model([pad, window_op(pad.outputs[0], "MAX_POOL_2D")])
    assert kinds(content) == ["MAX_POOL_2D"]
    check_bytes(content)


@pytest.mark.parametrize(
    ("kind", "pads", "value", "filter_size"),
    [
        ("CONV_2D", [[0, 0], [1, 1], [1, 1], [0, 2]], None, 3),  # channels
        ("CONV_2D", AROUND, 5, 3),  # another value than the zero point
        ("CONV_2D", AROUND, None, 1),  # windows outside the image
        ("MAX_POOL_2D", AROUND, None, 3),  # a border that can be the largest
        ("MAX_POOL_2D", [[0, 0], [4, 0], [0, 0], [0, 0]], -128, 3),
    ],
)
def test_padding_that_is_not_taken_over(kind, pads, value, filter_size):
    pad = padded(image((1, 8, 8, 4)), pads, value)
    content = model([pad, window_op(pad.outputs[0], kind, filter_size=filter_size)])
    assert kinds(content) == [pad.kind, kind]
    check_bytes(content)


def test_padding_that_is_read_twice_or_is_an_output_stays():
    pad = padded(image((1, 8, 8, 4)), AROUND)
    twice = [pad, window_op(pad.outputs[0], "CONV_2D"), window_op(pad.outputs[0], "DEPTHWISE_CONV_2D")]
    assert kinds(model(twice)) == [op.kind for op in twice]
    check_bytes(model(twice))
    shown = twice[:2]
    content = model(shown, outputs=[pad.outputs[0], shown[1].outputs[0]])
    assert kinds(content) == ["PAD", "CONV_2D"]
    check_bytes(content)


def test_the_comment_of_a_layer_names_what_it_has_taken_over():
    pad = padded(image((1, 8, 8, 4)), AROUND)
    conv = window_op(pad.outputs[0], "CONV_2D")
    y = image(tuple(conv.outputs[0].shape), 0.2, 4)
    y.name = "y"
    library = compile_tflite(model([pad, conv, O("RELU", [conv.outputs[0]], [y])]), name="t", golden=0)
    assert "/* CONV_2D with PAD, RELU 'y': [1,8,8,4] -> [1,4,4,5] */" in library.files["t.c"]
    assert [(layer.name, layer.kind) for layer in library.layers] == [("y", "CONV_2D")]


# Clamps


def binary(kind: str, output: T) -> O:
    options = {} if kind in ("MAXIMUM", "MINIMUM") else NONE
    return O(kind, [image((1, 8, 8, 4)), image((1, 8, 8, 4), 0.05, 3)], [output], options)


def producer(kind: str) -> O:
    if kind in ("ADD", "SUB", "MUL"):
        return binary(kind, image((1, 8, 8, 4), 0.2, 4))
    if kind == "FULLY_CONNECTED":
        weights = constant(random_int8(RNG, (6, 16)), "int8", scale=0.01)
        return O(kind, [image((1, 16)), weights, None], [image((1, 6), 0.05, 4)], NONE)
    if kind == "AVERAGE_POOL_2D":
        op = window_op(image((1, 8, 8, 4), 0.2, 4), "MAX_POOL_2D")
        return O(kind, op.inputs, op.outputs, op.options)
    return window_op(image((1, 8, 8, 4), 0.2, 4), kind)


PRODUCERS = [
    *("ADD", "AVERAGE_POOL_2D", "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "MAX_POOL_2D", "MUL", "SUB")
]


@pytest.mark.parametrize("kind", PRODUCERS)
@pytest.mark.parametrize("function", ["RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1", "MINIMUM", "MAXIMUM"])
def test_a_clamp_is_taken_over_by_what_it_follows(kind, function):
    first = producer(kind)
    (x,) = first.outputs
    y = T(shape=x.shape, scale=x.scale, zero_point=x.zero_point)
    bound = [constant([17], "int8", scale=x.scale, zero_point=x.zero_point)] if function.endswith("MUM") else []
    content = model([first, O(function, [x, *bound], [y], {})])
    assert kinds(content) == [kind]
    check_bytes(content)


def test_clamps_of_clamps_are_one():
    first = window_op(image((1, 8, 8, 4)), "CONV_2D", activation="RELU6")
    (x,) = first.outputs
    middle, y = (T(shape=x.shape, scale=x.scale, zero_point=x.zero_point) for _ in range(2))
    low = constant([-3], "int8", scale=x.scale, zero_point=x.zero_point)
    content = model([first, O("MAXIMUM", [low, x], [middle]), O("RELU_N1_TO_1", [middle], [y])])
    (op,) = rewritten(content).ops
    assert op.options["fused_activation_function"] == (4, 9)
    check_bytes(content)


def test_functions_that_are_no_clamp_or_requantise_stay():
    first = window_op(image((1, 8, 8, 4)), "CONV_2D")
    (x,) = first.outputs
    for kind, output in (("RELU", image(tuple(x.shape), 0.1, 4)), ("HARD_SWISH", image(tuple(x.shape), 0.2, 4))):
        content = model([first, O(kind, [x], [output], {})])
        assert kinds(content) == ["CONV_2D", kind]
        check_bytes(content)


def test_a_clamp_of_what_others_read_too_stays():
    first = window_op(image((1, 8, 8, 4)), "CONV_2D")
    (x,) = first.outputs
    y, z = (T(shape=x.shape, scale=x.scale, zero_point=x.zero_point) for _ in range(2))
    content = model([first, O("RELU", [x], [y]), O("ADD", [x, y], [z], NONE)])
    assert kinds(content) == ["CONV_2D", "RELU", "ADD"]
    check_bytes(content)


# Tables


def test_tables_behind_one_another_are_one():
    x, a, b, c = (image((1, 300), scale, zero) for scale, zero in ((0.1, 3), (0.07, -3), (0.05, 0), (0.02, 5)))
    two = constant([50], "int8", scale=0.03, zero_point=2)
    content = model([O("HARD_SWISH", [x], [a]), O("ADD", [two, a], [b], NONE), O("QUANTIZE", [b], [c])])
    graph = rewritten(content)
    assert [op.kind for op in graph.ops] == ["QUANTIZE"]
    assert graph.ops[0].options["fused"] == ("ADD", "HARD_SWISH")
    check_bytes(content)


def test_a_table_that_only_tables_read_goes_into_all_of_them():
    x, a, b, c = (image((1, 300), scale, zero) for scale, zero in ((0.1, 3), (0.07, -3), (0.05, 0), (0.02, 5)))
    y = constant([1, 2] * 150, "int8", scale=0.1)
    tables = [O("HARD_SWISH", [x], [a]), O("QUANTIZE", [a], [b]), O("RELU", [a], [c])]
    assert kinds(model(tables)) == ["QUANTIZE", "RELU"]
    check_bytes(model(tables))
    more = [*tables, O("ADD", [a, y], [image((1, 300))], NONE)]
    assert kinds(model(more)) == ["HARD_SWISH", "QUANTIZE", "RELU", "ADD"]
    check_bytes(model(more))


def test_what_nothing_reads_goes():
    x, a, b = image((1, 30)), image((1, 30), 0.2), image((1, 30), 0.05)
    unread = [O("QUANTIZE", [x], [a]), O("ADD", [a, a], [image((1, 30), 0.3)], NONE), O("QUANTIZE", [x], [b])]
    content = model(unread, outputs=[b])
    assert kinds(content) == ["QUANTIZE"]
    check_bytes(content)


# Transpositions


def transposed(x: T, order: list[int]) -> O:
    shape = tuple(x.shape[axis] for axis in order)
    return O("TRANSPOSE", [x, constant(order)], [T(shape=shape, scale=x.scale, zero_point=x.zero_point)])


def test_transpositions_behind_one_another_are_one_and_an_inverse_is_no_code():
    first = transposed(image((2, 3, 4, 5)), [0, 3, 1, 2])
    second = transposed(first.outputs[0], [0, 2, 1, 3])
    assert kinds(model([first, second])) == ["TRANSPOSE"]
    check_bytes(model([first, second]))
    back = transposed(first.outputs[0], [0, 2, 3, 1])
    assert compile_tflite(model([first, back]), golden=0).layers == ()
    check_bytes(model([first, back]))


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("axes", [[2, 3], [3], [-2], [1], [1, 2]])
def test_the_mean_comes_first(axes, keep):
    moved = transposed(image((1, 4, 5, 6)), [0, 3, 1, 2])
    (x,) = moved.outputs
    kept = np.zeros(x.shape).mean(axis=tuple(axes), keepdims=keep).shape
    content = model([moved, O("MEAN", [x, constant(axes)], [image(kept, 0.05, 7)], {"keepDims": keep})])
    assert kinds(content) == ["MEAN", "TRANSPOSE"]
    check_bytes(content)


def test_the_mean_over_space_of_a_transposed_image_needs_no_transposition():
    moved = transposed(image((1, 3, 3, 16)), [0, 3, 1, 2])
    middle, y = image((1, 16, 3), 0.08, 1), image((1, 16), 0.05, 7)
    means = [
        O("MEAN", [moved.outputs[0], constant([3])], [middle], {"keepDims": False}),
        O("MEAN", [middle, constant([2])], [y], {"keepDims": False}),
    ]
    content = model([moved, *means])
    assert [layer.kind for layer in compile_tflite(content, golden=0).layers] == ["MEAN", "MEAN"]
    check_bytes(content)


@pytest.mark.parametrize("reshaped", [False, True])
def test_a_flattened_transposition_is_taken_over_by_the_weights(reshaped):
    moved = transposed(image((1, 3, 4, 5)), [0, 3, 1, 2])
    (x,) = moved.outputs
    flat = T(shape=(1, 60), scale=x.scale, zero_point=x.zero_point)
    shape = [O("RESHAPE", [x, constant([1, 60])], [flat], {"newShape": [1, 60]})] if reshaped else []
    weights = constant(random_int8(RNG, (7, 60)), "int8", scale=[0.01] * 7, axis=0)
    dense = O("FULLY_CONNECTED", [flat if reshaped else x, weights, None], [image((1, 7), 0.4, 2)], NONE)
    content = model([moved, *shape, dense])
    assert kinds(content) == ["FULLY_CONNECTED"]
    check_bytes(content)


def test_a_transposition_of_several_rows_stays():
    moved = transposed(image((2, 3, 4)), [1, 0, 2])
    weights = constant(random_int8(RNG, (7, 8)), "int8", scale=0.01)
    dense = O("FULLY_CONNECTED", [moved.outputs[0], weights, None], [image((3, 7), 0.4, 2)], NONE)
    content = model([moved, dense])
    assert kinds(content) == ["TRANSPOSE", "FULLY_CONNECTED"]
    check_bytes(content)
