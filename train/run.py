"""The run folder: the contract between the stages. This module alone knows its layout."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from ndtool.errors import NdtoolError
from ndtool.files import cache_dir, write_atomic

if TYPE_CHECKING:
    from torch import nn

    from ndtool.train.config import TrainConfig


@dataclass(frozen=True)
class Artifacts:
    """A folder of what export and bench make of one model, whether it was trained here or not. Only paths."""

    path: Path

    @property
    def onnx(self) -> Path:
        """The ONNX file."""
        return self.path / "model.onnx"

    @property
    def tflite_fp32(self) -> Path:
        """The TFLite file in float32."""
        return self.path / "model.fp32.tflite"

    @property
    def tflite_int8(self) -> Path:
        """The TFLite file in full int8."""
        return self.path / "model.int8.tflite"

    @property
    def export_record(self) -> Path:
        """Where the exported files come from, and how each compares with the one before (JSON)."""
        return self.path / "export.json"

    @property
    def c(self) -> Path:
        """The folder of the C library."""
        return self.path / "c"

    def bench(self, target: str) -> Path:
        """The measurements on one target."""
        return self.path / f"bench.{target}.json"

    def made(self) -> list[Path]:
        """Every file and folder of the layout that is there."""
        return [path for path in (*self.exported, *self.path.glob("bench.*.json")) if path.exists()]

    @property
    def exported(self) -> tuple[Path, ...]:
        """What one export makes, whether it is there or not."""
        return self.onnx, self.tflite_fp32, self.tflite_int8, self.c, self.export_record


@dataclass(frozen=True)
class RunFolder(Artifacts):
    """The folder of one training run and of all that is made from it."""

    @property
    def config(self) -> Path:
        """The settings (TOML)."""
        return self.path / "config.toml"

    @property
    def metrics(self) -> Path:
        """One JSON object a line."""
        return self.path / "metrics.jsonl"

    @property
    def tensorboard(self) -> Path:
        """The folder of TensorBoard's event files."""
        return self.path / "tensorboard"

    @property
    def checkpoints(self) -> Path:
        """The folder of last.pt and best.pt."""
        return self.path / "checkpoints"

    @property
    def last(self) -> Path:
        """The checkpoint to resume from."""
        return self.checkpoints / "last.pt"

    @property
    def best(self) -> Path:
        """The student and teacher of the best validation."""
        return self.checkpoints / "best.pt"

    @property
    def teacher(self) -> "RunFolder":
        """The run of the teacher that kd trains first."""
        return RunFolder(self.path / "teacher")

    @property
    def student(self) -> Path:
        """The weights that ship."""
        return self.path / "student.safetensors"

    @property
    def result_file(self) -> Path:
        """What the finished training found (JSON)."""
        return self.path / "result.json"

    def made(self) -> list[Path]:
        """Every file and folder of the layout that is there."""
        own = [self.config, self.metrics, self.tensorboard, self.checkpoints, self.student, self.result_file]
        own.append(self.teacher.path)
        return [*super().made(), *(path for path in own if path.exists())]

    @classmethod
    def open(cls, path: Path) -> Self:
        """The run in a folder. Raises NdtoolError where there is none."""
        run = cls(Path(path).absolute())
        if not run.config.is_file():
            what = "has no config.toml" if run.path.is_dir() else "is no folder"
            raise NdtoolError(f"{path} is not a run ({what}): give the folder that `ndtool train --out` wrote")
        return run

    @classmethod
    def choose(cls, path: Path, *, overwrite: bool = False, resume: bool = False) -> Self:
        """The run that a folder is to hold; nothing is written yet.

        An existing run is refused unless it is to be resumed or overwritten. Raises NdtoolError also where the folder
        holds something else.
        """
        run = cls(Path(path).absolute())
        if run.config.is_file() and not (overwrite or resume):
            raise NdtoolError(f"{path} holds a run already: choose another --out, or give --resume or --overwrite")
        try:
            if not run.config.is_file() and run.path.is_dir() and any(run.path.iterdir()):
                raise NdtoolError(f"{path} is not empty and not a run: choose another --out")
        except OSError as error:
            raise NdtoolError(f"cannot read {path} ({error.strerror}): choose another --out") from error
        return run

    @classmethod
    def create(cls, path: Path, config: "TrainConfig", *, overwrite: bool = False) -> Self:
        """Choose the folder and begin the run. Raises NdtoolError as both do."""
        run = cls.choose(path, overwrite=overwrite)
        run.begin(config)
        return run

    def begin(self, config: "TrainConfig") -> None:
        """Make the folder and write config.toml. What the layout knows of an earlier run is removed, nothing else.

        Raises NdtoolError where the folder cannot be written.
        """
        try:
            for old in self.made():
                shutil.rmtree(old) if old.is_dir() else old.unlink()
            self.checkpoints.mkdir(parents=True, exist_ok=True)
            write_atomic(self.config, config.to_toml())
        except OSError as error:
            raise NdtoolError(f"cannot write to {self.path} ({error.strerror}): choose another --out") from error

    def load_config(self) -> "TrainConfig":
        """The settings of the run."""
        from ndtool.train.config import TrainConfig

        return TrainConfig.from_toml(self.config.read_text(encoding="utf-8"))

    def load_student(self) -> "nn.Module":
        """The trained student on the CPU, in eval mode. Raises NdtoolError where the training has not finished."""
        from ndtool.train.models import build, load_weights

        self._require(self.student)
        model = build(self.load_config().model)
        load_weights(model, self.student)
        return model.eval()

    def result(self) -> dict[str, Any]:
        """What the finished training found, as `fit` wrote it. Raises NdtoolError where it has not finished.

        Keys: model, data, task, classes, method, seed, epochs, best_epoch, validation, test {student, teacher}, history
        [{epoch, student, teacher, cosines, conflicts}], shared (names of the tensors that these two are of, in depth's
        order: means over the epoch of the cosine of both gradients, and how often they conflicted), parameters, macs,
        learning_rate, weight_decay, device, seconds, versions. A score is {accuracy or mse, loss, count}; there is no
        teacher where the method has none.
        """
        self._require(self.result_file)
        return json.loads(self.result_file.read_text(encoding="utf-8"))

    def write_result(self, result: Mapping[str, Any]) -> None:
        """Write result.json."""
        write_atomic(self.result_file, json.dumps(result, indent=2) + "\n")

    def remember(self) -> None:
        """Make this the last run; of a teacher that is trained for a student, the student's."""
        owner = type(self)(self.path.parent)
        run = owner if owner.teacher == self and owner.config.is_file() else self
        write_atomic(_pointer(), f"{run.path}\n")

    def _require(self, path: Path) -> None:
        if not path.is_file():
            raise NdtoolError(f"{self.path} has no {path.name}, its training has not finished: train it with --resume")


def last_run() -> RunFolder | None:
    """The run that was last begun, if it is still there."""
    try:
        run = RunFolder(Path(_pointer().read_text(encoding="utf-8").rstrip("\n")))
    except OSError:
        return None
    return run if run.config.is_file() else None


def _pointer() -> Path:
    return cache_dir() / "last-run"
