"""How good a model of any format is on data, and which layers int8 hurts most."""

from functools import partial
from pathlib import Path

from ndtool.errors import NdtoolError
from ndtool.export.predict import in_layout
from ndtool.export.source import Source, open_source, require_shape
from ndtool.export.verify import Progress, score
from ndtool.quantize.fidelity import LayerFidelity, per_layer
from ndtool.quantize.runtime import TFLiteModel
from ndtool.quantize.tflite import is_integer, read_model
from ndtool.train.data import Data, Split, evaluation_inputs
from ndtool.train.evaluation import Score
from ndtool.train.run import Artifacts

FIDELITY_SAMPLES = 32
PARTS = ("test", "validation", "train")


def evaluate_model(
    source: Source,
    data: Data,
    *,
    part: str = "test",
    limit: int | None = None,
    progress: Progress | None = None,
) -> Score:
    """Score a model of any format on a part of the data, without augmentation.

    An integer TFLite file runs on LiteRT's reference kernels: the result is what a microcontroller computes.

    Args:
        source: from `open_source` or `open_with_data`; a run is its student in PyTorch.
        data: of the model's shape. part: one of PARTS. limit: samples, a random choice; None takes all.
        progress: called with (name, samples done, samples).

    Raises:
        NdtoolError: the model cannot be run, or does not fit the data.
    """
    chosen = samples_of(source, data, part, limit)
    return score(source.predict(), chosen, data, name=source.name, batch=source.batch, progress=progress)[0]


def samples_of(source: Source, data: Data, part: str, limit: int | None) -> Split:
    """The samples that a source is scored on. Raises NdtoolError where they do not fit it, or there is no such part."""
    if part not in PARTS:
        raise NdtoolError(f"no part of the data is called {part!r}: choose from {', '.join(PARTS)}")
    if source.input_shape:
        require_shape(data, source.input_shape, source.name)
    chosen: Split = getattr(data, part).sample(limit)
    return chosen


def evaluate_exports(
    source: Source,
    data: Data,
    *,
    part: str = "test",
    limit: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Score]:
    """Score a run in PyTorch and in every form that it has been exported to. Arguments and errors as above."""
    assert source.run is not None
    forms = [source.run.onnx, source.run.tflite_fp32, source.run.tflite_int8]
    sources = {"PyTorch": source, **{path.name: open_source(path) for path in forms if path.is_file()}}
    return {
        name: evaluate_model(form, data, part=part, limit=limit, progress=progress) for name, form in sources.items()
    }


def rank_layers(
    what: Artifacts | Path,
    data: Data,
    *,
    float_model: Path | None = None,
    count: int = FIDELITY_SAMPLES,
    progress: Progress | None = None,
) -> list[LayerFidelity]:
    """Rank the layers of an int8 model by what int8 loses in them, worst first, on samples of the validation part.

    Args:
        what: a folder of an export, or an int8 TFLite file, beside which the float32 file of the same export lies.
        data: of the model's shape. float_model: the float32 file, where it lies elsewhere.
        count: samples.

    Raises:
        NdtoolError: a file is missing, or they do not belong together.
    """
    int8 = what.tflite_int8 if isinstance(what, Artifacts) else Path(what)
    exact = float_model or Artifacts(int8.parent).tflite_fp32
    if not int8.is_file():
        raise NdtoolError(f"{int8} does not exist: export with --int8 first")
    if not is_integer(read_model(int8)):
        raise NdtoolError(f"{int8} is not quantised: give the int8 model")
    if not exact.is_file():
        raise NdtoolError(f"{exact} does not exist: layers are compared with the float32 file of the same export")
    shape = TFLiteModel(exact).inputs[0].shape
    samples, _ = in_layout(evaluation_inputs(data.validation, data, count), shape, str(exact))
    return per_layer(exact, int8, samples, progress=progress and partial(progress, "layers"))
