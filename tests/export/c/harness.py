"""Small TFLite files from numpy, C libraries run on the host, and LiteRT's reference beside them."""

import atexit
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from flatbuffers import Builder

from ndtool.benchmarks.inputs import Inputs, RandomInputs
from ndtool.benchmarks.measure import measure
from ndtool.benchmarks.targets import load_target
from ndtool.export.c import compile_tflite, host, write_library
from ndtool.export.c.context import Features
from ndtool.export.c.library import CLibrary
from ndtool.quantize.runtime import TFLiteModel
from ndtool.zig import zig_command

DSP = Features(dsp=True, unaligned=True)  # of a Cortex-M4 or M33; on the host stand-ins in C
THUMB = Features(long_multiply=False)  # of a Cortex-M0+
WARNINGS = ("-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Wmissing-prototypes", "-Werror")
RUBBISH = 0xA5A5A5A5  # in an arena before a run, and around it

# The schema's options of each operator; operators that are not here have none.
OPTIONS = {
    "ABS": "AbsOptions",
    "ADD": "AddOptions",
    "AVERAGE_POOL_2D": "Pool2DOptions",
    "CONCATENATION": "ConcatenationOptions",
    "CONV_2D": "Conv2DOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "DEPTH_TO_SPACE": "DepthToSpaceOptions",
    "DEQUANTIZE": "DequantizeOptions",
    "EXP": "ExpOptions",
    "EXPAND_DIMS": "ExpandDimsOptions",
    "FULLY_CONNECTED": "FullyConnectedOptions",
    "GELU": "GeluOptions",
    "HARD_SWISH": "HardSwishOptions",
    "LEAKY_RELU": "LeakyReluOptions",
    "MAXIMUM": "MaximumMinimumOptions",
    "MAX_POOL_2D": "Pool2DOptions",
    "MEAN": "ReducerOptions",
    "MINIMUM": "MaximumMinimumOptions",
    "MUL": "MulOptions",
    "PACK": "PackOptions",
    "PAD": "PadOptions",
    "PADV2": "PadV2Options",
    "QUANTIZE": "QuantizeOptions",
    "RESHAPE": "ReshapeOptions",
    "RESIZE_NEAREST_NEIGHBOR": "ResizeNearestNeighborOptions",
    "SLICE": "SliceOptions",
    "SOFTMAX": "SoftmaxOptions",
    "SPACE_TO_DEPTH": "SpaceToDepthOptions",
    "SPLIT": "SplitOptions",
    "SPLIT_V": "SplitVOptions",
    "SQUEEZE": "SqueezeOptions",
    "STRIDED_SLICE": "StridedSliceOptions",
    "SUB": "SubOptions",
    "TRANSPOSE": "TransposeOptions",
    "UNPACK": "UnpackOptions",
}


@dataclass(eq=False, kw_only=True)
class T:
    """A tensor of a test model: a constant where it has data."""

    shape: Sequence[int]
    dtype: str = "int8"
    scale: float | Sequence[float] = ()
    zero_point: int | Sequence[int] = 0
    axis: int = 0
    data: np.ndarray | None = None
    name: str = ""


def constant(data: Any, dtype: str = "int32", **quantisation: Any) -> T:
    """A constant tensor, e.g. axes or weights."""
    values = np.asarray(data, dtype=dtype)
    return T(shape=values.shape, dtype=dtype, data=values, **quantisation)


@dataclass(eq=False)
class O:  # noqa: E742
    """An operator of a test model. Options by their names in the schema's object API, enums by their names."""

    kind: str
    inputs: Sequence[T | None]
    outputs: Sequence[T]
    options: Mapping[str, Any] | None = None


def single_op(kind: str, inputs: Sequence[T | None], outputs: Sequence[T], **options: Any) -> bytes:
    """A model of one operator; its inputs are those of the operator that are not constants.

    For example single_op("CONV_2D", [x, w, b], [y], padding="SAME", strideW=1, strideH=1).
    """
    return model([O(kind, inputs, outputs, options)])


