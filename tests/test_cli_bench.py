"""bench and check as a user calls them: what they print where, and with which exit code."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from ndtool.benchmarks import bench as bench_module
from ndtool.cli import main
from ndtool.tests.export.c.harness import O, T, constant, model, single_op

LARGE = 400 * 1024  # bytes of a tensor that no SRAM of an nRF52840 holds


@dataclass(frozen=True)
class Done:
    """One command's exit code and output."""

    code: int
    out: str
    err: str

    @property
    def message(self) -> str:
        """The one line of an error."""
        (line,) = self.err.splitlines()
        assert self.out == ""
        return line


@pytest.fixture
def ndtool(capsys, monkeypatch, tmp_path):
    """Run a command in a folder with small models."""
    monkeypatch.chdir(tmp_path)
    Path("small.int8.tflite").write_bytes(small())
    Path("ends.tflite").write_bytes(several_ends())

    def run(*args: str) -> Done:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main(list(args))
        printed = capsys.readouterr()
        return Done(stopped.value.code, printed.out, printed.err)

    return run


def small(outputs: int = 4) -> bytes:
    """One fully connected layer."""
    x, y = T(shape=(1, 8), scale=0.1, zero_point=3), T(shape=(1, outputs), scale=0.2, zero_point=-5)
    weights = constant(np.arange(8 * outputs).reshape(outputs, 8) % 17, "int8", scale=0.01)
    return single_op("FULLY_CONNECTED", [x, weights, None], [y])


def several_ends() -> bytes:
    """Two inputs; names that are no C, and one that is there twice."""
    a, b = T(shape=(1, 4), scale=0.1, name="int"), T(shape=(1, 4), scale=0.2, name="*/ é")
    return model([O("ADD", [a, b], [T(shape=(1, 4), scale=0.3, name="int")])], inputs=[a, b], outputs=None)


def large() -> bytes:
    """More bytes than an nRF52840 has."""
    ends = [T(shape=(1, LARGE), scale=0.1) for _ in range(2)]
    return single_op("RELU", [ends[0]], [ends[1]])


BENCH = ("bench", "small.int8.tflite")
CHECK = ("check", "small.int8.tflite")
BOARDS = "m467, nrf52840, nrf5340, psoc62, rp2040, stm32f103, stm32f746, stm32g0b1, stm32h743, stm32h7a3"
BOARDS += ", stm32l4r5, stm32u385, stm32u575"
FORMS = "give a run, an int8 .tflite or an .elf file, or a MODEL"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("bench", "smal.int8.tflite"), "smal.int8.tflite does not exist: did you mean small.int8.tflite?"),
        (("bench", "nothing.elf"), "nothing.elf does not exist: give a file that does"),
        (("bench", "resnet88"), "'resnet88' is no file, no run and no model's name: did you mean resnet8?"),
        (("bench", "small.int8.tfl"), "'small.int8.tfl' is no file, no run and no model's name: did you mean"),
        (("bench", "runs/none"), f"'runs/none' is no file, no run and no model's name: {FORMS} (ndtool list models)"),
        (("bench", "net.py:Net"), "net.py does not exist: give a file that does"),
        (("bench", ""), f"an empty name is nothing to measure: {FORMS}"),
        (("bench", "."), ". holds neither a run nor an exported model: give a run, a .tflite or an .elf file"),
        ((*BENCH, "--set", "width=2"), "small.int8.tflite is built already: leave out --input-shape, --classes"),
        ((*BENCH, "--target", "cortex-m77"), "no target 'cortex-m77': did you mean cortex-m7?"),
        ((*BENCH, "--emulator", "qemuu"), "Invalid value for '--emulator': 'qemuu' is not one of 'unicorn', 'qemu'."),
        ((*BENCH, "--compiler", "clang"), "Invalid value for '--compiler': 'clang' is not one of 'zig', 'gcc'."),
        ((*BENCH, "--data", "digitz"), "there are no data 'digitz'"),
        (("check", "smal.int8.tflite", "--budget", "flash=1k"), "did you mean small.int8.tflite?"),
        (CHECK, "there is nothing to check against: give --baseline FILE or --budget flash=256k,sram=64k"),
        ((*CHECK, "--budget", "flsh=1k"), "'flsh' is no quantity to limit: choose from size, flash, sram"),
        ((*CHECK, "--budget", "flash=1q"), "'1q' is no amount of flash: write it like 256k"),
        ((*CHECK, "--budget", "stm32f74"), "'stm32f74' is no budget: did you mean stm32f746?"),
        ((*CHECK, "--budget", "64k"), f"'64k' is no budget: write quantity=amount, or a board: {BOARDS}"),
        ((*CHECK, "--baseline", "none.json"), "none.json: no such baseline file: write one with --update"),
        ((*CHECK, "--baseline", "."), "Invalid value for '--baseline': File '.' is a directory."),
        ((*CHECK, "--update", "--budget", "flash=1k"), "--update writes a baseline: name it with --baseline FILE"),
        ((*CHECK, "--budget", "flash=1k", "--tolerance", "flsh=1%"), "'flsh=1%' is no tolerance: write quantity="),
        ((*CHECK, "--budget", "flash=1k", "--tolerance", "flash=x"), "'flash=x' is no tolerance: write quantity="),
        ((*CHECK, "--budget", "flash=1k", "--tolerance", "flash=1%"), "name it with --baseline FILE"),
        ((*CHECK, "--target", "nrf5284", "--budget", "flash=1k"), "no target 'nrf5284': did you mean nrf52840?"),
        ((*CHECK, "--budget", "accuracy=90%"), "the budget limits accuracy, not measured here: give --data"),
        (("chek",), "no command 'chek': did you mean check?"),
    ],
)
def test_wrong_use_is_one_line_that_says_what_to_do(ndtool, args, message):
    done = ndtool(*args)
    assert done.code == 2
    assert message in done.message


