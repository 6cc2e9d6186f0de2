"""The command line: commands parse, call one function of a stage, and print. Heavy imports happen inside them."""

import difflib
import json
import os
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ndtool import __version__
from ndtool.errors import NdtoolError
from ndtool.options import (
    METHODS,
    board_options,
    data_option,
    init_option,
    json_option,
    kernel_options,
    model_options,
    read_methods,
    read_variations,
    source_options,
    training_options,
)
from ndtool.train.launch import launched, launched_first

if TYPE_CHECKING:
    from ndtool.train.config import TrainConfig
    from ndtool.train.data import Data
    from ndtool.train.loop import TrainResult
    from ndtool.train.run import RunFolder

CONFIG_NAME = "ndtool.toml"


class Commands(click.Group):
    """A group that suggests what was meant, and reads the defaults of its commands from a TOML file."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """The named command, or an error with the closest names."""
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            close = difflib.get_close_matches(args[0], self.commands, n=1)
            hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(self.commands)}"
            raise click.UsageError(f"no command {args[0]!r}: {hint}", ctx)
        return super().resolve_command(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of the pipeline."""
        return list(self.commands)


def main(args: list[str] | None = None) -> None:
    """Run a command; exit 0 done, 1 a check failed, 2 wrong use or bad input (one line), 130 interrupted."""
    args = sys.argv[1:] if args is None else args
    debug = "--debug" in args  # wherever it stands
    try:
        status = cli.main([arg for arg in args if arg != "--debug"], prog_name="ndtool", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.Abort:
        click.echo("ndtool: interrupted", err=True)
        status = 130
    except click.ClickException as error:
        if debug:
            raise
        ctx = getattr(error, "ctx", None)
        where = ctx.command_path if ctx else "ndtool"
        status = _failed(error, f"{where}: {_one_line(error.format_message())}")
    except NdtoolError as error:
        if debug:
            raise
        status = _failed(error, f"ndtool: {error}")
    except BrokenPipeError:  # the reader of our output has gone, e.g. `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    except OSError as error:
        if debug:
            raise
        status = _failed(error, f"ndtool: {error}")
    sys.exit(status if isinstance(status, int) else 0)


def _failed(error: Exception, line: str) -> int:
    """Say in one line what is wrong; of several processes under torchrun, one says it, and all end without ado."""
    if not launched():
        click.echo(line, err=True)
        return 2
    from ndtool.train.distributed import tell

    tell(error, line, lambda line: click.echo(line, err=True))
    sys.stdout.flush()
    os._exit(2)  # threads of the communication may not be waited for: the others may have gone


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _read_config(ctx: click.Context, _: click.Parameter, path: Path | None) -> None:
    if path is None:
        path = Path(CONFIG_NAME)
        if not path.is_file():
            return
    try:
        settings = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise NdtoolError(f"{path}: no readable TOML: {error}") from error
    settings.pop("about", None)  # a recipe serves as a config file
    for name, section in settings.items():
        command = cli.commands.get(name)
        if command is None or not isinstance(section, dict):
            raise NdtoolError(f"{path}: [{name}] is no command of ndtool: use one of {', '.join(cli.commands)}")
        settings[name] = _section(path, name, section, command)
    ctx.default_map = settings
    if launched_first():
        click.echo(f"settings from {path}", err=True)


def _section(path: Path, name: str, section: Mapping[str, Any], command: click.Command) -> dict[str, Any]:
    """A command's defaults by parameter; in the file they have the names of the flags."""
    known: dict[str, click.Parameter] = {}
    for parameter in command.params:
        flags = [flag.removeprefix("--") for flag in parameter.opts if flag.startswith("--")]
        known |= dict.fromkeys(flags or [parameter.name or ""], parameter)
    defaults = {}
    for key, value in section.items():
        flag = key.replace("_", "-")
        if flag not in known:
            close = difflib.get_close_matches(flag, known, n=1)
            hint = f": did you mean {close[0]}?" if close else f": see ndtool {name} --help"
            raise NdtoolError(f"{path}: [{name}] has no setting {key!r}{hint}")
        several = getattr(known[flag], "multiple", False) and not isinstance(value, list)
        defaults[known[flag].name or ""] = [value] if several else value
    return defaults


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="ndtool")
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    is_eager=True,
    expose_value=False,
    callback=_read_config,
    help=f"TOML file with a section per command; flags win.  [default: {CONFIG_NAME} where there is one]",
)
@click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")
def cli() -> None:
    """Train a tiny network inside a weight-sharing teacher and take it to a Cortex-M, verified at every step.

    \b
    ndtool train mobilenetv2 --data cifar10.tar.xz --out runs/c10
    ndtool export --int8 --c
    ndtool bench --target cortex-m7
    ndtool check --baseline sizes.json --budget stm32f746

    MODEL is a name (ndtool list models), file.py:callable or package.module:callable. DATA is a name
    (ndtool list data), a folder or archive of class folders, tar shards, an .npz, or file.py:callable.
    """


