"""A subject measured on a target: compiled to C first where it is a model."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ndtool.benchmarks.board.link import BoardLink, require_board
from ndtool.benchmarks.candidates import compile_options
from ndtool.benchmarks.inputs import GivenInputs, Inputs, RandomInputs
from ndtool.benchmarks.measure import measure
from ndtool.benchmarks.placement import USUAL, Placement, other_placements
from ndtool.benchmarks.results import Measurement
from ndtool.benchmarks.subject import Subject
from ndtool.benchmarks.targets import Target
from ndtool.errors import NdtoolError
from ndtool.export.c import compile_tflite
from ndtool.files import sha256_of
from ndtool.quantize.runtime import TFLiteModel, to_tensor

if TYPE_CHECKING:
    from ndtool.train.data import Data


def bench(
    subject: Subject,
    target: Target,
    *,
    inputs: Inputs | None = None,
    emulator: str = "unicorn",
    compiler: str = "zig",
    keep: Path | None = None,
    optimize: str = "latency",
    pins: Mapping[str, str] | None = None,
    board: BoardLink | None = None,
    board_init: Path | None = None,
    fast: bool = False,
    place: Placement = USUAL,
    placements: bool = False,
) -> Measurement:
    """Compile, link, run and account; every output byte of a model is compared with LiteRT's reference kernels.

    Args:
        subject: from `open_subject`. target: from `load_target`.
        inputs: of each run; None takes two random ones.
        emulator, compiler, keep, board, board_init, fast, place: as for `measure`.
        placements: also model the cycles of other placements, on boards whose memory is known.
        optimize, pins: what kernels are chosen for, and those chosen by hand, as for `compile_tflite`.

    Raises:
        NdtoolError: the model cannot be compiled, a tool is missing, or the firmware fails.
    """
    if board:
        require_board(target)  # before anything is compiled
    run = partial(
        measure,
        target=target,
        inputs=inputs or RandomInputs(),
        emulator=emulator,
        compiler=compiler,
        keep=keep,
        board=board,
        board_init=board_init,
        fast=fast,
        place=place,
    )
    if subject.model is None:
        if subject.elf is None:
            raise NdtoolError(f"{subject.name}: there is nothing to run: give a model or a firmware")
        return run(subject.elf)
    options = compile_options(target, optimize=optimize, pins=pins, compiler=compiler)
    library = compile_tflite(subject.model, name=subject.c_name, **options)
    found = run(library, reference=subject.model.read_bytes())
    elsewhere: list[tuple[Placement, float]] = []
    if placements and target.has_waits and found.cost.cycles is not None and board is None:
        sizes = {"weights": library.weight_bytes, "arena": library.arena_bytes}
        for other in other_placements(target, place, sizes):
            cycles = run(library, place=other, keep=None).cost.cycles
            elsewhere += [(other, cycles)] if cycles is not None else []
    return replace(
        found, placements=tuple(elsewhere), untrained=subject.untrained, model_sha256=sha256_of(subject.model)
    )


def data_inputs(model: Path, data: "Data", count: int) -> GivenInputs:
    """The first samples of the test part, as the model's first input takes them.

    Raises:
        NdtoolError: the samples do not fit the model.
    """
    from ndtool.export.predict import in_layout  # PyTorch comes with it
    from ndtool.train.data import evaluation_inputs

    end = TFLiteModel(model).inputs[0]
    values, _ = in_layout(evaluation_inputs(data.test, data, count), end.shape, str(model))
    samples = tuple((to_tensor(values[index : index + 1], end),) for index in range(len(values)))
    return GivenInputs(samples=samples, origin=f"test samples of {data.name}")
