"""How good a model is on a part of the data, and the BatchNorm statistics that it is evaluated with."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ndtool.errors import NdtoolError
from ndtool.train.data import RECONSTRUCTION, Batches, Data, Split, batches
from ndtool.train.distributed import Ranks, sum_
from ndtool.train.losses import task_loss


@dataclass(frozen=True, kw_only=True)
class Score:
    """The result of an evaluation over `count` samples.

    `accuracy`: fraction in [0, 1] classified right, None for reconstruction. `mse`: mean squared error in the units of
    the model's input, None for classification. `loss`: mean cross-entropy (of logits) or again the squared error.
    """

    accuracy: float | None
    mse: float | None
    loss: float
    count: int

    def better_than(self, other: "Score | None") -> bool:
        """Whether accuracy is higher, or equal at a lower loss; for reconstruction, whether the error is lower."""
        if other is None:
            return True
        return (self.accuracy or 0.0, -self.loss) > (other.accuracy or 0.0, -other.loss)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, without what is None."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Score":
        """What `to_dict` gave."""
        return cls(**{"accuracy": None, "mse": None, **values})


@torch.inference_mode()
def evaluate(
    model: nn.Module | Callable[[Tensor], Tensor],
    split: Split,
    data: Data,
    *,
    batch_size: int = 256,
    device: torch.device | str = "cpu",
    ranks: Ranks | None = None,
) -> Score:
    """Score a model on a part of the data, in its order, without augmentation.

    `ranks`: that these processes call it together, with the same model; each takes every so-many-th batch, the sums are
    over all samples, each counted once, and all get the same score.

    `model` is a module (evaluated in eval mode, its mode restored) or any function of x (B, ...) float32 that returns
    outputs (B, ...), as a tensor or an array.

    Raises:
        NdtoolError: the part is empty.
    """
    if not len(split):
        raise NdtoolError(f"{data.name} has no samples in the part to evaluate on: add some")
    modes = [(module, module.training) for module in model.modules()] if isinstance(model, nn.Module) else []
    if isinstance(model, nn.Module):
        model.eval()
    ranks = ranks or Ranks.single()
    sums = torch.zeros(3, dtype=torch.float64)  # loss, right, samples
    mine = batches(split, data, batch_size=batch_size, device=device, start=ranks.rank, stride=ranks.world)
    try:
        for x, y in mine:
            output = torch.as_tensor(model(x), device=x.device)
            loss = task_loss(data.task, output, y).cpu().double() * len(x)
            right = 0.0 if data.task == RECONSTRUCTION else float((output.argmax(1) == y).sum())
            sums += torch.stack([loss, torch.tensor(right).double(), torch.tensor(len(x)).double()])
    finally:
        for module, training in modes:
            module.training = training
    if ranks.world > 1:
        sum_([sums])
    loss_sum, right_sum, count = sums.tolist()
    mean = loss_sum / count
    if data.task == RECONSTRUCTION:
        return Score(accuracy=None, mse=mean, loss=mean, count=int(count))
    return Score(accuracy=right_sum / count, mse=None, loss=mean, count=int(count))


@torch.no_grad()
def reestimate_batchnorm(
    model: nn.Module,
    data: Data,
    *,
    samples: int = 2048,
    batch_size: int = 128,
    seed: int = 0,
    device: torch.device | str = "cpu",
    ranks: Ranks | None = None,
) -> None:
    """Replace the running statistics of every BatchNorm by means over `samples` training samples, in place.

    Each statistic becomes the mean over batches of the batch's mean and unbiased variance. The samples are a random
    choice fixed by `seed`, without augmentation; only BatchNorm is in training mode, so nothing else is random. Costs
    one forward pass. The model is left in eval mode. `ranks`: as `evaluate` takes them.

    Source: Yu & Huang 2019 (slimmable networks): a sub-network needs statistics of its own weights.
    """
    model.eval()
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    norms = [module for module in norms if module.track_running_stats]
    if not norms:
        return
    momenta = [module.momentum for module in norms]
    for module in norms:
        module.momentum = None  # a mean, where a network uses one several times
        module.train()
    ranks = ranks or Ranks.single()
    size = min(batch_size, len(data.train))
    count = min(-(-samples // size), len(data.train) // size)
    mine = range(ranks.rank, count, ranks.world)
    dealt = Batches(
        split=data.train,
        data=data,
        batch_size=size,
        shuffle_seed=seed,
        drop_last=True,
        device=device,
        start=ranks.rank,
        stride=ranks.world,
    )
    statistics = [t for module in norms for t in (module.running_mean, module.running_var) if t is not None]
    table = torch.zeros(count, sum(tensor.numel() for tensor in statistics), dtype=torch.float64)  # a row per batch
    for number, (x, _) in zip(mine, dealt, strict=False):
        for module in norms:
            module.reset_running_stats()
        model(x)
        table[number] = torch.cat([tensor.flatten() for tensor in statistics]).cpu().double()  # MPS has no float64
    if ranks.world > 1:
        sum_([table])  # all rows but one's own are 0: so the means are the same bits however they came about
    means = table.mean(0).split([tensor.numel() for tensor in statistics])
    for tensor, mean in zip(statistics, means, strict=True):
        tensor.copy_(mean.view(tensor.shape).to(tensor.dtype))
    for module, momentum in zip(norms, momenta, strict=True):
        if module.num_batches_tracked is not None:
            module.num_batches_tracked.fill_(count)
        module.momentum = momentum
        module.eval()
