"""ndtool compare."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from ndtool.commands.options import (
    METHODS,
    data_option,
    init_option,
    json_option,
    model_options,
    read_methods,
    read_variations,
    training_options,
)
from ndtool.commands.subject import require_data
from ndtool.console import echo_json


@click.command(short_help="Compare methods and settings over several seeds.")
@click.argument("model", required=False)
@data_option
@init_option
@click.option(
    "--methods",
    metavar="M,M,...",
    default=",".join(METHODS),
    show_default=True,
    callback=read_methods,
    help="What is compared.",
)
@click.option("--seeds", type=click.IntRange(min=1), default=3, show_default=True, help="Trainings of each.")
@click.option(
    "--vary",
    metavar="[METHOD.]NAME=V,V,...",
    multiple=True,
    callback=read_variations,
    help="Also each method, or METHOD alone, with other values of one setting, e.g. expand=2,3,4. Several times.",
)
@click.option("--against", metavar="METHOD", help="Whose score the differences are to.  [default: vanilla]")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the study.")
@training_options
@model_options
@json_option
def compare(
    model: str | None,
    data: str | None,
    init: str | None,
    methods: tuple[str, ...],
    seeds: int,
    vary: Mapping[str, list[str]],
    against: str | None,
    out: Path,
    as_json: bool,
    **settings: Any,
) -> int:
    """Train MODEL by several methods, with equal budgets, and say what each is worth.

    Does what is missing only: an interrupted study goes on with the same command. Several of these commands may work
    on one folder at once, each on its own cores or --device.

    \b
    ndtool compare resnet8 --data cifar10 --methods vanilla,netdistiller --epochs 10 --out study
    ndtool compare net.py:Net --data images/ --methods vanilla,kd,netdistiller --seeds 5 --out study
    ndtool compare resnet8 --data cifar10 --methods netdistiller --vary expand=2,3,4 --vary distill=kl,dkd --out study
    ndtool compare resnet8 --data cifar10 --methods vanilla,netdistiller --vary vanilla.epochs=90,120 --out study
    """
    from ndtool.console import note, table, training_progress
    from ndtool.train.parse import parse_value
    from ndtool.train.setup import prepare
    from ndtool.train.study import Study, baseline_of, plan_jobs, plan_variants, report
    from ndtool.train.study.table import HEADINGS, cells

    config, _ = prepare(model, require_data(model, data, init), init=init, progress=note, **settings)
    values = {name: [parse_value(value) for value in each] for name, each in vary.items()}
    jobs = plan_jobs(plan_variants(config, methods, values), seeds)
    baseline = baseline_of(jobs, against)
    study = Study(out)
    with training_progress() as progress:
        done = study.work(
            jobs,
            started=lambda job, number, count: note(f"[{number}/{count}] {job.name}"),
            progress=progress,
        )
    summary = report.write(study, jobs, against=baseline)
    if as_json:
        echo_json(summary.to_dict())
    else:
        rows = [cells(row, accuracy=summary.of_accuracies) for row in summary.rows]
        unit = "percent" if summary.of_accuracies else "squared error"
        table(f"{study.path}: test part, {unit}, differences to {baseline}", HEADINGS, rows)
        if summary.hint:
            note(summary.hint)
    if not done:
        note(f"stopped with {len(summary.missing)} of {len(jobs)} trainings missing; the same command goes on")
    return 0 if done else 130
