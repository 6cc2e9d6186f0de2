"""A TFLite file becomes a Graph. The file is data: whatever it holds, the result is a graph or one NdtoolError.

Only what the compiler needs is read, every vector's length is checked against the file before it is walked, and the
total that is read is limited, so that tables that share their parts a thousandfold cannot make reading slow.

Source: the TFLite schema (schema.fbs), through ai-edge-litert's generated accessors.
"""

import re
import struct
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np

from ndtool.errors import NdtoolError
from ndtool.export.c.graph import Graph, Op, Tensor

IDENTIFIER = b"TFL3"

# The schema's option table of each operator that is compiled; operators that are not here have no options.
OPTIONS = {
    "ADD": "AddOptions",
    "AVERAGE_POOL_2D": "Pool2DOptions",
    "CONCATENATION": "ConcatenationOptions",
    "CONV_2D": "Conv2DOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "DEPTH_TO_SPACE": "DepthToSpaceOptions",
    "FULLY_CONNECTED": "FullyConnectedOptions",
    "GELU": "GeluOptions",
    "LEAKY_RELU": "LeakyReluOptions",
    "MAX_POOL_2D": "Pool2DOptions",
    "MEAN": "ReducerOptions",
    "MUL": "MulOptions",
    "PACK": "PackOptions",
    "RESIZE_NEAREST_NEIGHBOR": "ResizeNearestNeighborOptions",
    "SOFTMAX": "SoftmaxOptions",
    "SPACE_TO_DEPTH": "SpaceToDepthOptions",
    "SPLIT": "SplitOptions",
    "STRIDED_SLICE": "StridedSliceOptions",
    "SUB": "SubOptions",
    "UNPACK": "UnpackOptions",
}

# The options whose numbers stand for names.
ENUMS = {
    "padding": "Padding",
    "fused_activation_function": "ActivationFunctionType",
    "weights_format": "FullyConnectedOptionsWeightsFormat",
}

CONSTANT_TYPES = ("int8", "uint8", "int16", "int32", "int64", "float32", "bool")


def read_graph(content: bytes, name: str) -> Graph:
    """Read a TFLite file.

    Tensors keep whatever type and quantisation the file gives them, also such that cannot be compiled; a type has the
    schema's name in lower case. See checks.py.

    Raises:
        NdtoolError: it is no TFLite file, it is damaged, or its form (not its operators) is beyond the compiler.
    """
    if content[4:8] != IDENTIFIER:
        raise NdtoolError(f"{name}: not a TFLite file (its identifier is not TFL3): give a .tflite file")
    from ai_edge_litert import schema_py_generated as schema

    try:
        return _Reader(content, name, schema).graph()
    except (struct.error, ValueError, IndexError, TypeError, KeyError, OverflowError, AttributeError) as error:
        # What flatbuffers' accessors raise when an offset leads astray.
        raise NdtoolError(f"{name}: damaged ({type(error).__name__} while reading): convert the model again") from error


