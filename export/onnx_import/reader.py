"""An ONNX file read, checked and given static shapes: the vocabulary of the import."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.inliner
from google.protobuf.message import DecodeError, EncodeError

from ndtool.errors import NdtoolError, first_line

OLDEST_OPSET = 9
LARGEST = 2**26  # elements of a tensor: keeps a hostile file from filling the memory
FLOATS: Mapping[int, Any] = {
    onnx.TensorProto.FLOAT: np.float32,
    onnx.TensorProto.FLOAT16: np.float16,
    onnx.TensorProto.DOUBLE: np.float64,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxNode:
    """One operator of the graph. An absent optional input has the name ""."""

    name: str
    operator: str
    domain: str  # "" for ONNX's own
    version: int  # of the domain's operator set
    attributes: Mapping[str, Any]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    proto: onnx.NodeProto


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxGraph:
    """A graph of one float input. `nodes` are those that the outputs need, in order."""

    path: Path
    nodes: tuple[OnnxNode, ...]
    constants: Mapping[str, np.ndarray]
    input: str
    input_shape: tuple[int, ...]  # with batch 1, in the file's own layout
    input_dtype: np.dtype[Any]
    channels_last: bool  # the file's input is (N, H, W, C)
    outputs: tuple[str, ...]
    model: onnx.ModelProto  # with the static shapes: what onnxruntime runs


def read_onnx(path: Path, input_shape: tuple[int, ...] | None) -> OnnxGraph:
    """Read and check a file; the batch becomes 1.

    `input_shape` is (C, H, W) for images, without batch: it gives sizes that the file leaves open.

    Raises:
        NdtoolError: unreadable, invalid, not of exactly one float input, or of unknown input size.
    """
    model = _load(path)
    versions = {"" if opset.domain == "ai.onnx" else opset.domain: opset.version for opset in model.opset_import}
    if versions.get("", OLDEST_OPSET) < OLDEST_OPSET:
        raise NdtoolError(
            f"{path}: operator set {versions['']} is too old: convert it to {OLDEST_OPSET} or later "
            "(onnx.version_converter.convert_version)"
        )
    nodes = _needed([_node(proto, index, versions) for index, proto in enumerate(model.graph.node)], model.graph)
    constants = _constants(path, model.graph)
    entry = _only_input(path, model.graph, set(constants))
    channels_last = _is_channels_last(entry, nodes, set(constants))
    shape = _static_shape(path, entry, input_shape, channels_last)
    _fix_shapes(model.graph, entry, shape)
    return OnnxGraph(
        path=path,
        nodes=nodes,
        constants=constants,
        input=entry.name,
        input_shape=shape,
        input_dtype=np.dtype(FLOATS[entry.type.tensor_type.elem_type]),
        channels_last=channels_last,
        outputs=tuple(output.name for output in model.graph.output),
        model=model,
    )


def _load(path: Path) -> onnx.ModelProto:
    if not path.is_file():
        raise NdtoolError(f"{path}: no such file: give the path of an .onnx file")
    try:
        model = onnx.load(path)
        onnx.checker.check_model(model)
        if model.functions:
            model = onnx.inliner.inline_local_functions(model)
    except (DecodeError, EncodeError) as error:
        raise NdtoolError(f"{path}: not a complete ONNX file ({first_line(error)}): export or copy it again") from error
    except (onnx.checker.ValidationError, OSError, ValueError, RuntimeError) as error:
        raise NdtoolError(f"{path}: not a valid ONNX model: {first_line(error)}") from error
    return model


def _node(proto: onnx.NodeProto, index: int, versions: Mapping[str, int]) -> OnnxNode:
    domain = "" if proto.domain == "ai.onnx" else proto.domain
    return OnnxNode(
        name=proto.name or f"{proto.op_type}_{index}",
        operator=proto.op_type,
        domain=domain,
        version=versions.get(domain, 1),
        attributes={attribute.name: _attribute(attribute) for attribute in proto.attribute},
        inputs=tuple(proto.input),
        outputs=tuple(proto.output),
        proto=proto,
    )


def _attribute(attribute: onnx.AttributeProto) -> Any:
    value = onnx.helper.get_attribute_value(attribute)
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _needed(nodes: list[OnnxNode], graph: onnx.GraphProto) -> tuple[OnnxNode, ...]:
    """The nodes that the outputs depend on (a valid graph is sorted already)."""
    wanted = {output.name for output in graph.output}
    kept = []
    for node in reversed(nodes):
        if wanted.intersection(node.outputs):
            kept.append(node)
            wanted.update(node.inputs)
            wanted.update(_captured(node))
    return tuple(reversed(kept))


def _captured(node: OnnxNode) -> set[str]:
    """Names that the bodies of control flow read."""
    bodies = [value for value in node.attributes.values() if isinstance(value, onnx.GraphProto)]
    return {name for body in bodies for inner in body.node for name in inner.input}


def _constants(path: Path, graph: onnx.GraphProto) -> dict[str, np.ndarray]:
    constants = {}
    for tensor in graph.initializer:
        try:
            constants[tensor.name] = onnx.numpy_helper.to_array(tensor)
        except (ValueError, TypeError, KeyError) as error:
            raise NdtoolError(f"{path}: initialiser {tensor.name!r} cannot be read: {first_line(error)}") from error
    return constants


def _only_input(path: Path, graph: onnx.GraphProto, constants: set[str]) -> onnx.ValueInfoProto:
    entries = [entry for entry in graph.input if entry.name not in constants]
    if len(entries) != 1:
        names = ", ".join(entry.name for entry in entries) or "none"
        raise NdtoolError(
            f"{path}: has {len(entries)} inputs ({names}), one is supported: make the others constants or cut "
            "the model at one input (onnx.utils.extract_model)"
        )
    kind = entries[0].type.tensor_type.elem_type
    if kind not in FLOATS:
        name = onnx.TensorProto.DataType.Name(kind)
        raise NdtoolError(
            f"{path}: input {entries[0].name!r} is {name}, not float: export the model from its first float tensor on"
        )
    return entries[0]


def _is_channels_last(entry: onnx.ValueInfoProto, nodes: tuple[OnnxNode, ...], constants: set[str]) -> bool:
    """Whether the input is (N, H, W, C): all it meets, behind elementwise operators, are Transposes to (N, C, H, W).

    So do files made from TensorFlow (tf2onnx) begin.
    """
    elementwise = {"Identity", "Cast", "Add", "Sub", "Mul", "Div", "Neg"}
    reached, found = {entry.name}, False
    if len(entry.type.tensor_type.shape.dim) != 4:
        return False
    for node in nodes:
        if not reached.intersection(node.inputs):
            continue
        if node.operator == "Transpose" and list(node.attributes.get("perm", ())) == [0, 3, 1, 2]:
            found = True
        elif node.operator in elementwise and all(name in reached or name in constants for name in node.inputs):
            reached.update(node.outputs)
        else:
            return False
    return found


def _static_shape(
    path: Path, entry: onnx.ValueInfoProto, given: tuple[int, ...] | None, channels_last: bool
) -> tuple[int, ...]:
    """The input's shape with batch 1, in the file's layout."""
    dims = [dim.dim_value if dim.HasField("dim_value") else 0 for dim in entry.type.tensor_type.shape.dim]
    if given is not None:
        wanted = (*given[1:], given[0]) if channels_last and len(given) == 3 else given
        if len(wanted) != len(dims) - 1 or any(
            size not in (0, want) for size, want in zip(dims[1:], wanted, strict=True)
        ):
            raise NdtoolError(
                f"{path}: takes {_text(entry)}, not {tuple(given)} (channels first, without batch): "
                "use data of the model's size, or export the model for this one"
            )
        dims[1:] = wanted
    if not dims or any(size <= 0 for size in dims[1:]):
        raise NdtoolError(
            f"{path}: the size of input {entry.name!r} {_text(entry)} is not fixed: export the model with a fixed size "
            "(or python -m onnxruntime.tools.make_dynamic_shape_fixed)"
        )
    if math.prod(dims[1:]) > LARGEST:
        raise NdtoolError(f"{path}: input {entry.name!r} {_text(entry)} is too large: export it with a smaller size")
    return (1, *dims[1:])


def _text(entry: onnx.ValueInfoProto) -> str:
    dims = entry.type.tensor_type.shape.dim
    return "(" + ", ".join(str(d.dim_value) if d.HasField("dim_value") else d.dim_param or "?" for d in dims) + ")"


def _fix_shapes(graph: onnx.GraphProto, entry: onnx.ValueInfoProto, shape: tuple[int, ...]) -> None:
    """Write the input's shape into the graph and forget those of the other values, which may hold another batch."""
    for dim, size in zip(entry.type.tensor_type.shape.dim, shape, strict=True):
        dim.dim_value = size
    del graph.value_info[:]
    for output in graph.output:
        output.type.tensor_type.ClearField("shape")
