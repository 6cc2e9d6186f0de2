"""ndtool train."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ndtool.commands.options import (
    METHODS,
    data_option,
    defaults_of,
    init_option,
    json_option,
    model_options,
    training_options,
    was_typed,
)
from ndtool.commands.subject import last_run, require_data
from ndtool.console import echo_json

if TYPE_CHECKING:
    from ndtool.train.config import TrainConfig
    from ndtool.train.data import Data
    from ndtool.train.outcome import TrainResult
    from ndtool.train.run import RunFolder


def _read_recipe(ctx: click.Context, parameter: click.Parameter, name: str | None) -> None:
    """Take a recipe's settings as defaults. One that is typed comes before the config file, which else has its say."""
    if name is None:
        return
    from ndtool.train.recipe import load_recipe

    recipe = load_recipe(name)
    settings = defaults_of(Path(name), "train", recipe.settings, ctx.command)
    configured = ctx.default_map or {}
    typed = ctx.get_parameter_source(parameter.name or "") is click.core.ParameterSource.COMMANDLINE
    ctx.default_map = {**configured, **settings} if typed else {**settings, **configured}


@click.command(short_help="Train a network, by default inside a weight-sharing teacher.")
@click.argument("model", required=False)
@data_option
@click.option(
    "--recipe",
    metavar="NAME",
    is_eager=True,
    expose_value=False,
    callback=_read_recipe,
    help="Settings by name (ndtool list recipes), or a .toml file of yours; flags win.",
)
@init_option
@click.option("--method", type=click.Choice(METHODS), help="How to train.  [default: netdistiller]")
@click.option("--out", type=click.Path(path_type=Path), help="Run folder.  [default: a new one under runs/]")
@click.option("--seed", type=int, help="[default: 0]")
@click.option("--teacher", metavar="RUN", help="Of kd, a finished run.  [default: trained first, inside --out]")
@training_options
@click.option("--resume", is_flag=True, help="Go on with an interrupted run, the one named or the last one.")
@click.option("--overwrite", is_flag=True, help="Replace a run that --out holds.")
@model_options
@json_option
def train(
    model: str | None,
    data: str | None,
    init: str | None,
    out: Path | None,
    resume: bool,
    overwrite: bool,
    as_json: bool,
    **settings: Any,
) -> int:
    """Train MODEL on DATA. The validation part chooses the weights, the test part is read once, at the end.

    \b
    ndtool train mobilenetv2 --data cifar10.tar.xz --set width=0.5 --epochs 30
    ndtool train net.py:TinyNet --data images/ --input-shape 3x96x96 --expand 4
    ndtool train autoencoder --data machine.npz --task reconstruction
    ndtool train --recipe imagenet/mcunet --data /path/imagenet --out runs/mcunet
    ndtool train --recipe transfer/flowers102 --init runs/mcunet
    ndtool train --resume
    ndtool train runs/mcunet --resume
    """
    from ndtool.console import note, training_progress
    from ndtool.train.distributed import in_turn, joined, on_first
    from ndtool.train.loop import fit, load_run_data

    with joined() as ranks:
        chosen = None
        if ranks.first:
            chosen = _chosen(model, data, out, init, resume=resume, overwrite=overwrite, **settings)
        common = on_first(lambda: chosen and chosen[:2])
        assert common is not None
        run, config = common
        loaded = in_turn(lambda: chosen[2] if chosen else load_run_data(config))
        if not ranks.first:
            return 130 if fit(config, run, data=loaded, resume=resume).interrupted else 0
        for line in loaded.notes:
            note(line)
        processes = f", on {ranks.world} processes" if ranks.world > 1 else ""
        note(f"{config.method} on {config.data}{processes}, into {run.path}")
        with training_progress() as progress:
            result = fit(config, run, data=loaded, resume=resume, progress=progress)
    return _trained(result, config.epochs, as_json=as_json)


def _chosen(
    model: str | None,
    data: str | None,
    out: Path | None,
    init: str | None,
    *,
    resume: bool,
    overwrite: bool,
    **settings: Any,
) -> tuple["RunFolder", "TrainConfig", "Data"]:
    """The run that is meant, its settings and its data."""
    from ndtool.console import note
    from ndtool.train.loop import load_run_data
    from ndtool.train.run import RunFolder
    from ndtool.train.setup import free_folder, prepare

    if resume and (run := _run_to_resume(model, out)):
        config = _resumed(run.load_config(), settings)
        return run, config, load_run_data(config, progress=note)
    data = require_data(model, data, init)
    if out:
        RunFolder.choose(out, overwrite=overwrite, resume=resume)  # before the data are loaded
    config, loaded = prepare(model, data, init=init, progress=note, **settings)
    folder = out or free_folder(config.model.name, config.data, config.method)
    return RunFolder.choose(folder, overwrite=overwrite, resume=resume), config, loaded


def _run_to_resume(model: str | None, out: Path | None) -> "RunFolder | None":
    """The run that --resume names, as the first argument or as --out, or the last one; None where a MODEL is named."""
    from ndtool.train.run import RunFolder

    if model and was_typed("model"):
        is_run = Path(model).is_dir() and not (was_typed("data") or was_typed("out"))
        return RunFolder.open(Path(model)) if is_run else None
    return RunFolder.open(out) if out and was_typed("out") else last_run()


def _trained(result: "TrainResult", epochs: int, *, as_json: bool) -> int:
    """Print what a training ended with; the exit code."""
    from ndtool.console import note, score, table

    path = result.run.path
    if result.interrupted:
        note(f"stopped after {result.epochs} of {epochs} epochs, saved; go on with: ndtool train {path} --resume")
        return 130
    if as_json:
        echo_json({"run": str(path), **result.run.result()})
    else:
        rows = [("validation", score(result.validation), ""), ("test", score(result.test), score(result.teacher_test))]
        table(f"{path}: best epoch {result.best_epoch} of {epochs}", ("", "student", "teacher"), rows)
    return 0


def _resumed(config: "TrainConfig", settings: Mapping[str, Any]) -> "TrainConfig":
    """The settings of a run to be resumed; only where it runs may change."""
    typed = [name for name in ("data", "recipe", "init", *settings) if was_typed(name)]
    if others := [f"--{name.replace('_', '-')}" for name in typed if name != "device"]:
        raise click.UsageError(f"--resume goes on with the settings of the run: leave out {', '.join(others)}")
    return replace(config, device=settings["device"]) if "device" in typed else config
