"""CONV_2D and DEPTHWISE_CONV_2D against LiteRT's reference kernels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ndtool.benchmarks.inputs import RandomInputs
from ndtool.benchmarks.measure import measure
from ndtool.benchmarks.targets import load_target
from ndtool.errors import NdtoolError
from ndtool.export.c import compile_tflite
from ndtool.export.c.operators.pairs import column_order, paired_weights, shared_order
from ndtool.tests.export.c.batches import Draw, activations, batched, check_batch, scales, zero_points
from ndtool.tests.export.c.harness import DSP, O, T, check_kernel, constant, model, random_int8, single_op
from ndtool.tests.export.c.test_fully_connected import layers


def weights_like(rng: np.random.Generator, shape: tuple[int, ...], least: int = -128) -> np.ndarray:
    return rng.integers(least, 128, size=shape, dtype=np.int8)


@st.composite
def windows(draw: Draw) -> tuple[tuple[int, int], tuple[int, int], dict[str, object]]:
    """Image size, filter size and options of a convolution that has an output."""
    filter_size = (draw(st.integers(1, 5)), draw(st.integers(1, 5)))
    dilation = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    padding = draw(st.sampled_from(["SAME", "VALID"]))
    least = [1 if padding == "SAME" else (f - 1) * d + 1 for f, d in zip(filter_size, dilation, strict=True)]
    size = (least[0] + draw(st.integers(0, 6)), least[1] + draw(st.integers(0, 6)))
    return (
        size,
        filter_size,
        {
            "padding": padding,
            "strideH": draw(st.integers(1, 3)),
            "strideW": draw(st.integers(1, 3)),
            "dilationHFactor": dilation[0],
            "dilationWFactor": dilation[1],
            "fusedActivationFunction": draw(activations),
        },
    )


def output_size(size: tuple[int, int], filter_size: tuple[int, int], options: dict[str, object]) -> tuple[int, int]:
    result = []
    for letter, n, f in zip("HW", size, filter_size, strict=True):
        reach = (f - 1) * options[f"dilation{letter}Factor"] + 1
        result.append(-(-(n if options["padding"] == "SAME" else n - reach + 1) // options[f"stride{letter}"]))
    return result[0], result[1]


def quantised(
    draw: Draw, weights: np.ndarray, channels: int, axis: int, source: T
) -> tuple[T, T | None, float, np.random.Generator]:
    """Weights and bias as tensors, and an output scale at which the results neither vanish nor all saturate."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    per_channel = draw(st.booleans())
    base = draw(scales(1e-4, 1e-1))
    scale = (base * rng.uniform(0.1, 1, size=channels if per_channel else 1)).astype(np.float32)
    spread = 128 * 74 * max(1.0, (weights.size / channels) ** 0.5)
    bias = rng.integers(-int(spread), int(spread) + 1, size=channels, dtype=np.int32)
    output = float(np.float32(source.scale * base * spread / 64 * draw(st.sampled_from([0.02, 0.5, 1.0, 30.0]))))
    tensor = constant(weights, "int8", scale=scale, axis=axis)
    with_bias = constant(bias, scale=scale * np.float32(source.scale)) if draw(st.booleans()) else None
    return tensor, with_bias, output, rng


