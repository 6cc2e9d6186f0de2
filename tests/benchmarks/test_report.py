import json

import pytest

from ndtool.benchmarks.inputs import RandomInputs
from ndtool.benchmarks.measure import measure
from ndtool.benchmarks.report import document, sections
from ndtool.benchmarks.targets import load_target
from ndtool.tests.benchmarks import tiny

KEYS = {"model", "target", "clock_hz", "macs", "instructions", "cycles", "latency_ms", "sram", "flash", "bit_exact"}
KEYS |= {
    "fits",
    "excess",
    "layers",
    "glue",
    "ends",
    "peak",
    "kernels",
    "functions",
    "mix",
    "runs",
    "instruction_range",
    "inputs",
}
KEYS |= {"model_sha256", "board", "cycles_by_reason", "latency_error", "place", "placements"}
KEYS |= {"objective", "untrained", "emulator", "emulator_note", "compiler", "flags", "versions", "timing"}


@pytest.fixture(scope="module")
def measured():
    return measure(tiny.library(float_ends=True), load_target("stm32f746"), inputs=RandomInputs(count=1, seed=7))


def test_the_keys_are_those_that_are_documented(measured, tmp_path):
    path = tmp_path / "bench.json"
    document.write_json(measured, path)
    content = json.loads(path.read_text())
    assert set(content) == KEYS
    assert all(key in document.__doc__ for key in KEYS)
    assert set(content["sram"]) == {"arena", "stack", "static", "total", "caller"}
    assert set(content["flash"]) == {"code", "weights", "total", "kernels", "glue"}
    assert content["sram"]["total"] == sum(content["sram"][part] for part in ("arena", "stack", "static"))
    assert content["flash"]["total"] == content["flash"]["code"] + content["flash"]["weights"]
    assert content["latency_ms"] == pytest.approx(content["cycles"] / 216e3, rel=1e-3)
    assert content["timing"]["validated"] is True
    assert content["latency_error"] == content["timing"]["error"] < 0.1
    assert sum(content["cycles_by_reason"].values()) == pytest.approx(content["cycles"], abs=5)
    layers = [layer["cycles_by_reason"] for layer in content["layers"]]
    assert all(spent["issue"] > 0 for spent in layers)
    assert content["place"] == {"weights": "flash", "arena": "sram"}
    assert content["inputs"] == "random, seed 7"
    assert (content["bit_exact"], content["fits"]) == (None, True)
    ends = [layer["instructions"] for layer in content["layers"] if layer["is_end"]]
    assert content["ends"]["instructions"] == sum(ends) > 0


def test_tables_show_totals_and_what_numbers_are(measured):
    text = "\n".join(" ".join(row) for section in sections.sections(measured) for row in section.rows)
    assert "modelled: issue, dependencies, branches and memory" in text
    assert "Cortex-M7 validated on" in text
    titles = [section.title for section in sections.sections(measured)]
    assert "peak of the arena: tiny_quantize_input, QUANTIZE tiny_quantize_input output" in titles
    assert titles[-1].startswith("tiny on STM32F746")
    assert f"{measured.cost.instructions:,}".replace(",", " ") in text
    for section in sections.sections(measured, profile=True):
        assert {len(row) for row in section.rows} == {len(section.headings)}


def test_a_profile_adds_kernels_functions_and_classes(measured):
    titles = [section.title for section in sections.sections(measured, profile=True)]
    plain = [section.title for section in sections.sections(measured)]
    assert len(titles) == len(plain) + 4


def test_tables_are_printed_on_stdout(measured, capsys):
    sections.tables(measured, profile=True)
    printed = capsys.readouterr()
    assert "nd_negate" in printed.out
    assert not printed.err
