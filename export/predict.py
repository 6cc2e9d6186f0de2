"""Models of every format as one function: images in PyTorch's layout in, real outputs in PyTorch's layout out."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
from torch import Tensor, nn

from ndtool.errors import NdtoolError
from ndtool.export.student import first_line, outputs_of
from ndtool.quantize.quiet import quiet
from ndtool.quantize.runtime import TensorInfo, TFLiteModel, to_real, to_tensor

# (N, ...) float32, images (N, C, H, W) -> every output, (N, ...) float32, images (N, C, H, W)
Predict = Callable[[Tensor], tuple[np.ndarray, ...]]


def predict_module(model: nn.Module) -> Predict:
    """A PyTorch module in evaluation mode, a batch at a time."""
    return lambda x: tuple(output.float().numpy() for output in outputs_of(model, x))


def predict_onnx(path: Path) -> Predict:
    """An ONNX file with one input, by onnxruntime. Raises NdtoolError where it cannot be loaded."""
    with quiet():
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors
        try:
            session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise NdtoolError(f"{path}: onnxruntime cannot load it: {first_line(error)}") from error
    if len(session.get_inputs()) != 1:
        raise NdtoolError(f"{path} has {len(session.get_inputs())} inputs: only models with one can be run on data")
    end = session.get_inputs()[0]
    whole_batches = not isinstance(end.shape[0], int)
    dtype = {"tensor(float16)": np.float16, "tensor(double)": np.float64}.get(end.type, np.float32)

    def predict(x: Tensor) -> tuple[np.ndarray, ...]:
        values, channels_last = in_layout(x, tuple(end.shape), str(path))
        parts = [values] if whole_batches else np.split(values, len(values))
        outputs = [session.run(None, {end.name: np.ascontiguousarray(part, dtype=dtype)}) for part in parts]
        return _joined(outputs, channels_last)

    return predict


def predict_tflite(path: Path, *, reference: bool | None = None) -> Predict:
    """A TFLite file with one input, sample by sample; integers at its ends are converted.

    `reference` runs LiteRT's reference kernels, as slow as they are; None: only where the model has integer ends, so
    that the result is what a microcontroller computes. Raises NdtoolError where it cannot be loaded.
    """
    model = TFLiteModel(path)
    if reference or (reference is None and any(info.dtype.kind != "f" for info in (*model.inputs, *model.outputs))):
        model = TFLiteModel(path, reference=True)
    return predict_samples(model, str(path))


class Runner(Protocol):
    """What runs a TFLite model, one sample at a time."""

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        """Run once; each input has its tensor's shape and dtype."""


def predict_samples(model: Runner, name: str) -> Predict:
    """A runner of the TFLite file `name` with one input, sample by sample; integers at its ends are converted.

    Raises:
        NdtoolError: it has several inputs.
    """
    if len(model.inputs) != 1:
        raise NdtoolError(f"{name} has {len(model.inputs)} inputs: only models with one can be run on data")
    end = model.inputs[0]

    def predict(x: Tensor) -> tuple[np.ndarray, ...]:
        values, channels_last = in_layout(x, end.shape, name)
        samples = (model.run(to_tensor(values[index : index + 1], end)) for index in range(len(values)))
        real = [[to_real(value, info) for value, info in zip(run, model.outputs, strict=True)] for run in samples]
        return _joined(real, channels_last)

    return predict


def predict_keras(path: Path) -> Predict:
    """A Keras or SavedModel file, by TensorFlow in a process of its own, all samples of a call at once."""
    from ndtool.export import keras_import

    def predict(x: Tensor) -> tuple[np.ndarray, ...]:
        channels_last = x.ndim == 4
        values = (x.permute(0, 2, 3, 1) if channels_last else x).numpy()
        return _joined([[keras_import.predict(path, np.ascontiguousarray(values))]], channels_last)

    return predict


def in_layout(x: Tensor, shape: tuple[object, ...], name: str) -> tuple[np.ndarray, bool]:
    """Samples as a model with an input of `shape` takes them: (values, whether they were turned to channels last).

    Sizes in `shape` that are no numbers fit anything; the first is the batch and is not looked at. Where an image fits
    in both layouts, TFLite's, channels last, is taken only if the sizes are given and the other does not fit.

    Raises:
        NdtoolError: the samples fit in neither layout.
    """
    plain = x.detach().cpu().numpy()
    if _fits(plain.shape, shape) and not (name.endswith(".tflite") and x.ndim == 4):
        return plain, False
    turned = plain.transpose(0, 2, 3, 1) if x.ndim == 4 else plain
    if x.ndim == 4 and _fits(turned.shape, shape):
        return turned, True
    if _fits(plain.shape, shape):
        return plain, False
    wanted = "x".join(str(size) for size in shape[1:])
    given = "x".join(str(size) for size in x.shape[1:])
    raise NdtoolError(f"{name} takes {wanted}, the data are {given}: give data of that shape, or --input-shape")


def _fits(got: tuple[int, ...], wanted: tuple[object, ...]) -> bool:
    pairs = zip(got[1:], wanted[1:], strict=False)
    return len(got) == len(wanted) and all(not isinstance(size, int) or size == have for have, size in pairs)


def _joined(runs: list[list[np.ndarray]], channels_last: bool) -> tuple[np.ndarray, ...]:
    """The outputs of several runs, one after the other along the batch."""
    outputs = [np.concatenate(parts).astype(np.float32) for parts in zip(*runs, strict=True)]
    return tuple(value.transpose(0, 3, 1, 2) if channels_last and value.ndim == 4 else value for value in outputs)