def _read_recipe(ctx: click.Context, parameter: click.Parameter, name: str | None) -> None:
    """Take a recipe's settings as defaults. One that is typed comes before the config file, which else has its say."""
    if name is None:
        return
    from ndtool.train.recipe import load_recipe

    recipe = load_recipe(name)
    settings = _section(Path(name), "train", recipe.settings, ctx.command)
    configured = ctx.default_map or {}
    typed = ctx.get_parameter_source(parameter.name or "") is click.core.ParameterSource.COMMANDLINE
    ctx.default_map = {**configured, **settings} if typed else {**settings, **configured}


def echo_json(value: Any) -> None:
    """JSON on stdout."""
    click.echo(json.dumps(value, indent=2))


@cli.command(short_help="Train a network, by default inside a weight-sharing teacher.")
@click.argument("model", required=False)
@data_option()
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
@click.option("--resume", is_flag=True, help="Go on with an interrupted run (--out, or the last one).")
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

    if resume and not _was_typed("model"):
        run = RunFolder.open(out) if out and _was_typed("out") else _last_run()
        config = _resumed(run.load_config(), settings)
        return run, config, load_run_data(config, progress=note)
    data = _require_data(model, data, init)
    if out:
        RunFolder.choose(out, overwrite=overwrite, resume=resume)  # before the data are loaded
    config, loaded = prepare(model, data, init=init, progress=note, **settings)
    folder = out or free_folder(config.model.name, config.data, config.method)
    return RunFolder.choose(folder, overwrite=overwrite, resume=resume), config, loaded


def _trained(result: "TrainResult", epochs: int, *, as_json: bool) -> int:
    """Print what a training ended with; the exit code."""
    from ndtool.console import note, score, table

    path = result.run.path
    if result.interrupted:
        note(f"stopped after {result.epochs} of {epochs} epochs, saved; go on with: ndtool train --resume --out {path}")
        return 130
    if as_json:
        echo_json({"run": str(path), **result.run.result()})
    else:
        rows = [("validation", score(result.validation), ""), ("test", score(result.test), score(result.teacher_test))]
        table(f"{path}: best epoch {result.best_epoch} of {epochs}", ("", "student", "teacher"), rows)
    return 0


def _require_data(model: str | None, data: str | None, init: str | None) -> str:
    """The data. Raises UsageError where it is not said what is trained on what."""
    subject = model or init
    if data is None and subject is None:
        raise click.UsageError("name a MODEL and --data DATA, e.g. ndtool train resnet8 --data digits")
    if data is None:
        raise click.UsageError(f"there are no data for {subject}: add --data DATA (ndtool list data)")
    if subject is None:
        raise click.UsageError(f"there is no model for {data}: name a MODEL, or begin with a trained run, --init RUN")
    return data


