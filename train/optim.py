"""Optimisers, the learning rate's schedule, and the moving average of the weights."""

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


def make_optimizer(
    name: str, parameters: Iterable[nn.Parameter], *, lr: float, weight_decay: float, momentum: float
) -> torch.optim.Optimizer:
    """SGD with Nesterov momentum, or AdamW.

    Biases and the affine parameters of BatchNorm (all that has at most one axis) are not decayed: decay would only
    pull what normalisation has set.
    """
    parameters = list(parameters)
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if name == "adamw":
        return torch.optim.AdamW(groups, lr=lr, fused=True)
    return torch.optim.SGD(groups, lr=lr, momentum=momentum, nesterov=momentum > 0, fused=True)


def lr_at(step: int, *, steps: int, base: float, warmup: float) -> float:
    """The learning rate of a step (from 0) out of `steps`: linear warm-up, then a cosine down to 0.

    The warm-up takes the fraction `warmup` of all steps and ends at `base`, which it reaches at its last step.
    """
    warm_steps = round(steps * warmup)
    if step < warm_steps:
        return base * (step + 1) / warm_steps
    return 0.5 * base * (1 + math.cos(math.pi * (step - warm_steps) / max(steps - warm_steps, 1)))


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of every group."""
    for group in optimizer.param_groups:
        group["lr"] = lr


class MovingAverage:
    """Exponential moving average of every weight and statistic of a model, beginning with their values.

    `live` are the tensors themselves, which training changes in place. After update t:
    decay_t = min(decay, (1 + t) / (10 + t)), so that a short training is not averaged with its initialisation. Integer
    tensors (counters) are copied.
    """

    def __init__(self, live: Mapping[str, Tensor], decay: float):
        self._live = {name: tensor.detach() for name, tensor in live.items()}
        self._decay = decay
        self._updates = 0
        self._average = {name: tensor.detach().clone() for name, tensor in live.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights after one more step."""
        self._updates += 1
        decay = min(self._decay, (1 + self._updates) / (10 + self._updates))
        moving = [name for name, tensor in self._average.items() if tensor.is_floating_point()]
        torch._foreach_lerp_([self._average[name] for name in moving], [self._live[name] for name in moving], 1 - decay)
        for name, tensor in self._average.items():
            if not tensor.is_floating_point():
                tensor.copy_(self._live[name])

    @property
    def tensors(self) -> Mapping[str, Tensor]:
        """The averages themselves, by name."""
        return self._average

    @contextmanager
    def applied(self) -> Iterator[None]:
        """While it lasts, the model holds the average; afterwards its own values again, bit for bit."""
        own = {name: tensor.clone() for name, tensor in self._live.items()}
        _copy_into(self._live, self._average)
        try:
            yield
        finally:
            _copy_into(self._live, own)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint needs."""
        return {"updates": self._updates, "average": self._average}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a checkpoint."""
        self._updates = state["updates"]
        _copy_into(self._average, state["average"])


@torch.no_grad()
def _copy_into(target: Mapping[str, Tensor], source: Mapping[str, Tensor]) -> None:
    for name, tensor in target.items():
        tensor.copy_(source[name])
