"""Figures of other engines, read from the tables of a Markdown page (ANCHORS.md) that is not part of the project."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ndtool.errors import NdtoolError


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """What another engine needs for one inference of a model; None: not told."""

    model: str
    engine: str
    instructions: int | None = None
    sram: int | None = None  # bytes, or the arena's
    code: int | None = None  # bytes
    output: str = ""  # against LiteRT's reference kernels


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A throughput measured on a board."""

    model: str
    core: str  # "M7"
    board: str
    engine: str
    clock_hz: float
    per_second: float

    @property
    def cycles(self) -> float:
        """Of one inference."""
        return self.clock_hz / self.per_second


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchors:
    """All that a page tells."""

    engines: tuple[Anchor, ...] = ()
    silicon: tuple[Record, ...] = ()

    def best(self, model: str, core: str) -> Record | None:
        """The fastest measurement of a model on a core, e.g. "cortex-m7"."""
        found = [r for r in self.silicon if r.model == model and f"cortex-{r.core.lower()}" == core]
        return min(found, key=lambda record: record.cycles, default=None)


Table = tuple[str, list[Mapping[str, str]]]  # the heading above it, its rows by column


def read_anchors(path: Path) -> Anchors:
    """Read every table of a page that has instructions of models, or throughputs of boards; others are passed over.

    Raises:
        NdtoolError: it cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise NdtoolError(f"{path}: cannot be read: {error}") from error
    engines: list[Anchor] = []
    silicon: list[Record] = []
    for heading, rows in _tables(text):
        if {"model", "instructions"} <= rows[0].keys():
            engines += [_anchor(heading, row) for row in rows]
        elif next(iter(rows[0])).startswith("core") and "engine" in str(list(rows[0])[1]):
            silicon += [record for row in rows for record in _records(row)]
    return Anchors(engines=tuple(engines), silicon=tuple(silicon))


def _tables(text: str) -> Iterator[Table]:
    heading, lines = "", []
    for line in (*text.splitlines(), ""):
        if line.startswith("|"):
            lines.append([cell.strip() for cell in line.strip().strip("|").split("|")])
            continue
        if len(lines) > 2:  # headings, a rule, rows
            yield heading, [dict(zip(lines[0], row, strict=False)) for row in lines[2:]]
        lines = []
        if line.startswith("#"):
            heading = line.lstrip("# ")


def _anchor(heading: str, row: Mapping[str, str]) -> Anchor:
    by_start = {key.split(",")[0].split(" ")[0].lower(): value for key, value in row.items()}
    return Anchor(
        model=row["model"],
        engine=row.get("engine") or heading.rpartition(", ")[2],
        instructions=_whole(row["instructions"]),
        sram=_whole(by_start.get("sram") or by_start.get("arena", "")),
        code=_whole(by_start.get("code", "")),
        output=by_start.get("output", ""),
    )


def _records(row: Mapping[str, str]) -> Iterator[Record]:
    """One record for each model of a row "M7, BOARD, 280 MHz | engine | 24.483 /s = … | …"."""
    (_, place), (_, engine), *cells = row.items()
    core, board, clock = (*place.split(", "), "", "")[:3]
    mhz = re.match(r"([\d.]+) MHz", clock)
    for model, cell in cells:
        rate = re.match(r"[\d.]+", cell)
        if mhz and rate and float(rate[0]):
            yield Record(
                model=model,
                core=core,
                board=board,
                engine=engine,
                clock_hz=1e6 * float(mhz[1]),
                per_second=float(rate[0]),
            )


def _whole(cell: str) -> int | None:
    """The number that a cell begins with, grouped by spaces."""
    match = re.match(r"\d[\d ]*", cell)
    return int(match[0].replace(" ", "")) if match else None
