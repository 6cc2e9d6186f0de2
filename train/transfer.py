"""Transfer: a training that begins with the weights of another, on data of its own."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ndtool.errors import NdtoolError
from ndtool.train import checkpoint as checkpoints
from ndtool.train.config import TrainConfig
from ndtool.train.data import Data, Normalisation
from ndtool.train.methods import Method
from ndtool.train.models import ModelSpec, read_weights
from ndtool.train.run import RunFolder

_COUNTER = "num_batches_tracked"  # of BatchNorm; no weight
_NETWORKS = ("student.", "teacher.")  # in a method's state, beside what it counts


@dataclass(frozen=True, kw_only=True)
class Start:
    """What a training begins with.

    `student`: weights and statistics by name. Of a run also what it was trained with, `config`, and its method's whole
    state, which holds the teacher's weights where there was one.
    """

    source: str
    student: Mapping[str, Tensor]
    config: TrainConfig | None = None
    method: Mapping[str, Tensor] | None = None

    @property
    def model(self) -> ModelSpec | None:
        """The run's model; None for a file, which holds weights only."""
        return None if self.config is None else self.config.model

    @property
    def normalisation(self) -> Normalisation | None:
        """How the run scaled its pixels, which is what its first layer expects."""
        return None if self.config is None else self.config.normalisation

    def scales(self, data: Data) -> bool:
        """Whether the data are pixels of as many channels as the run's."""
        own = self.normalisation
        return own is not None and data.normalisation is not None and len(own.mean) == len(data.normalisation.mean)


def open_start(source: str) -> Start:
    """The run in a folder, or a file of weights (.safetensors, .pt).

    Raises: NdtoolError where it is neither, or the run's training has not finished.
    """
    path = Path(source)
    if not path.exists():
        raise NdtoolError(f"{source} does not exist: give the folder of a trained run, or a file of weights")
    if not path.is_dir():
        return Start(source=source, student=read_weights(path))
    run = RunFolder.open(path)
    run.result()  # raises where it has not finished
    method = checkpoints.load_best(run.best).method if run.best.is_file() else None
    return Start(source=source, student=read_weights(run.student), config=run.load_config(), method=method)


def load_student(start: Start, student: nn.Module) -> frozenset[str]:
    """Copy the weights into a fresh student, but for its classifier where that has another number of classes.

    The classifier is the one module whose tensors differ, and differ in their first axis, the classes, alone. Returns
    the names of what was left fresh, so that the teacher's is too.

    Raises: NdtoolError naming the first tensor that does not fit.
    """
    own = {name: tensor for name, tensor in student.state_dict().items() if not name.endswith(_COUNTER)}
    theirs = {name: tensor for name, tensor in start.student.items() if not name.endswith(_COUNTER)}
    if strange := [name for name in theirs if name not in own]:
        raise _misfit(start, f"it has {strange[0]}, the model does not")
    different = [name for name, tensor in own.items() if name not in theirs or theirs[name].shape != tensor.shape]
    for name in different:
        if name not in theirs:
            raise _misfit(start, f"it has no {name}")
        if not _differs_in_classes(own, theirs, different):
            there, here = tuple(theirs[name].shape), tuple(own[name].shape)
            raise _misfit(start, f"{name} is {there} there and {here} here")
    with torch.no_grad():
        for name in own.keys() - set(different):
            own[name].copy_(theirs[name])
    return frozenset(different)


def load_method(start: Start, method: Method, fresh: frozenset[str]) -> bool:
    """Copy the teacher too, where the run has one of the same width; the classifier `fresh` is left.

    Returns whether it was copied. Otherwise the student's part of the teacher holds the student's weights, which the
    method put there, and the rest is fresh.
    """
    kept = {
        name: tensor
        for name, tensor in method.state_dict().items()
        if name.startswith(_NETWORKS) and name.partition(".")[2] not in fresh
    }
    theirs = start.method or {}
    if any(name not in theirs or theirs[name].shape != tensor.shape for name, tensor in kept.items()):
        return False
    with torch.no_grad():
        for name, tensor in kept.items():
            tensor.copy_(theirs[name])
    return True


def _differs_in_classes(own: Mapping[str, Tensor], theirs: Mapping[str, Tensor], different: list[str]) -> bool:
    shapes = [(own[name].shape, theirs[name].shape) for name in different if name in theirs]
    modules = {name.rpartition(".")[0] for name in different}
    counts = {(here[:1], there[:1]) for here, there in shapes}
    return len(modules) == len(counts) == 1 and all(here[1:] == there[1:] for here, there in shapes)


def _misfit(start: Start, difference: str) -> NdtoolError:
    whose = f"{start.source} ({start.model.name})" if start.model else start.source
    return NdtoolError(f"{whose} does not fit the model: {difference}: train the same MODEL with the same --set")
