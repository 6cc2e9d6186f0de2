"""Firmware on a board behind a gdb server. QEMU's server is the board: all of it but the cycles is there."""

import json
import re
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread

import numpy as np
import pytest

from ndtool.benchmarks.board import gdb_mi
from ndtool.benchmarks.board import link as board_module
from ndtool.benchmarks.board.gdb_mi import Gdb
from ndtool.benchmarks.board.link import Board, parse_link
from ndtool.benchmarks.build import GCC
from ndtool.benchmarks.elf import FirmwareElf
from ndtool.benchmarks.emulation.qemu import QEMU
from ndtool.benchmarks.inputs import RandomInputs, library_ports
from ndtool.benchmarks.measure import measure
from ndtool.benchmarks.report.document import as_json
from ndtool.benchmarks.report.sections import sections
from ndtool.benchmarks.targets import Target, load_target
from ndtool.cli import main
from ndtool.errors import NdtoolError
from ndtool.export.c import compile_tflite
from ndtool.tests.benchmarks import tiny
from ndtool.tests.export.c.harness import T, constant, single_op

needs_gdb = pytest.mark.skipif(
    not any(map(shutil.which, gdb_mi.PROGRAMS)), reason=f"neither {' nor '.join(gdb_mi.PROGRAMS)} is installed"
)
needs_qemu = pytest.mark.skipif(shutil.which(QEMU) is None, reason=f"{QEMU} is not installed")
CORES = ("cortex-m7", "cortex-m4", "cortex-m33", "cortex-m3", "cortex-m0plus")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def machine(name: str, *options: str, dies: Event | None = None):
    """A machine of QEMU's that waits for gdb, and ends when it `dies`; yields its HOST:PORT."""
    port = free_port()
    command = [QEMU, "-M", name, "-nographic", "-monitor", "none", "-serial", "none", "-S"]
    process = subprocess.Popen([*command, *options, "-gdb", f"tcp:127.0.0.1:{port}"], stdin=subprocess.DEVNULL)
    if dies:
        Thread(target=lambda: dies.wait() and process.kill(), daemon=True).start()
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


@needs_gdb
@needs_qemu
def test_systick_counts_through_its_rounds(monkeypatch):
    """With -icount QEMU's SysTick is a clock of instructions, of which 24 bits do not hold so many."""
    loop = "for (volatile int j = 0; j < 250000; j++) { }\n    for (int32_t i = 0; i < size"
    kernels = {"nd_scale.c": tiny.SCALE.replace("for (int32_t i = 0; i < size", loop)}
    monkeypatch.setattr(Board, "_of_qemu", lambda self: False)
    target = board_of("cortex-m0plus")
    with machine(target.core.qemu_machine, "-icount", "shift=10") as server:  # 1024 ns an instruction
        found = measure(tiny.library(kernels=kernels), target, inputs=RandomInputs(count=2), board=parse_link(server))
    ticks = found.cost.instructions * 1024e-9 * target.core.qemu_systick_hz
    assert ticks > 2 * (1 << 24)
    assert found.cost.cycles == pytest.approx(ticks, rel=1e-3)


STUCK = tiny.SCALE.replace("output[i] = (int8_t)value;", 'for (;;) { __asm__ volatile(""); }')
FAULTY = tiny.SCALE.replace("output[i] = (int8_t)value;", '__asm__ volatile("udf #0");\n        output[i] = 1;')


@needs_gdb
@needs_qemu
@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        (STUCK, r"the board at 127.0.0.1:\d+ does not reach ndtool_stopped within 1 s: it is still in nd_scale"),
        (FAULTY, r"fault at 0x[0-9a-f]+ in nd_scale\S* on the board"),
    ],
)
def test_an_inference_that_does_not_end_is_given_up(monkeypatch, kernel, message):
    monkeypatch.setattr(board_module, "_RUN_SECONDS", 1.0)
    target = board_of("cortex-m7")
    with machine(target.core.qemu_machine) as server, pytest.raises(NdtoolError, match=message):
        measure(tiny.library(kernels={"nd_scale.c": kernel}), target, inputs=RandomInputs(), board=parse_link(server))


