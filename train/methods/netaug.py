"""Network augmentation: the student is also trained as a part of random wider networks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ndtool.train.config import TrainConfig
from ndtool.train.methods.base import StepMetrics, fast_layout, gradients, set_gradients
from ndtool.train.methods.joint import Joint
from ndtool.train.teacher import subnetworks

POOL = 8  # wider networks to draw from, each with widths of its own: building one takes longer than a step


class NetAug(Joint):
    """The student, and in each step one random wider network around it as an auxiliary loss; no distillation.

    The loss is CE(S(x), y) + α · CE(S ∪ A_i(x), y): the student's and that of a network in which every group of
    channels is 1 to r times as wide, drawn anew for each step from a pool that the seed decides. All are parts of one
    network r times as wide.

    Source: Cai et al. 2022 ("Network Augmentation for Tiny Deep Learning", arXiv 2110.08890), section 3; the pool,
    the student's own BatchNorm and drawing every group's width for itself are ours.
    """

    def __init__(self, config: TrainConfig, task: str, student: nn.Module, example: Tensor) -> None:
        super().__init__(config, task, student, example)
        made = subnetworks(self._student, example, config.expand, count=POOL, seed=config.seed)
        self._pool = [(fast_layout(each.teacher.to(example.device)), each.sharing.to(example.device)) for each in made]
        self._steps = torch.zeros((), dtype=torch.int64)

    def gradients(self, x: Tensor, y: Tensor) -> tuple[list[Tensor], StepMetrics]:
        """Those of the wide network's weights, of both losses, then of the student's own."""
        objective = self._objective
        network, sharing = self._pool[self._drawn()]
        wide = dict(self._teacher.named_parameters())
        parts = {name: sharing.student_part(name, wide[name].detach()).clone() for name in sharing.index}
        wider = {name: part.requires_grad_() for name, part in parts.items()}
        augmented_output = objective.forward(network, x, wider)
        augmented_loss = objective.loss(augmented_output, y)
        weight = self._config.augment_weight
        augmented_gradients = gradients(weight * augmented_loss, list(wider.values()))

        weights = self._leaves()
        output = objective.forward(self._student, x, weights)
        student_loss = objective.loss(output, y)
        student_gradients = gradients(student_loss, [*weights.values(), *self._own])

        total = {name: torch.zeros_like(parameter) for name, parameter in wide.items()}
        for name, gradient in zip(wider, augmented_gradients, strict=True):
            sharing.set_part(name, total[name], gradient)
        for name, gradient in zip(weights, student_gradients, strict=False):
            self._sharing.add_part(name, total[name], gradient)
        return [*total.values(), *student_gradients[len(weights) :]], StepMetrics(
            loss=(student_loss + weight * augmented_loss).detach(),
            student_loss=student_loss.detach(),
            student_accuracy=objective.accuracy(output, y),
            teacher_loss=augmented_loss.detach(),
            teacher_accuracy=objective.accuracy(augmented_output, y),
        )

    def merge(self, gradients: Sequence[Tensor]) -> dict[str, Tensor]:
        """See Method."""
        set_gradients(self.parameters(), gradients)
        self._steps += 1
        return {}

    def _drawn(self) -> int:
        """Which of the pool this step takes: the seed and the number of the step alone decide, in every process."""
        generator = torch.Generator().manual_seed((self._config.seed << 32) + int(self._steps))
        return int(torch.randint(len(self._pool), (), generator=generator))

    def state_dict(self) -> dict[str, Tensor]:
        """See Method."""
        return super().state_dict() | {"steps": self._steps}

    def teacher(self) -> nn.Module | None:
        """None: the whole wide network is never trained by itself."""
        return None
