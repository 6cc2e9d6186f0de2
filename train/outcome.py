"""What a training ends with: its test, its result, and the files that ship."""

import platform
from dataclasses import dataclass
from typing import Any

import torch
from safetensors.torch import save
from torch import nn

from ndtool import __version__
from ndtool.errors import NdtoolError
from ndtool.files import write_atomic
from ndtool.train import checkpoint as checkpoints
from ndtool.train.data import Split
from ndtool.train.distributed import on_first
from ndtool.train.evaluation import Score, evaluate, reestimate_batchnorm
from ndtool.train.metrics import history, read_metrics
from ndtool.train.run import RunFolder
from ndtool.train.training import Training
from ndtool.train.zoo.count import count


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """What a training ended with.

    `interrupted`: it stopped on the user's wish, has saved, and `resume` goes on; it has not been tested then.
    `epochs`: those that are done. `best_epoch`: the one (from 1) that ships, chosen by `validation`. `test` and
    `teacher_test`: of the student and the teacher of that epoch. `seconds`: spent, earlier interrupted runs included.
    """

    run: RunFolder
    interrupted: bool
    epochs: int
    best_epoch: int | None
    validation: Score | None
    test: Score | None
    teacher_test: Score | None
    seconds: float


def reestimate(training: Training, model: nn.Module) -> None:
    """Give a copy of a network of the training the BatchNorm statistics of its weights as they are."""
    reestimate_batchnorm(
        model,
        training.data,
        samples=training.config.bn_samples,
        batch_size=training.batch_size // training.parts,
        seed=training.config.seed,
        device=training.device,
        ranks=training.ranks,
    )


def score(training: Training, model: nn.Module, split: Split) -> Score:
    """How the model does on a part of the data, shared out among the processes."""
    size = 2 * training.batch_size // training.parts
    return evaluate(model, split, training.data, batch_size=size, device=training.device, ranks=training.ranks)


def score_teacher(training: Training, split: Split) -> Score | None:
    """How the teacher does on a part of the data, with statistics of its own weights; None where there is none.

    A frozen teacher has them already, and they are what it teaches with.
    """
    teacher = training.method.teacher()
    if teacher is None:
        return None
    if any(parameter.requires_grad for parameter in teacher.parameters()):
        reestimate(training, teacher)
    return score(training, teacher, split)


def finish(training: Training) -> TrainResult:
    """Test the best student and its teacher, and write what ships.

    Raises NdtoolError where best.pt is of another model, or the folder cannot be written.
    """
    best = on_first(lambda: checkpoints.load_best(training.run.best))
    checkpoints.require_alike(training.run.best, best.method, training.method.state_dict())
    training.method.load_state_dict(best.method)
    student = training.method.student()
    student.load_state_dict(best.student)
    test = score(training, student, training.data.test)
    result = result_of(training, test, score_teacher(training, training.data.test))
    on_first(lambda: _write(training, result, student))
    return result


def _write(training: Training, result: TrainResult, student: nn.Module) -> None:
    """Write what ships and what was found."""
    weights = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in student.state_dict().items()}
    try:
        write_atomic(training.run.student, save(weights))
        training.run.write_result(_summary(training, result, student))
    except OSError as error:
        raise NdtoolError(
            f"cannot write to {training.run.path} ({error.strerror}): make room, then --resume"
        ) from error


def result_of(training: Training, test: Score | None = None, teacher_test: Score | None = None) -> TrainResult:
    """Where the training stands, untested where it was interrupted."""
    return TrainResult(
        run=training.run,
        interrupted=training.epoch < training.config.epochs,
        epochs=training.epoch,
        best_epoch=training.best_epoch,
        validation=training.best,
        test=test,
        teacher_test=teacher_test,
        seconds=training.seconds,
    )


def _summary(training: Training, result: TrainResult, student: nn.Module) -> dict[str, Any]:
    """The content of result.json: accuracies are fractions, `macs` are those of one sample."""
    config, cost = training.config, count(student, training.config.model.input_shape)
    scores = {"student": result.test, "teacher": result.teacher_test}
    return {
        "model": config.model.name,
        "data": training.data.name,
        "task": training.data.task,
        "classes": list(training.data.classes),
        "method": config.method,
        "seed": config.seed,
        "epochs": result.epochs,
        "best_epoch": result.best_epoch,
        "validation": result.validation and result.validation.to_dict(),
        "test": {name: score.to_dict() for name, score in scores.items() if score is not None},
        "history": history(read_metrics(training.run.metrics)),
        "shared": list(training.method.shared()),
        "parameters": cost.parameters,
        "macs": cost.macs,
        "learning_rate": training.learning_rate,
        "weight_decay": config.decay,
        "device": str(training.device),
        "processes": training.ranks.world,
        "seconds": round(result.seconds, 3),
        "versions": {"ndtool": __version__, "python": platform.python_version(), "torch": torch.__version__},
    }
