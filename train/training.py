"""The moving parts of one training: wired from the settings, saved to and restored from checkpoints."""

import math
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace

import torch
from torch import nn

from ndtool.errors import NdtoolError
from ndtool.train import checkpoint as checkpoints
from ndtool.train.config import TrainConfig
from ndtool.train.data import CLASSIFICATION, RECONSTRUCTION, Data
from ndtool.train.distributed import Ranks, SharedError, agree, average_, broadcast_, current, on_first
from ndtool.train.evaluation import Score
from ndtool.train.methods import METHODS, Method
from ndtool.train.models import ModelSpec, build
from ndtool.train.optim import MovingAverage, make_optimizer
from ndtool.train.run import RunFolder
from ndtool.train.step import RunningStatistics
from ndtool.train.transfer import Start, load_method, load_student


@dataclass(kw_only=True)
class Training:
    """What the loop works on. `epoch` (from 0), `step_in_epoch` and the scores change as it goes."""

    config: TrainConfig
    run: RunFolder
    data: Data
    device: torch.device
    method: Method
    optimizer: torch.optim.Optimizer
    average: MovingAverage | None
    statistics: RunningStatistics
    ranks: Ranks
    batch_size: int  # of all processes together
    parts: int  # that a batch is cut into, over all processes
    learning_rate: float  # the schedule's peak
    epoch_steps: int
    epoch: int = 0
    step_in_epoch: int = 0
    best_epoch: int | None = None  # from 1
    best: Score | None = None
    validation: Score | None = None  # the last one
    earlier_seconds: float = 0.0  # spent before this process took over
    first_step: int = 0  # where this process took over
    skipped: int = 0  # steps in a row whose gradient was no number
    started: float = field(default_factory=time.perf_counter)

    @property
    def step(self) -> int:
        """Steps taken in the whole training."""
        return self.epoch * self.epoch_steps + self.step_in_epoch

    @property
    def total_steps(self) -> int:
        """Steps of the whole training."""
        return self.config.epochs * self.epoch_steps

    @property
    def seconds(self) -> float:
        """Spent on the whole training so far."""
        return self.earlier_seconds + time.perf_counter() - self.started

    @property
    def eta(self) -> float:
        """Seconds left, at the mean speed so far."""
        done = max(self.step - self.first_step, 1)
        return (time.perf_counter() - self.started) / done * (self.total_steps - self.step)

    def synchronise(self) -> None:
        """Make the running statistics the same in all processes: their means."""
        moving = [] if self.average is None else RunningStatistics.of(self.average.tensors)
        average_([*self.statistics.averaged, *moving])

    def require_numbers(self) -> None:
        """Raise NdtoolError where weights are not finite, before a checkpoint that is replaced by them is lost."""
        state = self.method.state_dict().values()
        norms = torch._foreach_norm([tensor for tensor in state if tensor.is_floating_point()])
        if not torch.stack(norms).isfinite().all():
            raise SharedError(f"the weights are no numbers any more after step {self.step}: lower --lr or set --clip")

    def averaged(self) -> AbstractContextManager[None]:
        """While it lasts, the method holds the weights that would ship."""
        return nullcontext() if self.average is None else self.average.applied()

    @property
    def checkpoint_bytes(self) -> int:
        """About the size of the largest checkpoint: weights, as much for each of the optimiser's and the average's."""
        weights = sum(tensor.nbytes for tensor in self.method.state_dict().values())
        copies = 1 + (2 if self.config.optimizer == "adamw" else 1) + (self.average is not None)
        return copies * weights + 2**16

    def save(self, metrics_bytes: int) -> None:
        """Write last.pt."""
        checkpoints.save(
            self.run.last,
            checkpoints.Checkpoint(
                config=self.config.to_toml(),
                epoch=self.epoch,
                step_in_epoch=self.step_in_epoch,
                parts=self.parts,
                method=self.method.state_dict(),
                optimizer=self.optimizer.state_dict(),
                average=None if self.average is None else self.average.state_dict(),
                best_epoch=self.best_epoch,
                best=None if self.best is None else self.best.to_dict(),
                metrics_bytes=metrics_bytes,
                seconds=self.seconds,
            ),
        )

    def restore(self, checkpoint: checkpoints.Checkpoint) -> None:
        """Go on from last.pt. Raises NdtoolError where it is of another model."""
        checkpoints.require_alike(self.run.last, checkpoint.method, self.method.state_dict())
        self.method.load_state_dict(checkpoint.method)
        self.optimizer.load_state_dict(checkpoint.optimizer)
        if self.average is not None and checkpoint.average is not None:
            self.average.load_state_dict(checkpoint.average)
        self.epoch, self.step_in_epoch = checkpoint.epoch, checkpoint.step_in_epoch
        self.first_step = self.step
        self.best_epoch = checkpoint.best_epoch
        self.best = None if checkpoint.best is None else Score.from_dict(checkpoint.best)
        self.earlier_seconds = checkpoint.seconds


