"""Points of validation from boards of the user's: cycles measured by bench --gdb beside those that are modelled."""

import json
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from ndtool.benchmarks.inputs import GivenInputs, MemoryPort, Ports
from ndtool.benchmarks.measure import kept_name, measure
from ndtool.benchmarks.targets import load_target
from ndtool.errors import NdtoolError
from ndtool.files import sha256_of


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardPoint:
    """One firmware on one board. `exact`: what was modelled is the very program that was measured."""

    name: str
    target: str
    core: str
    exact: bool
    predicted: int  # cycles
    measured: int
    predicted_by: str  # timing model
    compiler: str | None
    objective: str | None
    model_sha256: str | None
    firmware_sha256: str

    @property
    def error(self) -> float:
        """Of the prediction, as a part of what was measured."""
        return self.predicted / self.measured - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Absolute errors of several points."""

    median: float
    worst: float


def spread(points: Iterable[BoardPoint]) -> Spread:
    """How far off predictions are, in the middle and at worst. There must be a point."""
    errors = [abs(point.error) for point in points]
    return Spread(median=statistics.median(errors), worst=max(errors))


def read_points(paths: Iterable[Path]) -> tuple[BoardPoint, ...]:
    """The points of files that bench --gdb --json, bench --gdb --keep or validate --json have written.

    Where the folder of a result still holds its firmware and inputs (--keep), the timing model of today predicts;
    elsewhere the prediction that the result holds is taken.

    Raises:
        NdtoolError: a file cannot be read, is no such result, or was not measured on a board.
    """
    return tuple(point for path in paths for point in _read(path))


def _read(path: Path) -> list[BoardPoint]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise NdtoolError(f"{path}: no readable JSON: {error}") from error
    try:
        if "points" in content:
            return [_checked(point) for point in content["points"]]
        return [_of_result(path, content)]
    except (TypeError, KeyError, AttributeError) as error:
        raise NdtoolError(f"{path}: no result of bench --gdb --json, nor of validate --json") from error


def _checked(content: Mapping[str, Any]) -> BoardPoint:
    point = BoardPoint(**{field.name: content[field.name] for field in fields(BoardPoint)})
    if not (isinstance(point.predicted, int) and isinstance(point.measured, int) and point.measured > 0):
        raise TypeError("cycles are no numbers")
    return point


def _of_result(path: Path, result: Mapping[str, Any]) -> BoardPoint:
    board = result["board"]
    if board is None:
        raise NdtoolError(f"{path} was not measured on a board: make it with bench --gdb HOST:PORT --json")
    if not result["cycles"]:
        raise NdtoolError(f"{path} has no cycles: {result['emulator_note'].split('; ')[0]}")
    fresh = _predicted(path.parent, result)
    predicted, by = fresh or (board["modelled_cycles"], board["modelled_by"])
    if predicted is None:
        raise NdtoolError(f"{path} has no prediction beside it: its firmware cannot be emulated")
    return _checked(
        {
            "name": result["model"],
            "target": result["target"],
            "core": board["core"],
            "exact": True,
            "predicted": predicted,
            "measured": result["cycles"],
            "predicted_by": by,
            "compiler": result["compiler"],
            "objective": result["objective"],
            "model_sha256": result["model_sha256"],
            "firmware_sha256": board["firmware_sha256"],
        }
    )


def _predicted(folder: Path, result: Mapping[str, Any]) -> tuple[int, str] | None:
    """What the timing model says now of the firmware and inputs that were kept; None where they were not."""
    elf, board = folder / "firmware.elf", result["board"]
    ends = [
        MemoryPort(name=f"input {index}", address=address, shape=(size,), dtype=np.dtype(np.uint8))
        for index, (address, size) in enumerate(board["inputs"])
    ]
    runs = range(len(result["runs"]))
    files = [[folder / kept_name("input", at, len(ends), run) for at in range(len(ends))] for run in runs]
    if not elf.is_file() or sha256_of(elf) != board["firmware_sha256"]:
        return None
    if not all(file.is_file() for sample in files for file in sample):
        return None
    samples = tuple(tuple(np.fromfile(file, dtype=np.uint8) for file in sample) for sample in files)
    inputs, ports = GivenInputs(samples=samples, origin="as kept"), Ports(inputs=tuple(ends), outputs=())
    found = measure(elf, load_target(result["target"]), inputs=inputs, ports=ports)
    if found.cost.cycles is None or found.timing is None:
        return None
    return round(found.cost.cycles), found.timing.name
