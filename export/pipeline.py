"""Export: a model of any format to ONNX, TFLite in float32 and in int8, and C, every step verified against the last."""

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from ndtool.errors import NdtoolError
from ndtool.export.onnx import export_onnx
from ndtool.export.predict import Predict, in_layout, predict_onnx, predict_tflite
from ndtool.export.record import ExportResult, record_of
from ndtool.export.source import Source, require_shape, tflite_input_shape
from ndtool.export.student import ready_to_export
from ndtool.export.tflite import export_tflite
from ndtool.export.verify import Progress, Stage, Verification
from ndtool.files import write_atomic
from ndtool.quantize.int8 import quantize_int8
from ndtool.quantize.ranges import Saturation, calibrate, saturation
from ndtool.quantize.runtime import TFLiteModel
from ndtool.quantize.tflite import is_integer, read_model
from ndtool.train.data import Data, calibration_samples, evaluation_inputs
from ndtool.train.run import Artifacts

if TYPE_CHECKING:
    from ndtool.export.c.library import CLibrary
    from ndtool.export.c.packages import Beside

CALIBRATION_SAMPLES = 256
SATURATION_SAMPLES = 64  # of the validation part
_GIVEN = {"torch": "PyTorch", "onnx": "ONNX, as given", "keras": "Keras, as given", "tflite": "TFLite, as given"}


def export_model(
    source: Source,
    *,
    out: Artifacts,
    data: Data | None = None,
    int8: bool = False,
    c: bool = False,
    c_name: str | None = None,
    compiling: Mapping[str, Any] | None = None,
    package: str = "plain",
    beside: "Beside | None" = None,
    limit: int | None = None,
    calibration: int = CALIBRATION_SAMPLES,
    progress: Progress | None = None,
) -> ExportResult:
    """Convert a model step by step, verify each step, and write the files into a folder: all of them, or none.

    Files of an earlier export that this one does not make are removed, so that what lies there belongs together; where
    the source is one of them, it and what it was made from stay.

    Args:
        source: from `open_source` or `open_with_data`.
        out: the folder; a run's own, or any.
        data: of the model's shape; its training part calibrates, its test part verifies. Without data, steps are
            compared on random inputs, and int8 is not possible.
        int8: make the int8 file. c: compile the int8 file to a C library, whose symbols begin with `c_name`,
            packaged for a build system: a key of `PACKAGES` in ndtool.export.c.packages.
        beside: makes what goes into the folder of the C library beside it.
        compiling: how, as compile_tflite takes it by keyword: features, optimize, measure, pins. By default portable C.
        limit: test samples per step; None takes all.
        calibration: training samples that ranges are observed on.
        progress: called with (what, samples done, samples).

    Raises:
        UnsupportedOperators: with all operators that cannot be exported.
        NdtoolError: there is no data for calibration, it does not fit, or a step differs from the one before.
    """
    integer = source.format == "tflite" and source.path is not None and is_integer(read_model(source.path))
    if int8 and data is None and not integer:
        raise NdtoolError("no data for calibration: give --data")
    if c and not (int8 or integer):
        raise NdtoolError("C is made from the int8 model: add --int8")
    _require_own(out, source.path)
    with _room(out) as room:
        work = _Export(source, room, data, limit, calibration, progress)
        if integer:
            work.take(room.tflite_int8)
        else:
            work.to_float()
            if int8:
                work.to_int8()
        if c:
            work.to_c(c_name, package, compiling or {}, beside)
        result = work.result(out)
        write_atomic(room.export_record, record_of(source, result, data, work.calibrated))
        _move(room, out, source.path)
    return result