class _Reader:
    """One file while it is read."""

    def __init__(self, content: bytes, name: str, schema: ModuleType):
        self.content, self.name, self.schema = content, name, schema
        self.budget = 64 * len(content)  # items of vectors; sharing between tables is legal, but not without end
        self.types = _names(schema.TensorType)
        self.kinds = _names(schema.BuiltinOperator)

    def refuse(self, what: str, remedy: str) -> NdtoolError:
        return NdtoolError(f"{self.name}: {what}: {remedy}")

    def damaged(self, what: str) -> NdtoolError:
        return self.refuse(f"damaged: {what}", "convert the model again")

    def walk(self, length: int) -> range:
        """The indices of a vector, once its length is seen to be possible."""
        self.budget -= length
        if length > len(self.content) or self.budget < 0:
            raise self.damaged(f"a vector of {length} items")
        return range(length)

    def numbers(self, values: Any) -> tuple[Any, ...]:
        """The items of a vector of numbers, which the accessors give as an array, or as 0 where it is absent."""
        if isinstance(values, int):
            return ()
        self.walk(len(values))
        return tuple(values.tolist())

    def graph(self) -> Graph:
        model = self.schema.Model.GetRootAs(self.content, 0)
        if model.Version() != 3:
            raise self.refuse(f"of schema version {model.Version()}", "convert the model again, to version 3")
        if model.SubgraphsLength() != 1:
            raise self.refuse(
                f"{model.SubgraphsLength()} subgraphs (control flow or several signatures)", "export one plain function"
            )
        table = model.Subgraphs(0)
        tensors = [self.tensor(model, table.Tensors(i), i) for i in self.walk(table.TensorsLength())]
        codes = [self.code(model.OperatorCodes(i)) for i in self.walk(model.OperatorCodesLength())]
        ops = tuple(self.op(table.Operators(i), i, codes, tensors) for i in self.walk(table.OperatorsLength()))
        inputs = tuple(self.present(self.pick(tensors, self.numbers(table.InputsAsNumpy()))))
        for tensor in inputs:
            signature = self.numbers(table.Tensors(tensor.index).ShapeSignatureAsNumpy())
            if any(size < 0 for size in signature[1:]):  # a batch of any size is compiled as the 1 that the shape says
                raise self.refuse(f"input {tensor.name!r} of shape {list(signature)} is dynamic", "export fixed sizes")
        outputs = tuple(self.present(self.pick(tensors, self.numbers(table.OutputsAsNumpy()))))
        if not inputs or not outputs:
            raise self.refuse("no inputs or no outputs", "export a function from tensors to tensors")
        graph = Graph(name=self.name, inputs=inputs, outputs=outputs, ops=ops)
        self.check_order(graph)
        return graph

    def tensor(self, model: Any, table: Any, index: int) -> Tensor:
        name = (table.Name() or b"").decode("utf-8") or f"tensor_{index}"
        if table.Sparsity() is not None:
            raise self.refuse(f"tensor {name!r} is sparse", "export it dense")
        if table.IsVariable():
            raise self.refuse(f"tensor {name!r} is a variable", "export a network without state")
        shape = self.numbers(table.ShapeAsNumpy())
        dtype = self.types.get(table.Type(), f"type {table.Type()}").lower()
        scale, zero_point, axis = self.quantisation(table.Quantization(), shape, name)
        data = self.values(model, table.Buffer(), shape, dtype, name)
        if data is None and scale and min(scale) == 0:
            raise self.damaged(f"the scale of tensor {name!r} is 0")
        return Tensor(
            index=index,
            name=name,
            shape=shape,
            dtype=dtype,
            scale=scale,
            zero_point=zero_point,
            axis=axis,
            data=data,
        )

    def quantisation(
        self, table: Any, shape: tuple[int, ...], name: str
    ) -> tuple[tuple[float, ...], tuple[int, ...], int]:
        if table is None:
            return (), (), 0
        if table.DetailsType():
            raise self.refuse(f"tensor {name!r} is quantised block by block or by a custom scheme", "use int8")
        scale = self.numbers(table.ScaleAsNumpy())
        zero_point = self.numbers(table.ZeroPointAsNumpy()) or (0,) * len(scale)
        axis = table.QuantizedDimension()
        if not scale:
            return (), (), 0
        if len(scale) > 1 and not (0 <= axis < len(shape) and shape[axis] == len(scale)):
            raise self.damaged(f"tensor {name!r} has {len(scale)} scales along axis {axis} of {list(shape)}")
        if len(zero_point) == 1:
            zero_point *= len(scale)
        if len(zero_point) != len(scale) or not all(np.isfinite(scale)) or min(scale) < 0:
            raise self.damaged(f"the scales or zero points of tensor {name!r}")
        return scale, zero_point, axis

    def values(self, model: Any, index: int, shape: tuple[int, ...], dtype: str, name: str) -> np.ndarray | None:
        """The data of a constant, None for a tensor that is computed."""
        buffer = model.Buffers(index) if index < model.BuffersLength() else None
        if buffer is None:
            raise self.damaged(f"tensor {name!r} is in buffer {index}, which does not exist")
        content = self.stored(buffer, name)
        if not content:
            return np.zeros(0, dtype) if shape == (0,) and dtype in CONSTANT_TYPES else None  # e.g. no axes
        if dtype not in CONSTANT_TYPES:
            return np.zeros(0, np.uint8)  # a constant of a type that no operator takes: checks.py says so
        data = np.frombuffer(content, dtype=np.dtype(dtype).newbyteorder("<"))
        if any(size < 0 for size in shape) or data.size != np.prod(shape, dtype=object):
            raise self.damaged(f"tensor {name!r} of shape {list(shape)} has {data.size} values")
        data = data.reshape(shape).astype(dtype)
        data.setflags(write=False)
        return data

    def stored(self, buffer: Any, name: str) -> bytes:
        """The bytes of a buffer: in the flatbuffer or, where the schema's offset is above 1, behind it in the file."""
        if buffer.Offset() <= 1:
            self.walk(buffer.DataLength())
            return bytes(buffer.DataAsNumpy().tobytes()) if buffer.DataLength() else b""
        self.walk(buffer.Size())
        if buffer.Offset() + buffer.Size() > len(self.content):
            raise self.damaged(f"tensor {name!r} lies beyond the end of the file")
        return self.content[buffer.Offset() : buffer.Offset() + buffer.Size()]

    def code(self, table: Any) -> str:
        code = max(table.BuiltinCode(), table.DeprecatedBuiltinCode())
        kind = self.kinds.get(code, f"operator {code}")
        return f"CUSTOM {(table.CustomCode() or b'').decode('utf-8', 'replace')}" if kind == "CUSTOM" else kind

    def op(self, table: Any, index: int, codes: list[str], tensors: list[Tensor]) -> Op:
        if table.OpcodeIndex() >= len(codes):
            raise self.damaged(f"operator {index} has no code")
        kind = codes[table.OpcodeIndex()]
        return Op(
            index=index,
            kind=kind,
            inputs=tuple(self.pick(tensors, self.numbers(table.InputsAsNumpy()))),
            outputs=tuple(self.present(self.pick(tensors, self.numbers(table.OutputsAsNumpy())))),
            options=self.options(table, kind),
        )

    def options(self, table: Any, kind: str) -> dict[str, Any]:
        union = OPTIONS.get(kind)
        if union is None:
            return {}
        options = getattr(self.schema, f"{union}T")()
        if held := table.BuiltinOptionsType():
            if held != getattr(self.schema.BuiltinOptions, union):
                raise self.damaged(f"{kind} has options of another operator")
            where = table.BuiltinOptions()
            options = type(options).InitFromBuf(where.Bytes, where.Pos)
        scalars = {_snake(key): value for key, value in vars(options).items() if isinstance(value, bool | int | float)}
        return {name: self.named(name, value) for name, value in scalars.items()}

    def named(self, name: str, value: bool | int | float) -> Any:
        if name not in ENUMS:
            return value
        return _names(getattr(self.schema, ENUMS[name])).get(int(value), f"unknown ({value})")

    def pick(self, tensors: list[Tensor], indices: tuple[int, ...]) -> Iterator[Tensor | None]:
        for index in indices:
            if not -1 <= index < len(tensors):
                raise self.damaged(f"tensor {index} of {len(tensors)}")
            yield None if index == -1 else tensors[index]

    def present(self, tensors: Iterator[Tensor | None]) -> Iterator[Tensor]:
        for tensor in tensors:
            if tensor is None:
                raise self.damaged("an output or an input of the graph is absent")
            yield tensor

    def check_order(self, graph: Graph) -> None:
        """Every tensor is made once, before it is read."""
        made: set[Tensor] = set()
        for tensor in graph.inputs:
            if tensor in made or tensor.data is not None:
                raise self.damaged(f"input {tensor.name!r} is a constant or is given twice")
            made.add(tensor)
        for op in graph.ops:
            for source in op.inputs:
                if source is not None and source.data is None and source not in made:
                    raise self.damaged(f"{op.kind} reads {source.name!r} before it is made")
            for tensor in op.outputs:
                if tensor in made or tensor.data is not None:
                    raise self.damaged(f"{op.kind} writes {tensor.name!r}, which is a constant or made before")
                made.add(tensor)
        for tensor in graph.outputs:
            if tensor not in made:
                raise self.damaged(f"output {tensor.name!r} is not computed")


def _names(enum: type) -> dict[int, str]:
    """An enum class of the schema, the other way round."""
    return {value: name for name, value in vars(enum).items() if isinstance(value, int)}


def _snake(camel: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", camel).lower()
