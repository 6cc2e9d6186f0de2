"""The generated C library run on this host over whole data sets, beside LiteRT's reference kernels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ndtool.errors import NdtoolError
from ndtool.export.c import compile_tflite
from ndtool.export.c.host import FLAGS, HostLibrary, compiler_version, host_compiler, load_library, stand_ins
from ndtool.export.evaluate import samples_of
from ndtool.export.predict import Runner, predict_samples
from ndtool.export.source import Source
from ndtool.export.verify import Outputs, Progress, score
from ndtool.quantize.runtime import TFLiteModel
from ndtool.train.data import Data
from ndtool.train.evaluation import Score

REFERENCE, ENGINE = "LiteRT's reference kernels", "C library"
RANDOM_SAMPLES = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineResult:
    """A C library beside the reference. `scores` of both, by name; empty where the inputs were random."""

    scores: Mapping[str, Score]
    samples: int
    outputs: int  # values compared, of every output of every sample
    differing: int  # of which not the same bytes
    compiler: str


def evaluate_c(
    source: Source,
    data: Data | None,
    *,
    compiling: Mapping[str, Any] | None = None,
    part: str = "test",
    limit: int | None = None,
    progress: Progress | None = None,
) -> EngineResult:
    """Run the C library of an int8 model on this host, and compare every output with LiteRT's reference kernels.

    Args:
        source: a run that was exported to int8, or an int8 TFLite file.
        data: of the model's shape; None: `limit` random inputs, also for a model with several.
        compiling: how, as compile_tflite takes it by keyword: features, optimize, measure, pins. By default portable C.
            Where kernels use instructions of the target, the host runs their stand-ins.
        part, limit, progress: as for `evaluate_model`.

    Raises:
        NdtoolError: there is no int8 model, no C compiler, or the data do not fit.
    """
    path = _int8_model(source)
    compiling = compiling or {}
    flags = (*FLAGS, *stand_ins(compiling.get("features")))
    library = load_library(compile_tflite(path, golden=0, **compiling), flags)
    reference = TFLiteModel(path, reference=True)
    scores: dict[str, Score] = {}
    if data is None:
        count = limit or RANDOM_SAMPLES
        inputs = [_random(library, np.random.default_rng(index)) for index in range(count)]
        expected = _run_all(reference, inputs, REFERENCE, progress)
        found = _run_all(library, inputs, ENGINE, progress)
    else:
        chosen = samples_of(source, data, part, limit)
        count = len(chosen)
        results: dict[str, Outputs] = {}
        for name, runner in ((REFERENCE, reference), (ENGINE, library)):
            predict = predict_samples(runner, str(path))
            scores[name], results[name] = score(predict, chosen, data, name=name, progress=progress)
        expected, found = results[REFERENCE], results[ENGINE]
    return EngineResult(
        scores=scores,
        samples=count,
        outputs=sum(values.size for values in expected),
        differing=sum(_differing(*pair) for pair in zip(expected, found, strict=True)),
        compiler=compiler_version(host_compiler()),
    )


def _int8_model(source: Source) -> Path:
    if source.run is not None:
        if not source.run.tflite_int8.is_file():
            run = source.run.path
            raise NdtoolError(f"{run} has no int8 model yet: make it with ndtool export {run} --int8")
        return source.run.tflite_int8
    if source.format != "tflite" or source.path is None:
        raise NdtoolError(f"{source.name} is no int8 TFLite file, which C is made from: ndtool export --int8 makes one")
    return source.path


def _random(library: HostLibrary, random: np.random.Generator) -> list[np.ndarray]:
    """Inputs over the whole range of int8; as real numbers where an end is float."""
    values = []
    for port in library.library.inputs:
        value = random.integers(-128, 128, port.shape, dtype=np.int8)
        real = (value.astype(np.float32) - port.zero_point) * np.float32(port.scale)
        values.append(real if port.is_float else value)
    return values


def _run_all(runner: Runner, inputs: Sequence[Sequence[np.ndarray]], name: str, progress: Progress | None) -> Outputs:
    runs = []
    for index, sample in enumerate(inputs):
        runs.append(runner.run(*sample))
        if progress is not None:
            progress(name, index + 1, len(inputs))
    return tuple(np.stack(values) for values in zip(*runs, strict=True))


def _differing(expected: np.ndarray, found: np.ndarray) -> int:
    """How many values are not the same bytes."""
    pair = (np.ascontiguousarray(values).view(np.uint8).reshape(values.size, -1) for values in (expected, found))
    a, b = pair
    return int(np.count_nonzero(np.any(a != b, axis=1)))