def model(ops: Sequence[O], inputs: Sequence[T] | None = None, outputs: Sequence[T] | None = None) -> bytes:
    """A model of several operators. By default its inputs are what no operator makes, its outputs what none takes."""
    tensors = list(dict.fromkeys(t for op in ops for t in (*op.inputs, *op.outputs) if t is not None))
    made = {t for op in ops for t in op.outputs}
    taken = {t for op in ops for t in op.inputs}
    inputs = [t for t in tensors if t.data is None and t not in made] if inputs is None else inputs
    outputs = [t for t in tensors if t in made and t not in taken] if outputs is None else outputs
    tensors = list(dict.fromkeys([*tensors, *inputs, *outputs]))
    kinds = sorted({op.kind for op in ops})
    graph = schema.SubGraphT(
        tensors=[_tensor(t, index) for index, t in enumerate(tensors)],
        inputs=[tensors.index(t) for t in inputs],
        outputs=[tensors.index(t) for t in outputs],
        operators=[_operator(op, kinds, tensors) for op in ops],
        name=b"main",
    )
    buffers = [schema.BufferT()] + [schema.BufferT(data=_bytes(t)) for t in tensors]
    whole = schema.ModelT(
        version=3,
        operatorCodes=[_code(kind) for kind in kinds],
        subgraphs=[graph],
        buffers=buffers,
        description=b"test",
    )
    builder = Builder(1024)
    builder.Finish(whole.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def _bytes(tensor: T) -> np.ndarray | None:
    return None if tensor.data is None else np.frombuffer(np.ascontiguousarray(tensor.data).tobytes(), dtype=np.uint8)


def _tensor(tensor: T, index: int) -> schema.TensorT:
    quantisation = None
    scales = np.atleast_1d(np.asarray(tensor.scale, dtype=np.float32))
    if scales.size:
        zero_points = np.broadcast_to(np.asarray(tensor.zero_point, dtype=np.int64), scales.shape)
        quantisation = schema.QuantizationParametersT(
            scale=scales, zeroPoint=np.array(zero_points), quantizedDimension=tensor.axis
        )
    return schema.TensorT(
        shape=np.array(tensor.shape, dtype=np.int32),
        type=getattr(schema.TensorType, tensor.dtype.upper()),
        buffer=index + 1,
        name=(tensor.name or f"t{index}").encode(),
        quantization=quantisation,
        hasRank=True,
    )


def _code(kind: str) -> schema.OperatorCodeT:
    code = getattr(schema.BuiltinOperator, kind)
    return schema.OperatorCodeT(deprecatedBuiltinCode=min(code, 127), builtinCode=code, version=1)


def _operator(op: O, kinds: list[str], tensors: list[T]) -> schema.OperatorT:
    result = schema.OperatorT(
        opcodeIndex=kinds.index(op.kind),
        inputs=[-1 if t is None else tensors.index(t) for t in op.inputs],
        outputs=[tensors.index(t) for t in op.outputs],
    )
    if union := OPTIONS.get(op.kind):
        result.builtinOptionsType = getattr(schema.BuiltinOptions, union)
        result.builtinOptions = getattr(schema, union + "T")()
        for name, value in (op.options or {}).items():
            assert hasattr(result.builtinOptions, name), name
            setattr(result.builtinOptions, name, _enum(name, value))
    return result


def _enum(name: str, value: Any) -> Any:
    if name == "padding":
        return getattr(schema.Padding, value)
    if name == "fusedActivationFunction":
        return getattr(schema.ActivationFunctionType, value)
    return value


# ---- running ---------------------------------------------------------------------------------------------------


def host_compiler(name: str = "cc") -> tuple[str, ...]:
    """The host's C compiler, or zig's."""
    return host.host_compiler() if name == "cc" else (*zig_command(), "cc")


@cache
def objects() -> Path:
    """Where compiled kernels, which are the same in every library, are kept for a test run."""
    folder = Path(tempfile.mkdtemp(prefix="ndtool-objects-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def build(
    library: CLibrary,
    folder: Path,
    *,
    compiler: str = "cc",
    flags: tuple[str, ...] = ("-O1", *WARNINGS),
    link: tuple[str, ...] = (),
) -> Path:
    """Compile a library, warnings being errors. Returns the shared library."""
    write_library(library, folder)
    cc, target = host_compiler(compiler), folder / f"lib{library.name}.so"
    host.link(host.compile_files(library, folder, cc, flags, shared=objects()), target, cc, link)
    return target


def call(loaded: Path, library: CLibrary, inputs: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    """Run a built library once, in an arena full of rubbish with guards at both ends, through its public API."""
    words = library.arena_bytes // 4
    room = np.full(words + 12, RUBBISH, dtype=np.uint32)
    skip = 4 + -(room.ctypes.data // 4) % 4  # 16-byte aligned
    outputs = host.HostLibrary(library, loaded, arena=room[skip : skip + words]).run(*inputs)
    assert np.all(room[:skip] == RUBBISH), "written before the arena"
    assert np.all(room[skip + words :] == RUBBISH), "written after the arena"
    return outputs


def run_c(library: CLibrary, inputs: Sequence[np.ndarray], **options: Any) -> tuple[np.ndarray, ...]:
    """Compile a library on the host and run it once. Options: those of `build`."""
    with tempfile.TemporaryDirectory() as folder:
        return call(build(library, Path(folder) / "c", **options), library, inputs)


def run_reference(content: bytes | Path, inputs: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    """LiteRT's reference kernels."""
    return TFLiteModel(content, reference=True).run(*inputs)


def check_kernel(content: bytes | Path, *inputs: np.ndarray, features: Features | None = None) -> None:
    """The C library, for a target with these features, gives the bytes of LiteRT's reference kernels."""
    library = compile_tflite(content, name="t", golden=0, features=features)
    expected = run_reference(content, inputs)
    flags = ("-O1", *WARNINGS, *host.stand_ins(features))
    for mine, theirs in zip(run_c(library, inputs, flags=flags), expected, strict=True):
        assert mine.dtype == theirs.dtype
        np.testing.assert_array_equal(mine, theirs)


def check_on_core(content: bytes, core: str = "cortex-m7", inputs: Inputs | None = None) -> None:
    """The C library gives the reference's bytes on an emulated core, with what kernels may use there."""
    target = load_target(core)
    library = compile_tflite(content, name="t", golden=0, features=target.core.features)
    done = measure(library, target=target, inputs=inputs or RandomInputs(), reference=content)
    assert done.bit_exact


def random_int8(rng: np.random.Generator, shape: Sequence[int]) -> np.ndarray:
    """Any int8, the extremes included."""
    return np.asarray(rng.integers(-128, 128, size=tuple(shape), dtype=np.int8))
