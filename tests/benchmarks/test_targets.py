import pytest

from ndtool.benchmarks.targets import VIRTUAL_BYTES, load_target, target_names
from ndtool.benchmarks.timing import RULES
from ndtool.errors import NdtoolError

CORES = ("cortex-m0plus", "cortex-m3", "cortex-m33", "cortex-m4", "cortex-m7")
BOARDS = ("m467", "nrf52840", "nrf5340", "psoc62", "rp2040", "stm32f103", "stm32f746", "stm32g0b1", "stm32h743")
BOARDS += ("stm32h7a3", "stm32l4r5", "stm32u385", "stm32u575")


def test_cores_come_first_then_boards():
    assert target_names() == CORES + BOARDS


@pytest.mark.parametrize("name", CORES)
def test_a_bare_core_has_a_clock_and_no_limits(name):
    target = load_target(name)
    assert target.clock_hz > 0
    assert not target.is_board
    assert target.memory["sram"].emulated_bytes == VIRTUAL_BYTES


@pytest.mark.parametrize("name", BOARDS)
def test_a_board_has_limits_and_a_core_with_a_timing_model(name):
    target = load_target(name)
    assert target.is_board
    assert target.core.name in RULES
    assert target.memory["flash"].bytes >= 128 * 1024


@pytest.mark.parametrize(
    ("name", "core", "clock_hz", "flash", "sram"),
    [
        ("stm32f746", "cortex-m7", 216_000_000, 1024, 320),
        ("stm32h743", "cortex-m7", 480_000_000, 2048, 512),
        ("stm32h7a3", "cortex-m7", 280_000_000, 2048, 1024),
        ("stm32f103", "cortex-m3", 72_000_000, 128, 20),
        ("m467", "cortex-m4", 200_000_000, 1024, 512),
        ("nrf52840", "cortex-m4", 64_000_000, 1024, 256),
        ("nrf5340", "cortex-m33", 128_000_000, 1024, 512),
        ("rp2040", "cortex-m0plus", 133_000_000, 2048, 264),
        ("stm32l4r5", "cortex-m4", 120_000_000, 2048, 640),
    ],
)
def test_boards_have_the_memory_of_their_data_sheets(name, core, clock_hz, flash, sram):
    target = load_target(name)
    assert (target.core.name, target.clock_hz) == (core, clock_hz)
    assert {region: target.memory[region].bytes for region in ("flash", "sram")} == {
        "flash": flash * 1024,
        "sram": sram * 1024,
    }


def test_small_cores_lack_dsp_and_cheap_long_multiplies_and_the_m0plus_unaligned_words():
    assert [name for name in CORES if not load_target(name).core.features.dsp] == ["cortex-m0plus", "cortex-m3"]
    assert [name for name in CORES if not load_target(name).core.features.unaligned] == ["cortex-m0plus"]
    lacking = [name for name in CORES if not load_target(name).core.features.long_multiply]
    assert lacking == ["cortex-m0plus", "cortex-m3"]


def test_a_typo_gets_the_closest_name():
    with pytest.raises(NdtoolError, match="no target 'cortexm7': did you mean cortex-m7"):
        load_target("cortexm7")


def test_an_unknown_target_gets_the_list():
    with pytest.raises(NdtoolError, match=r"choose from cortex-m0plus, .*stm32l4r5"):
        load_target("zzz")
