"""What every method of training is, and what they are made of."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ndtool.errors import first_line
from ndtool.train.config import TrainConfig
from ndtool.train.data import RECONSTRUCTION
from ndtool.train.losses import DISTILLATIONS, accuracy, squared_error, task_loss


@dataclass(frozen=True, kw_only=True)
class StepMetrics:
    """What one step saw, as scalars on the training's device; None where the method or the task has no such thing.

    `loss` is all that was minimised: the losses of all networks that were trained and the weighted distillation term.
    `teacher_loss` and `teacher_accuracy` are netaug's wider sub-network's, too. `cosines`, of every tensor that student
    and teacher share: that of their gradients before surgery (T,).
    """

    loss: Tensor
    student_loss: Tensor
    student_accuracy: Tensor | None = None
    teacher_loss: Tensor | None = None
    teacher_accuracy: Tensor | None = None
    distill_loss: Tensor | None = None
    conflict_rate: Tensor | None = None
    mean_cosine: Tensor | None = None
    cosines: Tensor | None = None


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
        """The teacher as it would be evaluated, where there is one: a copy, in eval mode."""

    def shared(self) -> tuple[str, ...]:
        """The names of the tensors that StepMetrics.cosines are of, in their order."""


def step(method: Method, x: Tensor, y: Tensor) -> StepMetrics:
    """Leave the gradient of one batch, taken whole and by this process alone, in `.grad` of the parameters."""
    gradients, metrics = method.gradients(x, y)
    return replace(metrics, **method.merge(gradients))


@dataclass(frozen=True, kw_only=True)
class Objective:
    """Losses of the task under the run's settings, and autocast around the forward passes."""

    config: TrainConfig
    task: str

    def forward(self, model: nn.Module, x: Tensor, weights: dict[str, Tensor] | None = None) -> Tensor:
        """The model's output (B, ...), with these weights in place of its own where some are given."""
        if x.ndim == 4 and x.device.type != "mps":
            x = x.contiguous(memory_format=torch.channels_last)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=autocasts(self.config, x.device)):
            return (_compiled(x.device) if self.config.compile else _run)(model, weights or {}, x)

    def loss(self, output: Tensor, y: Tensor) -> Tensor:
        """The loss of the task: a scalar."""
        return task_loss(self.task, output, y, self.config.label_smoothing)

    def accuracy(self, output: Tensor, y: Tensor) -> Tensor | None:
        """The fraction that is right; None for reconstruction."""
        return accuracy(self.task, output.detach(), y)

    def distill(self, student: Tensor, teacher: Tensor, y: Tensor) -> Tensor:
        """The distillation term D, without its weight."""
        if self.task == RECONSTRUCTION:
            return squared_error(student, teacher)
        return DISTILLATIONS[self.config.distill](student, teacher, y, self.config.temperature)


def autocasts(config: TrainConfig, device: torch.device) -> bool:
    """Whether networks compute in bfloat16; unasked, on CUDA, but for older GPUs, which only emulate it."""
    if config.amp is not None:
        return config.amp
    return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


def _run(model: nn.Module, weights: dict[str, Tensor], x: Tensor) -> Tensor:
    return functional_call(model, weights, (x,)) if weights else model(x)


@cache
def _compiled(device: torch.device) -> Callable[[nn.Module, dict[str, Tensor], Tensor], Tensor]:
    """`_run` by torch.compile; as it is, with a warning, where that makes nothing for the device.

    What of a network cannot be compiled runs as it is, too.
    """
    from torch import _dynamo, _logging  # a second of imports

    _logging.set_logs(dynamo=logging.ERROR)  # its warnings are as long as a stack is deep
    try:
        torch.compile(torch.square, fullgraph=True)(torch.ones(2, device=device))
    except (_dynamo.exc.TorchDynamoException, OSError) as error:
        warnings.warn(f"torch.compile does not work here: {first_line(error)}", stacklevel=2)
        return _run
    _dynamo.config.suppress_errors = True
    _dynamo.config.recompile_limit = 64  # netaug has nine networks
    return torch.compile(_run, dynamic=False)


def gradients(loss: Tensor, parameters: Sequence[Tensor]) -> list[Tensor]:
    """dL/dp of each parameter, laid out alike, in memory of its own; zeros where the loss does not depend on it."""
    result: list[Tensor] = []
    seen: set[int] = set()
    found = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
    for parameter, gradient in zip(parameters, found, strict=True):
        # two parameters that are only ever added have one gradient tensor between them
        own = gradient.stride() == parameter.stride() and gradient.data_ptr() not in seen
        result.append(gradient if own else torch.empty_like(parameter).copy_(gradient))
        seen.add(gradient.data_ptr())
    return result


def set_gradients(parameters: Iterable[nn.Parameter], values: Iterable[Tensor]) -> None:
    """Leave each gradient where the optimiser looks for it."""
    for parameter, gradient in zip(parameters, values, strict=True):
        parameter.grad = gradient


def fast_layout(model: nn.Module) -> nn.Module:
    """Lay out the kernels of 2-D convolutions channels last, which is the faster on CPU and CUDA."""
    on_mps = any(p.device.type == "mps" for p in model.parameters())
    return model if on_mps else model.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # torch's stub


def live(model: nn.Module, prefix: str = "") -> dict[str, Tensor]:
    """The module's weights and statistics themselves, as far as they are saved, by name."""
    return {f"{prefix}{name}": tensor for name, tensor in model.state_dict().items()}


@torch.no_grad()
def load(target: Mapping[str, Tensor], source: Mapping[str, Tensor], *, strict: bool = True) -> None:
    """Copy tensors by name; without `strict`, those that `source` has."""
    for name, tensor in target.items():
        if strict or name in source:
            tensor.copy_(source[name])
