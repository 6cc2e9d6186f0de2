"""QEMU as a second opinion."""

import shutil

import pytest

from ndtool.benchmarks.emulation.qemu import QEMU
from ndtool.benchmarks.inputs import RandomInputs
from ndtool.benchmarks.measure import measure
from ndtool.benchmarks.targets import load_target
from ndtool.errors import NdtoolError
from ndtool.tests.benchmarks import tiny

needs_qemu = pytest.mark.skipif(shutil.which(QEMU) is None, reason=f"{QEMU} is not installed")
LONG = tiny.SCALE.replace(
    "for (int32_t i = 0; i < size", "for (volatile int j = 0; j < 20000; j++) { }\n    for (int32_t i = 0; i < size"
)


@needs_qemu
@pytest.mark.parametrize("core", ["cortex-m7", "cortex-m4", "cortex-m33", "cortex-m3", "cortex-m0plus"])
def test_qemu_agrees_with_unicorn(core, tmp_path):
    library, target = tiny.library(float_ends=True, kernels={"nd_scale.c": LONG}), load_target(core)
    ours = measure(library, target, inputs=RandomInputs(), keep=tmp_path / "unicorn")
    theirs = measure(library, target, inputs=RandomInputs(), emulator="qemu", keep=tmp_path / "qemu")
    for mine, other in zip(ours.samples, theirs.samples, strict=True):
        assert other.instructions == pytest.approx(mine.instructions, rel=1e-3)
        assert other.stack == mine.stack
    assert (ours.sram, ours.flash) == (theirs.sram, theirs.flash)
    for name in ("output.0.bin", "output.1.bin"):
        assert (tmp_path / "unicorn" / name).read_bytes() == (tmp_path / "qemu" / name).read_bytes()
    assert theirs.cost.cycles is None
    assert theirs.latency_ms is None


@needs_qemu
def test_a_fault_is_named():
    kernel = tiny.SCALE.replace("output[i] = (int8_t)value;", '__asm__ volatile("udf #0");\n        output[i] = 1;')
    with pytest.raises(NdtoolError, match=r"fault at .* in nd_scale"):
        measure(
            tiny.library(kernels={"nd_scale.c": kernel}),
            load_target("cortex-m7"),
            inputs=RandomInputs(),
            emulator="qemu",
        )


def test_its_absence_is_said(monkeypatch):
    from ndtool.benchmarks.emulation import qemu

    qemu.qemu_version.cache_clear()
    monkeypatch.setattr(qemu.shutil, "which", lambda name: None)
    with pytest.raises(NdtoolError, match=r"qemu-system-arm is not installed: .* use --emulator unicorn"):
        measure(tiny.library(), load_target("cortex-m7"), inputs=RandomInputs(), emulator="qemu")
    qemu.qemu_version.cache_clear()
