"""The ranges of activations: observed on calibration data, and checked against data that were held out."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ndtool.errors import NdtoolError
from ndtool.quantize.runtime import TFLiteModel
from ndtool.quantize.tflite import is_constant, name_of, quantisation, read_model, type_of

Ranges = Mapping[str, tuple[float, float]]  # tensor name -> (least, greatest) real value
Progress = Callable[[int, int], None]  # done, of

_UNBOUNDED = 3e38  # paddings of max-pools are minus infinity or as good as that: no values to be represented


@dataclass(frozen=True, slots=True, kw_only=True)
class Saturation:
    """How much of one tensor lies outside the range that its int8 form can represent."""

    tensor: str
    fraction: float  # of the values, in [0, 1]
    range: tuple[float, float]  # that int8 represents
    seen: tuple[float, float]  # on the held-out samples


def calibrate(
    model: Path | bytes, samples: np.ndarray, *, progress: Progress | None = None
) -> dict[str, tuple[float, float]]:
    """The least and greatest value of every computed float tensor, the input included.

    Args:
        model: a float32 TFLite file with one input.
        samples: (N, ...) float32, N >= 1, in the layout of the model's input without its batch (NHWC for images).
        progress: called with (samples done, samples).

    Raises:
        NdtoolError: the samples do not fit the model, or are not finite.
    """
    ranges: dict[str, tuple[float, float]] = {}
    for name, values in observe(model, samples, progress=progress):
        values = values[np.abs(values) < _UNBOUNDED]
        if values.size:
            low, high = ranges.get(name, (np.inf, -np.inf))
            ranges[name] = min(low, float(values.min())), max(high, float(values.max()))
    return ranges


def observe(
    model: Path | bytes, samples: np.ndarray, *, progress: Progress | None = None
) -> Iterator[tuple[str, np.ndarray]]:
    """Run a float32 model sample by sample; yield (tensor name, values) of every computed float tensor, flat."""
    chosen = _computed_floats(read_model(model))
    runner = TFLiteModel(model, keep_tensors=True)
    check_samples(runner, samples)
    for done, sample in enumerate(samples, start=1):
        runner.run(np.ascontiguousarray(sample[None], dtype=np.float32))
        for name, index in chosen.items():
            yield name, runner.tensor(index).ravel()
        if progress is not None:
            progress(done, len(samples))


def check_samples(runner: TFLiteModel, samples: np.ndarray) -> None:
    """Raises NdtoolError where samples (N, ...) do not fit a model with one input of batch 1, or are not finite."""
    if len(runner.inputs) != 1:
        raise NdtoolError(f"the model has {len(runner.inputs)} inputs: only models with one can be run on data")
    expected, got = runner.inputs[0].shape, (1, *samples.shape[1:])
    if expected != got:
        raise NdtoolError(f"the model takes {expected}, the data are {got}: give data of the model's shape")
    if not len(samples):
        raise NdtoolError("there are no samples: give data with at least one")
    if not np.isfinite(samples).all():
        raise NdtoolError("the data contain values that are not finite: remove or replace them")


def saturation(float_model: Path | bytes, int8_model: Path | bytes, samples: np.ndarray) -> list[Saturation]:
    """How often values of held-out samples exceed the int8 model's ranges, per tensor, most first.

    The values are those of the float32 model, and are matched by tensor name. `samples` as for `calibrate`. A value
    counts where it is further outside than the half step that rounding forgives.
    """
    representable = _representable(read_model(int8_model))
    outside = dict.fromkeys(representable, 0)
    total = dict.fromkeys(representable, 0)
    seen = dict.fromkeys(representable, (np.inf, -np.inf))
    for name, values in observe(float_model, samples):
        if name not in representable:
            continue
        values = values[np.abs(values) < _UNBOUNDED]
        if not values.size:
            continue
        low, high, step = representable[name]
        outside[name] += int(np.count_nonzero((values < low - step / 2) | (values > high + step / 2)))
        total[name] += values.size
        seen[name] = min(seen[name][0], float(values.min())), max(seen[name][1], float(values.max()))
    rows = [
        Saturation(tensor=name, fraction=outside[name] / total[name], range=(low, high), seen=seen[name])
        for name, (low, high, _) in representable.items()
        if total[name]
    ]
    return sorted(rows, key=lambda row: (-row.fraction, row.tensor))


def _computed_floats(model: Any) -> dict[str, int]:
    """Name and index of the inputs and of what the operators write, where it is float32."""
    graph = model.subgraphs[0]
    indices = [*graph.inputs, *(index for op in graph.operators for index in op.outputs)]
    tensors = {int(index): graph.tensors[index] for index in indices}
    return {name_of(tensor): index for index, tensor in tensors.items() if type_of(tensor) == "FLOAT32"}


def _representable(model: Any) -> dict[str, tuple[float, float, float]]:
    """(low, high, step) of every int8 tensor that is computed."""
    found = {}
    for tensor in model.subgraphs[0].tensors:
        parameters = quantisation(tensor)
        if type_of(tensor) == "INT8" and parameters is not None and not is_constant(model, tensor):
            scale, zero_point = parameters
            found[name_of(tensor)] = scale * (-128 - zero_point), scale * (127 - zero_point), scale
    return found
