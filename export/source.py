"""What the user wants exported or evaluated, in whatever form: opened once, described alike."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ndtool.errors import NdtoolError
from ndtool.export.predict import Predict, predict_keras, predict_module, predict_onnx, predict_tflite
from ndtool.export.record import recorded_normalisation
from ndtool.files import sha256_of
from ndtool.quantize.runtime import TFLiteModel
from ndtool.train.data import RECONSTRUCTION, Data, Normalisation
from ndtool.train.models import require_model
from ndtool.train.run import RunFolder

SUFFIXES = (".onnx", ".tflite", ".keras", ".h5")
ZOO_CLASSES = 10  # of a model of the zoo without data


@dataclass(frozen=True, kw_only=True)
class Source:
    """A float or int8 model in one of four formats.

    `module` is there for "torch" and "onnx". `input_shape` is without batch, (C, H, W) for images whatever the format;
    empty for a Keras file, whose own is known once it is converted.
    """

    name: str  # for people
    format: str  # "torch", "onnx", "tflite", "keras"
    path: Path | None  # the file or folder it came from
    module: nn.Module | None
    input_shape: tuple[int, ...]
    run: RunFolder | None = None

    @property
    def stem(self) -> str:
        """What files made from it are called: the callable's name, or the file's without its endings."""
        path, _, attribute = self.name.rpartition(":")
        return attribute if path else Path(self.name).name.split(".")[0]

    @property
    def example(self) -> Tensor:
        """A random input of the module, (1, ...) float32; always the same."""
        return torch.randn((1, *self.input_shape), generator=torch.Generator().manual_seed(0))

    @property
    def bytes(self) -> int:
        """Size of the file, or of the parameters where there is none."""
        if self.path is not None and self.path.is_file():
            return self.path.stat().st_size
        if self.path is not None:
            return sum(file.stat().st_size for file in self.path.rglob("*") if file.is_file())
        assert self.module is not None
        return sum(tensor.numel() * tensor.element_size() for tensor in self.module.state_dict().values())

    @property
    def sha256(self) -> str | None:
        """Of the file; None for what is not one file."""
        return sha256_of(self.path) if self.path is not None and self.path.is_file() else None

    @property
    def batch(self) -> int:
        """Samples that are best predicted together: TensorFlow is started anew each time."""
        return 1024 if self.format == "keras" else 32

    def predict(self) -> Predict:
        """The model as it was given, not as it was converted."""
        if self.format == "torch":
            assert self.module is not None
            return predict_module(self.module)
        assert self.path is not None
        return {"onnx": predict_onnx, "tflite": predict_tflite, "keras": predict_keras}[self.format](self.path)


def open_source(
    what: RunFolder | nn.Module | Path | str,
    *,
    data: Data | None = None,
    weights: Path | None = None,
    input_shape: tuple[int, ...] | None = None,
    classes: int | None = None,
    arguments: Iterable[str] = (),
) -> Source:
    """Open a run, a module, a .onnx, .tflite or .keras file, a SavedModel folder, or a MODEL by name.

    Args:
        what: a MODEL is a name of the zoo, "file.py:callable" or "package.module:callable".
        data: gives a module or MODEL its input shape and number of classes where they are not given.
        weights: of a MODEL, a file of tensors; without it the weights are random.
        input_shape: without batch. classes: outputs of a MODEL. arguments: of a MODEL, as "name=value".

    Raises:
        NdtoolError: it does not exist, is not one of these, or its input shape is not known.
    """
    shape = input_shape or (data.input_shape if data is not None else None)
    if isinstance(what, RunFolder):
        return _of_run(what)
    if isinstance(what, nn.Module):
        return _of_module(what, type(what).__name__, shape, path=None)
    path = Path(what)
    if path.suffix in SUFFIXES or path.is_dir():
        return _of_path(path, input_shape, weights)
    return _of_model(str(what), data, weights, shape, classes, arguments)


def open_with_data(
    what: RunFolder | nn.Module | Path | str,
    *,
    data: str | None = None,
    normalisation: Normalisation | None = None,
    task: str | None = None,
    weights: Path | None = None,
    input_shape: tuple[int, ...] | None = None,
    classes: int | None = None,
    arguments: Iterable[str] = (),
    progress: Callable[[str], None] | None = None,
) -> tuple[Source, Data | None]:
    """Open a model together with data of its shape. A run has data of its own; nothing else has.

    Args:
        data: a DATA; None takes a run's own, with the transforms of its training.
        normalisation: of pixels, as the model was trained; None takes what the export that made the file has recorded,
            else computes it from the training part of `data`.
        task: None takes the data's own. progress: told, in words, what takes long. The others: as for `open_source`.

    Raises:
        NdtoolError: as `open_source` and `load_data`.
    """
    from ndtool.train.data import load_data

    how: dict[str, Any] = {"weights": weights, "classes": classes, "arguments": arguments}
    if _is_named(what):
        require_model(str(what))  # before the data, which may take long
        loaded = data and load_data(
            data, input_shape=input_shape, normalisation=normalisation, task=task, progress=progress
        )
        return open_source(what, data=loaded or None, input_shape=input_shape, **how), loaded or None
    source = open_source(what, input_shape=input_shape, **how)
    if source.run is not None and data is None:
        from ndtool.train.loop import load_run_data

        return source, load_run_data(source.run.load_config(), progress=progress)
    if data is None:
        return source, None
    if source.run is not None:
        config = source.run.load_config()
        normalisation, task = normalisation or config.normalisation, task or config.task
    shape = source.input_shape or input_shape
    loaded = load_data(data, input_shape=shape, normalisation=normalisation, task=task, progress=progress)
    recorded = recorded_normalisation(source.path) if normalisation is None and source.path is not None else None
    if recorded is None or loaded.normalisation is None or len(recorded.mean) != len(loaded.normalisation.mean):
        return source, loaded
    if progress is not None:
        progress(f"pixels are normalised as {source.name} was exported with, mean {recorded.mean}, std {recorded.std}")
    return source, replace(loaded, normalisation=recorded)


def _is_named(what: RunFolder | nn.Module | Path | str) -> bool:
    """Whether it is a MODEL, whose shape and classes are its data's."""
    return isinstance(what, Path | str) and Path(what).suffix not in SUFFIXES and not Path(what).is_dir()


