"""ndtool eval."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from ndtool.commands.options import json_option, kernel_options, source_options
from ndtool.commands.subject import open_source
from ndtool.console import echo_json
from ndtool.errors import NdtoolError

if TYPE_CHECKING:
    from ndtool.train.data import Data


@click.command("eval", short_help="Accuracy of any format; what int8 loses, layer by layer.")
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
    opened, loaded = open_source(source, data=data, **how)
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