@pytest.mark.parametrize("dtype", ["float32", "uint8", "int16"])
def test_a_model_that_is_not_int8_is_refused_with_the_remedy(ndtool, dtype):
    ends = [T(shape=(1, 4), dtype=dtype, scale=() if dtype == "float32" else 0.1) for _ in range(2)]
    Path("other.tflite").write_bytes(single_op("ADD", [ends[0], ends[0]], [ends[1]]))
    done = ndtool("bench", "other.tflite")
    assert done.code == 2
    assert f"other.tflite computes in {dtype}, and only int8 models become C: quantise" in done.message


def test_bench_prints_tables_that_end_with_the_summary(ndtool):
    done = ndtool(*BENCH, "--target", "stm32f746")
    assert done.code == 0
    summary = done.out.rindex("small on STM32F746")
    assert summary > done.out.index("\nmemory") > done.out.index("peak of the arena: small_layer_00, FULLY_CONNECTED")
    for row in ("bit-exact", "modelled: issue, dependencies, branches and memory", "fits", "2 runs"):
        assert row in done.out[summary:]
    assert done.err == ""


def test_profile_adds_kernels_and_functions_and_fits_the_page(ndtool):
    done = ndtool("bench", "ends.tflite", "--profile")
    assert done.code == 0
    for title in ("kernels, each with what it calls", "functions, each without", "instructions by class"):
        assert title in done.out
    assert max(map(len, done.out.splitlines())) <= 120


def test_two_runs_print_the_same_json_and_nothing_else(ndtool):
    first, second = (ndtool(*BENCH, "--json", "--seed", "3") for _ in range(2))
    assert (first.code, first.err) == (0, "")
    assert first.out == second.out
    content = json.loads(first.out)
    assert (content["model"], content["bit_exact"], content["fits"], content["untrained"]) == (
        "small",
        True,
        None,
        False,
    )
    assert content["instructions"] == sum(layer["instructions"] for layer in content["layers"] + [content["glue"]])


def test_a_model_too_large_for_its_board_is_exit_1(ndtool):
    Path("large.tflite").write_bytes(large())
    done = ndtool("bench", "large.tflite", "--target", "nrf52840", "--runs", "1")
    assert done.code == 1
    assert "NO" in done.out
    assert "sram exceeded by" in done.out
    checked = ndtool("check", "large.tflite", "--target", "nrf52840", "--json")
    assert checked.code == 1
    failed = [finding["key"] for finding in json.loads(checked.out)["findings"] if not finding["ok"]]
    assert failed == ["sram"]
    assert checked.err.endswith("large@nrf52840: check failed: SRAM\n")


def test_weights_too_large_for_a_small_flash_are_exit_1(ndtool):
    weights = np.random.default_rng(0).integers(-127, 128, (300, 500), dtype=np.int8)
    ends = [T(shape=(1, 500), scale=0.1), T(shape=(1, 300), scale=9.0)]
    Path("wide.tflite").write_bytes(
        single_op("FULLY_CONNECTED", [ends[0], constant(weights, "int8", scale=0.01)], [ends[1]])
    )
    done = ndtool("bench", "wide.tflite", "--target", "stm32f103", "--runs", "1")
    assert done.code == 1
    assert "flash exceeded by" in done.out
    assert "bit-exact" in done.out
    assert "Cortex-M3 not validated" in done.out


def test_bytes_that_differ_are_exit_1(ndtool, monkeypatch):
    """The reference is another model's: the firmware's bytes cannot be its."""
    real = bench_module.measure

    def against_another(subject, *, reference, **how):
        other = single_op("FULLY_CONNECTED", *_negated())
        return real(subject, reference=other, **how)

    monkeypatch.setattr(bench_module, "measure", against_another)
    done = ndtool(*BENCH)
    assert done.code == 1
    assert "DIFFERENT" in done.out


def _negated() -> tuple[list[T | None], list[T]]:
    x, y = T(shape=(1, 8), scale=0.1, zero_point=3), T(shape=(1, 4), scale=0.2, zero_point=-5)
    return [x, constant(-(np.arange(32).reshape(4, 8) % 17), "int8", scale=0.01), None], [y]