@st.composite
def convolutions(draw: Draw) -> O:
    size, filter_size, options = draw(windows())
    depth, groups = draw(st.sampled_from([1, 2, 3, 4, 5, 6, 8, 12])), draw(st.sampled_from([1, 1, 1, 2, 3]))
    if draw(st.integers(0, 3)) == 0:  # pointwise, which has a kernel of its own
        filter_size = (1, 1)
        options |= draw(st.sampled_from([{}, {"strideH": 1, "strideW": 1}]))
    elif draw(st.integers(0, 3)) == 0:  # four windows that share what they cover
        filter_size, groups, depth = (filter_size[0], 3), 1, draw(st.sampled_from([4, 8, 12]))
        size = (size[0], draw(st.sampled_from([4, 8])))
        options |= {"padding": "SAME", "strideW": 1, "dilationWFactor": 1}
    channels = groups * draw(st.integers(1, 5))
    batches = draw(st.sampled_from([1, 1, 2]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    source = T(shape=(batches, *size, depth * groups), scale=draw(scales(1e-3, 1.0)), zero_point=draw(zero_points))
    least = draw(st.sampled_from([-127, -127, -127, -128]))  # -128 does not always fit the pairs of DSP kernels
    values = weights_like(rng, (channels, *filter_size, depth), least)
    weights, bias, scale, _ = quantised(draw, values, channels, 0, source)
    shape = (batches, *output_size(size, filter_size, options), channels)
    output = T(shape=shape, scale=scale, zero_point=draw(zero_points))
    zeros = constant(np.zeros(channels), scale=np.float32(source.scale) * np.asarray(weights.scale))
    return O("CONV_2D", [source, weights, bias or zeros], [output], options)  # LiteRT insists on a bias


@st.composite
def depthwise(draw: Draw) -> O:
    size, filter_size, options = draw(windows())
    depth, multiplier = draw(st.integers(1, 9)), draw(st.sampled_from([1, 1, 2, 3]))
    channels = depth * multiplier
    if options["dilationHFactor"] > 1 or options["dilationWFactor"] > 1:  # LiteRT's own limit
        options |= {"strideH": 1, "strideW": 1}
    batches = draw(st.sampled_from([1, 1, 2]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    source = T(shape=(batches, *size, depth), scale=draw(scales(1e-3, 1.0)), zero_point=draw(zero_points))
    values = weights_like(rng, (1, *filter_size, channels))
    weights, bias, scale, _ = quantised(draw, values, channels, 3, source)
    shape = (batches, *output_size(size, filter_size, options), channels)
    output = T(shape=shape, scale=scale, zero_point=draw(zero_points))
    inputs = [source, weights, *([bias] if bias else [])]
    return O("DEPTHWISE_CONV_2D", inputs, [output], {**options, "depthMultiplier": multiplier})


@batched(convolutions())
def test_convolutions_are_the_references(ops, seed):
    check_batch(ops, seed)


@batched(convolutions())
def test_dsp_convolutions_are_the_references(ops, seed):
    check_batch(ops, seed, features=DSP)


@pytest.mark.parametrize("core", ["cortex-m7", "cortex-m4", "cortex-m33"])
@batched(st.one_of(convolutions(), layers()), examples=2, size=40)
def test_layers_on_a_core_are_the_references(core, ops, seed):
    """The kernels' assembly, which a host has stand-ins for."""
    content, target = model(ops), load_target(core)
    library = compile_tflite(content, name="t", golden=0, features=target.core.features)
    measured = measure(library, target, inputs=RandomInputs(count=1, seed=seed), reference=content)
    assert measured.bit_exact is True


@batched(depthwise())
def test_depthwise_convolutions_are_the_references(ops, seed):
    check_batch(ops, seed)


def conv(**changes: object) -> bytes:
    """A small convolution, with something changed."""
    x = T(shape=changes.pop("shape", (1, 5, 5, 3)), scale=0.1, zero_point=-3)
    values = np.random.default_rng(0).integers(-127, 128, size=changes.pop("filter", (4, 3, 3, 3)), dtype=np.int8)
    weights = constant(values, changes.pop("dtype", "int8"), scale=changes.pop("scale", 0.01))
    bias = changes.pop("bias", constant(np.arange(4)))
    y = T(shape=changes.pop("output", (1, 5, 5, 4)), scale=0.2, zero_point=4)
    options = {"padding": "SAME", "strideH": 1, "strideW": 1} | changes
    return single_op("CONV_2D", [x, weights, bias], [y], **options)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dtype": "float32"}, "weights must be int8 constants, quantised symmetrically; 't1' is float32"),
        ({"bias": constant([1.0] * 4, "float32")}, "the bias, if any, must be an int32 constant; 't2' is float32"),
        ({"bias": constant([1] * 3)}, "the bias 't2' has 3 values for 4 channels"),
        ({"bias": constant([2**31 - 1] * 4)}, "every sum of products must fit 32 bits"),
        ({"output": (1, 5, 6, 4)}, "belong together in size; the output is [1, 5, 6, 4]"),
        ({"strideH": 0}, "must be at least 1, the padding SAME or VALID; stride_h is 0"),
        ({"dilationWFactor": -1}, "dilation_w_factor is -1"),
        ({"padding": "VALID", "shape": (1, 2, 2, 3), "output": (1, 0, 0, 4)}, "at least 1 in each dimension"),
        ({"filter": (4, 3, 3, 2)}, "the weights' depth must divide the input's"),
        ({"fusedActivationFunction": "TANH"}, "the fused activation must be none, RELU, RELU6"),
    ],
)
def test_what_cannot_be_compiled_is_named(changes, message):
    with pytest.raises(NdtoolError) as error:
        compile_tflite(conv(**changes))
    assert "CONV_2D 't3': " in str(error.value)
    assert message in str(error.value)


def test_only_pointwise_convolutions_need_no_scratch():
    wide = compile_tflite(conv(), golden=0)
    pointwise = compile_tflite(conv(filter=(4, 1, 1, 3)), golden=0)
    assert [layer.kernel for layer in (*wide.layers, *pointwise.layers)] == ["nd_conv", "nd_conv_1x1"]
    assert ("(scratch)", 2 * 27) in wide.layers[0].live_tensors


def test_a_convolution_overwrites_its_input_where_it_is_safe():
    """16 to 4 channels in place: the arena is the input and two pixels of the output."""
    x = T(shape=(1, 8, 8, 16), scale=0.1, zero_point=-3)
    rng = np.random.default_rng(0)
    weights = constant(weights_like(rng, (4, 1, 1, 16)), "int8", scale=0.01)
    y = T(shape=(1, 8, 8, 4), scale=1.0, zero_point=4)
    bias = constant(np.arange(4), scale=np.float32(0.001))
    content = single_op("CONV_2D", [x, weights, bias], [y], padding="VALID", strideH=1, strideW=1)
    assert compile_tflite(content).arena_bytes == 8 * 8 * 16 + 2 * 4
    check_kernel(content, random_int8(rng, x.shape))


def test_most_convolutions_are_done_with_dsp_instructions():
    """Tiles of four pixels: scratch for four windows of 27 taps, rounded up to 28, and for their bytes."""
    wide = compile_tflite(conv(), golden=0, features=DSP)
    assert [layer.kernel for layer in wide.layers] == ["nd_conv_dsp"]
    assert ("(scratch)", 4 * (2 * 28 + 27)) in wide.layers[0].live_tensors


def test_a_pointwise_convolution_looks_for_no_windows():
    pointwise = compile_tflite(conv(shape=(1, 5, 5, 8), filter=(4, 1, 1, 8)), golden=0, features=DSP)
    strided = conv(shape=(1, 5, 5, 8), filter=(4, 1, 1, 8), output=(1, 3, 3, 4), strideH=2, strideW=2)
    kernels = [layer.kernel for layer in (*pointwise.layers, *compile_tflite(strided, golden=0, features=DSP).layers)]
    assert kernels == ["nd_conv_1x1_dsp", "nd_conv_dsp"]
    assert ("(scratch)", 4 * 2 * 8) in pointwise.layers[0].live_tensors


@pytest.mark.parametrize(("activation", "exact"), [("NONE", 1), ("RELU", 0), ("RELU6", 0), ("RELU_N1_TO_1", 1)])
def test_halves_of_negative_sums_are_rounded_where_they_show(activation, exact):
    content = conv(fusedActivationFunction=activation)
    library = compile_tflite(content, golden=0, features=DSP)
    assert f".exact = {exact}," in library.files["model.c"]
    check_kernel(content, random_int8(np.random.default_rng(0), (1, 5, 5, 3)), features=DSP)


def test_weights_that_do_not_fit_a_pair_are_left_to_portable_kernels():
    """256 b + a is below -32768 where b is -128 and a negative; 128 times the sum of |b| must stay below 2^23."""
    order = column_order(1, 4)
    assert paired_weights(np.array([[1, 1, 1, 1], [-128, 1, 1, 1]]), order) is not None
    assert paired_weights(np.array([[-1, 1, 1, 1], [-128, 1, 1, 1]]), order) is None
    assert paired_weights(np.array([[-128, 1, 1, 1]]), order) is not None
    assert paired_weights(np.full((2, 516), 127), column_order(1, 516)) is not None
    assert paired_weights(np.full((2, 520), 127), column_order(1, 520)) is None


@given(st.integers(1, 5), st.integers(1, 13))
def test_every_tap_of_a_window_is_in_its_column_once(rows, width):
    order = column_order(rows, width).reshape(-1)
    assert sorted(order[order >= 0]) == list(range(rows * width))
    assert order.size % 2 == 0
    assert np.count_nonzero(order < 0) == rows * (width % 4) % 2
    assert sorted(shared_order(rows, 4 * width).reshape(-1)) == list(range(rows * 3 * 4 * width))


@pytest.mark.parametrize("changes", [{"scale": 1.5}, {"filter": (4, 3, 3, 1)}], ids=["a large multiplier", "groups"])
def test_what_dsp_kernels_cannot_do_is_done_by_portable_ones(changes):
    shape = {"shape": (1, 5, 5, 2), "filter": (4, 3, 3, 1)} if "filter" in changes else changes
    library = compile_tflite(conv(**shape), golden=0, features=DSP)
    assert [layer.kernel for layer in library.layers] == ["nd_conv"]


def test_a_channel_that_is_always_the_same_needs_no_multiplier():
    """Dead channels of trained networks: no weights, an enormous bias, any scale."""
    values = np.zeros((2, 1, 1, 4), np.int8)
    values[1] = 3
    x = T(shape=(1, 3, 3, 4), scale=0.1, zero_point=-3)
    weights = constant(values, "int8", scale=[1e-9, 0.01])
    bias = constant([-(2**30) - 5, 7], scale=[np.float32(1e-10), np.float32(1e-3)])
    y = T(shape=(1, 3, 3, 2), scale=0.05, zero_point=-128)
    content = single_op("CONV_2D", [x, weights, bias], [y], padding="VALID", strideH=1, strideW=1)
    library = compile_tflite(content, golden=0, features=DSP)
    assert library.layers[0].kernel == "nd_conv_1x1_dsp"
    check_kernel(content, random_int8(np.random.default_rng(0), x.shape), features=DSP)
