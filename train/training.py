"""The moving parts of one training: wired from the settings, saved to and restored from checkpoints."""

import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace

import torch

from ndtool.errors import NdtoolError
from ndtool.train import checkpoint as checkpoints
from ndtool.train.config import TrainConfig
from ndtool.train.data import RECONSTRUCTION, Data
from ndtool.train.evaluation import Score
from ndtool.train.methods import METHODS, Method
from ndtool.train.models import ModelSpec, build
from ndtool.train.optim import MovingAverage, make_optimizer
from ndtool.train.run import RunFolder


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
    batch_size: int
    epoch_steps: int
    epoch: int = 0
    step_in_epoch: int = 0
    best_epoch: int | None = None  # from 1
    best: Score | None = None
    validation: Score | None = None  # the last one
    earlier_seconds: float = 0.0  # spent before this process took over
    first_step: int = 0  # where this process took over
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

    def averaged(self) -> AbstractContextManager[None]:
        """While it lasts, the method holds the weights that would ship."""
        return nullcontext() if self.average is None else self.average.applied()

    def save(self, metrics_bytes: int) -> None:
        """Write last.pt."""
        checkpoints.save(
            self.run.last,
            checkpoints.Checkpoint(
                config=self.config.to_toml(),
                epoch=self.epoch,
                step_in_epoch=self.step_in_epoch,
                method=self.method.state_dict(),
                optimizer=self.optimizer.state_dict(),
                average=None if self.average is None else self.average.state_dict(),
                random=checkpoints.random_state(),
                best_epoch=self.best_epoch,
                best=None if self.best is None else self.best.to_dict(),
                metrics_bytes=metrics_bytes,
                seconds=self.seconds,
            ),
        )

    def restore(self, checkpoint: checkpoints.Checkpoint) -> None:
        """Go on from last.pt."""
        self.method.load_state_dict(checkpoint.method)
        self.optimizer.load_state_dict(checkpoint.optimizer)
        if self.average is not None and checkpoint.average is not None:
            self.average.load_state_dict(checkpoint.average)
        self.epoch, self.step_in_epoch = checkpoint.epoch, checkpoint.step_in_epoch
        self.first_step = self.step
        self.best_epoch = checkpoint.best_epoch
        self.best = None if checkpoint.best is None else Score.from_dict(checkpoint.best)
        self.earlier_seconds = checkpoint.seconds
        checkpoints.set_random_state(checkpoint.random)


def wire(config: TrainConfig, run: RunFolder, data: Data) -> Training:
    """Model, method, optimiser and average from the settings; the same again for the same seed.

    Raises:
        NdtoolError: the device is missing, or model and data do not fit.
    """
    device = resolve_device(config.device)
    torch.manual_seed(config.seed)
    _check_fits(config.model, data)
    student = build(config.model).to(device)
    example = torch.zeros(2, *config.model.input_shape, device=device)
    teacher = config.teacher or (str(run.teacher.path) if config.trains_teacher else None)
    method = METHODS[config.method](replace(config, teacher=teacher), data.task, student, example)
    optimizer = make_optimizer(
        config.optimizer,
        method.parameters(),
        lr=config.learning_rate,
        weight_decay=config.decay,
        momentum=config.momentum,
    )
    if device.type != "cpu":  # batches are cut where they are needed
        parts = {name: getattr(data, name).to(device) for name in ("train", "validation", "test")}
        data = replace(data, **parts)
    batch_size = min(config.batch_size, len(data.train))
    return Training(
        config=config,
        run=run,
        data=data,
        device=device,
        method=method,
        optimizer=optimizer,
        average=MovingAverage(method.state_dict(), config.ema) if config.ema else None,
        batch_size=batch_size,
        epoch_steps=len(data.train) // batch_size,
    )


def resolve_device(name: str) -> torch.device:
    """The device of a name; "auto" is CUDA where there is one, else the CPU. Raises NdtoolError where it is missing."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
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
