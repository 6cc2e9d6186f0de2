import json

import pytest

from ndtool.benchmarks import verdict as report
from ndtool.benchmarks.regression import (
    Baseline,
    Verdict,
    against_baseline,
    against_budget,
    entries,
    parse_amount,
    parse_limits,
    parse_tolerances,
    read_baseline,
    write_baseline,
)
from ndtool.errors import NdtoolError

VALUES = {"size": 10_000, "flash": 20_000, "sram": 5_000, "instructions": 1_000_000, "latency": 4.0, "accuracy": 97.0}


def changed(**values):
    return against_baseline(VALUES | values, VALUES, {})


def failing(findings):
    return [finding.metric.key for finding in findings if not finding.ok]


def test_equal_values_pass():
    assert failing(changed()) == []


@pytest.mark.parametrize(
    ("key", "passes", "fails"),
    [
        ("size", 10_100, 10_101),
        ("sram", 5_050, 5_051),
        ("instructions", 1_010_000, 1_010_001),
        ("latency", 4.08, 4.0801),
        ("accuracy", 96.0, 95.99),
    ],
)
def test_a_value_may_move_by_its_tolerance_and_no_further(key, passes, fails):
    assert failing(changed(**{key: passes})) == []
    assert failing(changed(**{key: fails})) == [key]


def test_an_improvement_passes():
    assert failing(changed(size=1, accuracy=99.9, instructions=1)) == []


def test_the_baselines_own_tolerance_is_used():
    assert failing(against_baseline(VALUES | {"sram": 5_400}, VALUES, {"sram": 0.1})) == []


def test_a_quantity_the_baseline_lacks_is_new_and_passes():
    (finding,) = against_baseline({"size": 7}, {}, {})
    assert finding.ok
    assert finding.change is None


def test_a_quantity_that_was_not_measured_is_an_error():
    with pytest.raises(NdtoolError, match="int8 accuracy"):
        against_baseline({"size": 1}, {"size": 1, "accuracy": 90.0}, {})


def test_a_budget_is_an_absolute_limit():
    (sram, latency) = against_budget(VALUES, {"sram": 4_688, "latency": 4.0}, "stm32f746")
    assert (sram.ok, sram.excess, sram.source) == (False, 312, "stm32f746")
    assert latency.ok


@pytest.mark.parametrize(
    ("key", "text", "expected"),
    [
        ("flash", "256k", 256 * 1024),
        ("flash", "256kB", 256 * 1024),
        ("sram", "1 MiB", 1024**2),
        ("size", "812", 812),
        ("latency", "50ms", 50),
        ("latency", "0.05s", 50),
        ("latency", "800 µs", 0.8),
        ("instructions", "20M", 20e6),
        ("accuracy", "90%", 90),
        ("accuracy", "0.9", 90),
    ],
)
def test_amounts_carry_units(key, text, expected):
    assert parse_amount(key, text) == pytest.approx(expected)


@pytest.mark.parametrize("text", ["flash=lots", "flash=12parsec", "flash", "speed=3", "latency=5k"])
def test_a_budget_that_cannot_be_read_says_how_to_write_it(text):
    with pytest.raises(NdtoolError, match=r"write|choose"):
        parse_limits(text)


def test_tolerances_are_percent_and_points():
    assert parse_tolerances("instructions=2%, accuracy=0.5") == {"instructions": 0.02, "accuracy": 0.5}
    with pytest.raises(NdtoolError, match="no tolerance"):
        parse_tolerances("instructions=-2")


def test_a_baseline_file_holds_several_models_and_is_read_back(tmp_path):
    path = tmp_path / "baseline.json"
    write_baseline(path, "b@cortex-m7", Baseline(values=VALUES, tolerances={"sram": 0.1}))
    write_baseline(path, "a@cortex-m4", Baseline(values={"size": 1}, tolerances={}))
    assert entries(path) == ("a@cortex-m4", "b@cortex-m7")
    assert read_baseline(path, "b@cortex-m7") == Baseline(values=VALUES, tolerances={"sram": 0.1})
    assert read_baseline(path, "c") is None


@pytest.mark.parametrize("content", ["", "{}", '{"format": 99, "models": {}}', "[1]", '{"format": 1, "models": 3}'])
def test_a_file_that_is_no_baseline_is_refused(tmp_path, content):
    path = tmp_path / "baseline.json"
    path.write_text(content)
    with pytest.raises(NdtoolError, match="not a baseline file"):
        read_baseline(path, "a")


def test_a_damaged_entry_is_named(tmp_path):
    path = tmp_path / "baseline.json"
    path.write_text(json.dumps({"format": 1, "models": {"a": {"values": {"size": "big"}}}}))
    with pytest.raises(NdtoolError, match="'a' is damaged"):
        read_baseline(path, "a")


def test_the_report_says_by_how_much_and_what_to_edit(tmp_path):
    findings = changed(sram=5_362, accuracy=90.0)
    verdict = Verdict(entry="net@cortex-m7", findings=findings, baseline=tmp_path / "b.json")
    text = report.markdown(verdict)
    assert "exceeded by 312 B" in text
    assert "short by 6.00 %" in text
    assert "-7.00 points" in text
    assert "--update" in report.conclusion(verdict)
    assert report.as_json(verdict)["ok"] is False