@needs_gdb
@needs_qemu
def test_a_server_that_goes_away_is_noticed_at_once(monkeypatch):
    target, library, dies = board_of("cortex-m7"), tiny.library(kernels={"nd_scale.c": STUCK}), Event()
    waits, stops = iter((False, True)), Gdb._stops  # for the first marker, then in the inference

    def wait(gdb: Gdb, seconds: float) -> bool:
        if next(waits):
            dies.set()
        return stops(gdb, seconds)

    monkeypatch.setattr(Gdb, "_stops", wait)
    with machine(target.core.qemu_machine, dies=dies) as server, pytest.raises(NdtoolError) as found:
        measure(library, target, inputs=RandomInputs(), board=parse_link(server))
    assert str(found.value) == f"the gdb server at {server} has closed the connection"


@needs_gdb
@needs_qemu
def test_board_init_is_the_users_and_runs_on_the_board_alone(monkeypatch, tmp_path):
    """It waits for SysTick, which an emulator without peripherals would never see move."""
    init, target = tmp_path / "init.c", board_of("cortex-m4")
    wait = "*(volatile unsigned *)0xE000E014u = 0xFFFFFF;\n*(volatile unsigned *)0xE000E010u = 5;\n"
    wait += "while (*(volatile unsigned *)0xE000E018u == 0) { }\n"
    init.write_text(f"void ndtool_board_init(void);\nvoid ndtool_board_init(void)\n{{\n{wait}}}\n")
    how = {"inputs": RandomInputs(count=1), "board_init": init}
    with machine(target.core.qemu_machine) as server:
        found = measure(tiny.library(), target, board=parse_link(server), **how)
    assert found.cost.instructions > 1000
    init.write_text(init.read_text().replace("== 0", "== 0 || 1"))
    monkeypatch.setattr(board_module, "_BOOT_SECONDS", 1.0)
    stuck = "does not reach ndtool_start within 1 s: it is still in ndtool_board_init"
    with machine(target.core.qemu_machine) as server, pytest.raises(NdtoolError, match=stuck):
        measure(tiny.library(), target, board=parse_link(server), **how)


USER = """
uint8_t in[16], out[16];
void *const ndtool_input = in;
void *const ndtool_output = out;
const uint32_t ndtool_input_bytes = 16, ndtool_output_bytes = 16;
__attribute__((noinline)) static void twice(void) { for (int i = 0; i < 16; i++) out[i] = (uint8_t)(2 * in[i]); }
int main(void)
{
    WAIT
    __asm__ volatile("" : : "r"(&ndtool_input), "r"(&ndtool_output)); /* keeps them */
    __asm__ volatile("" : : "r"(&ndtool_input_bytes), "r"(&ndtool_output_bytes));
    ndtool_start(); twice(); ndtool_stop(); for (;;) { }
}
"""
PERIPHERAL = "(void)*(volatile unsigned *)0x40023800u;"  # where the emulator has nothing


@needs_gdb
@needs_qemu
@pytest.mark.parametrize("wait", ["", PERIPHERAL])
def test_a_users_firmware_starts_again_from_reset_for_each_run(link, tmp_path, wait):
    path = link(USER.replace("WAIT", wait), core="cortex-m4")
    with machine("netduinoplus2") as server:  # a Cortex-M4 with flash at 0x08000000
        found = measure(
            path, load_target("stm32l4r5"), inputs=RandomInputs(count=3), keep=tmp_path, board=parse_link(server)
        )
    for index in range(3):
        x, y = (np.fromfile(tmp_path / f"{kind}.{index}.bin", dtype=np.uint8) for kind in ("input", "output"))
        np.testing.assert_array_equal(y, (2 * x.astype(int)).astype(np.uint8))
    assert (found.cost.instructions is None) == bool(wait)
    assert ("instructions not counted: " in found.emulator_note) == bool(wait)
    json.dumps(as_json(found))
    assert sections(found, profile=True)


