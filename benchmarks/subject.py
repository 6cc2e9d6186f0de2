"""What a user wants measured, in whatever form: an int8 TFLite file, or a firmware of their own."""

import difflib
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ndtool.cache import cache_entry
from ndtool.errors import NdtoolError
from ndtool.train.run import RunFolder

RANDOM_SAMPLES = 16  # on which an untrained model is calibrated
_MEASURED = (".tflite", ".elf")
_EXPORTED_FIRST = (".onnx", ".keras", ".h5", ".pt", ".pth", ".safetensors")
_FORMS = "give a run, an int8 .tflite or an .elf file, or a MODEL"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A model or a firmware to be measured. `run` is the run it belongs to, `untrained` where weights are random."""

    name: str
    model: Path | None  # int8 .tflite
    elf: Path | None
    run: RunFolder | None = None
    untrained: bool = False

    @property
    def notes(self) -> tuple[str, ...]:
        """What was assumed, for people."""
        how = "random weights, calibrated on noise; sizes and instructions are real, outputs are not"
        return (f"{self.name} is untrained: {how}",) if self.untrained else ()

    @property
    def c_name(self) -> str:
        """What its C symbols begin with, and what a baseline calls it."""
        return self.name.split(".")[0]


def open_subject(
    what: str,
    *,
    input_shape: tuple[int, ...] | None = None,
    classes: int | None = None,
    arguments: Iterable[str] = (),
) -> Subject:
    """Open a run, an int8 .tflite file, an .elf file, or a MODEL, which gets random weights.

    Args:
        what: as the user wrote it. input_shape, classes, arguments: of a MODEL.

    Raises:
        NdtoolError: it does not exist, or is in a form that has to be exported first.
    """
    path, arguments = Path(what), tuple(arguments)
    if not what.strip():
        raise NdtoolError(f"an empty name is nothing to measure: {_FORMS}")
    if not path.is_dir() and path.suffix not in (*_MEASURED, *_EXPORTED_FIRST):
        _check_model_name(what)
        return _untrained(what, input_shape, classes, arguments)
    if input_shape or classes or arguments:
        raise NdtoolError(f"{what} is built already: leave out --input-shape, --classes and --set")
    if path.is_dir():
        return _of_run(path)
    if not path.is_file():
        raise NdtoolError(f"{path} does not exist: {_similar(path) or 'give a file that does'}")
    if path.suffix in _EXPORTED_FIRST:
        raise NdtoolError(f"{path} is no int8 model: ndtool export {path} --int8 --data DATA makes one")
    is_elf = path.suffix == ".elf"
    return Subject(name=path.name, model=None if is_elf else path, elf=path if is_elf else None)


def _check_model_name(what: str) -> None:
    """Raise where it is neither in the zoo nor a callable, before anything else is asked about it."""
    from ndtool.train.callables import is_callable_spec
    from ndtool.train.models import MODELS

    path = Path(what)
    if what in MODELS:
        return
    if is_callable_spec(what):
        file = Path(what.rpartition(":")[0])
        if file.suffix == ".py" and not file.is_file():
            raise NdtoolError(f"{file} does not exist: {_similar(file) or 'give a file that does'}")
        return
    if path.is_file():
        hint = f"name what makes the model, {what}:CALLABLE" if path.suffix == ".py" else _FORMS
        raise NdtoolError(f"{what} cannot be measured: {hint}")
    close = difflib.get_close_matches(what, MODELS, n=1)
    hint = f"did you mean {close[0]}?" if close else _similar(path) or f"{_FORMS} (ndtool list models)"
    raise NdtoolError(f"{what!r} is no file, no run and no model's name: {hint}")


def _similar(path: Path) -> str:
    """A remedy: the file or folder beside it that may have been meant, if there is one."""
    there = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    close = difflib.get_close_matches(path.name, there, n=1, cutoff=0.75)
    return f"did you mean {path.with_name(close[0])}?" if close else ""


def _of_run(path: Path) -> Subject:
    folder = RunFolder(path.absolute())
    run = folder if folder.config.is_file() else None
    if folder.tflite_int8.is_file():
        return Subject(name=folder.path.name, model=folder.tflite_int8, elf=None, run=run)
    if run is None:
        raise NdtoolError(f"{path} holds neither a run nor an exported model: give a run, a .tflite or an .elf file")
    raise NdtoolError(f"{path} has no int8 model yet: make it with ndtool export {path} --int8")


def _untrained(
    what: str, input_shape: tuple[int, ...] | None, classes: int | None, arguments: tuple[str, ...]
) -> Subject:
    import torch

    from ndtool.export.source import open_source
    from ndtool.export.student import ready_to_export
    from ndtool.export.tflite import export_tflite
    from ndtool.quantize.int8 import quantize_int8
    from ndtool.quantize.ranges import calibrate

    torch.manual_seed(0)
    source = open_source(what, input_shape=input_shape, classes=classes, arguments=arguments)
    assert source.module is not None
    key = hashlib.sha256(repr((what, source.input_shape, classes, sorted(arguments))).encode()).hexdigest()[:12]
    folder = cache_entry("untrained", key)
    model, floats = folder / "model.int8.tflite", folder / "model.fp32.tflite"
    export_tflite(ready_to_export(source.module, source.example), source.example, floats)
    samples = torch.randn((RANDOM_SAMPLES, *source.input_shape), generator=torch.Generator().manual_seed(0))
    channels_last = samples.permute(0, 2, 3, 1) if samples.ndim == 4 else samples
    quantize_int8(floats, calibrate(floats, channels_last.contiguous().numpy()), model)
    return Subject(name=Path(what).name.replace(":", "-"), model=model, elf=None, untrained=True)