@cli.command(short_help="Compare methods and settings over several seeds.")
@click.argument("model", required=False)
@data_option()
@init_option
@click.option(
    "--methods",
    metavar="M,M,...",
    default=",".join(METHODS),
    show_default=True,
    callback=read_methods,
    help="What is compared; the differences are to vanilla.",
)
@click.option("--seeds", type=click.IntRange(min=1), default=3, show_default=True, help="Trainings of each.")
@click.option(
    "--vary",
    metavar="NAME=V,V,...",
    multiple=True,
    callback=read_variations,
    help="Also each method with other values of one setting, e.g. expand=2,3,4. Several times.",
)
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
    """
    from ndtool.console import note, table, training_progress
    from ndtool.train.setup import parse_value, prepare
    from ndtool.train.study import Study, plan_jobs, plan_variants, report
    from ndtool.train.study.table import HEADINGS, cells

    config, _ = prepare(model, _require_data(model, data, init), init=init, progress=note, **settings)
    values = {name: [parse_value(value) for value in each] for name, each in vary.items()}
    jobs = plan_jobs(plan_variants(config, methods, values), seeds)
    study = Study(out)
    with training_progress() as progress:
        done = study.work(
            jobs,
            started=lambda job, number, count: note(f"[{number}/{count}] {job.name}"),
            progress=progress,
        )
    summary = report.write(study, jobs)
    if as_json:
        echo_json(summary.to_dict())
    else:
        rows = [cells(row, accuracy=summary.of_accuracies) for row in summary.rows]
        unit = "percent" if summary.of_accuracies else "squared error"
        table(f"{study.path}: test part, {unit}", HEADINGS, rows)
    if not done:
        note(f"stopped with {len(summary.missing)} of {len(jobs)} trainings missing; the same command goes on")
    return 0 if done else 130


def _was_typed(parameter: str) -> bool:
    """Whether a parameter of the running command stood on the command line, not in a config file."""
    return click.get_current_context().get_parameter_source(parameter) is click.core.ParameterSource.COMMANDLINE


def _resumed(config: "TrainConfig", settings: Mapping[str, Any]) -> "TrainConfig":
    """The settings of a run to be resumed; only where it runs may change."""
    typed = [name for name in ("data", "recipe", "init", *settings) if _was_typed(name)]
    if others := [f"--{name.replace('_', '-')}" for name in typed if name != "device"]:
        raise click.UsageError(f"--resume goes on with the settings of the run: leave out {', '.join(others)}")
    return replace(config, device=settings["device"]) if "device" in typed else config


def _last_run() -> "RunFolder":
    from ndtool.console import note
    from ndtool.train.run import last_run

    run = last_run()
    if run is None:
        raise NdtoolError("there is no last run: name a run folder, or train one with ndtool train MODEL --data DATA")
    note(f"using the last run: {run.path}")
    return run


def _open(source: str | None, *, input_shape: str | None, mean: str | None, std: str | None, **how: Any) -> Any:
    """The source and data of export and eval; without a name, the last run."""
    from ndtool.console import note
    from ndtool.export.source import open_with_data
    from ndtool.train.setup import parse_normalisation, parse_shape

    return open_with_data(
        _last_run() if source is None else source,
        input_shape=parse_shape(input_shape) if input_shape else None,
        normalisation=parse_normalisation(mean, std),
        progress=note,
        **how,
    )


@cli.command(short_help="Convert to ONNX, TFLite, int8 and C, each step verified.")
@click.argument("source", required=False)
@click.option("--int8", is_flag=True, help="Quantise to full int8: int8 in, int8 out, weights per channel.")
@click.option("--c", "c", is_flag=True, help="Compile the int8 model to a C library.")
@click.option("--c-name", help="Prefix of its C symbols.  [default: of the folder]")
@kernel_options("Core or board whose kernels the C gets; it compiles everywhere.")
@click.option(
    "--package",
    type=click.Choice(["plain", "cmake", "arduino", "zephyr", "platformio", "esp-idf"]),
    default="plain",
    show_default=True,
    help="How the C library is laid out, with an example that runs its self-test.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder.  [default: the run, or NAME-export]")
@source_options
@json_option
def export(
    source: str | None,
    int8: bool,
    c: bool,
    c_name: str | None,
    target_name: str,
    optimize: str,
    pins: dict[str, str],
    package: str,
    out: Path | None,
    limit: int | None,
    as_json: bool,
    **how: Any,
) -> int:
    """Export SOURCE: a run (default: the last one), a .onnx, .tflite or .keras file, a SavedModel, or a MODEL.

    Every step is compared with the one before: on the test data where there are data, else on random inputs.
    int8 needs data for calibration: a run has its own, for anything else give --data.

    \b
    ndtool export --int8 --c
    ndtool export net.py:Net --weights net.pt --data images/ --int8
    ndtool export model.onnx --data images/ --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225 --int8 --c
    ndtool export model.int8.tflite --c --package arduino --out kws
    """
    from ndtool import render
    from ndtool.benchmarks.candidates import compile_options
    from ndtool.benchmarks.firmware_sources import benchmark_folder
    from ndtool.benchmarks.targets import load_target
    from ndtool.console import counted_progress
    from ndtool.export.pipeline import export_model
    from ndtool.train.run import Artifacts

    target = load_target(target_name)
    compiling = compile_options(target, optimize=optimize, pins=pins)
    if _was_typed("package") and not c:
        raise click.UsageError("a package is made of the C library: add --c")
    opened, data = _open(source, **how)
    folder = opened.run or Artifacts(Path(f"{opened.stem}-export").absolute())
    if out:
        folder = Artifacts(out.absolute())
    with counted_progress() as progress:
        result = export_model(
            opened,
            out=folder,
            data=data,
            int8=int8,
            c=c,
            c_name=c_name or opened.stem,
            compiling=compiling,
            package=package,
            beside=None if package == "esp-idf" else benchmark_folder(target),  # an ESP32 is no Cortex-M
            limit=limit,
            progress=progress,
        )
    echo_json(render.export_json(result)) if as_json else render.export_tables(result, folder.path)
    return 0


@cli.command("list", short_help="What there is: models, data, recipes, targets, methods, ops.")
@click.argument("what", metavar="WHAT", type=click.Choice(["models", "data", "recipes", "targets", "methods", "ops"]))
@json_option
def list_(what: str, as_json: bool) -> int:
    """List models, data, recipes, targets, methods, or the operators of the C compiler.

    \b
    ndtool list models
    ndtool list ops --json
    """
    from ndtool import render

    headings, rows = render.inventory(what)
    if as_json:
        echo_json([dict(zip(headings, row, strict=True)) for row in rows])
    else:
        from ndtool.console import table

        table(what, headings, rows, left=len(headings))
    return 0


@cli.command("eval", short_help="Accuracy of any format; what int8 loses, layer by layer.")
@click.argument("source", required=False)
@click.option("--part", type=click.Choice(["test", "validation", "train"]), default="test", show_default=True)
@click.option("--per-layer", is_flag=True, help="Rank the layers by what int8 loses in them, worst first.")
@click.option(
    "--engine",
    type=click.Choice(["litert", "c"]),
    default="litert",
    show_default=True,
    help="c: the generated C library, compiled for this host, beside LiteRT's reference kernels.",
)
@kernel_options("With --engine c: whose kernels are taken, in their plain-C form.")
@source_options
@json_option
def evaluate(
    source: str | None,
    part: str,
    per_layer: bool,
    engine: str,
    target_name: str,
    optimize: str,
    pins: dict[str, str],
    limit: int | None,
    as_json: bool,
    data: str | None,
    **how: Any,
) -> int:
    """Evaluate SOURCE on data: a run (default: the last one), .onnx, .tflite, .keras, SavedModel, or a MODEL.

    A run is evaluated in every form it has been exported to. An int8 model runs on LiteRT's reference kernels.
    With --engine c its C library runs on this host beside them, without data on random inputs; exit 1 if an output
    differs.

    \b
    ndtool eval
    ndtool eval --engine c
    ndtool eval model.int8.tflite --data images/ --mean 0.5,0.5,0.5 --std 0.25,0.25,0.25
    ndtool eval runs/c10 --per-layer
    """
    from ndtool import render
    from ndtool.console import counted_progress
    from ndtool.export.evaluate import evaluate_exports, evaluate_model, rank_layers

    choice = {"optimize": optimize, "pins": pins}
    opened, loaded = _open(source, data=data, **how)
    if engine == "c":
        if per_layer:
            raise click.UsageError("--per-layer compares LiteRT's tensors: leave out --engine c")
        return _evaluate_c(opened, loaded, target_name, choice, part=part, limit=limit, as_json=as_json)
    if loaded is None:
        raise NdtoolError(f"{opened.name}: no data to evaluate on: give --data")
    with counted_progress() as progress:
        layers = rank_layers(opened.run or opened.path, loaded, progress=progress) if per_layer else []
        if opened.run is None:
            scores = {opened.name: evaluate_model(opened, loaded, part=part, limit=limit, progress=progress)}
        else:
            scores = evaluate_exports(opened, loaded, part=part, limit=limit, progress=progress)
    if as_json:
        echo_json(render.eval_json(scores, layers))
    else:
        render.eval_tables(scores, layers, f"{loaded.name}, {part} part")
    return 0


def _evaluate_c(
    opened: Any, loaded: "Data | None", target_name: str, choice: Mapping[str, Any], *, as_json: bool, **how: Any
) -> int:
    """The C library of a model on this host; 1 if an output is not the reference's."""
    from ndtool import render
    from ndtool.benchmarks.candidates import compile_options
    from ndtool.benchmarks.targets import load_target
    from ndtool.console import counted_progress
    from ndtool.export.engine import evaluate_c

    compiling = compile_options(load_target(target_name), **choice)
    with counted_progress() as progress:
        result = evaluate_c(opened, loaded, compiling=compiling, progress=progress, **how)
    if as_json:
        echo_json(render.engine_json(result, target_name))
    else:
        where = f"{loaded.name}, {how['part']} part" if loaded else "random inputs"
        render.engine_table(result, f"{opened.name}, {where}")
    return 1 if result.differing else 0


