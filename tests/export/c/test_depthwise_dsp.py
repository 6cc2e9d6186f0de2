"""Depthwise convolutions with the DSP extension: on the host with stand-ins, and on emulated cores."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from ndtool.benchmarks.inputs import GivenInputs, RandomInputs
from ndtool.benchmarks.measure import measure
from ndtool.benchmarks.targets import load_target
from ndtool.export.c import CLibrary, compile_tflite
from ndtool.export.c.context import Features
from ndtool.export.c.operators import convolution, depthwise_dsp
from ndtool.export.c.operators.windows import Window
from ndtool.tests.export.c.batches import Draw, activations, batched, check_batch, scales, zero_points
from ndtool.tests.export.c.clean import run_clean
from ndtool.tests.export.c.harness import (
    DSP,
    O,
    T,
    check_kernel,
    constant,
    model,
    random_int8,
    run_c,
    run_reference,
    single_op,
)
from ndtool.tests.export.c.test_convolution import depthwise, output_size, quantised, weights_like


@st.composite
def layers(draw: Draw) -> O:
    """Layers that the kernels serve, images from less than the filter to several tiles of outputs."""
    filter_size = (draw(st.integers(1, 8)), draw(st.integers(1, 7)))
    options = {
        "padding": draw(st.sampled_from(["SAME", "VALID"])),
        "strideH": draw(st.integers(1, 3)),
        "strideW": draw(st.integers(1, 2)),
        "dilationHFactor": 1,
        "dilationWFactor": 1,
        "fusedActivationFunction": draw(activations),
        "depthMultiplier": 1,
    }
    if options["strideH"] == options["strideW"] == 1:
        options["dilationHFactor"] = draw(st.sampled_from([1, 1, 2]))
    reach = (filter_size[0] - 1) * options["dilationHFactor"] + 1
    least = (1, 1) if options["padding"] == "SAME" else (reach, filter_size[1])
    size = (least[0] + draw(st.integers(0, 9)), least[1] + draw(st.integers(0, 14)))
    channels = draw(st.integers(1, 9))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = (draw(st.sampled_from([1, 1, 2])), *size, channels)
    source = T(shape=shape, scale=draw(scales(1e-3, 1.0)), zero_point=draw(zero_points))
    values = weights_like(rng, (1, *filter_size, channels))
    weights, bias, scale, _ = quantised(draw, values, channels, 3, source)
    relu = options["fusedActivationFunction"].startswith("RELU") and draw(st.booleans())
    zero_point = -128 if relu else draw(zero_points)
    output = T(shape=(shape[0], *output_size(size, filter_size, options), channels), scale=scale, zero_point=zero_point)
    return O("DEPTHWISE_CONV_2D", [source, weights, *([bias] if bias else [])], [output], options)


@batched(layers(), examples=20)
def test_layers_are_the_references(ops, seed):
    check_batch(ops, seed, features=DSP)


@batched(layers(), examples=10)
def test_layers_in_narrow_bands_are_the_references(ops, seed):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(depthwise_dsp, "PLANES_BYTES", 400)
        check_batch(ops, seed, features=DSP)


@batched(depthwise())
def test_layers_of_any_kind_are_the_references(ops, seed):
    check_batch(ops, seed, features=DSP)


def exact(library: CLibrary, content: bytes, core: str) -> bool | None:
    return measure(library, load_target(core), inputs=RandomInputs(count=2), reference=content).bit_exact


@pytest.mark.parametrize("core", ["cortex-m7", "cortex-m4", "cortex-m33"])
@given(ops=st.lists(layers(), min_size=40, max_size=60), narrow=st.booleans())
@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
def test_layers_on_emulated_cores_are_the_references(core, ops, narrow):
    content = model(ops)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(depthwise_dsp, "PLANES_BYTES", 400 if narrow else depthwise_dsp.PLANES_BYTES)
        library = compile_tflite(content, name="t", golden=0, features=DSP)
    assert exact(library, content, core)


@pytest.mark.slow
@given(ops=st.lists(layers(), min_size=20, max_size=40), narrow=st.booleans())
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
def test_layers_are_clean_under_sanitizers(tmp_path_factory, ops, narrow):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(depthwise_dsp, "PLANES_BYTES", 400 if narrow else depthwise_dsp.PLANES_BYTES)
        run_clean(model(ops), tmp_path_factory.mktemp("clean") / "c", features=DSP)


def layer(
    size: tuple[int, int] = (12, 12),
    channels: int = 8,
    filter_size: tuple[int, int] = (3, 3),
    stride: int = 1,
    zero_point: int = -128,
    scale: float = 0.01,
    dilation: int = 1,
    bias: int = 100,
    output_scale: float = 0.1,
    activation: str = "RELU",
) -> bytes:
    """One layer, padded so that the output is as large as the input over the stride."""
    rng = np.random.default_rng(0)
    x = T(shape=(1, *size, channels), scale=0.05, zero_point=-128)
    weights = constant(weights_like(rng, (1, *filter_size, channels)), "int8", scale=[scale] * channels, axis=3)
    biases = constant([bias] * channels, scale=[np.float32(0.05) * np.float32(scale)] * channels)
    shape = (1, -(-size[0] // stride), -(-size[1] // stride), channels)
    y = T(shape=shape, scale=output_scale, zero_point=zero_point)
    options = {"padding": "SAME", "strideH": stride, "strideW": stride, "depthMultiplier": 1}
    options |= {"dilationWFactor": dilation, "dilationHFactor": dilation, "fusedActivationFunction": activation}
    return single_op("DEPTHWISE_CONV_2D", [x, weights, biases], [y], **options)


@pytest.mark.parametrize(
    ("changes", "kernel"),
    [
        ({}, "nd_depthwise_3_relu"),
        ({"stride": 2}, "nd_depthwise_3_2_relu"),
        ({"zero_point": 3}, "nd_depthwise_3"),
        ({"filter_size": (1, 3)}, "nd_depthwise_3_relu"),
        ({"filter_size": (5, 1)}, "nd_depthwise_5_relu"),
        ({"filter_size": (5, 5), "stride": 2}, "nd_depthwise_5_2_relu"),
        ({"filter_size": (1, 7)}, "nd_depthwise_7_relu"),
        ({"filter_size": (7, 7), "stride": 2, "zero_point": 0}, "nd_depthwise_7_2"),
        ({"filter_size": (3, 9)}, "nd_depthwise"),
        ({"stride": 3}, "nd_depthwise"),
        ({"dilation": 2}, "nd_depthwise"),
        ({"filter_size": (3, 1), "dilation": 2}, "nd_depthwise_3_relu"),
        ({"scale": 3.0, "zero_point": 0}, "nd_depthwise"),
        ({"size": (12, 2)}, "nd_depthwise_3_relu"),
        ({"size": (12, 1)}, "nd_depthwise"),
    ],
)
def test_each_layer_has_its_kernel(changes, kernel):
    content = layer(**changes)
    library = compile_tflite(content, golden=0, features=DSP)
    assert [call.kernel for call in library.layers] == [kernel]
    shape = (1, *changes.get("size", (12, 12)), 8)
    check_kernel(content, random_int8(np.random.default_rng(1), shape), features=DSP)


def test_unaligned_words_are_not_read_where_they_may_not_be():
    library = compile_tflite(layer(), golden=0, features=Features(dsp=True, unaligned=False))
    assert [call.kernel for call in library.layers] == ["nd_depthwise"]


def test_a_layer_takes_the_place_of_its_input():
    """The arena is the input and the scratch: 7 words and 4 planes of 14 rows of 16."""
    content = layer()
    assert compile_tflite(content, golden=0, features=DSP).arena_bytes == 12 * 12 * 8 + 4 * 7 + 4 * 14 * 16 * 2
    check_kernel(content, random_int8(np.random.default_rng(0), (1, 12, 12, 8)), features=DSP)


@pytest.mark.parametrize("channels", [3, 6, 8])
@pytest.mark.parametrize("stride", [1, 2])
def test_bands_take_the_place_of_their_input(monkeypatch, channels, stride):
    monkeypatch.setattr(depthwise_dsp, "PLANES_BYTES", 1000)
    content = layer(size=(20, 12), channels=channels, stride=stride)
    library = compile_tflite(content, golden=0, features=DSP)
    assert library.arena_bytes < 20 * 12 * channels + 1200
    check_kernel(content, random_int8(np.random.default_rng(0), (1, 20, 12, channels)), features=DSP)
    assert exact(library, content, "cortex-m7")


def test_bounds_that_never_bind_cost_nothing():
    """RELU6 at a scale of 6 / 255 is int8's range."""
    free = compile_tflite(layer(activation="RELU6", output_scale=6 / 255), golden=0, features=DSP)
    bound = compile_tflite(layer(activation="RELU6", output_scale=6 / 100), golden=0, features=DSP)
    assert ".activation_max = 127" in free.files["model.c"]
    assert ".activation_max = -28" in bound.files["model.c"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PaddedWindow(Window):
    """A window over an axis with any padding before and behind."""

    around: tuple[int, int]

    @property
    def output(self) -> int:
        return (self.input + sum(self.around) - self.reach) // self.stride + 1

    @property
    def before(self) -> int:
        return self.around[0]


@given(
    size=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    channels=st.integers(1, 9),
    filter_size=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    strides=st.tuples(st.integers(1, 3), st.integers(1, 2)),
    above=st.tuples(st.integers(0, 9), st.integers(0, 9)),
    beside=st.tuples(st.integers(0, 9), st.integers(0, 9)),
    zero_points=st.tuples(st.sampled_from([-128, -3, 127]), st.sampled_from([-128, 5])),
    narrow=st.booleans(),
    emulated=st.booleans(),
)
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
def test_any_padding_on_any_side(
    tmp_path_factory, size, channels, filter_size, strides, above, beside, zero_points, narrow, emulated
):
    """As when a PAD is fused into the layer: compared with PAD and the layer."""
    height, width = (
        PaddedWindow(input=n, filter=f, stride=s, dilation=1, same=False, around=around)
        for n, f, s, around in zip(size, filter_size, strides, (above, beside), strict=True)
    )
    assume(height.output > 0 and width.output > 1)
    rng = np.random.default_rng(0)
    x = T(shape=(1, *size, channels), scale=0.05, zero_point=zero_points[0])
    padded = T(shape=(1, size[0] + sum(above), size[1] + sum(beside), channels), scale=0.05, zero_point=x.zero_point)
    weights = constant(weights_like(rng, (1, *filter_size, channels)), "int8", scale=[0.01] * channels, axis=3)
    bias = constant(rng.integers(-999, 999, channels), scale=[np.float32(0.05) * np.float32(0.01)] * channels)
    y = T(shape=(1, height.output, width.output, channels), scale=0.2, zero_point=zero_points[1])
    options = {"padding": "VALID", "strideH": strides[0], "strideW": strides[1], "depthMultiplier": 1}
    pads = constant([(0, 0), above, beside, (0, 0)])
    apart = model([O("PAD", [x, pads], [padded]), O("DEPTHWISE_CONV_2D", [padded, weights, bias], [y], options)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(convolution, "windows", lambda *_: (height, width))
        patch.setattr(depthwise_dsp, "PLANES_BYTES", 400 if narrow else depthwise_dsp.PLANES_BYTES)
        library = compile_tflite(
            single_op("DEPTHWISE_CONV_2D", [x, weights, bias], [y], **options), name="t", golden=0, features=DSP
        )
    assert library.layers[0].kernel.startswith(f"nd_depthwise_{depthwise_dsp._taps(height, width)}")
    data = random_int8(rng, x.shape)
    (expected,) = run_reference(apart, [data])
    if emulated:
        folder = tmp_path_factory.mktemp("kept")
        measure(library, load_target("cortex-m7"), inputs=GivenInputs(samples=((data,),), origin="here"), keep=folder)
        found = np.fromfile(folder / "output.0.bin", np.int8).reshape(expected.shape)
    else:
        (found,) = run_c(library, [data])
    np.testing.assert_array_equal(found, expected)
