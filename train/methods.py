"""The methods of training, behind one interface: the loop knows no other."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ndtool.errors import NdtoolError
from ndtool.train.config import TrainConfig
from ndtool.train.data import RECONSTRUCTION
from ndtool.train.losses import DISTILLATIONS, accuracy, squared_error, task_loss
from ndtool.train.surgery import project
from ndtool.train.teacher import widen


@dataclass(frozen=True, kw_only=True)
class StepMetrics:
    """What one step saw, as scalars on the training's device; None where the method or the task has no such thing.

    `loss` is all that was minimised: the student's and the teacher's losses and the weighted distillation term.
    """

    loss: Tensor
    student_loss: Tensor
    student_accuracy: Tensor | None = None
    teacher_loss: Tensor | None = None
    teacher_accuracy: Tensor | None = None
    distill_loss: Tensor | None = None
    conflict_rate: Tensor | None = None
    mean_cosine: Tensor | None = None


class Method(Protocol):
    """One way to train a student. Made from the settings, the student on its device, and an example input (B, ...)."""

    def __init__(self, config: TrainConfig, task: str, student: nn.Module, example: Tensor) -> None: ...

    def gradients(self, x: Tensor, y: Tensor) -> tuple[list[Tensor], StepMetrics]:
        """All gradients of one part of a batch, which are then averaged over the parts, and what was seen of it."""

    def merge(self, gradients: Sequence[Tensor]) -> dict[str, Tensor]:
        """Make one gradient of the averaged ones, in `.grad` of `parameters()`; returns fields of StepMetrics.

        Clipping and the optimiser are the loop's.
        """

    def parameters(self) -> list[nn.Parameter]:
        """What the optimiser updates."""

    def state_dict(self) -> dict[str, Tensor]:
        """Every weight and statistic, as the live tensors."""

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Copy in what `state_dict` gave."""

    def student(self) -> nn.Module:
        """The student as it would ship: a copy, in eval mode."""

    def teacher(self) -> nn.Module | None:
        """The teacher itself, where there is one."""


@dataclass(frozen=True, kw_only=True)
class _Objective:
    """Losses of the task under the run's settings, and autocast around the forward passes."""

    config: TrainConfig
    task: str

    def forward(self, model: nn.Module, x: Tensor, weights: dict[str, Tensor] | None = None) -> Tensor:
        if x.ndim == 4 and x.device.type != "mps":
            x = x.contiguous(memory_format=torch.channels_last)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.config.amp and x.is_cuda):
            return model(x) if weights is None else functional_call(model, weights, (x,))

    def loss(self, output: Tensor, y: Tensor) -> Tensor:
        return task_loss(self.task, output, y, self.config.label_smoothing)

    def accuracy(self, output: Tensor, y: Tensor) -> Tensor | None:
        return accuracy(self.task, output.detach(), y)

    def distill(self, student: Tensor, teacher: Tensor, y: Tensor) -> Tensor:
        if self.task == RECONSTRUCTION:
            return squared_error(student, teacher)
        return DISTILLATIONS[self.config.distill](student, teacher, y, self.config.temperature)


class Vanilla:
    """The student alone, on the loss of the task."""

    def __init__(self, config: TrainConfig, task: str, student: nn.Module, example: Tensor) -> None:
        self._objective = _Objective(config=config, task=task)
        self._student = _fast_layout(student).train()

    def gradients(self, x: Tensor, y: Tensor) -> tuple[list[Tensor], StepMetrics]:
        """See Method."""
        output = self._objective.forward(self._student, x)
        loss = self._objective.loss(output, y)
        found = _gradients(loss, self.parameters())
        loss = loss.detach()
        accuracy = self._objective.accuracy(output, y)
        return found, StepMetrics(loss=loss, student_loss=loss, student_accuracy=accuracy)

    def merge(self, gradients: Sequence[Tensor]) -> dict[str, Tensor]:
        """See Method."""
        _set_gradients(self.parameters(), gradients)
        return {}

    def parameters(self) -> list[nn.Parameter]:
        """See Method."""
        return [p for p in self._student.parameters() if p.requires_grad]

    def state_dict(self) -> dict[str, Tensor]:
        """See Method."""
        return _live(self._student, "student.")

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """See Method."""
        _load(self.state_dict(), state)

    def student(self) -> nn.Module:
        """See Method."""
        return copy.deepcopy(self._student).eval()

    def teacher(self) -> nn.Module | None:
        """See Method."""
        return None


