"""Firmware on a board behind a gdb server. QEMU's server is the board: all of it but the cycles is there."""

import shutil
import socket
import subprocess
import time
from contextlib import contextmanager
from dataclasses import replace

import pytest

from ndtool.benchmarks import gdb_mi
from ndtool.benchmarks.board import parse_link
from ndtool.benchmarks.inputs import RandomInputs
from ndtool.benchmarks.measure import measure
from ndtool.benchmarks.qemu import QEMU
from ndtool.benchmarks.targets import Target, load_target
from ndtool.errors import NdtoolError
from ndtool.tests.benchmarks import tiny

needs_gdb = pytest.mark.skipif(
    not any(map(shutil.which, gdb_mi.PROGRAMS)), reason=f"neither {' nor '.join(gdb_mi.PROGRAMS)} is installed"
)
needs_qemu = pytest.mark.skipif(shutil.which(QEMU) is None, reason=f"{QEMU} is not installed")
CORES = ("cortex-m7", "cortex-m4", "cortex-m33", "cortex-m0plus")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def machine(name: str):
    """A machine of QEMU's that waits for gdb; yields its HOST:PORT."""
    port = free_port()
    command = [QEMU, "-M", name, "-nographic", "-monitor", "none", "-serial", "none", "-S"]
    process = subprocess.Popen([*command, "-gdb", f"tcp:127.0.0.1:{port}"], stdin=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield f"127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def board_of(core: str) -> Target:
    """QEMU's machine of a core as a board."""
    bare = load_target(core)
    return replace(bare, memory=bare.core.qemu_memory)


@needs_gdb
@needs_qemu
@pytest.mark.parametrize("core", CORES)
def test_a_board_gives_the_bytes_and_the_stack_that_the_emulator_gives(core, tmp_path):
    library, target = tiny.library(float_ends=True), board_of(core)
    with machine(target.core.qemu_machine) as server:
        there = measure(
            library, target, inputs=RandomInputs(count=3), keep=tmp_path / "board", board=parse_link(server)
        )
    here = measure(library, target, inputs=RandomInputs(count=3), keep=tmp_path / "emulator")
    for index in range(3):
        name = f"output.{index}.bin"
        assert (tmp_path / "board" / name).read_bytes() == (tmp_path / "emulator" / name).read_bytes()
    assert [run.stack for run in there.samples] == [run.stack for run in here.samples]
    assert there.cost.instructions == pytest.approx(here.cost.instructions, abs=40)  # the counter is read
    assert there.cost.cycles is None
    assert "no cycle counter" in there.emulator_note
