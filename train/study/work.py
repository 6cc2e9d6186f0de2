"""Doing what is missing of a study, alone or beside other processes that work on the same one."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ndtool.errors import NdtoolError
from ndtool.files import write_atomic
from ndtool.train.config import TrainConfig, differences
from ndtool.train.data import Data
from ndtool.train.loop import Report, fit, load_run_data
from ndtool.train.run import RunFolder
from ndtool.train.study.plan import Job, without_inert

_POLL_SECONDS = 5.0  # where another process has all that is left


class Study:
    """A folder with a result (JSON) of every finished training and, while there is use for it, its run folder.

    The results alone are the study: run folders may be deleted, and are then made again only where a teacher's weights
    are needed once more.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path).absolute()

    def run(self, job: Job) -> RunFolder:
        """The run folder of a job."""
        return RunFolder(self.path / "runs" / job.name)

    def results(self, jobs: Sequence[Job]) -> list[tuple[Job, dict[str, Any]]]:
        """What the finished ones found, as RunFolder.result."""
        return [(job, self._record(job)["result"]) for job in jobs if self._file(job).is_file()]

    def check(self, jobs: Sequence[Job]) -> None:
        """Raise NdtoolError where the folder holds a result of a job under other settings, or is something else."""
        if self.path.is_dir() and any(self.path.iterdir()) and not (self.path / "results").is_dir():
            raise NdtoolError(f"{self.path} is not empty and no study: choose another --out")
        for job in jobs:
            if self._file(job).is_file():
                theirs = TrainConfig.from_dict(self._record(job)["config"])
                if changed := _differences(theirs, job.config):
                    raise NdtoolError(
                        f"{self.path} holds {job.name} with other settings ({'; '.join(changed)}): choose another --out"
                    )

    def work(
        self, jobs: Sequence[Job], *, started: Callable[[Job, int, int], None], progress: Report | None = None
    ) -> bool:
        """Train what is missing, and wait for what another process has; False where the user stopped it.

        Several processes, on as many cores or GPUs, may work on one study: each takes the next training that nobody
        has. `started` is told of each with its number among all (from 1) and how many there are. Raises NdtoolError as
        `fit` does; what is finished by then is kept.
        """
        self.check(jobs)
        loaded: dict[int, Data] = {}  # of the last seed: the variants of a study share their data
        while not all(self._is_done(job, jobs) for job in jobs):
            with self._next(jobs) as job:
                if job is None:
                    time.sleep(_POLL_SECONDS)
                    continue
                started(job, jobs.index(job) + 1, len(jobs))
                seed = job.config.seed
                if seed not in loaded:
                    loaded = {seed: load_run_data(job.config)}
                if not self._train(job, loaded[seed], progress):
                    return False
        return True

    @contextmanager
    def _next(self, jobs: Sequence[Job]) -> Iterator[Job | None]:
        """The first job that is missing, could be begun and that nobody else has; nobody else gets it meanwhile."""
        for job in jobs:
            if self._is_done(job, jobs) or not (job.teacher is None or self.run(job.teacher).student.is_file()):
                continue
            with self._claimed(job) as mine:
                if mine and not self._is_done(job, jobs):
                    yield job
                    return
        yield None

    def _train(self, job: Job, data: Data, progress: Report | None) -> bool:
        run = self.run(job)
        config = job.config
        if job.teacher is not None:
            config = TrainConfig.from_dict(config.to_dict() | {"teacher": str(self.run(job.teacher).path)})
        result = fit(config, run, data=data, resume=run.last.is_file(), progress=progress)
        if result.interrupted:
            return False
        record = {"variant": job.variant, "config": job.config.to_dict(), "result": run.result()}
        write_atomic(self._file(job), json.dumps(record, indent=1) + "\n")
        return True

    def _is_done(self, job: Job, jobs: Sequence[Job]) -> bool:
        if not self._file(job).is_file():
            return False
        students = [other for other in jobs if other.teacher == job]
        return self.run(job).student.is_file() or all(self._file(student).is_file() for student in students)

    def _file(self, job: Job) -> Path:
        return self.path / "results" / f"{job.name}.json"

    def _record(self, job: Job) -> dict[str, Any]:
        try:
            return json.loads(self._file(job).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise NdtoolError(f"{self._file(job)} cannot be read ({error}): remove it to train it again") from error

    @contextmanager
    def _claimed(self, job: Job) -> Iterator[bool]:
        """Whether this process may train a job; nobody else may while it lasts."""
        lock = self.path / "locks" / job.name
        try:
            lock.parent.mkdir(parents=True, exist_ok=True)
            (self.path / "results").mkdir(exist_ok=True)
            file = lock.open("wb")
        except OSError as error:
            raise NdtoolError(f"cannot write to {self.path} ({error.strerror}): choose another --out") from error
        with file:
            yield _lock(file.fileno())


def _lock(descriptor: int) -> bool:
    """Lock a file until it is closed, or the process ends; False where another process holds it."""
    try:
        import fcntl
    except ImportError:  # Windows: one process at a time is the user's to see to
        return True
    with suppress(BlockingIOError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def _differences(old: TrainConfig, new: TrainConfig) -> list[str]:
    """What differs and matters: a study may be moved and go on elsewhere, and methods ignore settings of others."""
    old, new = (without_inert(without_folders(config)) for config in (old, new))
    return [line for line in differences(old, new) if not line.startswith("teacher:")]


def without_folders(config: TrainConfig) -> TrainConfig:
    """Names in place of the paths of model, data and weights: where they lie is no part of a study."""
    values = config.to_dict()
    values |= {name: Path(values[name]).name for name in ("data", "init") if name in values}
    values["model"] = values["model"] | {"name": Path(values["model"]["name"]).name}
    return TrainConfig.from_dict(values)
