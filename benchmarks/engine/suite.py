"""The suite of the C engine: every model of a folder measured, judged by bars and compared with other engines.

    python -m ndtool.benchmarks.engine [FOLDER]

See docs/engine.md.
"""

import json
import os
import sys
from pathlib import Path

import click

from ndtool.benchmarks.engine import tables
from ndtool.benchmarks.engine.anchors import Anchors, read_anchors
from ndtool.benchmarks.engine.rows import (
    Row,
    judge,
    measure_row,
    read_bars,
    read_baseline,
    write_baseline,
)
from ndtool.benchmarks.report.tables import Section, show
from ndtool.benchmarks.targets import Target, load_target
from ndtool.console import note
from ndtool.errors import NdtoolError
from ndtool.files import write_atomic

_HERE = Path(__file__).resolve().parents[1]
BARS, BASELINE = (_HERE / "baselines" / f"engine.{ending}" for ending in ("toml", "json"))
BEGIN, END = "<!-- engine: begin -->", "<!-- engine: end -->"
OBJECTIVES = ("latency", "sram", "flash")


def default_folder() -> Path:
    """The models beside the checkout, or in $NDTOOL_SHARED."""
    return Path(os.environ.get("NDTOOL_SHARED") or _HERE.parent.parent / "shared") / "models"


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@click.option(
    "--target", "targets", multiple=True, default=["cortex-m7", "stm32h7a3"], show_default=True, help="Several allowed."
)
@click.option(
    "--optimize",
    "objectives",
    multiple=True,
    type=click.Choice(OBJECTIVES),
    default=OBJECTIVES,
    show_default=True,
    help="What models are compiled for. Several allowed.",
)
@click.option("--anchors", type=click.Path(path_type=Path), help="[default: ANCHORS.md beside FOLDER, if there is one]")
@click.option("--bars", type=click.Path(path_type=Path), default=BARS, help="TOML file of limits.  [default: ndtool's]")
@click.option("--baseline", type=click.Path(path_type=Path), default=BASELINE, help="[default: ndtool's]")
@click.option("--update", is_flag=True, help="Write what was measured into the baseline.")
@click.option("--write", "page", type=click.Path(path_type=Path), help="Put the tables into the marked part of a page.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
@click.option("--markdown", "as_markdown", is_flag=True, help="Print Markdown on stdout.")
def suite(
    folder: Path | None,
    targets: tuple[str, ...],
    objectives: tuple[str, ...],
    anchors: Path | None,
    bars: Path,
    baseline: Path,
    update: bool,
    page: Path | None,
    as_json: bool,
    as_markdown: bool,
) -> int:
    """Measure the .tflite files of FOLDER (default: ../shared/models, or $NDTOOL_SHARED/models).

    Exit 1 where a bar is missed or an output byte is not LiteRT's, 2 where nothing could be measured.
    """
    folder = folder or default_folder()
    known = [load_target(name) for name in targets]
    limits, old = read_bars(bars), read_baseline(baseline)
    others = _anchors(anchors, folder)
    rows = measure(folder, known, objectives)
    findings = judge(rows, limits)
    shown = tables.sections(rows, findings, others, old)
    if as_json:
        click.echo(json.dumps(tables.as_json(rows, findings, others, old), indent=2))
    elif as_markdown:
        click.echo(tables.markdown(shown))
    else:
        show(shown)
    note(tables.versions(rows))
    if update:
        write_baseline(baseline, rows)
    if page is not None:
        write_page(page, shown, tables.versions(rows))
    failed = [f"{f.row.name} {f.quantity}" for f in findings if not f.ok]
    failed += [f"{row.name} output" for row in rows if not row.measured.bit_exact]
    if failed:
        note(f"FAIL: {', '.join(failed)}")
    return 1 if failed else 0


def measure(folder: Path, targets: list[Target], objectives: tuple[str, ...]) -> list[Row]:
    """A row for each model, target and objective (on boards the first); what cannot be compiled is told and left out.

    Raises:
        NdtoolError: there is no model, or none can be measured.
    """
    paths = sorted(folder.glob("*.tflite"))
    if not paths:
        raise NdtoolError(f"{folder} holds no .tflite file: give a folder of int8 models")
    rows, refused = [], []
    for target in targets:
        for path in paths:
            for objective in objectives[:1] if target.is_board else objectives:
                try:
                    rows.append(measure_row(path, target, objective))
                except NdtoolError as error:
                    refused.append(str(error))
                    note(f"left out: {error}")
    if not rows:
        raise NdtoolError(f"{folder}: no model can be measured: {refused[0]}")
    return rows


def write_page(page: Path, shown: tuple[Section, ...], versions: str) -> None:
    """Replace what lies between the marks of a page. Raises NdtoolError where it has none."""
    text = page.read_text(encoding="utf-8") if page.is_file() else ""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise NdtoolError(f"{page} has no place for the tables: put {BEGIN} and {END} on lines of their own")
    lasting = [section for section in shown if not section.title.startswith("Change")]
    content = f"{tables.markdown(lasting)}\nMeasured with {versions}.\n"
    write_atomic(page, f"{before}{BEGIN}\n\n{content}\n{END}{after}")


def _anchors(chosen: Path | None, folder: Path) -> Anchors:
    path = chosen or folder.resolve().parent / "ANCHORS.md"
    return read_anchors(path) if chosen or path.is_file() else Anchors()


def main(args: list[str] | None = None) -> None:
    """Run the suite; errors are one line."""
    try:
        status = suite.main(args, prog_name="python -m ndtool.benchmarks.engine", standalone_mode=False)
    except click.ClickException as error:
        click.echo(f"engine: {error.format_message()}", err=True)
        status = 2
    except NdtoolError as error:
        click.echo(f"engine: {error}", err=True)
        status = 2
    sys.exit(status)