@cli.command(short_help="Instructions, latency, SRAM and flash on an emulated Cortex-M.")
@click.argument("subject", required=False)
@kernel_options()
@click.option(
    "--runs", type=click.IntRange(min=1), default=2, show_default=True, help="Inferences, each on an input of its own."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of random inputs.")
@click.option("--profile", is_flag=True, help="Also per function, and the mix of instructions.")
@click.option("--emulator", type=click.Choice(["unicorn", "qemu"]), default="unicorn", show_default=True)
@click.option(
    "--compiler", type=click.Choice(["zig", "gcc"]), default="zig", show_default=True, help="gcc is arm-none-eabi-gcc."
)
@click.option(
    "--keep", type=click.Path(path_type=Path), help="Folder for the C library, the ELF, the inputs and outputs."
)
@board_options
@click.option("--fast", is_flag=True, help="Instructions alone: no cycles, no memory system.")
@click.option(
    "--place",
    "places",
    metavar="PART=MEMORY",
    multiple=True,
    help="weights=flash|sram|dtcm, arena=sram|dtcm. [default: weights=flash, arena=sram]",
)
@data_option()
@model_options
@json_option
def bench(
    subject: str | None,
    target_name: str,
    runs: int,
    seed: int,
    data: str | None,
    input_shape: str | None,
    classes: int | None,
    arguments: tuple[str, ...],
    profile: bool,
    pins: dict[str, str],
    gdb: str | None,
    gdb_reset: str | None,
    places: tuple[str, ...],
    as_json: bool,
    **how: Any,
) -> int:
    """Measure SUBJECT on a target: a run (default: the last one), an int8 .tflite, an .elf with markers, or a MODEL.

    Every output byte is compared with LiteRT's reference kernels. A MODEL is measured with random weights.
    Exit 1 where a byte differs or the model does not fit the board. With --gdb it runs on a real board, behind the
    server of OpenOCD, pyOCD or J-Link, and its cycles, stack and bytes are the board's.

    \b
    ndtool bench --target cortex-m7
    ndtool bench model.int8.tflite --target stm32h743 --profile
    ndtool bench model.int8.tflite --target nrf52840 --optimize sram
    ndtool bench model.int8.tflite --target stm32h7a3 --place weights=sram --place arena=dtcm
    ndtool bench mobilenetv2 --set width=0.5 --input-shape 3x64x64 --target nrf52840
    ndtool bench model.int8.tflite --target nrf52840 --gdb localhost:3333 --json
    """
    from ndtool.benchmarks import report
    from ndtool.benchmarks.bench import bench as run_bench
    from ndtool.benchmarks.bench import data_inputs
    from ndtool.benchmarks.inputs import RandomInputs
    from ndtool.benchmarks.placement import parse_placement
    from ndtool.benchmarks.subject import open_subject
    from ndtool.benchmarks.targets import load_target
    from ndtool.console import note
    from ndtool.train.setup import parse_shape

    target, link = load_target(target_name), _link(gdb, gdb_reset)
    how |= {"place": parse_placement(places, target), "placements": profile}
    shape = parse_shape(input_shape) if input_shape else None
    what = str(_last_run().path) if subject is None else subject
    opened = open_subject(what, input_shape=shape, classes=classes, arguments=arguments)
    for line in opened.notes:
        note(line)
    inputs: Any = RandomInputs(count=runs, seed=seed)
    loaded = _data_of(opened, data) if data is not None else None
    if loaded is not None and opened.model is not None:
        inputs = data_inputs(opened.model, loaded, runs)
    measurement = run_bench(opened, target, inputs=inputs, pins=pins, board=link, **how)
    if opened.run is not None:
        report.write_json(measurement, opened.run.bench(f"{target.name}.board" if link else target.name))
    if how["keep"] is not None:
        report.write_json(measurement, how["keep"] / "bench.json")
    if as_json:
        echo_json(report.as_json(measurement))
    else:
        report.tables(measurement, profile=profile)
    return 0 if measurement.bit_exact is not False and measurement.fits is not False else 1


def _link(gdb: str | None, reset: str | None) -> Any:
    """Where the board is; None: there is none."""
    from ndtool.benchmarks.board import RESET, parse_link

    if gdb is None:
        if reset is not None:
            raise click.UsageError("--gdb-reset is for a board: add --gdb HOST:PORT")
        return None
    return parse_link(gdb, RESET if reset is None else reset)


def _data_of(subject: Any, data: str | None) -> "Data | None":
    """The data that go with a subject: those that are named, or a run's own, scaled as in its training."""
    from ndtool.console import note
    from ndtool.export.source import open_with_data

    if data is None and subject.run is None:
        return None
    if subject.model is None:
        raise NdtoolError(f"{subject.name} is a firmware, its inputs are bytes: leave out --data")
    return open_with_data(subject.run or subject.model, data=data, progress=note)[1]


@cli.command(short_help="Cycles measured on your boards beside those that are modelled.")
@click.argument(
    "results", metavar="RESULT...", nargs=-1, required=True, type=click.Path(path_type=Path, dir_okay=False)
)
@json_option
def validate(results: tuple[Path, ...], as_json: bool) -> int:
    """Compare the cycles of RESULTs, made by bench --gdb --json on boards of yours, with those of the timing model.

    A RESULT may also be what validate --json has printed: that is how points are collected in one file.

    \b
    ndtool validate nrf52840.json stm32h743.json
    ndtool validate points.json nrf5340.json --json
    """
    from ndtool import render
    from ndtool.benchmarks.board_points import read_points

    points = read_points(results)
    echo_json(render.points_json(points)) if as_json else render.points_table(points)
    return 0


@cli.command(short_help="Sizes, speed and accuracy against a baseline and budgets; exit 1 on a regression.")
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
@data_option()
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
    opened = open_subject(str(_last_run().path) if subject is None else subject)
    for line in opened.notes:
        note(line)
    choice = {"optimize": optimize, "pins": pins}
    verdict = run_check(opened, target, plan, data=_data_of(opened, data), name=name, **choice)
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


@cli.command(short_help="The whole way on the embedded digits data, in minutes.")
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


if __name__ == "__main__":
    main()
