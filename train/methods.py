"""The methods of training, behind one interface: the loop knows no other."""

from __future__ import annotations

import copy
from collections.abc import Mapping
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

    def step(self, x: Tensor, y: Tensor) -> StepMetrics:
        """Leave the gradient of one batch in `.grad` of `parameters()`; clipping and the optimiser are the loop's."""

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
        self._student = student.train()

    def step(self, x: Tensor, y: Tensor) -> StepMetrics:
        """See Method."""
        output = self._objective.forward(self._student, x)
        loss = self._objective.loss(output, y)
        parameters = self.parameters()
        _set_gradients(parameters, _gradients(loss, parameters))
        loss = loss.detach()
        return StepMetrics(loss=loss, student_loss=loss, student_accuracy=self._objective.accuracy(output, y))

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


@dataclass(frozen=True, kw_only=True)
class _Shared:
    """A parameter of the teacher and the student's part of it."""

    name: str  # in the student
    parameter: nn.Parameter  # the teacher's
    index: Tensor | None  # flat positions in it, in the order of the student's elements; None: all of it
    shape: torch.Size  # the student's

    def part(self, tensor: Tensor) -> Tensor:
        """The student's part of a tensor of the teacher's shape."""
        return tensor if self.index is None else tensor.reshape(-1)[self.index].view(self.shape)

    def put(self, tensor: Tensor, part: Tensor) -> None:
        """Write the student's part into a contiguous tensor of the teacher's shape."""
        if self.index is None:
            tensor.copy_(part)
        else:
            tensor.view(-1)[self.index] = part.reshape(-1)


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
        self._student = student.train()
        self._teacher = widened.teacher.to(example.device).train()
        self._own = [p for name, p in student.named_parameters() if name in widened.sharing.own]
        teachers = dict(self._teacher.named_parameters())
        self._shared: list[_Shared] = []
        for name in widened.sharing.index:
            parameter = teachers[name]
            positions = torch.arange(parameter.numel()).view(parameter.shape)
            part = widened.sharing.student_part(name, positions)
            whole = part.shape == parameter.shape and torch.equal(part, positions)
            index = None if whole else part.reshape(-1).to(example.device)
            self._shared.append(_Shared(name=name, parameter=parameter, index=index, shape=part.shape))

    def step(self, x: Tensor, y: Tensor) -> StepMetrics:
        """See Method."""
        objective = self._objective
        teacher_output = objective.forward(self._teacher, x)
        teacher_loss = objective.loss(teacher_output, y)
        teacher_parameters = list(self._teacher.parameters())
        teacher_gradients = _gradients(teacher_loss, teacher_parameters)
        teacher_output = teacher_output.detach()

        weights = {name: tensor.requires_grad_() for name, tensor in self._student_weights().items()}
        output = objective.forward(self._student, x, weights)
        student_loss = objective.loss(output, y)
        distill_loss = objective.distill(output, teacher_output, y)
        loss = student_loss + self._config.distill_weight * distill_loss
        student_gradients = _gradients(loss, [*weights.values(), *self._own])

        _set_gradients(teacher_parameters, teacher_gradients)
        _set_gradients(self._own, student_gradients[len(weights) :])
        conflict_rate, mean_cosine = self._merge(student_gradients[: len(weights)])
        return StepMetrics(
            loss=(loss + teacher_loss).detach(),
            student_loss=student_loss.detach(),
            student_accuracy=objective.accuracy(output, y),
            teacher_loss=teacher_loss.detach(),
            teacher_accuracy=objective.accuracy(teacher_output, y),
            distill_loss=distill_loss.detach(),
            conflict_rate=conflict_rate,
            mean_cosine=mean_cosine,
        )

    @torch.no_grad()
    def _merge(self, student: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Surgery on the shared part of the teacher's gradient, then the student's is added; in float32."""
        gradients = [shared.parameter.grad for shared in self._shared]
        parts = [shared.part(g) for shared, g in zip(self._shared, gradients, strict=True) if g is not None]
        projection = project(student, parts, self._config.surgery)
        merged = torch._foreach_add(projection.teacher, student)
        for shared, gradient, part in zip(self._shared, gradients, merged, strict=True):
            if gradient is not None:
                shared.put(gradient, part)
        return projection.conflict_rate, projection.mean_cosine

    def _student_weights(self) -> dict[str, Tensor]:
        return {shared.name: shared.part(shared.parameter.detach()) for shared in self._shared}

    def parameters(self) -> list[nn.Parameter]:
        """See Method."""
        return [*self._teacher.parameters(), *self._own]

    def state_dict(self) -> dict[str, Tensor]:
        """See Method."""
        shared = {shared.name for shared in self._shared}
        own = {name: t for name, t in _live(self._student).items() if name not in shared}
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


def _gradients(loss: Tensor, parameters: list[Tensor] | list[nn.Parameter]) -> list[Tensor]:
    """dL/dp of each parameter, contiguous, each with memory of its own; zeros where the loss does not depend on it."""
    gradients: list[Tensor] = []
    seen: set[int] = set()
    for gradient in torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True):
        gradient = gradient.contiguous()
        # two parameters that are only ever added have one gradient tensor between them
        gradients.append(gradient.clone() if gradient.data_ptr() in seen else gradient)
        seen.add(gradient.data_ptr())
    return gradients


def _set_gradients(parameters: list[nn.Parameter], gradients: list[Tensor]) -> None:
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient


def _live(model: nn.Module, prefix: str = "") -> dict[str, Tensor]:
    """The module's weights and statistics themselves, as far as they are saved, by name."""
    return {f"{prefix}{name}": tensor for name, tensor in model.state_dict().items()}


@torch.no_grad()
def _load(target: Mapping[str, Tensor], source: Mapping[str, Tensor], *, strict: bool = True) -> None:
    for name, tensor in target.items():
        if strict or name in source:
            tensor.copy_(source[name])