@needs_gdb
@needs_qemu
@pytest.mark.skipif(shutil.which(GCC) is None, reason=f"{GCC} is not installed")
def test_the_board_is_reset_by_the_servers_own_command_before_and_after_it_is_loaded(monkeypatch):
    done: list[str] = []
    load = Gdb.load
    monkeypatch.setattr(Gdb, "monitor", lambda gdb, command: done.append(command) or "")
    monkeypatch.setattr(Gdb, "load", lambda gdb: done.append("load") or load(gdb))
    target = board_of("cortex-m33")
    with machine(target.core.qemu_machine) as server:
        link = parse_link(server, reset="reset")
        measure(tiny.library(), target, inputs=RandomInputs(count=3), compiler="gcc", board=link)
    assert done == ["reset", "load", "reset"]


@needs_gdb
@needs_qemu
def test_a_reset_command_that_the_server_refuses_is_named(monkeypatch):
    def refuse(gdb: Gdb, command: str) -> str:
        gdb.command(f"-no-such-{command}")
        raise AssertionError

    monkeypatch.setattr(Gdb, "monitor", refuse)
    target = board_of("cortex-m7")
    message = r"^gdb at 127.0.0.1:\d+: Undefined MI command: .* with --gdb-reset \(J-Link: reset\)$"
    with machine(target.core.qemu_machine) as server, pytest.raises(NdtoolError, match=message):
        measure(tiny.library(), target, inputs=RandomInputs(), board=parse_link(server))


# As a user calls it


@pytest.fixture
def ndtool(capsys, monkeypatch, tmp_path):
    """Run a command in a folder with a small model; returns exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    Path("small.int8.tflite").write_bytes(small())

    def run(*args: str) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main(list(args))
        return (stopped.value.code, *capsys.readouterr())

    return run


def small() -> bytes:
    """Large enough that QEMU's clock moves on while it runs."""
    x, y = T(shape=(1, 256), scale=0.1, zero_point=3), T(shape=(1, 128), scale=0.2, zero_point=-5)
    weights = constant(np.arange(1 << 15).reshape(128, 256) % 17, "int8", scale=0.01)
    return single_op("FULLY_CONNECTED", [x, weights, None], [y])


BENCH = ("bench", "small.int8.tflite", "--target", "nrf52840")


@needs_gdb
@needs_qemu
def test_bench_on_a_board_has_the_keys_of_bench_and_compares_every_byte(ndtool):
    _, emulated, _ = ndtool(*BENCH, "--json")
    with machine("mps2-an386") as server:  # its memory lies as that of an nRF52840
        code, printed, told = ndtool(*BENCH, "--json", "--gdb", server)
        _, tables, _ = ndtool(*BENCH, "--gdb", server)
    here, there = json.loads(emulated), json.loads(printed)
    assert (code, told) == (0, "")
    assert (there["bit_exact"], there["fits"], there["cycles"], there["latency_ms"]) == (True, True, None, None)
    assert there.keys() == here.keys()
    assert there["timing"]["model"] == "measured on hardware"
    assert there["board"]["modelled_cycles"] == pytest.approx(here["cycles"], abs=60)  # the counter is read
    assert there["board"]["modelled_by"] == here["timing"]["model"]
    assert (there["sram"]["arena"], there["sram"]["stack"]) == (here["sram"]["arena"], here["sram"]["stack"])
    assert {layer["cycles"] for layer in there["layers"]} == {None}
    assert "this machine has no cycle counter: it is QEMU" in tables
    Path("qemu.json").write_text(printed)
    code, _, told = ndtool("validate", "qemu.json")
    assert code == 2
    assert "qemu.json has no cycles: this machine has no cycle counter: it is QEMU" in told


