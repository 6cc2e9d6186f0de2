"""How ndtool talks to people: tables, notes and progress. Tables go to stdout, everything else to stderr."""

import json
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from ndtool.train.evaluation import Score
    from ndtool.train.metrics import Progress

SECONDS_PER_LINE = 30  # of training, where there is no terminal
PLAIN_WIDTH = 120  # columns of a table that goes to a file or a CI log


@cache
def console(*, stderr: bool = False) -> "Console":
    """The rich console of one stream; plain text where the stream is no terminal."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, width=None if stream.isatty() else PLAIN_WIDTH, highlight=False, soft_wrap=True)


def note(text: str) -> None:
    """One line beside the result, on stderr."""
    console(stderr=True).print(text, markup=False)


def echo_json(value: Any) -> None:
    """JSON on stdout."""
    click.echo(json.dumps(value, indent=2))


def table(title: str, headings: Sequence[str], rows: Iterable[Sequence[str]], *, left: int = 1) -> None:
    """Print a table; the first `left` columns are aligned left, the others right."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    drawn = Table(title=Text(title), title_justify="left", box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for position, heading in enumerate(headings):
        drawn.add_column(heading, justify="left" if position < left else "right", overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(cell) for cell in row))
    console().print(drawn)
    console().print()


def whole(value: float | None) -> str:
    """A cell of a table: a count, grouped by thousands; None is unknown."""
    return "-" if value is None else f"{value:,.0f}".replace(",", " ")


@contextmanager
def training_progress() -> "Iterator[Callable[[Progress], None]]":
    """A progress bar on a terminal, a plain line per epoch elsewhere."""
    if not sys.stderr.isatty():
        yield _PlainLines()
        return
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    with Bars(
        TextColumn("epoch {task.fields[epoch]}"),
        BarColumn(bar_width=24),
        TextColumn("{task.completed}/{task.total}"),
        TextColumn("{task.fields[summary]}"),
        TimeRemainingColumn(),
        console=console(stderr=True),
        transient=True,
    ) as bar:
        task = bar.add_task("train", total=None, epoch="", summary="")

        def show(progress: "Progress") -> None:
            bar.update(
                task,
                completed=(progress.epoch - 1) * progress.steps + progress.step,
                total=progress.epochs * progress.steps,
                epoch=f"{progress.epoch}/{progress.epochs}",
                summary=summary(progress),
            )

        yield show


def summary(progress: "Progress") -> str:
    """The state of training in one line."""
    parts = [f"{'teacher first: ' if progress.of_teacher else ''}loss {progress.loss:.3f}"]
    if progress.student_accuracy is not None:
        parts.append(f"{'train' if progress.of_teacher else 'student'} {100 * progress.student_accuracy:.1f} %")
    if progress.teacher_accuracy is not None:
        parts.append(f"teacher {100 * progress.teacher_accuracy:.1f} %")
    if progress.validation is not None:
        parts.append(f"validation {score(progress.validation)}")
    if progress.conflict_rate is not None:
        parts.append(f"conflicts {100 * progress.conflict_rate:.0f} %")
    if progress.skipped:
        parts.append(f"{progress.skipped} steps skipped")
    parts.append(f"{progress.images_per_second:,.0f} samples/s".replace(",", " "))
    return " · ".join(parts)


def score(value: "Score | None") -> str:
    """Accuracy in percent, or the squared error."""
    if value is None:
        return "-"
    return f"{100 * value.accuracy:.2f} %" if value.accuracy is not None else f"error {value.mse:.5f}"


class _PlainLines:
    """A line at the end of each epoch, and in long ones now and then."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def __call__(self, progress: "Progress") -> None:
        if progress.step < progress.steps and time.monotonic() - self._last < SECONDS_PER_LINE:
            return
        self._last = time.monotonic()
        within = "" if progress.step == progress.steps else f" step {progress.step}/{progress.steps}"
        note(f"epoch {progress.epoch}/{progress.epochs}{within}: {summary(progress)}")


@contextmanager
def counted_progress() -> "Iterator[Callable[[str, int, int], None]]":
    """For work that reports (what, done, total): a bar on a terminal, a line per kind of work elsewhere."""
    if not sys.stderr.isatty():
        begun: set[str] = set()

        def line(what: str, done: int, total: int) -> None:
            if what not in begun:
                begun.add(what)
                note(f"{what}: {total} samples" if total > 1 else what)

        yield line
        return
    from rich.progress import Progress as Bars

    with Bars(console=console(stderr=True), transient=True) as bars:
        tasks: dict[str, Any] = {}

        def show(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total or None)
            bars.update(tasks[what], completed=done)

        yield show
