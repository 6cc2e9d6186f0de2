"""TFLite files as objects that can be changed: read, look up, write."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ndtool.errors import NdtoolError

FLOAT_TYPES = ("FLOAT32", "FLOAT16", "FLOAT64", "BFLOAT16")


def read_model(source: Path | bytes) -> Any:
    """The schema's ModelT of a file or of its bytes. Raises NdtoolError where it is not a TFLite file."""
    from ai_edge_litert import schema_py_generated as schema

    name = "the model" if isinstance(source, bytes) else str(source)
    try:
        content = source if isinstance(source, bytes) else Path(source).read_bytes()
    except OSError as error:
        raise NdtoolError(f"{name}: {error.strerror}: give a .tflite file") from error
    if content[4:8] != b"TFL3":
        raise NdtoolError(f"{name} is not a TFLite file: give a .tflite file")
    try:
        model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(content, 0))
        _take_in(model, content)
        graph = model.subgraphs[0]
        for op in graph.operators:
            model.operatorCodes[op.opcodeIndex], [graph.tensors[i] for i in (*op.inputs, *op.outputs)]
    except Exception as error:  # the generated reader raises anything on damaged bytes
        raise NdtoolError(f"{name} is damaged ({type(error).__name__}): export it again") from error
    return model


def _take_in(model: Any, content: bytes) -> None:
    """Buffers that lie behind the flatbuffer, as large ones may, become part of it."""
    for buffer in model.buffers:
        if buffer.offset > 1:  # 0 and 1 are no places
            if buffer.offset + buffer.size > len(content):
                raise ValueError("a buffer ends behind the file")
            buffer.data = np.frombuffer(content, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0


def write_model(model: Any) -> bytes:
    """The bytes of a TFLite file."""
    import flatbuffers

    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def kind_of(model: Any, op: Any) -> str:
    """The operator's name in the schema, e.g. CONV_2D."""
    return _names("BuiltinOperator")[code_of(model.operatorCodes[op.opcodeIndex])]


def code_of(entry: Any) -> int:
    """The operator's number: it lies in the old field while it fits there."""
    return max(int(entry.builtinCode), int(entry.deprecatedBuiltinCode))


def set_code(entry: Any, code: int) -> None:
    """Make an entry of the table of operators stand for another one."""
    entry.builtinCode = code
    entry.deprecatedBuiltinCode = min(code, 127)


def type_of(tensor: Any) -> str:
    """The element type's name in the schema, e.g. INT8."""
    return _names("TensorType")[tensor.type]


def name_of(tensor: Any) -> str:
    """The tensor's name."""
    return (tensor.name or b"").decode("utf-8", errors="replace")


def is_constant(model: Any, tensor: Any) -> bool:
    """Whether the file holds the tensor's values."""
    data = model.buffers[tensor.buffer].data
    return data is not None and len(data) > 0


def operands(op: Any) -> list[int]:
    """Indices of the inputs that are there."""
    return [int(index) for index in (op.inputs if op.inputs is not None else ()) if index >= 0]


def is_integer(model: Any) -> bool:
    """Whether anything computed in the main graph is quantised."""
    graph = model.subgraphs[0]
    computed = (graph.tensors[index] for op in graph.operators for index in op.outputs)
    return any(type_of(tensor) in ("INT8", "UINT8", "INT16") for tensor in computed)


def quantisation(tensor: Any) -> tuple[float, int] | None:
    """(scale, zero point) of a tensor that is quantised per tensor: real = scale * (q - zero point)."""
    parameters = tensor.quantization
    if parameters is None or parameters.scale is None or np.size(parameters.scale) != 1:
        return None
    zero_point = 0 if parameters.zeroPoint is None else int(parameters.zeroPoint[0])
    return float(parameters.scale[0]), zero_point


@cache
def _names(enumeration: str) -> dict[int, str]:
    from ai_edge_litert import schema_py_generated as schema

    members = vars(getattr(schema, enumeration)).items()
    return {value: name for name, value in members if not name.startswith("_")}