@pytest.fixture
def measured(monkeypatch, ndtool):
    """A folder with a result that has cycles: those of QEMU's SysTick, which here follows the instructions.

    By itself it follows the host's clock, and stays 0 where an inference takes less than a tick of that.
    """
    target = board_of("cortex-m0plus")
    monkeypatch.setattr(Board, "_of_qemu", lambda self: False)
    monkeypatch.setattr("ndtool.benchmarks.targets.load_target", lambda name: target)
    monkeypatch.setattr("ndtool.benchmarks.board.points.load_target", lambda name: target)
    with machine(target.core.qemu_machine, "-icount", "shift=4") as server:  # 16 ns an instruction
        code, printed, _ = ndtool(*BENCH, "--gdb", server, "--keep", "kept")
    assert code == 0
    assert re.search(r"cycles +\d[\d ]* +measured on the board", printed), printed
    return Path("kept")


@needs_gdb
@needs_qemu
def test_a_result_becomes_a_point_and_points_are_kept_in_a_file(ndtool, measured):
    result = json.loads((measured / "bench.json").read_text())
    code, printed, _ = ndtool("validate", "kept/bench.json", "--json")
    points = json.loads(printed)
    assert code == 0
    (point,) = points["points"]
    assert point["measured"] == result["cycles"] > 0
    assert point["predicted"] == result["board"]["modelled_cycles"]  # again, from the firmware that was kept
    assert (point["name"], point["core"], point["exact"]) == ("small", "cortex-m0plus", True)
    assert point["error"] == pytest.approx(point["predicted"] / point["measured"] - 1)
    assert points["median_error"] == points["worst_error"] == abs(point["error"])

    Path("points.json").write_text(printed)
    result["board"]["modelled_cycles"] = 2 * result["cycles"]
    Path("alone.json").write_text(json.dumps(result))  # without its firmware
    code, printed, told = ndtool("validate", "points.json", "alone.json")
    assert code == 0
    assert "+100.0 %" in printed
    assert told.startswith("2 points: median error ")
    collected = json.loads(ndtool("validate", "points.json", "alone.json", "--json")[1])
    assert [each["predicted"] for each in collected["points"]] == [point["predicted"], 2 * result["cycles"]]


def test_validate_says_what_is_no_result(ndtool):
    ndtool(*BENCH, "--keep", "kept")
    Path("none.json").write_text("[1]")
    Path("text.json").write_text("nothing")
    for file, message in {
        "kept/bench.json": "was not measured on a board: make it with bench --gdb HOST:PORT --json",
        "none.json": "none.json: no result of bench --gdb --json, nor of validate --json",
        "text.json": "text.json: no readable JSON",
        "missing.json": "missing.json",
    }.items():
        code, printed, told = ndtool("validate", file)
        assert (code, printed, len(told.splitlines())) == (2, "", 1)
        assert message in told


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--gdb", "localhost"), "'localhost' is no gdb server: write HOST:PORT, e.g. localhost:3333"),
        (("--gdb", "| touch pwned:1"), "is no gdb server"),
        (("--gdb", "localhost:99999"), "is no gdb server"),
        (
            ("--gdb", ":3333", "--target", "cortex-m4"),
            "cortex-m4 is a core, not a board: name the one behind the server",
        ),
        (("--gdb", ":3333", "--emulator", "qemu"), "leave out --emulator qemu or --gdb"),
        (("--gdb-reset", "reset"), "--gdb-reset is for a board: add --gdb HOST:PORT"),
        (("--board-init", "init.c"), "--board-init is for a board: add --gdb HOST:PORT"),
    ],
)
def test_wrong_use_is_one_line(ndtool, options, message):
    Path("init.c").write_text("")
    code, printed, told = ndtool(*BENCH, *options)
    assert (code, printed, len(told.splitlines())) == (2, "", 1)
    assert message in told
    assert not Path("pwned:1").exists()


