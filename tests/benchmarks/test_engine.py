"""The suite of the C engine: measured, judged, compared, written down."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ndtool.benchmarks.engine import rows as engine_rows
from ndtool.benchmarks.engine import suite
from ndtool.benchmarks.engine.anchors import Anchors, read_anchors
from ndtool.benchmarks.engine.rows import Row, judge, layer_kinds, measure_row, read_bars
from ndtool.benchmarks.engine.suite import BARS, main, write_page
from ndtool.benchmarks.engine.tables import markdown, sections
from ndtool.benchmarks.results import Cost, LayerResult
from ndtool.benchmarks.targets import load_target
from ndtool.errors import NdtoolError
from ndtool.export.c.reader import read_graph
from ndtool.tests.export.c.harness import O, T, constant, model, single_op

PAGE = """
## Instructions on Cortex-M7, TensorFlow Lite Micro + CMSIS-NN
| model | instructions | per MAC | arena, bytes |
|---|---|---|---|
| net | 123 456 | 2.39 | 4 096 |

Others:
| model | engine | instructions | per MAC | SRAM, bytes | code, bytes | output against LiteRT reference |
|---|---|---|---|---|---|---|
| net | Fast 1.0, -O3 | 100 000 | 2.0 | 62 352 + 19 200 image | 1 580 | off by 1 |
| odd | Fast 1.0, -O3 | 7 | 2.0 | 1 | 2 | identical |

## Measured on silicon
| core, board, clock | engine, round | net | odd |
|---|---|---|---|
| M7, BOARD-A, 280 MHz | ST, v1.2 | 28.0 /s = 10 M cycles | 1 |
| M7, BOARD-B, 100 MHz | ST, v1.1 | 20.000 | - |
| M4, BOARD-C, 120 MHz | ST, v1.2 | 6.0 |

