"""ndtool check."""

from pathlib import Path

import click

from ndtool.commands.options import data_option, json_option, kernel_options
from ndtool.commands.subject import data_of, last_run
from ndtool.console import echo_json


@click.command(short_help="Sizes, speed and accuracy against a baseline and budgets; exit 1 on a regression.")
@click.argument("subject", required=False)
@kernel_options()
@click.option(
    "--baseline",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File to compare with, committed with your code.",
)
@click.option("--update", is_flag=True, help="Write the measured values into the baseline.")
@click.option(
    "--budget", "budgets", multiple=True, metavar="LIMITS", help="flash=256k,sram=64k,latency=50ms, or a board."
)
@click.option(
    "--tolerance", metavar="LIMITS", default="", help="What may change, in percent: instructions=2%,accuracy=0.5."
)
@click.option("--name", metavar="NAME", help="What the baseline calls the model.  [default: of the file or run]")
@click.option("--markdown", type=click.Path(path_type=Path, dir_okay=False), help="Append the table to this file.")
@data_option
@json_option
def check(
    subject: str | None,
    target_name: str,
    baseline: Path | None,
    update: bool,
    budgets: tuple[str, ...],
    tolerance: str,
    name: str | None,
    markdown: Path | None,
    optimize: str,
    pins: dict[str, str],
    data: str | None,
    as_json: bool,
) -> int:
    """Check SUBJECT, a run (default: the last one) or an int8 .tflite, against a baseline and budgets.

    \b
    ndtool check --baseline sizes.json --update
    ndtool check runs/c10 --baseline sizes.json --markdown "$GITHUB_STEP_SUMMARY"
    ndtool check model.int8.tflite --target stm32f746 --budget stm32f746,latency=50ms
    """
    from ndtool.benchmarks import verdict as report
    from ndtool.benchmarks.check import Plan, parse_budgets
    from ndtool.benchmarks.check import check as run_check
    from ndtool.benchmarks.regression import parse_tolerances
    from ndtool.benchmarks.subject import open_subject
    from ndtool.benchmarks.targets import load_target
    from ndtool.console import note, table

    plan = Plan(
        baseline=baseline, update=update, budgets=parse_budgets(budgets), tolerances=parse_tolerances(tolerance)
    )
    target = load_target(target_name)
    opened = open_subject(str(last_run().path) if subject is None else subject)
    for line in opened.notes:
        note(line)
    choice = {"optimize": optimize, "pins": pins}
    verdict = run_check(opened, target, plan, data=data_of(opened, data), name=name, **choice)
    if markdown is not None:
        with markdown.open("a", encoding="utf-8") as file:
            file.write(report.markdown(verdict))
    if as_json:
        echo_json(report.as_json(verdict))
    else:
        table(f"check of {verdict.entry}", report.HEADINGS, report.rows(verdict), left=2)
    for line in verdict.notes:
        note(line)
    note(report.conclusion(verdict))
    return 0 if verdict.ok else 1
