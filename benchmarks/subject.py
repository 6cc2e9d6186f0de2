"""What a user wants measured, in whatever form: an int8 TFLite file, or a firmware of their own."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ndtool.errors import NdtoolError
from ndtool.files import cache_dir
from ndtool.train.run import RunFolder

RANDOM_SAMPLES = 16  # on which an untrained model is calibrated


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A model or a firmware to be measured. `run` is the run it belongs to, `notes` what was assumed."""

    name: str
    model: Path | None  # int8 .tflite
    elf: Path | None
    run: RunFolder | None = None
    notes: tuple[str, ...] = ()

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
    path = Path(what)
    if path.is_dir():
        return _of_run(path)
    if path.suffix in (".tflite", ".elf"):
        if not path.is_file():
            raise NdtoolError(f"{path} does not exist: give a file that does")
        is_elf = path.suffix == ".elf"
        return Subject(name=path.name, model=None if is_elf else path, elf=path if is_elf else None)
    if path.suffix in (".onnx", ".keras", ".h5", ".pt", ".pth", ".safetensors"):
        raise NdtoolError(f"{path} is no int8 model: ndtool export {path} --int8 --data DATA makes one")
    return _untrained(what, input_shape, classes, tuple(arguments))


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
    folder = cache_dir() / "untrained" / key
    model, floats = folder / "model.int8.tflite", folder / "model.fp32.tflite"
    export_tflite(ready_to_export(source.module, source.example), source.example, floats)
    samples = torch.randn((RANDOM_SAMPLES, *source.input_shape), generator=torch.Generator().manual_seed(0))
    channels_last = samples.permute(0, 2, 3, 1) if samples.ndim == 4 else samples
    quantize_int8(floats, calibrate(floats, channels_last.contiguous().numpy()), model)
    notes = (
        f"{what} is untrained: random weights, calibrated on noise; sizes and instructions are real, outputs are not",
    )
    return Subject(name=Path(what).name.replace(":", "-"), model=model, elf=None, notes=notes)
