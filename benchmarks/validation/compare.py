"""Predicted cycles of each point beside those that silicon needed."""

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from ndtool.benchmarks.elf import FirmwareElf
from ndtool.benchmarks.emulation.counts import Segments, decoded
from ndtool.benchmarks.emulation.emulator import UnicornEmulator
from ndtool.benchmarks.emulation.image import FirmwareImage
from ndtool.benchmarks.targets import Region, load_target
from ndtool.benchmarks.timing import TimingModel
from ndtool.benchmarks.validation.points import Point
from ndtool.errors import NdtoolError

SHARE = 0.9  # of the programs are closer to silicon than the error that is stated


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Cycles of one call. `alone` is the pipeline without the memory's waits; `parts` divides `predicted`."""

    point: Point
    core: str
    instructions: int
    predicted: float
    alone: float
    measured: float
    parts: Mapping[str, float]

    @property
    def error(self) -> float:
        """Relative; positive where the model is too slow."""
        return self.predicted / self.measured - 1


def compare(points: Iterable[Point], elsewhere: Mapping[str, Region], folder: Path) -> Iterator[Comparison]:
    """Run each point's program twice, the second time with warm caches, and cost it.

    Raises:
        NdtoolError: a file is missing or is not the one that ran on silicon, or a program fails.
    """
    for point in points:
        path = folder / point.file
        if not path.is_file() and not point.exact:
            continue  # nobody has built it
        if not path.is_file():
            raise NdtoolError(f"{path}: there is no such file: give a folder with a copy of each repository")
        if point.sha256 and hashlib.sha256(path.read_bytes()).hexdigest() != point.sha256:
            raise NdtoolError(f"{path}: its SHA-256 is not that of {point.name}")
        yield _run(point, elsewhere, path)


def _run(point: Point, elsewhere: Mapping[str, Region], path: Path) -> Comparison:
    target = load_target(point.target)
    image = FirmwareImage(path, point.origin, point.vectors) if point.function else FirmwareElf(path)
    timing = TimingModel(target)
    machine = UnicornEmulator(
        image,
        target.core,
        {**target.memory, **elsewhere},
        Segments(ranges=(), initial=0),
        function=point.function,
        waits=target.waits,
        pace=timing.pace,
    )
    machine.run()
    machine.rewind()
    counts = machine.run()
    cycles = timing.cycles(decoded(counts, machine, machine.blocks()))
    parts = {
        "issue": sum(one.issue for one in cycles),
        "stalls": sum(one.stalls for one in cycles),
        "branch": sum(one.branch for one in cycles),
    }
    alone = sum(parts.values())
    for one in cycles:
        for bank, waits in one.memory:
            parts[bank] = parts.get(bank, 0.0) + waits
    return Comparison(
        point=point,
        core=target.core.name,
        instructions=counts.instructions or 0,
        predicted=sum(parts.values()),
        alone=alone,
        measured=target.clock_hz / point.per_second,
        parts=parts,
    )


def accuracy(found: Sequence[Comparison]) -> dict[str, Any]:
    """What each core has earned: the error that nine of ten exact integer programs keep, with memory and without."""
    cores: dict[str, Any] = {}
    for core in sorted({one.core for one in found}):
        mine = [one for one in found if one.core == core and _counts(one.point)]
        if not mine:
            continue  # nothing but floating point or programs that were built again
        boards = sorted({one.point.target for one in mine})
        cores[core] = {
            "points": len(mine),
            "boards": {board: sum(one.point.target == board for one in mine) for board in boards},
            "error": _most(abs(one.error) for one in mine),
            "error_without_memory": _most(abs(one.alone / one.measured - 1) for one in mine),
        }
    return cores


def _counts(point: Point) -> bool:
    """Whether a point says what integer programs can expect."""
    return point.exact and not point.is_float


def _most(errors: Iterable[float]) -> float:
    """The error that SHARE of them do not exceed, rounded up to a thousandth."""
    ordered = sorted(errors)
    return math.ceil(1000 * ordered[math.ceil(SHARE * len(ordered)) - 1]) / 1000


def summary(found: Sequence[Comparison]) -> list[tuple[str, str, int, float, float, float, str]]:
    """Core, which points, how many; median and worst error in absolute terms, mean error; the worst point."""
    rows = []
    for core in sorted({one.core for one in found}):
        mine = [one for one in found if one.core == core]
        for title, chosen in (
            ("in sample", [one for one in mine if one.point.fit]),
            ("out of sample", [one for one in mine if not one.point.fit and _counts(one.point)]),
            ("exact, integer", [one for one in mine if _counts(one.point)]),
            ("exact, float", [one for one in mine if one.point.is_float]),
            ("built again", [one for one in mine if not one.point.exact]),
        ):
            if chosen:
                errors = [abs(one.error) for one in chosen]
                worst = max(chosen, key=lambda one: abs(one.error))
                mean = sum(one.error for one in chosen) / len(chosen)
                rows.append((core, title, len(chosen), median(errors), max(errors), mean, worst.point.name))
    return rows
