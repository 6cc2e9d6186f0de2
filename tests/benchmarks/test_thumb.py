"""Assembly of the kernels for cores without DSP instructions, on an emulated Cortex-M0+, byte for byte."""

import subprocess
from importlib import resources

import numpy as np
import pytest

from ndtool.benchmarks.build import zig_command, zig_environment
from ndtool.benchmarks.inputs import RandomInputs
from ndtool.benchmarks.measure import measure
from ndtool.benchmarks.targets import load_target
from ndtool.export.c import compile_tflite
from ndtool.tests.export.c.batches import batched
from ndtool.tests.export.c.harness import WARNINGS, O, T, constant, model
from ndtool.tests.export.c.test_convolution import convolutions, depthwise
from ndtool.tests.export.c.test_fully_connected import layers
from ndtool.tests.export.c.test_thumb import THUMB

KERNELS = (
    "nd_conv_thumb",
    "nd_depthwise_thumb",
    "nd_fully_connected_thumb",
    "nd_thumb_pack",
    "nd_thumb_rows",
    "nd_thumb_strip",
    "nd_thumb_tile",
)
TARGET = load_target("cortex-m0plus")


def check_on_core(content: bytes) -> list[str]:
    """The outputs of random inputs are LiteRT's reference's. Returns the layers' kernels."""
    library = compile_tflite(content, name="t", golden=0, features=TARGET.core.features)
    assert measure(library, TARGET, inputs=RandomInputs(count=2), reference=content).bit_exact is True
    return [layer.kernel for layer in library.layers]


@pytest.mark.parametrize("kernel", KERNELS)
def test_kernels_compile_without_warnings(kernel, tmp_path):
    folder = resources.files("ndtool.export.c") / "kernels"
    machine = ("-target", "thumb-freestanding-eabi", "-mcpu=cortex_m0plus")
    command = [*zig_command(), "cc", *machine, *WARNINGS, "-c", str(folder / f"{kernel}.c"), "-o", str(tmp_path / "o")]
    done = subprocess.run(command, env=zig_environment(), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_core_asks_for_these_kernels():
    assert TARGET.core.features == THUMB


@pytest.mark.parametrize("operators", [convolutions(), depthwise(), layers()], ids=["conv", "depthwise", "connected"])
def test_random_layers_are_the_references(operators):
    kernels = []

    @batched(operators, examples=3, size=24)
    def check(ops, seed):
        kernels.extend(check_on_core(model(ops)))

    check()
    assert any("thumb" in kernel for kernel in kernels)


@pytest.mark.parametrize("taps", range(1, 18))
def test_every_number_of_taps_is_entered_where_it_should(taps):
    rng = np.random.default_rng(taps)
    x = T(shape=(1, 1, 5, taps), scale=0.1, zero_point=-3)
    y = T(shape=(1, 1, 5, 11), scale=1.0, zero_point=4)
    values = rng.integers(-127, 128, size=(11, 1, 1, taps), dtype=np.int8)
    bias = constant(np.zeros(11), scale=np.float32(0.001))
    options = {"padding": "VALID", "strideH": 1, "strideW": 1}
    conv = O("CONV_2D", [x, constant(values, "int8", scale=0.01), bias], [y], options)
    rows, scores = T(shape=(2, taps), scale=0.1, zero_point=-3), T(shape=(2, 11), scale=1.0, zero_point=4)
    dense = O("FULLY_CONNECTED", [rows, constant(values[:, 0, 0], "int8", scale=0.01), None], [scores])
    assert check_on_core(model([conv, dense])) == ["nd_conv_thumb", "nd_fully_connected_thumb"]


@pytest.mark.parametrize("columns", range(1, 8))
def test_filters_of_every_width(columns):
    rng = np.random.default_rng(columns)
    x = T(shape=(1, 9, 9, 6), scale=0.1, zero_point=-3)
    y = T(shape=(1, 9, 9, 6), scale=1.0, zero_point=4)
    values = rng.integers(-127, 128, size=(1, 3, columns, 6), dtype=np.int8)
    bias = constant(np.zeros(6), scale=np.float32(0.001))
    options = {"padding": "SAME", "strideH": 1, "strideW": 1, "depthMultiplier": 1}
    op = O("DEPTHWISE_CONV_2D", [x, constant(values, "int8", scale=0.01, axis=3), bias], [y], options)
    assert check_on_core(model([op])) == ["nd_depthwise_thumb"]