| model | MACs | TFLM |
|---|---|---|
| net | 6.0 M | 587 |
"""


@pytest.fixture
def anchors(tmp_path) -> Anchors:
    (tmp_path / "ANCHORS.md").write_text(PAGE)
    return read_anchors(tmp_path / "ANCHORS.md")


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    """A folder of two: a convolution that is added to its input, and what cannot be compiled."""
    folder = tmp_path_factory.mktemp("suite") / "models"
    folder.mkdir()
    rng = np.random.default_rng(0)
    x, y, z = (T(shape=(1, 8, 8, 4), scale=0.1, zero_point=3, name=name) for name in "xyz")
    filters = constant(rng.integers(-127, 128, (4, 3, 3, 4)), "int8", scale=0.001)
    options = {"padding": "SAME", "strideW": 1, "strideH": 1}
    conv = O("CONV_2D", [x, filters, constant([0, 0, 0, 0])], [y], options)
    (folder / "net.tflite").write_bytes(model([conv, O("ADD", [y, x], [z])]))
    a, b = (T(shape=(1, 4), dtype="float32") for _ in range(2))
    (folder / "odd.tflite").write_bytes(single_op("ABS", [a], [b]))
    return folder


@pytest.fixture(scope="module")
def row(models) -> Row:
    return measure_row(models / "net.tflite", load_target("cortex-m7"))


def bars(folder: Path, **limits: float) -> Path:
    path = folder / "bars.toml"
    path.write_text(
        'target = "cortex-m7"\n[[bar]]\nmodel = "net"\n' + "".join(f"{name} = {n}\n" for name, n in limits.items())
    )
    return path


def run(*words: object) -> int:
    from ndtool.console import console

    console.cache_clear()
    with pytest.raises(SystemExit) as left:
        main([str(word) for word in words])
    console.cache_clear()
    return int(left.value.code or 0)


def test_figures_of_other_engines_are_read_from_the_tables_of_a_page(anchors):
    first, second, _ = anchors.engines
    assert (first.engine, first.instructions, first.sram, first.code) == (
        "TensorFlow Lite Micro + CMSIS-NN",
        123456,
        4096,
        None,
    )
    assert (second.engine, second.sram, second.code, second.output) == ("Fast 1.0, -O3", 62352, 1580, "off by 1")
    best = anchors.best("net", "cortex-m7")
    assert (best.board, best.cycles) == ("BOARD-B", 5e6)
    assert anchors.best("odd", "cortex-m4") is None


def test_the_page_of_the_project_has_all_models(shared):
    found = read_anchors(shared / "ANCHORS.md")
    models = {"ad", "ic", "kws", "vww", "mcunet_vww"}
    assert models <= {anchor.model for anchor in found.engines}
    for core in ("cortex-m7", "cortex-m4", "cortex-m33"):
        assert all(found.best(name, core) for name in models - {"mcunet_vww"})


def test_a_row_is_exact_and_tells_what_each_kind_of_layer_costs(row):
    assert row.measured.bit_exact is True
    assert row.name == "net@cortex-m7"
    assert {(kind.label, kind.layers, kind.macs, kind.outputs) for kind in row.kinds} >= {
        ("CONV_2D 3x3 /1", 1, 64 * 36 * 4, 256)
    }
    assert sum(kind.instructions for kind in row.kinds) < row.values["instructions"]


def test_a_layer_that_stands_for_several_operators_has_the_filter_of_its_own(models):
    graph = read_graph((models / "net.tflite").read_bytes(), "net")
    fused = LayerResult(
        symbol="l",
        name="z",
        kind="CONV_2D",
        kernel="k",
        output_shape=(1, 8, 8, 4),
        macs=9,
        weight_bytes=0,
        live_bytes=0,
        is_end=False,
        cost=Cost(instructions=5, cycles=None),
    )
    assert [kind.label for kind in layer_kinds([fused], graph)] == ["CONV_2D 3x3 /1"]


def test_bars_judge_what_was_measured(row, tmp_path):
    used = row.values["instructions"]
    verdicts = {f.quantity: f.ok for f in judge([row], read_bars(bars(tmp_path, instructions=used, arena=1, code=1e6)))}
    assert verdicts == {"instructions": True, "arena": False, "code": True}
    lean = Row(model="net", optimize="sram", measured=row.measured, kinds=row.kinds)
    limits = read_bars(sram_bar(tmp_path))
    assert [(f.row.optimize, f.limit, f.ok) for f in judge([row, lean], limits)] == [("sram", used / 2, False)]
    assert judge([lean], limits) == ()  # nothing to compare with


def sram_bar(folder: Path) -> Path:
    path = bars(folder, times_latency=0.5)
    path.write_text(path.read_text() + 'optimize = "sram"\n')
    return path


@pytest.mark.parametrize("text", ["[[bar]]\nflash = 1\n", '[[bar]]\nmodel = "a"\nspeed = 1\n', "[[bar\n", "bar = 3\n"])
def test_a_table_of_bars_that_is_none_is_one_line(tmp_path, text):
    (tmp_path / "bars.toml").write_text(text)
    with pytest.raises(NdtoolError, match=r"bars\.toml: ") as error:
        read_bars(tmp_path / "bars.toml")
    assert "\n" not in str(error.value)


def test_the_committed_bars_are_for_the_five_models():
    limits = read_bars(BARS).limits
    latency = [model for model, objective in limits if objective == "latency"]
    assert sorted(latency) == ["ad", "ic", "kws", "mcunet_vww", "vww"]
    assert all(set(limits[model, "latency"]) == {"instructions", "arena", "code"} for model in latency)


def test_tables_compare_with_other_engines_silicon_and_the_baseline(row, anchors):
    old = {"net@cortex-m7": {**row.values, "arena": 2 * row.values["arena"]}}
    on_board = replace(row, measured=replace(row.measured, target=load_target("stm32h7a3")))
    shown = {section.title.split(",")[0]: section for section in sections([row, on_board], (), anchors, old)}
    engines = shown["Beside other engines"].rows
    assert [cells[1] for cells in engines] == ["ndtool", "TensorFlow Lite Micro + CMSIS-NN", "Fast 1.0, -O3"]
    assert engines[1][-2] == f"{123456 / row.values['instructions']:.2f}"
    assert shown["Beside silicon"].rows[0][2:4] == ("ST, v1.1: BOARD-B", "5 000 000")
    assert shown["Change against the baseline"].rows[0][2].endswith("(-50.00 %)")
    assert "| net | " in markdown(tuple(shown.values()))


def test_the_command_measures_judges_and_remembers(models, tmp_path, capsys):
    words = (models, "--target", "cortex-m7", "--optimize", "latency", "--baseline", tmp_path / "base.json", "--bars")
    assert run(*words, bars(tmp_path, arena=1 << 20), "--update", "--json") == 0
    printed = capsys.readouterr()
    result = json.loads(printed.out)
    assert [(r["name"], r["bit_exact"], r["baseline"]) for r in result["rows"]] == [("net@cortex-m7", True, None)]
    assert "left out: " in printed.err
    assert "odd.tflite computes in float32" in printed.err
    assert run(*words, bars(tmp_path, arena=1), "--markdown") == 1
    printed = capsys.readouterr()
    assert re.search(r"\| net \| arena \| \d+ \| 1 \| [\d.]+ \| FAIL \|", printed.out)
    assert "FAIL: net@cortex-m7 arena" in printed.err
    assert "(=)" in printed.out


def test_a_wrong_byte_fails_without_any_bar(models, tmp_path, monkeypatch):
    from dataclasses import replace

    def wrong(*args: object, **how: object) -> object:
        found = bench(*args, **how)
        return replace(found, samples=(replace(found.samples[0], mismatches=1),))

    bench = engine_rows.bench
    monkeypatch.setattr(engine_rows, "bench", wrong)
    assert run(models, "--bars", bars(tmp_path)) == 1


def test_an_objective_is_handed_to_the_compiler(models, monkeypatch):
    given: list[object] = []

    def refuse(*_: object, **how: object) -> None:
        given.append(how["optimize"])
        raise NdtoolError("no")

    monkeypatch.setattr(engine_rows, "bench", refuse)
    with pytest.raises(NdtoolError, match="no model can be measured: no"):
        suite.measure(models, [load_target("cortex-m7")], ("sram", "flash"))
    assert given == ["sram", "flash"] * 2


def test_tables_replace_what_is_between_the_marks_of_a_page(row, tmp_path):
    page = tmp_path / "engine.md"
    page.write_text("above\n<!-- engine: begin -->\nold\n<!-- engine: end -->\nbelow\n")
    shown = sections([row], (), Anchors(), {row.name: row.values})
    for _ in range(2):
        write_page(page, shown, "zig 1")
    text = page.read_text()
    assert text.startswith("above\n<!-- engine: begin -->\n\n### Measured on cortex-m7")
    assert text.endswith("Measured with zig 1.\n\n<!-- engine: end -->\nbelow\n")
    assert "old" not in text
    assert "Change" not in text
    page.write_text("no marks\n")
    with pytest.raises(NdtoolError, match="has no place for the tables"):
        write_page(page, shown, "zig 1")


def test_errors_are_one_line(tmp_path, capsys):
    (tmp_path / "base.json").write_text("{}")
    for words, message in (
        ((tmp_path,), "holds no .tflite file"),
        ((tmp_path, "--target", "cortex-m8"), "did you mean cortex-m7?"),
        ((tmp_path, "--baseline", tmp_path / "base.json"), "not a baseline of the engine"),
        ((tmp_path, "--optimize", "speed"), "Invalid value for '--optimize'"),
    ):
        assert run(*words) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
