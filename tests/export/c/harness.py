"""Small TFLite files from numpy, C libraries run on the host, and LiteRT's reference beside them."""

import ctypes
import hashlib
import shutil
import subprocess
import sys
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
from ndtool.export.c import compile_tflite
from ndtool.export.c.context import Features
from ndtool.export.c.library import CLibrary
from ndtool.quantize.runtime import TFLiteModel

DSP = Features(dsp=True, unaligned=True)  # of a Cortex-M4, M7 or M33; on the host stand-ins in C
WARNINGS = ("-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Wmissing-prototypes", "-Werror")

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
    if name == "cc" and (found := shutil.which("gcc") or shutil.which("cc")):
        return (found,)
    return (sys.executable, "-m", "ziglang", "cc")


@cache
def _objects() -> Path:
    return Path(tempfile.mkdtemp(prefix="ndtool-objects-"))


def _object(file: str, text: str, folder: Path, compiler: tuple[str, ...], flags: tuple[str, ...]) -> Path:
    """Compile one file; kernels, which are the same in every library, once per test run."""
    kernel = file.startswith("nd_")
    header = [path.read_text() for path in sorted(folder.glob("nd*.h"))]
    key = hashlib.sha256(repr((file, text, compiler, flags, header)).encode()).hexdigest()[:16]
    target = (_objects() if kernel else folder) / f"{file}.{key}.o"
    if not target.exists():
        command = [*compiler, *flags, "-fPIC", "-c", str(folder / file), "-o", str(target)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stderr}"
    return target


def build(
    library: CLibrary,
    folder: Path,
    *,
    compiler: str = "cc",
    flags: tuple[str, ...] = ("-O1", *WARNINGS),
    link: tuple[str, ...] = (),
) -> ctypes.CDLL:
    """Compile a library, warnings being errors, and load it."""
    folder.mkdir(parents=True, exist_ok=True)
    for file, text in library.files.items():
        (folder / file).write_text(text)
    cc = host_compiler(compiler)
    sources = {file: text for file, text in library.files.items() if file.endswith(".c")}
    objects = [str(_object(file, text, folder, cc, flags)) for file, text in sources.items()]
    target = folder / f"lib{library.name}.so"
    subprocess.run([*cc, "-shared", *objects, *link, "-o", str(target)], check=True, capture_output=True)
    return ctypes.CDLL(str(target))


def _symbol(library: CLibrary, stem: str, index: int, count: int) -> str:
    return f"{library.name}_{stem}" + (f"_{index}" if count > 1 else "")


def call(loaded: ctypes.CDLL, library: CLibrary, inputs: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    """Run a loaded library once, in an arena full of rubbish with guards at both ends, through its public API."""
    words = (library.arena_bytes + 3) // 4
    room = np.full(words + 8, 0xA5A5A5A5, dtype=np.uint32)
    start = room.ctypes.data // 4
    skip = 4 + (-(start + 4)) % 4  # 16-byte aligned
    arena = ctypes.c_void_p(room.ctypes.data + 4 * skip)
    for index, (port, value) in enumerate(zip(library.inputs, inputs, strict=True)):
        value = np.asarray(value, order="C")
        assert value.shape == port.shape, (value.shape, port.shape)
        if port.is_float:
            entry = loaded[_symbol(library, "quantize_input", index, len(inputs))]
            entry(value.ctypes.data_as(ctypes.c_void_p), arena)
        else:
            entry = loaded[_symbol(library, "input", index, len(inputs))]
            entry.restype = ctypes.c_void_p
            ctypes.memmove(entry(arena), value.ctypes.data, value.nbytes)
    loaded[f"{library.name}_run"](arena)
    outputs = tuple(_output(loaded, library, index, arena) for index in range(len(library.outputs)))
    assert np.all(room[:skip] == 0xA5A5A5A5), "written before the arena"
    assert np.all(room[skip + words :] == 0xA5A5A5A5), "written after the arena"
    return outputs


def _output(loaded: ctypes.CDLL, library: CLibrary, index: int, arena: ctypes.c_void_p) -> np.ndarray:
    port, count = library.outputs[index], len(library.outputs)
    value = np.zeros(port.shape, dtype=np.float32 if port.is_float else port.dtype)
    if port.is_float:
        loaded[_symbol(library, "dequantize_output", index, count)](arena, value.ctypes.data_as(ctypes.c_void_p))
    else:
        entry = loaded[_symbol(library, "output", index, count)]
        entry.restype = ctypes.c_void_p
        ctypes.memmove(value.ctypes.data, entry(arena), value.nbytes)
    return value


def run_c(library: CLibrary, inputs: Sequence[np.ndarray], **options: Any) -> tuple[np.ndarray, ...]:
    """Compile a library on the host and run it once. Options: those of `build`."""
    with tempfile.TemporaryDirectory() as folder:
        return call(build(library, Path(folder), **options), library, inputs)


def run_reference(content: bytes | Path, inputs: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    """LiteRT's reference kernels."""
    return TFLiteModel(content, reference=True).run(*inputs)


def check_kernel(content: bytes | Path, *inputs: np.ndarray, features: Features | None = None) -> None:
    """The C library, for a target with these features, gives the bytes of LiteRT's reference kernels."""
    library = compile_tflite(content, name="t", golden=0, features=features)
    expected = run_reference(content, inputs)
    by_words = ("-DND_WORDS=1",) if features and features.dsp else ()
    flags = ("-O1", *WARNINGS, *by_words)
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
