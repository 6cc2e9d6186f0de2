"""From an int8 TFLite file to a C library."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import ndtool
from ndtool.errors import NdtoolError
from ndtool.export.c import checks
from ndtool.export.c.call import Call
from ndtool.export.c.context import Context, Features
from ndtool.export.c.emission import Constants, Emission, constants_of, layer_name
from ndtool.export.c.emit import emit
from ndtool.export.c.ends import Ends, peel
from ndtool.export.c.golden import golden_vectors
from ndtool.export.c.graph import Graph, Op, Tensor
from ndtool.export.c.identifiers import c_comment, c_identifier
from ndtool.export.c.library import CLibrary, Layer, Port
from ndtool.export.c.lower import lower
from ndtool.export.c.plan import Plan, plan
from ndtool.export.c.reader import read_graph
from ndtool.files import replacing
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
) -> CLibrary:
    """Compile an int8 TFLite model to a self-contained C99 library.

    `name` prefixes every C symbol; by default it is the file's, made an identifier. `pixels` is training's
    normalisation: with it the header has a function from uint8 pixels to the input. `golden` is the number of
    inferences of LiteRT's reference kernels that are kept for the self-test. `features` is what kernels may use on the
    target, by default nothing but portable C.

    Raises:
        NdtoolError: the file is no model, is damaged, or holds what cannot be compiled; all findings in one line.
    """
    content, origin = _content(model)
    library = c_identifier(name if name is not None else ("model" if isinstance(model, bytes) else Path(model).stem))
    graph = read_graph(content, origin)
    ends = peel(graph)
    checks.check(ends.graph)
    program = lower(ends.graph, Context(features=features or Features(), largest_tensor=_largest(ends.graph)))
    arena = plan(program)
    digest = hashlib.sha256(content).hexdigest()
    names = [layer_name(library, index, len(program.calls)) for index in range(len(program.calls))]
    emission = Emission(
        name=library,
        origin=f"ndtool {ndtool.__version__} from {c_comment(Path(origin).name)} (sha256 {digest[:16]})",
        inputs=_ports(graph.inputs, ends.graph.inputs, ends.quantise, arena),
        outputs=_ports(graph.outputs, ends.graph.outputs, ends.dequantise, arena),
        calls=program.calls,
        plan=arena,
        constants=Constants(program.calls, names),
        golden=golden_vectors(content, graph, ends, golden),
        pixels=None if pixels is None else _pixel_table(ends.graph, pixels),
    )
    return CLibrary(
        name=library,
        files=emit(emission),
        inputs=emission.inputs,
        outputs=emission.outputs,
        layers=_layers(emission, ends),
        arena_bytes=emission.arena_words * 4,
        lower_bound_bytes=arena.lower_bound_bytes,
        weight_bytes=emission.constants.bytes,
    )


def write_library(library: CLibrary, folder: Path) -> None:
    """Write the files of a library into `folder`, which is replaced as a whole."""
    with replacing(folder) as temporary:
        temporary.mkdir()
        for file, text in library.files.items():
            (temporary / file).write_text(text, encoding="utf-8", newline="\n")


def _content(model: Path | bytes) -> tuple[bytes, str]:
    if isinstance(model, bytes):
        return model, "a model"
    try:
        return Path(model).read_bytes(), str(model)
    except OSError as error:
        raise NdtoolError(f"{model}: cannot be read ({error.strerror}): give a .tflite file") from error


def _largest(graph: Graph) -> int:
    """The bytes of the largest tensor that is computed."""
    return max((tensor.bytes for op in graph.ops for tensor in op.outputs), default=0)


def _ports(
    outer: tuple[Tensor, ...], inner: tuple[Tensor, ...], converters: tuple[Op | None, ...], arena: Plan
) -> tuple[Port, ...]:
    return tuple(
        Port(
            name=own.name,
            shape=tensor.shape,
            dtype="int8",
            scale=tensor.scale[0],
            zero_point=tensor.zero_point[0],
            offset=arena.offset(tensor),
            bytes=tensor.bytes,
            is_float=converter is not None,
        )
        for own, tensor, converter in zip(outer, inner, converters, strict=True)
    )


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


def _layers(e: Emission, ends: Ends) -> tuple[Layer, ...]:
    """What is known of every call, and of the functions at float ends."""
    layers = []
    for port, op in zip(e.inputs, ends.quantise, strict=True):
        if op is not None:
            layers.append(_end_layer(e, port, op, "quantize_input", -1))
    layers += [_layer(e, index, call) for index, call in enumerate(e.calls)]
    for port, op in zip(e.outputs, ends.dequantise, strict=True):
        if op is not None:
            layers.append(_end_layer(e, port, op, "dequantize_output", len(e.calls)))
    return tuple(layers)


def _layer(e: Emission, index: int, call: Call) -> Layer:
    stored = {e.constants.name(constant): constant for constant in constants_of(call)}
    return Layer(
        symbol=e.layer(index),
        name=call.op.outputs[0].name,
        kind=call.op.kind,
        kernel=call.kernel,
        output_shape=call.op.outputs[0].shape,
        macs=call.macs,
        weight_bytes=sum(constant.values.nbytes for constant in stored.values()),
        live_bytes=e.plan.live_bytes(index),
        live_tensors=_live(e.plan, index),
    )


def _end_layer(e: Emission, port: Port, op: Op, function: str, time: int) -> Layer:
    return Layer(
        symbol=e.port_name(port, function),
        name=op.outputs[0].name,
        kind=op.kind,
        kernel="nd_quantize" if op.kind == "QUANTIZE" else "nd_dequantize",
        output_shape=op.outputs[0].shape,
        macs=0,
        weight_bytes=0,
        live_bytes=e.plan.live_bytes(time),
        live_tensors=_live(e.plan, time),
    )


def _live(arena: Plan, time: int) -> tuple[tuple[str, int], ...]:
    named = [
        (block.owner.name if isinstance(block.owner, Tensor) else "(scratch)", block.bytes)
        for block, _ in arena.live(time)
    ]
    return tuple(sorted(named, key=lambda pair: (-pair[1], pair[0])))
