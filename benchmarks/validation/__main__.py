"""`python -m ndtool.benchmarks.validation FOLDER`: predicted against measured cycles, point by point."""

import json
import sys
from pathlib import Path
from typing import Any

import click

from ndtool.benchmarks.timing.about import ACCURACY
from ndtool.benchmarks.validation.compare import Comparison, accuracy, compare, summary
from ndtool.benchmarks.validation.page import write_page
from ndtool.benchmarks.validation.points import read_points
from ndtool.console import table, whole
from ndtool.errors import NdtoolError
from ndtool.files import write_atomic


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--only", default="", help="Only points whose name has this in it.")
@click.option("--json", "as_json", is_flag=True, help="Points and summary as JSON on stdout.")
@click.option("--update", is_flag=True, help="Write the errors that cores have earned into validation/accuracy.json.")
@click.option("--page", type=click.Path(path_type=Path), help="A Markdown page to put the tables into.")
def main(folder: Path, only: str, as_json: bool, update: bool, page: Path | None) -> None:
    """Run the programs of the manifest from FOLDER, which holds copies of the repositories it names."""
    points, elsewhere = read_points()
    found: list[Comparison] = []
    try:
        for one in compare([point for point in points if only in point.name], elsewhere, folder):
            print(f"{one.point.name}: {100 * one.error:+.1f} %", file=sys.stderr)
            found.append(one)
        if page and found:
            write_page(found, page)
    except NdtoolError as error:
        raise click.ClickException(str(error)) from error
    if not found:
        raise click.ClickException(f"no point has {only!r} in its name")
    if update:
        write_atomic(ACCURACY, json.dumps(accuracy(found), indent=2) + "\n")
    if as_json:
        print(json.dumps({"points": [_point(one) for one in found], "accuracy": accuracy(found)}, indent=2))
    else:
        _print(found)


def _point(one: Comparison) -> dict[str, Any]:
    return {
        "name": one.point.name,
        "core": one.core,
        "target": one.point.target,
        "exact": one.point.exact,
        "fit": one.point.fit,
        "float": one.point.is_float,
        "instructions": one.instructions,
        "predicted": round(one.predicted),
        "measured": round(one.measured),
        "error": round(one.error, 4),
        "parts": {part: round(cycles) for part, cycles in one.parts.items()},
    }


def _print(found: list[Comparison]) -> None:
    rows = [
        (
            one.point.name,
            one.core,
            "fit" if one.point.fit else "",
            whole(one.predicted),
            whole(one.measured),
            f"{100 * one.error:+.1f} %",
        )
        for one in found
    ]
    table("cycles of one inference", ("program", "core", "", "predicted", "silicon", "error"), rows, left=3)
    totals = [
        (core, title, str(count), f"{100 * middle:.1f} %", f"{100 * most:.1f} %", f"{100 * mean:+.1f} %", name)
        for core, title, count, middle, most, mean, name in summary(found)
    ]
    headings = ("core", "points", "number", "median", "worst", "mean", "worst program")
    table("errors by core", headings, totals, left=2)


if __name__ == "__main__":
    main()
