"""Every step of an export against the step before, on real samples where there are any."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ndtool.errors import NdtoolError
from ndtool.export.predict import Predict
from ndtool.train.data import CLASSIFICATION, Data, Split
from ndtool.train.evaluation import Score, evaluate

BATCH = 32  # samples predicted together
RANDOM_SAMPLES = 8
TOLERANCE = 1e-3  # between float32 steps, of the largest output: they only round differently

Outputs = tuple[np.ndarray, ...]  # of all samples
Progress = Callable[[str, int, int], None]  # what, samples done, samples


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One form of the model, and how it compares with the stage before it over the same samples."""

    name: str
    path: Path | None
    bytes: int
    accuracy: float | None = None  # fraction right, in [0, 1]
    mse: float | None = None  # of reconstructions, in the units of the model's input
    agreement: float | None = None  # fraction of samples given the same class as in the stage before
    max_difference: float | None = None  # of any output value from the stage before


class Verification:
    """The samples, and the outputs of the last stage."""

    def __init__(
        self, data: Data | None, input_shape: tuple[int, ...], *, limit: int | None, progress: Progress | None
    ):
        """`data`: `limit` samples of its test part are used, None takes all; without data, a few random inputs."""
        self._data = data
        self._part = None if data is None else data.test.sample(limit)
        self._random = torch.randn((RANDOM_SAMPLES, *input_shape), generator=torch.Generator().manual_seed(1))
        self._progress = progress
        self._last: Outputs = ()

    @property
    def samples(self) -> int:
        """How many samples each stage runs on."""
        return RANDOM_SAMPLES if self._part is None else len(self._part)

    def stage(self, stage: Stage, predict: Predict, *, exact: bool, batch: int = BATCH) -> Stage:
        """The stage with its measurements filled in; `batch` samples are predicted at a time.

        Raises:
            NdtoolError: `exact`, and its outputs are not those of the stage before but for rounding.
        """
        outputs: Outputs
        if self._part is None or self._data is None:
            outputs = predict(self._random)
        else:
            found, outputs = score(
                predict, self._part, self._data, name=stage.name, batch=batch, progress=self._progress
            )
            stage = replace(stage, accuracy=found.accuracy, mse=found.mse)
        if self._last:
            classifies = self._data is None or self._data.task == CLASSIFICATION
            agreement = _agreement(self._last[0], outputs[0]) if classifies else None
            difference = _max_difference(self._last, outputs, stage.name)
            stage = replace(stage, max_difference=difference, agreement=agreement)
            if exact:
                _require_rounding_only(stage.name, difference, self._last)
        self._last = outputs
        return stage


def score(
    predict: Predict,
    part: Split,
    data: Data,
    *,
    name: str = "",
    batch: int = BATCH,
    progress: Progress | None = None,
) -> tuple[Score, Outputs]:
    """Score a model's first output on a part of the data. Returns all its outputs too, each (N, ...)."""
    outputs: list[Outputs] = []
    done = 0

    def first(x: Tensor) -> Tensor:
        nonlocal done
        outputs.append(predict(x))
        done += len(x)
        if progress is not None:
            progress(name, done, len(part))
        return _suited(outputs[-1][0], x, data)

    return evaluate(first, part, data, batch_size=batch), _joined(outputs)


def _suited(output: np.ndarray, x: Tensor, data: Data) -> Tensor:
    """An output as the data's task takes it: (N, classes), or the input's shape. Raises NdtoolError otherwise."""
    if data.task == CLASSIFICATION:
        flat = output.reshape(len(output), -1)
        if flat.shape[1] < len(data.classes):
            raise NdtoolError(
                f"the model has {flat.shape[1]} outputs, {data.name} {len(data.classes)} classes: give others"
            )
        return torch.from_numpy(np.ascontiguousarray(flat))
    if output.size != x.numel():
        raise NdtoolError(f"the model returns {output.shape[1:]} for {tuple(x.shape[1:])}: it is no reconstruction")
    return torch.from_numpy(np.ascontiguousarray(output)).reshape(x.shape)


def _joined(batches: list[Outputs]) -> Outputs:
    return tuple(np.concatenate(parts) for parts in zip(*batches, strict=True))


def _max_difference(before: Outputs, after: Outputs, name: str) -> float:
    shapes = [[value.shape[1:] for value in outputs] for outputs in (before, after)]
    if shapes[0] != shapes[1]:
        raise NdtoolError(f"{name}: its outputs are {shapes[1]}, before they were {shapes[0]}: please report the model")
    return max(float(np.abs(one - other).max(initial=0.0)) for one, other in zip(before, after, strict=True))


def _agreement(before: np.ndarray, after: np.ndarray) -> float | None:
    """None where the output is no row of classes."""
    if before.ndim != 2 or before.shape[1] < 2:
        return None
    return float((before.argmax(1) == after.argmax(1)).mean())


def _require_rounding_only(name: str, difference: float, before: Outputs) -> None:
    largest = max(float(np.abs(value).max(initial=0.0)) for value in before)
    if not difference <= TOLERANCE * max(1.0, largest):
        raise NdtoolError(
            f"{name} differs from the step before by {difference:g} (outputs up to {largest:g}), more than rounding: "
            "please report the model"
        )
