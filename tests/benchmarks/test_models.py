"""The models of MLPerf Tiny and MCUNet on every core, byte for byte LiteRT's reference."""

import pytest

from ndtool.benchmarks.inputs import RandomInputs
from ndtool.benchmarks.measure import measure
from ndtool.benchmarks.targets import load_target
from ndtool.export.c import compile_tflite

MODELS = ("ad", "ic", "kws", "vww", "mcunet_vww")
CORES = ("cortex-m7", "cortex-m4", "cortex-m33", "cortex-m3", "cortex-m0plus")
FAST = {("ad", "cortex-m7"), ("kws", "cortex-m0plus"), ("ad", "cortex-m3")}


@pytest.mark.parametrize(
    ("name", "core"),
    [
        pytest.param(name, core, marks=() if (name, core) in FAST else pytest.mark.slow)
        for name in MODELS
        for core in CORES
    ],
)
def test_a_model_is_bit_exact_on_a_core(shared, name, core):
    path, target = shared / "models" / f"{name}.tflite", load_target(core)
    library = compile_tflite(path, golden=0, features=target.core.features)
    m = measure(library, target, inputs=RandomInputs(count=2), reference=path.read_bytes())
    assert m.bit_exact is True
    assert m.macs / 2 < m.cost.instructions < 30 * m.macs  # twelve instructions can make sixteen products
    assert m.sram.stack < 2048
    assert m.flash.weights >= library.weight_bytes
    assert sum(layer.cost.instructions for layer in m.layers) + m.glue.instructions == m.cost.instructions
