"""ndtool demo."""

from pathlib import Path

import click

from ndtool.commands.options import json_option
from ndtool.console import echo_json


@click.command(short_help="The whole way on the embedded digits data, in minutes.")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("runs/demo"), show_default=True, help="Run folder."
)
@click.option("--epochs", type=click.IntRange(min=1), help="[default: what the committed baseline was made with]")
@json_option
def demo(out: Path, epochs: int | None, as_json: bool) -> int:
    """Train on scanned digits, export, run on an emulated Cortex-M7 and check against the committed baseline.

    \b
    ndtool demo --out runs/demo
    """
    from ndtool import render
    from ndtool.benchmarks.demo import run_demo
    from ndtool.console import note, training_progress

    with training_progress() as progress:
        result = run_demo(out, epochs=epochs, tell=note, progress=progress)
    if as_json:
        echo_json(render.demo_json(result))
    else:
        render.demo_table(result)
    return 0 if result.verdict.ok else 1