class _Export:
    """One export under way, in a room of its own."""

    def __init__(
        self,
        source: Source,
        room: Artifacts,
        data: Data | None,
        limit: int | None,
        calibration: int,
        progress: Progress | None,
    ):
        self.calibrated = 0  # samples
        self._source, self._room, self._data = source, room, data
        self._limit, self._calibration, self._progress = limit, calibration, progress
        self._stages: list[Stage] = []
        self._library: CLibrary | None = None
        self._verification: Verification | None = None
        self.clipped: list[Saturation] = []

    def take(self, path: Path) -> None:
        """The TFLite file that was given is the step itself."""
        assert self._source.path is not None
        shutil.copyfile(self._source.path, path)
        if self._data is None:  # there is nothing to compare it with
            self._stages.append(Stage(name=_GIVEN["tflite"], path=path, bytes=path.stat().st_size))
            return
        self._verify(_GIVEN["tflite"], path, predict_tflite(path), exact=False)

    def to_float(self) -> None:
        """The model as it was given, and what leads to TFLite in float32."""
        room, source = self._room, self._source
        if source.format == "tflite":
            self.take(room.tflite_fp32)
            return
        if source.format == "keras":
            from ndtool.export import keras_import

            assert source.path is not None
            self._tell("TFLite float32", 0)
            keras_import.convert(source.path, room.tflite_fp32)
        given = Stage(name=_GIVEN[source.format], path=source.path, bytes=source.bytes)
        self._stages.append(self._compared().stage(given, source.predict(), exact=False, batch=source.batch))
        if source.module is not None:
            model = ready_to_export(source.module, source.example)
            self._tell("TFLite float32", 0)
            export_tflite(model, source.example, room.tflite_fp32)  # first, for it names all that is not supported
            if source.format == "torch":
                self._tell("ONNX", 0)
                export_onnx(model, source.example, room.onnx)
                self._verify("ONNX", room.onnx, predict_onnx(room.onnx), exact=True)
        self._verify("TFLite float32", room.tflite_fp32, predict_tflite(room.tflite_fp32), exact=True)

    def to_int8(self) -> None:
        """TFLite in int8, by ranges observed on training data, checked on validation data."""
        room, data = self._room, self._data
        assert data is not None
        samples = self._samples(calibration_samples(data, self._calibration))
        self.calibrated = len(samples)
        ranges = calibrate(room.tflite_fp32, samples, progress=partial(self._tell, "calibration"))
        quantize_int8(room.tflite_fp32, ranges, room.tflite_int8)
        self._verify("TFLite int8", room.tflite_int8, predict_tflite(room.tflite_int8), exact=False)
        held_out = self._samples(evaluation_inputs(data.validation, data, SATURATION_SAMPLES))
        self.clipped = saturation(room.tflite_fp32, room.tflite_int8, held_out)

    def to_c(self, name: str | None, package: str, compiling: Mapping[str, Any], beside: "Beside | None") -> None:
        """The C library, packaged."""
        from ndtool.export.c import compile_tflite, write_library

        self._tell("C", 0)
        pixels = None if self._data is None else self._data.normalisation
        self._library = compile_tflite(self._room.tflite_int8, name=name or "model", pixels=pixels, **compiling)
        write_library(self._library, self._room.c, package, beside)
        self._stages.append(Stage(name="C, constants", path=self._room.c, bytes=self._library.weight_bytes))
        self._tell("C", 1)

    def result(self, out: Artifacts) -> ExportResult:
        """The result, its paths as they will be in `out`."""
        places: dict[Path | None, Path] = dict(zip(self._room.exported, out.exported, strict=True))
        return ExportResult(
            stages=tuple(replace(stage, path=places.get(stage.path, stage.path)) for stage in self._stages),
            samples=0 if self._verification is None else self._verification.samples,
            real=self._data is not None,
            saturation=tuple(self.clipped),
            library=self._library,
        )

    def _verify(self, name: str, path: Path, predict: Predict, *, exact: bool) -> None:
        stage = Stage(name=name, path=path, bytes=path.stat().st_size)
        self._stages.append(self._compared().stage(stage, predict, exact=exact))

    def _compared(self) -> Verification:
        """The verification, made when the input's shape is known."""
        if self._verification is None:
            shape = self._source.input_shape or tflite_input_shape(self._room.tflite_fp32)
            if self._data is not None:
                require_shape(self._data, shape, self._source.name)
            self._verification = Verification(self._data, shape, limit=self._limit, progress=self._progress)
        return self._verification

    def _samples(self, x: Tensor) -> np.ndarray:
        """Samples in the layout of the float32 file."""
        path = self._room.tflite_fp32
        return in_layout(x, TFLiteModel(path).inputs[0].shape, str(path))[0]

    def _tell(self, what: str, done: int, total: int = 1) -> None:
        if self._progress is not None:
            self._progress(what, done, total)


def _require_own(out: Artifacts, source: Path | None) -> None:
    """Raise NdtoolError where the export would replace what no export has made."""
    others = [path for path in out.exported[_kept(out, source) :] if path.exists()]
    if others and not out.export_record.is_file():
        raise NdtoolError(f"{out.path} holds {others[0].name}, made by no export: choose another --out, or move it")


@contextmanager
def _room(out: Artifacts) -> Iterator[Artifacts]:
    """A folder inside `out` to work in, gone afterwards; messages speak of `out`."""
    new = not out.path.exists()
    try:
        out.path.mkdir(parents=True, exist_ok=True)
        room = Artifacts(Path(tempfile.mkdtemp(prefix=".export.", dir=out.path)))
    except OSError as error:
        raise NdtoolError(f"cannot write to {out.path} ({error.strerror}): choose another folder") from error
    try:
        yield room
    except NdtoolError as error:
        error.args = (str(error).replace(str(room.path), str(out.path)),)
        raise
    finally:
        shutil.rmtree(room.path, ignore_errors=True)
        if new and not any(out.path.iterdir()):
            out.path.rmdir()


def _move(room: Artifacts, out: Artifacts, source: Path | None) -> None:
    """Put what was made in its place, and remove what an earlier export made and this one has not."""
    for made, place in list(zip(room.exported, out.exported, strict=True))[_kept(out, source) :]:
        if place.is_dir():
            shutil.rmtree(place)
        if made.exists():
            made.replace(place)
        else:
            place.unlink(missing_ok=True)


def _kept(out: Artifacts, source: Path | None) -> int:
    """How many of the folder's files stay: where the source is one of them, it and what it was made from."""
    places = [place.resolve() for place in out.exported]
    return places.index(source.resolve()) + 1 if source is not None and source.resolve() in places else 0
