"""ndtool export."""

from pathlib import Path
from typing import Any

import click

from ndtool.commands.options import json_option, kernel_options, source_options, was_typed
from ndtool.commands.subject import open_source
from ndtool.console import echo_json


@click.command(short_help="Convert to ONNX, TFLite, int8 and C, each step verified.")
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
    if was_typed("package") and not c:
        raise click.UsageError("a package is made of the C library: add --c")
    opened, data = open_source(source, **how)
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