def test_keep_holds_the_library_the_firmware_and_every_byte(ndtool):
    done = ndtool("bench", "ends.tflite", "--keep", "kept", "--runs", "1")
    assert done.code == 0
    files = {str(path.relative_to("kept")) for path in Path("kept").rglob("*") if path.is_file()}
    assert files >= {"firmware.elf", "firmware.ld", "main.c", "c/ends.h", "c/ends.c"}
    assert any(file.startswith("c/nd_add") for file in files)
    assert files >= {"input_0.0.bin", "input_1.0.bin", "output.0.bin"}
    again = ndtool("bench", "kept/firmware.elf", "--json")
    assert again.code == 0
    assert json.loads(again.out)["inputs"].startswith("the firmware's own")


def test_a_firmware_takes_no_data_and_is_not_checked(ndtool):
    ndtool(*BENCH, "--keep", "kept")
    assert "leave out --data" in ndtool("bench", "kept/firmware.elf", "--data", "digits").message
    done = ndtool("check", "kept/firmware.elf", "--budget", "flash=1M")
    assert done.code == 2
    assert "firmware.elf is a firmware: check needs a run or an int8 .tflite file" in done.message


def test_a_baseline_is_written_compared_and_updated(ndtool):
    written = ndtool(*CHECK, "--baseline", "sizes.json", "--update", "--tolerance", "flash=2%")
    assert written.code == 0
    assert "sizes.json was written" in written.err
    exact = ",".join(f"{quantity}=0%" for quantity in ("flash", "sram", "instructions", "latency"))
    assert ndtool(*CHECK, "--baseline", "sizes.json", "--tolerance", exact).code == 0

    Path("small.int8.tflite").write_bytes(small(outputs=400))
    grown = ndtool(*CHECK, "--baseline", "sizes.json", "--markdown", "summary.md")
    assert grown.code == 1
    assert "small@cortex-m7: check failed: model file, flash, SRAM, instructions, latency" in grown.err
    assert "--baseline sizes.json --update)" in grown.err
    ndtool(*CHECK, "--baseline", "sizes.json", "--markdown", "summary.md")
    assert Path("summary.md").read_text(encoding="utf-8").count("### ndtool check: small@cortex-m7") == 2

    old = json.loads(Path("sizes.json").read_text(encoding="utf-8"))["models"]["small@cortex-m7"]
    updated = ndtool(*CHECK, "--baseline", "sizes.json", "--update", "--json")
    assert updated.code == 0
    findings = {finding["key"]: finding for finding in json.loads(updated.out)["findings"]}
    assert findings["flash"]["old"] == old["values"]["flash"] < findings["flash"]["new"]
    new = json.loads(Path("sizes.json").read_text(encoding="utf-8"))["models"]["small@cortex-m7"]
    assert new["tolerances"] == old["tolerances"] == {"flash": 0.02}
    assert ndtool(*CHECK, "--baseline", "sizes.json").code == 0


def test_an_entry_has_the_models_name_or_the_one_that_is_given(ndtool):
    ndtool(*CHECK, "--baseline", "sizes.json", "--update", "--name", "wake word")
    missing = ndtool(*CHECK, "--baseline", "sizes.json")
    assert missing.code == 2
    assert "sizes.json has no entry 'small@cortex-m7' (it has wake word@cortex-m7)" in missing.message
    assert ndtool(*CHECK, "--baseline", "sizes.json", "--name", "wake word").code == 0


def test_a_file_that_is_no_baseline_is_not_overwritten(ndtool):
    Path("sizes.json").write_text("[]", encoding="utf-8")
    done = ndtool(*CHECK, "--baseline", "sizes.json", "--update")
    assert done.code == 2
    assert "sizes.json: not a baseline file of this version: delete it and write one with --update" in done.message
    assert Path("sizes.json").read_text(encoding="utf-8") == "[]"


def test_a_board_is_a_budget_beside_others(ndtool):
    done = ndtool(*CHECK, "--budget", "rp2040,latency=1s", "--budget", "sram=1", "--json")
    assert done.code == 1
    findings = [(f["source"], f["key"], f["ok"]) for f in json.loads(done.out)["findings"]]
    assert findings == [
        ("rp2040", "flash", True),
        ("rp2040", "sram", True),
        ("budget", "latency", True),
        ("budget", "sram", False),
    ]


@pytest.mark.parametrize("net", ["autoencoder", "net.py:tiny"])
def test_an_untrained_model_is_measured_and_says_so(ndtool, net):
    Path("net.py").write_text("from torch import nn\n\ndef tiny(classes):\n    return nn.Linear(8, classes)\n")
    shape = () if net == "autoencoder" else ("--input-shape", "8", "--classes", "3")
    done = ndtool("bench", net, *shape)
    assert done.code == 0
    assert "is untrained: random weights" in done.err
    assert "untrained, calibrated on noise" in done.out
