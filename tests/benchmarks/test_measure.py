"""A hand-written library and users' own firmware, measured."""

import numpy as np
import pytest

from ndtool.benchmarks.inputs import GivenInputs, RandomInputs
from ndtool.benchmarks.measure import measure
from ndtool.benchmarks.targets import load_target
from ndtool.errors import NdtoolError
from ndtool.tests.benchmarks import tiny

CORES = ("cortex-m7", "cortex-m4", "cortex-m33", "cortex-m3", "cortex-m0plus")


def outputs(keep, dtype=np.int8):
    return [np.fromfile(path, dtype=dtype) for path in sorted(keep.glob("output.*.bin"))]


@pytest.mark.parametrize("core", CORES)
def test_a_library_gives_its_outputs_on_every_core(core, tmp_path):
    random = np.random.default_rng(1)
    samples = tuple((random.integers(-128, 128, (1, tiny.SIZE), dtype=np.int8),) for _ in range(3))
    measure(tiny.library(), load_target(core), inputs=GivenInputs(samples=samples, origin="here"), keep=tmp_path)
    for (x,), y in zip(samples, outputs(tmp_path), strict=True):
        np.testing.assert_array_equal(y, tiny.expected(x)[0])


def test_instructions_and_cycles_divide_into_layers_glue_and_functions():
    m = measure(tiny.library(), load_target("cortex-m7"), inputs=RandomInputs())
    parts = [layer.cost for layer in m.layers] + [m.glue]
    assert sum(part.instructions for part in parts) == m.cost.instructions
    assert sum(part.cycles for part in parts) == pytest.approx(m.cost.cycles)
    assert sum(function.cost.instructions for function in m.functions) == m.cost.instructions
    assert sum(m.mix.values()) == m.cost.instructions
    names = [function.name for function in m.functions]
    assert {"nd_scale", "nd_negate", "tiny_run", "tiny_layer_00"} <= set(names)
    assert {layer.kernel: layer.macs for layer in m.layers}["nd_scale"] == tiny.SIZE
    assert m.layers[1].cost.instructions > m.layers[0].cost.instructions > 0


def test_memory_is_split_by_what_takes_it():
    m = measure(tiny.library(), load_target("cortex-m7"), inputs=RandomInputs())
    assert m.sram.arena == 2 * tiny.SIZE
    assert 512 <= m.sram.stack <= 600  # nd_negate has a buffer of 512 bytes
    assert (m.sram.static, m.sram.caller) == (0, 0)
    assert m.flash.weights == tiny.SIZE
    assert m.flash.kernels > 0
    assert m.flash.glue >= 64  # the vector table alone
    assert m.flash.total == m.flash.code + m.flash.weights


def test_static_data_are_counted():
    kernel = "static int calls;\nstatic int table[5] = {1, 2, 3, 4, 5};\n" + tiny.SCALE.replace(
        "for (int32_t i = 0", "table[++calls % 5]++;\n    for (int32_t i = 0"
    )
    m = measure(tiny.library(kernels={"nd_scale.c": kernel}), load_target("cortex-m7"), inputs=RandomInputs())
    assert m.sram.static == 24
    plain = measure(tiny.library(), load_target("cortex-m7"), inputs=RandomInputs())
    assert m.flash.total >= plain.flash.total + 20


@pytest.mark.parametrize("core", ["cortex-m7", "cortex-m0plus"])
def test_float_ends_run_in_firmware_and_are_counted_apart(core, tmp_path):
    x = np.linspace(-60, 60, tiny.SIZE, dtype=np.float32).reshape(1, -1)
    m = measure(
        tiny.library(float_ends=True),
        load_target(core),
        inputs=GivenInputs(samples=((x,),), origin="here"),
        keep=tmp_path,
    )
    quantised = (x * 2).astype(np.int8)
    np.testing.assert_array_equal(outputs(tmp_path, np.float32)[0], tiny.expected(quantised)[0] * np.float32(0.5))
    assert [layer.is_end for layer in m.layers] == [True, False, False, True]
    assert all(layer.cost.instructions > tiny.SIZE for layer in m.layers)
    assert m.sram.caller == 2 * 4 * tiny.SIZE
    assert m.sram.static == 0


def test_a_difference_between_inputs_is_reported():
    kernel = tiny.SCALE.replace(
        "input[i] * weights[i] / 16;", "input[i] * weights[i] / 16;\n if (input[i] > 100) volatile_wait();"
    )
    kernel = kernel.replace(
        "void nd_scale", "static void volatile_wait(void) { for (volatile int i = 0; i < 50; i++) { } }\nvoid nd_scale"
    )
    samples = tuple((np.full((1, tiny.SIZE), value, dtype=np.int8),) for value in (0, 127))
    m = measure(
        tiny.library(kernels={"nd_scale.c": kernel}),
        load_target("cortex-m4"),
        inputs=GivenInputs(samples=samples, origin="here"),
    )
    fewest, most = m.instruction_range
    assert most > fewest + 64 * 50
    assert m.cost.instructions == most