@needs_gdb
def test_a_board_that_is_not_there_is_one_line(ndtool):
    server = f"127.0.0.1:{free_port()}"
    code, _, told = ndtool(*BENCH, "--gdb", server)
    assert (code, len(told.splitlines())) == (2, 1)
    assert f"no gdb server answers at {server} (Connection refused): start OpenOCD, pyOCD or J-Link's there" in told


@needs_gdb
def test_a_server_that_says_nothing_is_given_up(ndtool, monkeypatch):
    monkeypatch.setattr(gdb_mi, "_CONNECT", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        server = f"127.0.0.1:{silent.getsockname()[1]}"
        code, _, told = ndtool(*BENCH, "--gdb", server)
    assert (code, len(told.splitlines())) == (2, 1)
    assert f"the board at {server} does not answer" in told


def test_the_absence_of_gdb_is_said_with_what_to_install(ndtool, monkeypatch):
    monkeypatch.setattr(gdb_mi.shutil, "which", lambda name: None)
    code, _, told = ndtool(*BENCH, "--gdb", ":3333")
    assert code == 2
    assert "no gdb for Arm is installed: install gdb-multiarch" in told


@needs_gdb
@needs_qemu
def test_a_model_too_large_is_not_loaded(ndtool):
    ends = [T(shape=(1, 300 * 1024), scale=0.1) for _ in range(2)]
    Path("large.tflite").write_bytes(single_op("RELU", [ends[0]], [ends[1]]))
    code, _, told = ndtool("bench", "large.tflite", "--target", "nrf52840", "--gdb", ":3333")
    assert (code, len(told.splitlines())) == (2, 1)
    assert "sram" in told


# What export writes


@pytest.mark.parametrize(("package", "there"), [("plain", True), ("arduino", True), ("esp-idf", False)])
def test_the_firmware_lies_beside_the_library_but_for_an_esp32(ndtool, package, there):
    assert ndtool("export", "small.int8.tflite", "--c", "--package", package, "--out", "out")[0] == 0
    folder = Path("out/c/benchmark")
    assert folder.is_dir() == there
    if there:
        wanted = {"README.md", "firmware.ld", "main.c", "markers.c", "markers.h", "memory.c", "startup.c"}
        assert {path.name for path in folder.iterdir()} == wanted
        assert "change them to your board's" in (folder / "README.md").read_text()  # cortex-m7 is a core


@needs_gdb
@needs_qemu
@pytest.mark.skipif(shutil.which(GCC) is None, reason=f"{GCC} is not installed")
@pytest.mark.parametrize("package", ["plain", "cmake"])
def test_the_exported_firmware_is_built_as_its_readme_says_and_runs(ndtool, package):
    export = ("export", "small.int8.tflite", "--c", "--target", "nrf52840", "--package", package, "--out", "out")
    assert ndtool(*export)[0] == 0
    folder = Path("out/c/benchmark")
    shell = re.search(r"```sh\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)[1]
    shell = shell.replace('FLAGS="', 'FLAGS="-Wall -Wextra -Wpedantic -Wmissing-prototypes -Werror ')
    built = subprocess.run(
        ["bash", "-e", "-c", shell[: shell.index("gdb-multiarch")]], cwd=folder, capture_output=True, text=True
    )
    assert (built.returncode, built.stderr) == (0, "")
    elf, target = folder / "firmware.elf", load_target("nrf52840")
    library = compile_tflite(Path("small.int8.tflite"), name="small", features=target.core.features)
    ports = library_ports(library, FirmwareElf(elf))
    with machine("mps2-an386") as server:
        found = measure(
            elf,
            target,
            inputs=RandomInputs(count=2),
            ports=ports,
            board=parse_link(server),
            reference=small(),
        )
    assert found.bit_exact
