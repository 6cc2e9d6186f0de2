"""ndtool bench and ndtool validate."""

from pathlib import Path
from typing import Any

import click

from ndtool.commands.options import board_options, data_option, json_option, kernel_options, model_options
from ndtool.commands.subject import data_of, last_run
from ndtool.console import echo_json


@click.command(short_help="Instructions, latency, SRAM and flash on an emulated Cortex-M.")
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
@data_option
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
    from ndtool.benchmarks.bench import bench as run_bench
    from ndtool.benchmarks.bench import data_inputs
    from ndtool.benchmarks.inputs import RandomInputs
    from ndtool.benchmarks.placement import parse_placement
    from ndtool.benchmarks.report import document, sections
    from ndtool.benchmarks.subject import open_subject
    from ndtool.benchmarks.targets import load_target
    from ndtool.console import note
    from ndtool.train.parse import parse_shape

    target, link = load_target(target_name), _link(gdb, gdb_reset)
    how |= {"place": parse_placement(places, target), "placements": profile}
    shape = parse_shape(input_shape) if input_shape else None
    what = str(last_run().path) if subject is None else subject
    opened = open_subject(what, input_shape=shape, classes=classes, arguments=arguments)
    for line in opened.notes:
        note(line)
    inputs: Any = RandomInputs(count=runs, seed=seed)
    loaded = data_of(opened, data) if data is not None else None
    if loaded is not None and opened.model is not None:
        inputs = data_inputs(opened.model, loaded, runs)
    measurement = run_bench(opened, target, inputs=inputs, pins=pins, board=link, **how)
    if opened.run is not None:
        document.write_json(measurement, opened.run.bench(f"{target.name}.board" if link else target.name))
    if how["keep"] is not None:
        document.write_json(measurement, how["keep"] / "bench.json")
    if as_json:
        echo_json(document.as_json(measurement))
    else:
        sections.tables(measurement, profile=profile)
    return 0 if measurement.bit_exact is not False and measurement.fits is not False else 1


def _link(gdb: str | None, reset: str | None) -> Any:
    """Where the board is; None: there is none."""
    from ndtool.benchmarks.board.link import RESET, parse_link

    if gdb is None:
        if reset is not None:
            raise click.UsageError("--gdb-reset is for a board: add --gdb HOST:PORT")
        return None
    return parse_link(gdb, RESET if reset is None else reset)


@click.command(short_help="Cycles measured on your boards beside those that are modelled.")
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
    from ndtool.benchmarks.board.points import read_points

    points = read_points(results)
    echo_json(render.points_json(points)) if as_json else render.points_table(points)
    return 0
