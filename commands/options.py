"""Options that several commands share, and where their values come from."""

import difflib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from ndtool.errors import NdtoolError
from ndtool.train.choices import CHOICES

METHODS = CHOICES["method"]


def data_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """--data, as every command takes it."""
    return click.option("--data", metavar="DATA", help="Data: name, folder, archive, shards, .npz, file.py:callable.")(
        function
    )


def init_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """--init: what a training begins with."""
    return click.option("--init", metavar="RUN|WEIGHTS", help="Begin with the weights of a trained run, or of a file.")(
        function
    )


def json_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """--json: the result as JSON on stdout, everything else on stderr."""
    return click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout.")(function)


def training_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The settings of a training but its method, seed and kd's teacher, named as in TrainConfig."""
    for option in reversed(
        (
            click.option("--expand", type=int, help="Teacher's channels per channel of the student.  [default: 3]"),
            click.option("--epochs", type=int, help="[default: 30]"),
            click.option("--batch-size", type=int, help="Of all processes together.  [default: 128]"),
            click.option(
                "--micro-batches", type=int, help="Parts of a batch, one at a time.  [default: one per process]"
            ),
            click.option("--optimizer", type=click.Choice(CHOICES["optimizer"]), help="[default: sgd]"),
            click.option(
                "--lr",
                type=float,
                help="Peak of the learning rate.  "
                "[default: 0.4 for sgd, BatchNorm and classes; else 0.1; 0.003 for adamw]",
            ),
            click.option("--momentum", type=float, help="Nesterov's, for sgd.  [default: 0.9]"),
            click.option("--weight-decay", type=float, help="[default: 0.0005 for sgd, 0.01 for adamw]"),
            click.option("--warmup", type=float, help="Fraction of all steps.  [default: 0.05]"),
            click.option("--label-smoothing", type=float, help="[default: 0.0]"),
            click.option(
                "--distill",
                type=click.Choice(CHOICES["distill"]),
                help="Distillation term.  [default: kl]",
            ),
            click.option("--distill-weight", type=float, help="Its weight λ.  [default: 1.0]"),
            click.option("--temperature", type=float, help="Its temperature.  [default: 1.0]"),
            click.option("--augment-weight", type=float, help="Of netaug, the weight α.  [default: 1.0]"),
            click.option(
                "--surgery",
                type=click.Choice(CHOICES["surgery"]),
                help="Over what gradients are compared.  [default: tensor]",
            ),
            click.option(
                "--ema", type=float, help="Decay of a moving average of all weights, 0 for none.  [default: 0.0]"
            ),
            click.option("--clip", type=float, help="Bound on the gradient's norm, 0 for none.  [default: 5.0]"),
            click.option("--amp/--no-amp", default=None, help="bfloat16, mixed.  [default: on CUDA GPUs that have it]"),
            click.option("--compile/--no-compile", default=None, help="torch.compile.  [default: no-compile]"),
            click.option(
                "--augment",
                help="none, crop, flip-crop, resized-crop, ... (docs/training.md).  [default: what suits the data]",
            ),
            click.option(
                "--task",
                type=click.Choice(CHOICES["task"]),
                help="[default: of the data or model]",
            ),
            click.option("--validation", type=float, help="Part of the training data held out.  [default: 0.1]"),
            click.option(
                "--bn-samples", type=int, help="Samples for BatchNorm's statistics of the student.  [default: 2048]"
            ),
            click.option("--device", help="auto, cpu, cuda, mps.  [default: auto]"),
        )
    ):
        function = option(function)
    return function


def read_methods(_: click.Context, __: click.Parameter, text: str) -> tuple[str, ...]:
    """The methods of a list with commas."""
    methods = tuple(part.strip() for part in text.split(","))
    for method in methods:
        if method not in METHODS:
            near = difflib.get_close_matches(method, METHODS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(METHODS)}"
            raise click.BadParameter(f"no method is called {method!r}: {hint}")
    return methods