def test_what_a_kernel_leaves_behind_does_not_matter_and_runs_are_repeatable():
    first, again = (measure(tiny.library(), load_target("cortex-m33"), inputs=RandomInputs(count=3)) for _ in range(2))
    assert first == again
    assert {run.instructions for run in first.samples} == {first.cost.instructions}


def test_kept_files_are_the_library_the_firmware_and_the_bytes(tmp_path):
    measure(tiny.library(), load_target("rp2040"), inputs=RandomInputs(count=2), keep=tmp_path)
    names = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert {"c/tiny.c", "c/nd_scale.c", "main.c", "firmware.ld", "firmware.elf", "input.0.bin", "output.1.bin"} <= names


def test_a_library_too_large_is_measured_and_does_not_fit():
    big = '#include "tiny_weights.h"\nconst int8_t tiny_weights[64] = {1};\nconst int8_t filler[3000000] = {1};\n'
    kernel = tiny.SCALE.replace(
        "int32_t value =", "extern const int8_t filler[3000000];\n        int32_t value = filler[i * 40000] +"
    )
    m = measure(
        tiny.library(kernels={"tiny_weights.c": big, "nd_scale.c": kernel}),
        load_target("rp2040"),
        inputs=RandomInputs(),
    )
    assert m.fits is False
    assert m.excess == {"flash": m.flash.total - 2048 * 1024}
    assert measure(tiny.library(), load_target("rp2040"), inputs=RandomInputs()).fits is True
    assert measure(tiny.library(), load_target("cortex-m0plus"), inputs=RandomInputs()).fits is None


def test_c_that_does_not_compile_is_one_clear_line():
    with pytest.raises(NdtoolError, match=r"the C compiler refuses the firmware: .*error") as found:
        measure(tiny.library(kernels={"nd_scale.c": "nonsense"}), load_target("cortex-m7"), inputs=RandomInputs())
    assert "\n" not in str(found.value)


def test_inputs_of_another_shape_are_refused():
    inputs = GivenInputs(samples=((np.zeros((1, 3), dtype=np.int8),),), origin="here")
    with pytest.raises(NdtoolError, match=r"the input x wants \[1, 64\] of int8, not \[1, 3\] of int8"):
        measure(tiny.library(), load_target("cortex-m7"), inputs=inputs)


@pytest.mark.parametrize("option", ["emulator", "compiler"])
def test_unknown_tools_are_refused(option):
    with pytest.raises(NdtoolError, match=f"no {option} 'none': choose from"):
        measure(tiny.library(), load_target("cortex-m7"), inputs=RandomInputs(), **{option: "none"})


USER = """
uint8_t in[16], out[16];
void *const ndtool_input = in;
void *const ndtool_output = out;
const uint32_t ndtool_input_bytes = 16, ndtool_output_bytes = 16;
__attribute__((noinline)) static void twice(void) { for (int i = 0; i < 16; i++) out[i] = (uint8_t)(2 * in[i]); }
int main(void)
{
    __asm__ volatile("" : : "r"(&ndtool_input), "r"(&ndtool_output)); /* keeps them */
    __asm__ volatile("" : : "r"(&ndtool_input_bytes), "r"(&ndtool_output_bytes));
    ndtool_start(); twice(); ndtool_stop(); for (;;) { }
}
"""


def test_a_firmware_with_markers_is_measured(link, tmp_path):
    path = link(USER)
    m = measure(path, load_target("stm32f746"), inputs=RandomInputs(count=2), keep=tmp_path / "kept")
    for index in range(2):
        x, y = (np.fromfile(tmp_path / "kept" / f"{kind}.{index}.bin", dtype=np.uint8) for kind in ("input", "output"))
        np.testing.assert_array_equal(y, (2 * x.astype(int)).astype(np.uint8))
    assert "twice" in [function.name for function in m.functions]
    assert (m.model, m.macs, m.layers, m.peak, m.bit_exact, m.fits) == ("program.elf", None, (), None, None, True)
    assert m.sram.static >= 32
    assert m.flash.kernels > 0


def test_qemu_does_not_take_a_users_firmware(link):
    with pytest.raises(NdtoolError, match="linked for its own board"):
        measure(link(USER), load_target("cortex-m7"), inputs=RandomInputs(), emulator="qemu")


@pytest.mark.parametrize("instruction", [".short 0xfb22, 0x2202", ".short 0xfa42, 0xf282"], ids=["smlad", "sxtab"])
def test_dsp_instructions_of_firmware_are_refused_where_the_core_has_none(link, instruction):
    """Those that Unicorn's Cortex-M3 executes all the same."""
    path = link(USER.replace("for (int i", f'__asm__ volatile("{instruction}" ::: "r2"); for (int i'), core="cortex-m3")
    assert measure(path, load_target("cortex-m4"), inputs=RandomInputs()).cost.instructions > 0
    with pytest.raises(NdtoolError, match=r"at 0x08\w+ in twice\S*: a cortex-m3 has no DSP extension"):
        measure(path, load_target("cortex-m3"), inputs=RandomInputs())