def _of_run(run: RunFolder) -> Source:
    model = run.load_student()
    shape = run.load_config().model.input_shape
    return Source(name=run.path.name, format="torch", path=run.student, module=model, input_shape=shape, run=run)


def _of_module(model: nn.Module, name: str, shape: tuple[int, ...] | None, path: Path | None) -> Source:
    if shape is None:
        raise NdtoolError(f"{name}: its input shape is not known: give --input-shape, e.g. 3x96x96, or --data")
    return Source(name=name, format="torch", path=path, module=model.cpu().eval(), input_shape=shape)


def _of_path(path: Path, input_shape: tuple[int, ...] | None, weights: Path | None) -> Source:
    if not path.exists():
        raise NdtoolError(f"{path} does not exist: give a file that does")
    if weights is not None:
        raise NdtoolError(f"{path} has its own weights: leave out --weights")
    if path.is_dir() and not (path / "saved_model.pb").is_file():
        return _of_run(RunFolder.open(path))
    if path.suffix == ".onnx":
        from ndtool.export.onnx_import import load_onnx

        module = load_onnx(path, input_shape=input_shape)
        shape = tuple(module.meta["input_shape"][1:])
        return Source(name=path.name, format="onnx", path=path, module=module.eval(), input_shape=shape)
    if path.suffix == ".tflite":
        return Source(name=path.name, format="tflite", path=path, module=None, input_shape=tflite_input_shape(path))
    return Source(name=path.name, format="keras", path=path, module=None, input_shape=input_shape or ())


def _of_model(
    name: str,
    data: Data | None,
    weights: Path | None,
    shape: tuple[int, ...] | None,
    classes: int | None,
    arguments: Iterable[str],
) -> Source:
    from ndtool.train.models import MODELS, ModelSpec, build, default_input_shape, default_task, load_weights
    from ndtool.train.parse import parse_arguments

    require_model(name)
    shape = shape or default_input_shape(name)
    if shape is None:
        raise NdtoolError(f"{name}: its input shape is not known: give --input-shape, e.g. 3x96x96, or --data")
    reconstructs = data.task == RECONSTRUCTION if data is not None else default_task(name) == RECONSTRUCTION
    own = ZOO_CLASSES if name in MODELS else None
    outputs = 0 if reconstructs else classes or (len(data.classes) if data is not None else own)
    model = build(ModelSpec(name=name, input_shape=shape, classes=outputs, arguments=parse_arguments(arguments)))
    if weights is not None:
        load_weights(model, weights)
    return _of_module(model, name, shape, path=weights)


def tflite_input_shape(path: Path) -> tuple[int, ...]:
    """The shape of a TFLite file's first input without batch, images as (C, H, W)."""
    shape = TFLiteModel(path).inputs[0].shape[1:]
    return (shape[2], *shape[:2]) if len(shape) == 3 else shape


def require_shape(data: Data, shape: tuple[int, ...], name: str) -> None:
    """Raises NdtoolError where the data's samples are not of a model's input shape."""
    if data.input_shape != shape:
        given, wanted = ("x".join(map(str, sizes)) for sizes in (data.input_shape, shape))
        raise NdtoolError(f"{name} takes {wanted}, {data.name} is {given}: give --input-shape {wanted}")
