"""What a training reports while it runs: means over steps, metrics.jsonl and TensorBoard, and progress for people."""

import json
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, fields
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, Self

import torch

from ndtool.errors import NdtoolError
from ndtool.train.distributed import Ranks, average_
from ndtool.train.evaluation import Score
from ndtool.train.methods import StepMetrics
from ndtool.train.run import RunFolder


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where a training stands. Means are over the steps since the last report; None where there is no such thing.

    `epoch` counts from 1; `step` of `steps` counts within the epoch. Accuracies are fractions, on training batches.
    `validation` is the student's last one. `eta` is the time left in seconds. `of_teacher`: it is kd's teacher that is
    trained, before the student. `skipped` counts the steps that were not taken, because their gradient was no number.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    student_accuracy: float | None
    teacher_accuracy: float | None
    conflict_rate: float | None
    mean_cosine: float | None
    validation: Score | None
    images_per_second: float
    eta: float
    skipped: int = 0
    of_teacher: bool = False


class Window:
    """The metrics of the steps since the last report, left on the device until they are read."""

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self._steps: list[StepMetrics] = []
        self._images = 0
        self._skipped = 0
        self._since = time.perf_counter()

    def add(self, metrics: StepMetrics, images: int) -> None:
        """Take in one step."""
        self._steps.append(metrics)
        self._images += images

    def skip(self, images: int) -> None:
        """A step was not taken."""
        self._skipped += 1
        self._images += images

    def tensors(self) -> dict[str, list[float]]:
        """By shared tensor, the mean cosine of the two gradients and how often they conflicted; read before `means`."""
        rows = [step.cosines for step in self._steps if step.cosines is not None]
        if not rows:
            return {}
        table = torch.stack(rows)
        means = {"cosines": table.mean(0), "conflicts": (table < 0).float().mean(0)}
        return {name: [round(value, 4) for value in each.tolist()] for name, each in means.items()}

    def means(self) -> dict[str, float]:
        """The mean of each metric over all processes, images per second, and a fresh window.

        Where steps were skipped, "skipped" is how many; where all were, it is all there is.
        """
        skipped: dict[str, float] = {"skipped": self._skipped} if self._skipped else {}
        if not self._steps:
            self._clear()
            return skipped
        scalars = [f.name for f in fields(StepMetrics) if f.name != "cosines"]
        names = [name for name in scalars if getattr(self._steps[0], name) is not None]
        table = torch.stack([torch.stack([getattr(s, name).float() for name in names]) for s in self._steps])
        mean = table.cpu().double().mean(0)
        average_([mean])
        means = dict(zip(names, mean.tolist(), strict=True))
        means["images_per_second"] = self._images / max(time.perf_counter() - self._since, 1e-9)
        self._clear()
        return means | skipped


class MetricsWriter:
    """metrics.jsonl (one object a line, appended) and TensorBoard's events, side by side.

    Every line has "event", "epoch" (from 1) and "step" (of the whole training, from 1). `keep` is the length in bytes
    of what is kept of an earlier metrics.jsonl: resuming cuts off what came after the checkpoint.
    """

    def __init__(self, run: RunFolder, *, keep: int, step: int):
        self._file = run.metrics.open("ab", buffering=0)  # each line is written, or refused, at once
        if self._file.tell() > keep:
            self._file.truncate(keep)
        self._board = _summary_writer(run.tensorboard, step + 1)

    def write(self, event: str, *, epoch: int, step: int, values: Mapping[str, Any]) -> None:
        """Add a line, at once; nested values stay together in the line and become paths in TensorBoard.

        Raises NdtoolError where the disk does not take it.
        """
        line = json.dumps({"event": event, "epoch": epoch, "step": step, **values}).encode() + b"\n"
        try:
            while line:
                line = line[self._file.write(line) :]  # a disk that is nearly full takes a part
        except OSError as error:
            raise NdtoolError(f"cannot write {self._file.name} ({error.strerror}): make room, then --resume") from error
        for name, value in values.items():
            nested = value.items() if isinstance(value, Mapping) else [("", value)]
            for part, number in nested:
                if isinstance(number, int | float):
                    self._board.add_scalar(f"{event}/{name}{'_' if part else ''}{part}", number, step)

    @property
    def size(self) -> int:
        """Bytes written so far, earlier trainings' included."""
        return self._file.seek(0, 2)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._board.close()


class NoMetrics(nullcontext["NoMetrics"]):
    """What a process has that writes no metrics."""

    size = 0

    def __enter__(self) -> Self:
        return self

    def write(self, event: str, *, epoch: int, step: int, values: Mapping[str, Any]) -> None:
        """Nothing."""


def metrics_writer(ranks: Ranks, run: RunFolder, *, keep: int, step: int) -> MetricsWriter | NoMetrics:
    """The writer of the process that writes; for the others one that does not."""
    return MetricsWriter(run, keep=keep, step=step) if ranks.first else NoMetrics()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl; a last line that a crash cut short is left out."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def history(lines: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each epoch's validation, and where the method has them the means of its tensors' cosines and conflicts."""
    by_epoch: dict[int, list[Mapping[str, Any]]] = {}
    for line in lines:
        by_epoch.setdefault(line["epoch"], []).append(line)
    epochs = []
    for line in (line for line in lines if line["event"] == "validation"):
        epoch = {name: line[name] for name in ("epoch", "student", "teacher") if name in line}
        for name in ("cosines", "conflicts"):
            rows = [each[name] for each in by_epoch[line["epoch"]] if name in each]
            if rows:
                epoch[name] = [round(sum(column) / len(rows), 4) for column in zip(*rows, strict=True)]
        epochs.append(epoch)
    return epochs


def _summary_writer(folder: Path, purge_step: int) -> Any:
    # TensorBoard takes TensorFlow where it is installed, which is slow and not wanted in one process with torch;
    # a module of this name is its own way of being told not to.
    sys.modules.setdefault("tensorboard.compat.notf", ModuleType("tensorboard.compat.notf"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of its own dependencies, at import
        from torch.utils.tensorboard import SummaryWriter

        return SummaryWriter(str(folder), purge_step=purge_step)
