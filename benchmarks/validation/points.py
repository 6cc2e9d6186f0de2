"""The manifest of programs with their silicon figures: points.toml, data only."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

from ndtool.benchmarks.emulation.emulator import Function
from ndtool.benchmarks.targets import Region

MANIFEST = Path(__file__).with_name("points.toml")


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A program, where it is, how it is run and what silicon needed."""

    name: str
    target: str
    file: str  # in the folder of repositories
    sha256: str | None  # None: a program that was built again
    result: str  # the file that states the figure
    per_second: float
    origin: int
    vectors: int | None
    function: Function | None  # None: it has markers
    fit: bool  # constants were chosen from it
    is_float: bool

    @property
    def exact(self) -> bool:
        """Whether these are the very bytes that ran on silicon."""
        return self.sha256 is not None


def read_points() -> tuple[tuple[Point, ...], dict[str, Region]]:
    """The points, and the memory that start-up code reads beside the boards' own."""
    content = tomllib.loads(MANIFEST.read_text(encoding="utf-8"))
    elsewhere = {
        f"elsewhere{index}": Region(origin=origin, bytes=size)
        for index, (origin, size) in enumerate(content["elsewhere"])
    }
    points = tuple(
        Point(
            name=item["name"],
            target=item["target"],
            file=item["file"],
            sha256=item.get("sha256"),
            result=item["result"],
            per_second=item["per_second"],
            origin=item.get("origin", 0),
            vectors=item.get("vectors"),
            function=None
            if item.get("rebuilt")
            else Function(ready=item["ready"], entry=item["entry"], calls=tuple(item.get("calls", ()))),
            fit=item.get("fit", False),
            is_float=item.get("float", False),
        )
        for item in content["point"]
    )
    return points, elsewhere