def read_variations(_: click.Context, __: click.Parameter, texts: tuple[str, ...]) -> dict[str, list[str]]:
    """NAME=V,V as the setting's name and the texts of its values; what is said twice adds up."""
    variations: dict[str, list[str]] = {}
    for text in texts:
        name, _equals, values = text.partition("=")
        if not name or not all(values.split(",")):
            raise click.BadParameter(f"{text!r} names no values: write NAME=V,V, e.g. expand=2,3,4")
        variations.setdefault(name.strip().replace("-", "_"), []).extend(value.strip() for value in values.split(","))
    return variations


def _read_pins(_: click.Context, __: click.Parameter, texts: tuple[str, ...]) -> dict[str, str]:
    pins = dict(text.rpartition("=")[::2] for text in texts)
    if not all((*pins, *pins.values())):
        raise click.BadParameter("it takes LAYER=KERNEL, e.g. '*conv1*=nd_conv'")
    return pins


def kernel_options(target: str = "A core or a board (ndtool list targets).") -> Callable[..., Any]:
    """What C is made for: --target, --optimize and --pin, which commands get as target_name, optimize, pins."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in (
            click.option(
                "--pin",
                "pins",
                metavar="LAYER=KERNEL",
                multiple=True,
                callback=_read_pins,
                help="Choose a layer's kernel by hand; LAYER may have * and ?. Several times.",
            ),
            click.option(
                "-O",
                "--optimize",
                metavar="OBJECTIVE",
                default="latency",
                show_default=True,
                help="latency, sram, flash, or weights: latency=1,sram=0.5.",
            ),
            click.option(
                "--target", "target_name", metavar="TARGET", default="cortex-m7", show_default=True, help=target
            ),
        ):
            function = option(function)
        return function

    return decorate


def board_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """A real board: --gdb, --gdb-reset, --board-init."""
    for option in (
        click.option(
            "--board-init",
            metavar="FILE.c",
            type=click.Path(path_type=Path, dir_okay=False, exists=True),
            help="With --gdb: C with void ndtool_board_init(void), which sets clocks and caches.",
        ),
        click.option(
            "--gdb-reset",
            metavar="COMMAND",
            help="With --gdb: the server's own command that resets and halts.  [default: reset halt; J-Link: reset]",
        ),
        click.option("--gdb", metavar="HOST:PORT", help="Measure on the board behind a gdb server (docs/boards.md)."),
    ):
        function = option(function)
    return function


def model_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """How a MODEL is built: --set, --input-shape, --classes."""
    for option in (
        click.option(
            "--set", "arguments", multiple=True, metavar="NAME=VALUE", help="Argument of the model, e.g. width=0.35."
        ),
        click.option(
            "--input-shape", metavar="CxHxW", help="Shape of one input.  [default: of the data, or the model's own]"
        ),
        click.option("--classes", type=click.IntRange(min=1), help="Number of outputs.  [default: of the data]"),
    ):
        function = option(function)
    return function


def source_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """What export and eval take besides SOURCE: data, weights, normalisation, and how a MODEL is built."""
    for option in (
        click.option(
            "--weights", type=click.Path(path_type=Path), help="Weights of a MODEL: .pt or .safetensors, tensors only."
        ),
        click.option(
            "--mean",
            metavar="M,M,M",
            help="Per channel, of pixels / 255, as the model was trained.  [default: of the data]",
        ),
        click.option("--std", metavar="S,S,S", help="Per channel, with --mean."),
        click.option("--task", type=click.Choice(CHOICES["task"]), help="[default: of the data]"),
        click.option("--limit", type=click.IntRange(min=1), help="Test samples to use.  [default: all]"),
        model_options,
        data_option,
    ):
        function = option(function)
    return function


def was_typed(parameter: str) -> bool:
    """Whether a parameter of the running command stood on the command line, not in a config file."""
    return click.get_current_context().get_parameter_source(parameter) is click.core.ParameterSource.COMMANDLINE


def defaults_of(path: Path, name: str, section: Mapping[str, Any], command: click.Command) -> dict[str, Any]:
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
