import shutil

import pytest

from ndtool.benchmarks.build import GCC, build_firmware, gcc_version
from ndtool.benchmarks.elf import FirmwareElf
from ndtool.benchmarks.inputs import RandomInputs
from ndtool.benchmarks.measure import measure
from ndtool.benchmarks.targets import load_target
from ndtool.errors import NdtoolError
from ndtool.tests.benchmarks import tiny

needs_gcc = pytest.mark.skipif(shutil.which(GCC) is None, reason=f"{GCC} is not installed")


def test_the_same_sources_give_the_same_bytes(tmp_path):
    target = load_target("cortex-m7")
    paths = [tmp_path / name / "firmware.elf" for name in ("a", "b")]
    for path in paths:
        build_firmware(tiny.library(), target.core, target.memory, path)
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_unused_code_is_not_linked(tmp_path):
    kernel = tiny.SCALE + "\nvoid nd_unused(int8_t *output);\nvoid nd_unused(int8_t *output) { *output = 1; }\n"
    target = load_target("cortex-m7")
    library = tiny.library(kernels={"nd_scale.c": kernel})
    build_firmware(library, target.core, target.memory, tmp_path / "firmware.elf")
    elf = FirmwareElf(tmp_path / "firmware.elf")
    assert "nd_scale" in elf.symbols
    assert "nd_unused" not in elf.symbols


def test_code_and_data_lie_in_the_targets_memory(tmp_path):
    target = load_target("stm32h743")
    build_firmware(tiny.library(), target.core, target.memory, tmp_path / "firmware.elf")
    elf = FirmwareElf(tmp_path / "firmware.elf")
    assert elf.section(".vectors").address == 0x08000000
    assert elf.section(".arena").address >> 24 == 0x24


@pytest.mark.parametrize("core", ["cortex-m7", "cortex-m0plus"])
@needs_gcc
def test_gcc_builds_the_same_program(core, tmp_path):
    target = load_target(core)
    zig, gcc = (
        measure(
            tiny.library(float_ends=True), target, inputs=RandomInputs(), compiler=compiler, keep=tmp_path / compiler
        )
        for compiler in ("zig", "gcc")
    )
    assert gcc.compiler.startswith(GCC)
    assert gcc.flash.weights == zig.flash.weights == tiny.SIZE
    for name in ("output.0.bin", "output.1.bin"):
        assert (tmp_path / "zig" / name).read_bytes() == (tmp_path / "gcc" / name).read_bytes()


def test_a_missing_gcc_is_said(monkeypatch):
    from ndtool.benchmarks import build

    gcc_version.cache_clear()
    monkeypatch.setattr(build.shutil, "which", lambda name: None)
    with pytest.raises(NdtoolError, match=r"arm-none-eabi-gcc is not installed: install it .* or use zig"):
        measure(tiny.library(), load_target("cortex-m7"), inputs=RandomInputs(), compiler="gcc")
    gcc_version.cache_clear()
