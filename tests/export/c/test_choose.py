"""Kernels are chosen by what they cost, for what the user wants small."""

from collections.abc import Sequence

import numpy as np
import pytest

from ndtool.errors import NdtoolError
from ndtool.export.c import compile_tflite
from ndtool.export.c.call import Slot
from ndtool.export.c.choose import Prices
from ndtool.export.c.kernel_files import with_callees
from ndtool.export.c.objective import Values, parse_objective
from ndtool.tests.export.c.harness import DSP, O, T, model
from ndtool.tests.export.c.test_strips import layer


def two_convolutions() -> bytes:
    rng = np.random.default_rng(0)
    first = layer(rng, T(shape=(1, 8, 8, 4), scale=0.1, zero_point=0, name="x"), "CONV_2D", 8, 3, 1, "SAME")
    first.outputs[0].name = "first"
    second = layer(rng, first.outputs[0], "CONV_2D", 8, 1, 1, "SAME")
    second.outputs[0].name = "second"
    return model([O(op.kind, op.inputs, op.outputs, op.options) for op in (first, second)])


class Market:
    """A measure with given costs of kernels by the layer they compute, and given sizes of code."""

    def __init__(self, costs: dict[tuple[str, str], float], code: dict[str, int]):
        self.costs, self.code, self.asked = costs, code, 0

    def __call__(self, slots: Sequence[Slot]) -> Prices:
        self.asked += 1
        costs = [self.costs[call.op.outputs[0].name, call.kernel] for slot in slots for call in slot.calls]
        kernels = with_callees({call.kernel for slot in slots for call in slot.calls})
        return Prices(costs=tuple(costs), code={kernel: self.code.get(kernel, 0) for kernel in kernels})


COSTS = {
    ("first", "nd_conv_dsp"): 100.0,
    ("first", "nd_conv"): 300.0,
    ("second", "nd_conv_1x1_dsp"): 90.0,
    ("second", "nd_conv_1x1"): 80.0,
}


def kernels(market: Market | None, **options: object) -> list[str]:
    library = compile_tflite(two_convolutions(), golden=0, features=DSP, measure=market, **options)  # type: ignore[arg-type]
    return [each.kernel for each in library.layers]


def test_without_a_measurement_the_preferred_kernel_is_taken() -> None:
    assert kernels(None) == ["nd_conv_dsp", "nd_conv_1x1_dsp"]


def test_the_measured_fastest_is_taken_layer_by_layer() -> None:
    assert kernels(Market(COSTS, {})) == ["nd_conv_dsp", "nd_conv_1x1"]


def test_a_kernel_is_not_added_for_a_gain_that_is_less_than_its_code_weighs() -> None:
    assert kernels(Market(COSTS, {"nd_conv_1x1": 10**12})) == ["nd_conv_dsp", "nd_conv_1x1_dsp"]


def test_flash_takes_the_kernels_with_the_least_code() -> None:
    code = {
        "nd_conv_dsp": 10000,
        "nd_conv_1x1_dsp": 10000,
        "nd_conv": 300,
        "nd_conv_1x1": 200,
        "nd_two_pixels": 200,
        "nd_gather": 200,
    }
    assert kernels(Market(COSTS, code), optimize="flash") == ["nd_conv", "nd_conv_1x1"]


def test_flash_needs_a_measurement() -> None:
    with pytest.raises(NdtoolError, match="needs measured sizes of kernels"):
        kernels(None, optimize="flash")


def test_a_pin_decides() -> None:
    assert kernels(Market(COSTS, {}), pins={"*": "nd_conv_1x1_dsp"}) == ["nd_conv_dsp", "nd_conv_1x1_dsp"]
    assert kernels(Market(COSTS, {}), pins={"fir*": "nd_conv"}) == ["nd_conv", "nd_conv_1x1"]


@pytest.mark.parametrize(
    ("pins", "message"),
    [
        ({"first": "nd_cnov"}, "no layer 'first' can be computed by 'nd_cnov': they have nd_conv, nd_conv_dsp"),
        ({"third": "nd_conv"}, "no layer has such a name"),
    ],
)
def test_a_pin_that_fits_nothing_is_refused(pins: dict[str, str], message: str) -> None:
    with pytest.raises(NdtoolError, match=message):
        kernels(None, pins=pins)


def test_the_choice_is_told() -> None:
    library = compile_tflite(two_convolutions(), golden=0, features=DSP, measure=Market(COSTS, {}))
    assert library.objective == "latency"
    assert dict(library.layers[0].alternatives) == {"nd_conv_dsp": 100.0, "nd_conv": 300.0}


def test_objectives_weigh() -> None:
    small, fast = Values(latency=200, sram=1000, flash=1), Values(latency=100, sram=2100, flash=1)
    assert parse_objective("latency").score(fast) < parse_objective("latency").score(small)
    assert parse_objective("sram").score(small) < parse_objective("sram").score(fast)
    even = parse_objective("latency=1, sram=1")
    assert even.score(small) < even.score(fast)


@pytest.mark.parametrize("text", ["speed", "latency=", "latency=x", "latency=-1", "size=1", "latency=1;sram=1", ""])
def test_what_is_no_objective_is_refused(text: str) -> None:
    with pytest.raises(NdtoolError, match="is no objective: give latency, sram, flash"):
        parse_objective(text)


def test_an_objective_that_weighs_nothing_is_refused() -> None:
    with pytest.raises(NdtoolError, match="weighs nothing"):
        parse_objective("latency=0")


def test_several_equal_peaks_are_lowered_where_sram_counts() -> None:
    """Each strip alone lowers one of two peaks, and no arena."""
    rng = np.random.default_rng(0)
    tensor, ops = T(shape=(1, 16, 16, 4), scale=0.1, zero_point=0), []
    for channels in (48, 4, 48, 4):
        ops.append(layer(rng, tensor, "CONV_2D", channels, 3, 1, "SAME"))
        tensor = ops[-1].outputs[0]
    weighed = compile_tflite(model(ops), golden=0, features=DSP, optimize="latency=1,sram=0.5")
    fast = compile_tflite(model(ops), golden=0, features=DSP, optimize="latency=1")
    assert weighed.arena_bytes < 0.7 * fast.arena_bytes
