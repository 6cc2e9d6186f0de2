"""Methods that train the student as a part of a wider network that shares its weights."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from ndtool.errors import NdtoolError
from ndtool.train.config import TrainConfig
from ndtool.train.methods.base import Objective, StepMetrics, fast_layout, gradients, live, load, set_gradients
from ndtool.train.surgery import project
from ndtool.train.teacher import embed, widen


class Joint:
    """A student and the wide network around it: what both methods of this kind hold, save and ship.

    The student runs on detached copies of its part of the wide network's weights, so that its gradient arrives in its
    own shape. BatchNorm is each one's own.
    """

    def __init__(self, config: TrainConfig, task: str, student: nn.Module, example: Tensor) -> None:
        if frozen := [name for name, p in student.named_parameters() if not p.requires_grad]:
            raise NdtoolError(f"{frozen[0]} is frozen, but the teacher trains what it shares: use --method vanilla")
        self._config = config
        self._objective = Objective(config=config, task=task)
        widened = widen(student, example, config.expand)
        if config.init is not None:
            embed(widened, student)
        self._student = fast_layout(student).train()
        self._teacher = fast_layout(widened.teacher.to(example.device)).train()
        self._sharing = widened.sharing.to(example.device)
        self._own = [p for name, p in student.named_parameters() if name in self._sharing.own]
        teacher = dict(self._teacher.named_parameters())
        self._shared = {name: teacher[name] for name in self._sharing.index}  # the teacher's, by the student's names

    def _leaves(self) -> dict[str, Tensor]:
        """The weights that the student runs on, to be differentiated by."""
        return {name: tensor.requires_grad_() for name, tensor in self._student_weights().items()}

    def _student_weights(self) -> dict[str, Tensor]:
        """The student's part of the shared weights: copies, because kernels want them dense."""
        return {name: self._sharing.student_part(name, p.detach()).clone() for name, p in self._shared.items()}

    def parameters(self) -> list[nn.Parameter]:
        """See Method."""
        return [*self._teacher.parameters(), *self._own]

    def state_dict(self) -> dict[str, Tensor]:
        """See Method."""
        own = {name: tensor for name, tensor in live(self._student).items() if name not in self._shared}
        return live(self._teacher, "teacher.") | {f"student.{name}": tensor for name, tensor in own.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """See Method."""
        load(self.state_dict(), state)

    def student(self) -> nn.Module:
        """See Method."""
        student = copy.deepcopy(self._student).eval()
        load(dict(student.named_parameters()), self._student_weights(), strict=False)
        return student

    def teacher(self) -> nn.Module | None:
        """See Method."""
        return copy.deepcopy(self._teacher).eval()

    def shared(self) -> tuple[str, ...]:
        """See Method."""
        return ()


class NetDistiller(Joint):
    """Student and weight-sharing teacher jointly, with gradient surgery and distillation.

    One step: g_T from the teacher's loss; g_S from the student's loss plus λ · D(z_S, stop(z_T)); what of g_T works
    against g_S on the shared part is projected out; both are added.

    Source: NetDistiller (arXiv 2310.19820), in the reading that docs/ gives of it.
    """

    def gradients(self, x: Tensor, y: Tensor) -> tuple[list[Tensor], StepMetrics]:
        """The teacher's, g_T, then the student's, g_S, of what it shares and of its own."""
        objective = self._objective
        teacher_output = objective.forward(self._teacher, x)
        teacher_loss = objective.loss(teacher_output, y)
        teacher_gradients = gradients(teacher_loss, list(self._teacher.parameters()))
        teacher_output = teacher_output.detach()

        weights = self._leaves()
        output = objective.forward(self._student, x, weights)
        student_loss = objective.loss(output, y)
        distill_loss = objective.distill(output, teacher_output, y)
        loss = student_loss + self._config.distill_weight * distill_loss
        student_gradients = gradients(loss, [*weights.values(), *self._own])

        return [*teacher_gradients, *student_gradients], StepMetrics(
            loss=(loss + teacher_loss).detach(),
            student_loss=student_loss.detach(),
            student_accuracy=objective.accuracy(output, y),
            teacher_loss=teacher_loss.detach(),
            teacher_accuracy=objective.accuracy(teacher_output, y),
            distill_loss=distill_loss.detach(),
        )

    def shared(self) -> tuple[str, ...]:
        """See Method."""
        return tuple(self._shared)

    @torch.no_grad()
    def merge(self, gradients: Sequence[Tensor]) -> dict[str, Tensor]:
        """Surgery on the shared part of g_T, to which g_S is added; in place."""
        names, parameters = zip(*self._teacher.named_parameters(), strict=True)
        own = len(names) + len(self._shared)
        teacher = dict(zip(names, gradients[: len(names)], strict=True))
        student = list(gradients[len(names) : own])
        parts = [self._sharing.student_part(name, teacher[name]) for name in self._shared]
        projection = project(student, parts, self._config.surgery)
        for name, part in zip(self._shared, torch._foreach_add(projection.teacher, student), strict=True):
            self._sharing.set_part(name, teacher[name], part)
        set_gradients(parameters, teacher.values())
        set_gradients(self._own, gradients[own:])
        cosines = projection.cosines
        return {"conflict_rate": projection.conflict_rate, "mean_cosine": cosines.mean(), "cosines": cosines}


class InPlace(NetDistiller):
    """Student and weight-sharing teacher jointly, with plain KL and without surgery.

    Source: in-place distillation (Yu and Huang 2019, "Universally Slimmable Networks"), with the labels' loss kept.
    """

    def __init__(self, config: TrainConfig, task: str, student: nn.Module, example: Tensor) -> None:
        super().__init__(replace(config, surgery="none", distill="kl"), task, student, example)
