"""From an int8 TFLite file to a C library."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import ndtool
from ndtool.errors import NdtoolError
from ndtool.export.c import checks
from ndtool.export.c.account import library_of, ports
from ndtool.export.c.choose import Measure, choose
from ndtool.export.c.context import Context, Features
from ndtool.export.c.emission import Constants, Emission
from ndtool.export.c.ends import peel
from ndtool.export.c.golden import golden_vectors
from ndtool.export.c.graph import Graph
from ndtool.export.c.identifiers import c_comment, c_identifier
from ndtool.export.c.library import CLibrary
from ndtool.export.c.lower import lower
from ndtool.export.c.objective import parse_objective
from ndtool.export.c.reader import read_graph
from ndtool.export.c.rewrites import rewrite
from ndtool.quantize.runtime import quantise

if TYPE_CHECKING:
    from ndtool.train.data import Normalisation


def compile_tflite(
    model: Path | bytes,
    *,
    name: str | None = None,
    pixels: "Normalisation | None" = None,
    golden: int = 2,
    features: Features | None = None,
    optimize: str = "latency",
    measure: Measure | None = None,
    pins: Mapping[str, str] | None = None,
) -> CLibrary:
    """Compile an int8 TFLite model to a self-contained C99 library.

    `name` prefixes every C symbol; by default it is the file's, made an identifier. `pixels` is training's
    normalisation: with it the header has a function from uint8 pixels to the input. `golden` is the number of
    inferences of LiteRT's reference kernels that are kept for the self-test. `features` is what kernels may use on the
    target, by default nothing but portable C. `optimize` is what kernels are chosen for, see objective.py, by the costs
    that `measure` gives; `pins` are kernels chosen by hand, see choose.py.

    Raises:
        NdtoolError: the file is no model, is damaged, or holds what cannot be compiled, all findings in one line; or
            there is no such objective or kernel.
    """
    objective = parse_objective(optimize)
    content, origin = _content(model)
    library = c_identifier(name if name is not None else ("model" if isinstance(model, bytes) else Path(model).stem))
    graph = read_graph(content, origin)
    ends = peel(graph)
    checks.check(ends.graph)
    draft = lower(rewrite(ends.graph), Context(features=features or Features()))
    chosen = choose(draft, objective, measure=measure, pins=pins)
    program, arena = chosen.program, chosen.plan
    digest = hashlib.sha256(content).hexdigest()
    emission = Emission(
        name=library,
        origin=f"ndtool {ndtool.__version__} from {c_comment(Path(origin).name)} (sha256 {digest[:16]})",
        inputs=ports(graph.inputs, ends.graph.inputs, ends.quantise, arena),
        outputs=ports(graph.outputs, ends.graph.outputs, ends.dequantise, arena),
        objective=objective.name,
        slots=program.slots,
        plan=arena,
        constants=Constants(library, program.calls),
        golden=golden_vectors(content, graph, ends, golden),
        pixels=None if pixels is None else _pixel_table(ends.graph, pixels),
    )
    return library_of(emission, ends, chosen)


def _content(model: Path | bytes) -> tuple[bytes, str]:
    if isinstance(model, bytes):
        return model, "a model"
    try:
        return Path(model).read_bytes(), str(model)
    except OSError as error:
        raise NdtoolError(f"{model}: cannot be read ({error.strerror}): give a .tflite file") from error


def _pixel_table(graph: Graph, pixels: "Normalisation") -> np.ndarray:
    """The input's value of each pixel value, (channels, 256) int8, in the float32 arithmetic of training."""
    tensor = graph.inputs[0]
    channels = len(pixels.mean)
    if len(graph.inputs) != 1 or not tensor.shape or tensor.shape[-1] != channels:
        shapes = ", ".join(str(list(each.shape)) for each in graph.inputs)
        raise NdtoolError(
            f"{graph.name}: the input {shapes} does not end in the {channels} channels of the normalisation: "
            "export the model channels last"
        )
    mean = np.array(pixels.mean, dtype=np.float32)[:, None]
    std = np.array(pixels.std, dtype=np.float32)[:, None]
    real = (np.arange(256, dtype=np.float32) / np.float32(255) - mean) / std
    return quantise(real, tensor.scale[0], tensor.zero_point[0])
