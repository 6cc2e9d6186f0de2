"""One step: the gradients of the parts of a batch, averaged over parts and processes, then merged."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace

import torch
from torch import Tensor

from ndtool.train.data.draws import seed_of
from ndtool.train.distributed import Ranks, average_
from ndtool.train.methods import Method, StepMetrics

_AVERAGED = ("running_mean", "running_var")
_COUNTED = ("num_batches_tracked",)


class RunningStatistics:
    """The running statistics of BatchNorm in a method's state, which every forward pass in training mode changes.

    Each part of a batch moves them from where the step found them; their mean over the parts is what the step leaves.
    They move linearly, so that means over processes may be taken later, when somebody needs them.
    """

    def __init__(self, state: Mapping[str, Tensor]):
        self.averaged = self.of(state)
        self._live = [*self.averaged, *(t for name, t in state.items() if name.rpartition(".")[2] in _COUNTED)]
        self._before = [tensor.clone() for tensor in self._live]

    @staticmethod
    def of(state: Mapping[str, Tensor]) -> list[Tensor]:
        """Those tensors of a state that are running means and variances."""
        return [tensor for name, tensor in state.items() if name.rpartition(".")[2] in _AVERAGED]

    @torch.no_grad()
    def mark(self) -> None:
        """Remember them as they are."""
        _copy(self._before, self._live)

    @torch.no_grad()
    def go_back(self) -> None:
        """Make them what they were at the mark."""
        _copy(self._live, self._before)


def gradients_of(
    method: Method,
    x: Tensor,
    y: Tensor,
    *,
    statistics: RunningStatistics,
    parts: int,
    seed: int,
    step: int,
    ranks: Ranks,
) -> StepMetrics:
    """Leave the gradient of a batch in `.grad` of the method's parameters; the means of the parts' metrics.

    `x`, `y` (B, ...) are this process's share of the batch, which is cut into `parts` of B / parts samples: each has
    batch statistics of its own, and random numbers (of dropout) that depend on the seed, the step and the part's place
    in the whole batch alone. So the step is the same however many processes share the parts.
    """
    statistics.mark()
    gradients: list[Tensor] = []
    moved: list[Tensor] = []
    seen: list[StepMetrics] = []
    for number, (part_x, part_y) in enumerate(zip(x.chunk(parts), y.chunk(parts), strict=True)):
        if number:
            statistics.go_back()
        torch.manual_seed(seed_of(seed, step, ranks.rank * parts + number))
        found, metrics = method.gradients(part_x, part_y)
        gradients = _sum(gradients, found)
        if parts > 1:
            moved = _sum(moved, [tensor.clone() for tensor in statistics.averaged])
        seen.append(metrics)
    if parts > 1:
        torch._foreach_div_(gradients, parts)
        if moved:
            torch._foreach_div_(moved, parts)
            _copy(statistics.averaged, moved)
    average_(gradients)
    return replace(_mean(seen), **method.merge(gradients))


def _sum(total: list[Tensor], more: list[Tensor]) -> list[Tensor]:
    """In place of `total`, which is empty at first."""
    if total:
        torch._foreach_add_(total, more)
    return total or more


@torch.no_grad()
def _copy(target: Sequence[Tensor], source: Sequence[Tensor]) -> None:
    if target:
        torch._foreach_copy_(list(target), list(source))


def _mean(metrics: list[StepMetrics]) -> StepMetrics:
    if len(metrics) == 1:
        return metrics[0]
    names = [field.name for field in fields(StepMetrics) if getattr(metrics[0], field.name) is not None]
    return StepMetrics(**{name: torch.stack([getattr(m, name) for m in metrics]).mean(0) for name in names})
