"""Methods that train the student's own weights and no others."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from ndtool.errors import NdtoolError
from ndtool.train.config import TrainConfig
from ndtool.train.methods.base import Objective, StepMetrics, fast_layout, gradients, live, load, set_gradients
from ndtool.train.run import RunFolder


class Vanilla:
    """The student alone, on the loss of the task."""

    def __init__(self, config: TrainConfig, task: str, student: nn.Module, example: Tensor) -> None:
        self._objective = Objective(config=config, task=task)
        self._student = fast_layout(student).train()

    def gradients(self, x: Tensor, y: Tensor) -> tuple[list[Tensor], StepMetrics]:
        """See Method."""
        output = self._objective.forward(self._student, x)
        loss = self._objective.loss(output, y)
        found = gradients(loss, self.parameters())
        loss = loss.detach()
        accuracy = self._objective.accuracy(output, y)
        return found, StepMetrics(loss=loss, student_loss=loss, student_accuracy=accuracy)

    def merge(self, gradients: Sequence[Tensor]) -> dict[str, Tensor]:
        """See Method."""
        set_gradients(self.parameters(), gradients)
        return {}

    def parameters(self) -> list[nn.Parameter]:
        """See Method."""
        return [p for p in self._student.parameters() if p.requires_grad]

    def state_dict(self) -> dict[str, Tensor]:
        """See Method."""
        return live(self._student, "student.")

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """See Method."""
        load(self.state_dict(), state)

    def student(self) -> nn.Module:
        """See Method."""
        return copy.deepcopy(self._student).eval()

    def teacher(self) -> nn.Module | None:
        """See Method."""
        return None

    def shared(self) -> tuple[str, ...]:
        """See Method."""
        return ()


class Distillation(Vanilla):
    """The student on the loss of the task and on the outputs of a teacher that was trained before and stays as it is.

    The loss is that of netdistiller's student: CE(z_S, y) + λ · D(z_S, z_T). The teacher is the network that
    `config.teacher` names, a finished run, in evaluation mode.

    Source: Hinton et al. 2015 ("Distilling the Knowledge in a Neural Network").
    """

    def __init__(self, config: TrainConfig, task: str, student: nn.Module, example: Tensor) -> None:
        super().__init__(config, task, student, example)
        self._weight = config.distill_weight
        self._teacher = _frozen_teacher(config, example)

    def gradients(self, x: Tensor, y: Tensor) -> tuple[list[Tensor], StepMetrics]:
        """See Method."""
        objective = self._objective
        with torch.no_grad():
            teacher_output = objective.forward(self._teacher, x)
        output = objective.forward(self._student, x)
        student_loss = objective.loss(output, y)
        distill_loss = objective.distill(output, teacher_output, y)
        loss = student_loss + self._weight * distill_loss
        return gradients(loss, self.parameters()), StepMetrics(
            loss=loss.detach(),
            student_loss=student_loss.detach(),
            student_accuracy=objective.accuracy(output, y),
            teacher_loss=objective.loss(teacher_output, y),
            teacher_accuracy=objective.accuracy(teacher_output, y),
            distill_loss=distill_loss.detach(),
        )

    def teacher(self) -> nn.Module | None:
        """See Method."""
        return copy.deepcopy(self._teacher)


def _frozen_teacher(config: TrainConfig, example: Tensor) -> nn.Module:
    """The network of the run `config.teacher`, on the example's device. Raises NdtoolError where it does not fit."""
    if config.teacher is None:
        raise NdtoolError("the method kd needs a trained teacher: give --teacher RUN")
    run = RunFolder.open(Path(config.teacher))
    theirs, ours = run.load_config().model, config.model
    if (tuple(theirs.input_shape), theirs.classes) != (tuple(ours.input_shape), ours.classes):
        raise NdtoolError(
            f"the teacher in {run.path} takes {theirs.input_shape} and has {theirs.classes} outputs, the student takes "
            f"{ours.input_shape} and has {ours.classes}: train a teacher on the same data"
        )
    teacher = fast_layout(run.load_student().to(example.device))
    return teacher.eval().requires_grad_(False)