def wire(
    config: TrainConfig, run: RunFolder, data: Data, *, parts: int | None = None, start: Start | None = None
) -> Training:
    """Model, method, optimiser and average from the settings; the same again for the same seed, in every process.

    `parts`: what a training that is resumed cut its batches into.
    `start`: the weights to begin with, None for fresh ones, or where they are restored afterwards.

    Raises:
        NdtoolError: the device is missing, model and data do not fit, or a batch cannot be dealt out.
    """
    ranks = current()
    device = resolve_device(config.device)
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)
    torch.manual_seed(config.seed)
    _check_fits(config.model, data)
    student = build(config.model).to(device)
    fresh = load_student(start, student) if start is not None else frozenset()
    example = torch.zeros(2, *config.model.input_shape, device=device)
    teacher = config.teacher or (str(run.teacher.path) if config.trains_teacher else None)
    method = METHODS[config.method](replace(config, teacher=teacher), data.task, student, example)
    if start is not None:
        load_method(start, method, fresh)
    normalised = any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in student.modules())
    learning_rate = config.learning_rate(normalised=normalised and data.task == CLASSIFICATION)
    optimizer = make_optimizer(
        config.optimizer,
        method.parameters(),
        lr=learning_rate,
        weight_decay=config.decay,
        momentum=config.momentum,
    )
    if device.type != "cpu":  # batches are cut where they are needed
        moved = {name: getattr(data, name).to(device) for name in ("train", "validation", "test")}
        data = replace(data, **moved)
    parts = math.lcm(config.micro_batches or parts or 1, ranks.world)
    batch_size = _batch_size(config, len(data.train), parts)
    if (theirs := on_first(lambda: len(data.train))) != len(data.train):
        raise NdtoolError(f"{data.name} has {len(data.train)} training samples here, {theirs} in the first process")
    agree()
    state = method.state_dict()
    broadcast_(list(state.values()))
    return Training(
        config=config,
        run=run,
        data=data,
        device=device,
        method=method,
        optimizer=optimizer,
        average=MovingAverage(state, config.ema) if config.ema else None,
        statistics=RunningStatistics(state),
        ranks=ranks,
        batch_size=batch_size,
        parts=parts,
        learning_rate=learning_rate,
        epoch_steps=len(data.train) // batch_size,
    )


def _batch_size(config: TrainConfig, samples: int, parts: int) -> int:
    """The batch that all processes share, which is cut into `parts`; no larger than the samples there are."""
    if config.batch_size % parts:
        raise NdtoolError(f"a batch of {config.batch_size} cannot be cut into {parts} equal parts: change --batch-size")
    size = min(config.batch_size, samples - samples % parts)
    if parts > 1 and size < 2 * parts:
        raise NdtoolError(
            f"a batch of {size} leaves less than 2 samples for each of {parts} parts: use fewer processes"
        )
    return size


def resolve_device(name: str) -> torch.device:
    """The device of a name; "auto" is CUDA where there is one, else the CPU. Of several processes each has its GPU.

    Raises NdtoolError where it is missing, or cannot be shared.
    """
    ranks = current()
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if ranks.world > 1 and name == "cuda":
        name = f"cuda:{ranks.local_rank}"
    elif ranks.world > 1 and name != "cpu":
        raise NdtoolError(f"device {name!r} is one for several processes: give cuda or cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise NdtoolError(f"device {name!r} is not available: use auto, cpu, cuda or mps") from error
    return device


def _check_fits(spec: ModelSpec, data: Data) -> None:
    """Raise NdtoolError where the model was specified for other data."""
    if tuple(spec.input_shape) != tuple(data.input_shape):
        given, wanted = ("x".join(map(str, shape)) for shape in (spec.input_shape, data.input_shape))
        raise NdtoolError(f"{spec.name} takes {given}, {data.name} has {wanted}: give both the same input shape")
    outputs = spec.classes or 0
    if outputs < len(data.classes):
        raise NdtoolError(f"{spec.name} has {outputs} outputs: {data.name} has {len(data.classes)} classes")
    if (data.task == RECONSTRUCTION) != (outputs == 0):
        raise NdtoolError(f"{spec.name} with {outputs} outputs does not suit the task {data.task}: choose another")