class NetDistiller:
    """Student and weight-sharing teacher jointly, with gradient surgery and distillation.

    The student runs on detached copies of its part of the teacher's weights, so that its gradient arrives in its own
    shape. One step: g_T from the teacher's loss; g_S from the student's loss plus λ · D(z_S, stop(z_T)); what of g_T
    works against g_S on the shared part is projected out; both are added. BatchNorm is each one's own.

    Source: NetDistiller (arXiv 2310.19820), in the reading that docs/ gives of it.
    """

    def __init__(self, config: TrainConfig, task: str, student: nn.Module, example: Tensor) -> None:
        if frozen := [name for name, p in student.named_parameters() if not p.requires_grad]:
            raise NdtoolError(f"{frozen[0]} is frozen, but the teacher trains what it shares: use --method vanilla")
        self._config = config
        self._objective = _Objective(config=config, task=task)
        widened = widen(student, example, config.expand)
        self._student = _fast_layout(student).train()
        self._teacher = _fast_layout(widened.teacher.to(example.device)).train()
        self._sharing = widened.sharing.to(example.device)
        self._own = [p for name, p in student.named_parameters() if name in self._sharing.own]
        teacher = dict(self._teacher.named_parameters())
        self._shared = {name: teacher[name] for name in self._sharing.index}  # the teacher's, by the student's names

    def gradients(self, x: Tensor, y: Tensor) -> tuple[list[Tensor], StepMetrics]:
        """The teacher's, g_T, then the student's, g_S, of what it shares and of its own."""
        objective = self._objective
        teacher_output = objective.forward(self._teacher, x)
        teacher_loss = objective.loss(teacher_output, y)
        teacher_gradients = _gradients(teacher_loss, list(self._teacher.parameters()))
        teacher_output = teacher_output.detach()

        weights = {name: tensor.requires_grad_() for name, tensor in self._student_weights().items()}
        output = objective.forward(self._student, x, weights)
        student_loss = objective.loss(output, y)
        distill_loss = objective.distill(output, teacher_output, y)
        loss = student_loss + self._config.distill_weight * distill_loss
        student_gradients = _gradients(loss, [*weights.values(), *self._own])

        return [*teacher_gradients, *student_gradients], StepMetrics(
            loss=(loss + teacher_loss).detach(),
            student_loss=student_loss.detach(),
            student_accuracy=objective.accuracy(output, y),
            teacher_loss=teacher_loss.detach(),
            teacher_accuracy=objective.accuracy(teacher_output, y),
            distill_loss=distill_loss.detach(),
        )

    @torch.no_grad()
    def merge(self, gradients: Sequence[Tensor]) -> dict[str, Tensor]:
        """Surgery on the shared part of g_T, to which g_S is added."""
        names, parameters = zip(*self._teacher.named_parameters(), strict=True)
        teacher, own = dict(zip(names, gradients, strict=False)), len(names) + len(self._shared)
        student = list(gradients[len(names) : own])
        parts = [self._sharing.student_part(name, teacher[name]) for name in self._shared]
        projection = project(student, parts, self._config.surgery)
        for name, part in zip(self._shared, torch._foreach_add(projection.teacher, student), strict=True):
            self._sharing.set_part(name, teacher[name], part)
        _set_gradients(parameters, teacher.values())
        _set_gradients(self._own, gradients[own:])
        return {"conflict_rate": projection.conflict_rate, "mean_cosine": projection.mean_cosine}

    def _student_weights(self) -> dict[str, Tensor]:
        """The student's part of the shared weights: copies, because kernels want them dense."""
        return {name: self._sharing.student_part(name, p.detach()).clone() for name, p in self._shared.items()}

    def parameters(self) -> list[nn.Parameter]:
        """See Method."""
        return [*self._teacher.parameters(), *self._own]

    def state_dict(self) -> dict[str, Tensor]:
        """See Method."""
        own = {name: tensor for name, tensor in _live(self._student).items() if name not in self._shared}
        return _live(self._teacher, "teacher.") | {f"student.{name}": tensor for name, tensor in own.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """See Method."""
        _load(self.state_dict(), state)

    def student(self) -> nn.Module:
        """See Method."""
        student = copy.deepcopy(self._student).eval()
        _load(dict(student.named_parameters()), self._student_weights(), strict=False)
        return student

    def teacher(self) -> nn.Module | None:
        """See Method."""
        return self._teacher


METHODS: Mapping[str, type[Method]] = MappingProxyType({"netdistiller": NetDistiller, "vanilla": Vanilla})


def _gradients(loss: Tensor, parameters: Sequence[Tensor]) -> list[Tensor]:
    """dL/dp of each parameter, laid out alike, in memory of its own; zeros where the loss does not depend on it."""
    gradients: list[Tensor] = []
    seen: set[int] = set()
    found = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
    for parameter, gradient in zip(parameters, found, strict=True):
        # two parameters that are only ever added have one gradient tensor between them
        own = gradient.stride() == parameter.stride() and gradient.data_ptr() not in seen
        gradients.append(gradient if own else torch.empty_like(parameter).copy_(gradient))
        seen.add(gradient.data_ptr())
    return gradients


def _set_gradients(parameters: Iterable[nn.Parameter], gradients: Iterable[Tensor]) -> None:
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient


def _fast_layout(model: nn.Module) -> nn.Module:
    """Lay out the kernels of 2-D convolutions channels last, which is the faster on CPU and CUDA."""
    on_mps = any(p.device.type == "mps" for p in model.parameters())
    return model if on_mps else model.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # torch's stub


def _live(model: nn.Module, prefix: str = "") -> dict[str, Tensor]:
    """The module's weights and statistics themselves, as far as they are saved, by name."""
    return {f"{prefix}{name}": tensor for name, tensor in model.state_dict().items()}


@torch.no_grad()
def _load(target: Mapping[str, Tensor], source: Mapping[str, Tensor], *, strict: bool = True) -> None:
    for name, tensor in target.items():
        if strict or name in source:
            tensor.copy_(source[name])
