"""From an ONNX graph to a torch.fx.GraphModule: constants folded, every other node converted."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import fx

from ndtool.errors import NdtoolError
from ndtool.export.onnx_import.emit import Call, Emitter, Value
from ndtool.export.onnx_import.fold import fold
from ndtool.export.onnx_import.operators import CONVERTERS, why_unsupported
from ndtool.export.onnx_import.problems import UnsupportedError
from ndtool.export.onnx_import.reader import OnnxGraph, OnnxNode


class _Unknown:
    """The value of a node that could not be converted: what depends on it is only looked up, not converted."""


_UNKNOWN = _Unknown()


def build(graph: OnnxGraph) -> fx.GraphModule:
    """Convert every node.

    Returns:
        A module in evaluation mode; an input of channels last is taken as (N, C, H, W) all the same.

    Raises:
        NdtoolError: with all nodes that are not supported.
    """
    emitter = Emitter()
    values: dict[str, Value | _Unknown] = dict(graph.constants)
    values[graph.input] = _entry(graph, emitter)
    problems = []
    for node in graph.nodes:
        try:
            results = _convert(node, values, emitter)
        except UnsupportedError as error:
            problems.append(f"{node.operator} '{node.name}': {error}")
            results = (_UNKNOWN,) * len(node.outputs)
        values.update(zip(node.outputs, results, strict=False))
    if problems:
        count = "1 operator is" if len(problems) == 1 else f"{len(problems)} operators are"
        lines = "\n  ".join(("", *problems)) if len(problems) > 1 else f" {problems[0]}"
        raise NdtoolError(f"{graph.path}: {count} not supported:{lines}")
    return _finish(graph, emitter, [values.get(name) for name in graph.outputs])


def _entry(graph: OnnxGraph, emitter: Emitter) -> fx.Node:
    """The input as the file's nodes expect it."""
    if not graph.channels_last:
        return emitter.placeholder(graph.input, graph.input_shape)
    n, h, w, c = graph.input_shape
    x = emitter.placeholder(graph.input, (n, c, h, w))
    return emitter.call(f"{graph.input}/channels_last", torch.permute, (x, (0, 2, 3, 1)), {})


def _convert(node: OnnxNode, values: dict[str, Value | _Unknown], emitter: Emitter) -> Sequence[Value | _Unknown]:
    """The values of the node's outputs."""
    inputs = [values.get(name) if name else None for name in node.inputs]
    known = [value for value in inputs if not isinstance(value, _Unknown)]
    if node.operator in ("Shape", "Size") and len(known) == 1 and known[0] is not None:
        return (_shape(node, emitter.shape(known[0])),)
    constants = [value for value in inputs if value is None or isinstance(value, np.ndarray)]
    if len(constants) == len(inputs) and (folded := fold(node, constants)) is not None:
        return folded
    if node.operator not in ("Shape", "Size") and (refusal := why_unsupported(node)):
        raise UnsupportedError(*refusal)
    if len(known) < len(inputs):
        return (_UNKNOWN,) * len(node.outputs)
    result = CONVERTERS[node.operator](Call(node, tuple(known), emitter))
    return result if isinstance(result, tuple) else (result,)


def _shape(node: OnnxNode, shape: tuple[int, ...]) -> np.ndarray:
    """Shape (with operator set 15's start and end) or Size."""
    if node.operator == "Size":
        return np.array(int(np.prod(shape)), np.int64)
    return np.array(shape[node.attributes.get("start", 0) : node.attributes.get("end")], np.int64)


def _finish(graph: OnnxGraph, emitter: Emitter, outputs: list[Value | _Unknown]) -> fx.GraphModule:
    results = tuple(value for value in outputs if isinstance(value, fx.Node))
    if len(results) < len(outputs):
        name = next(name for name, value in zip(graph.outputs, outputs, strict=True) if not isinstance(value, fx.Node))
        raise NdtoolError(f"{graph.path}: output {name!r} does not depend on the input: remove it")
    emitter.graph.output(results[0] if len(results) == 1 else results)
    # (what no output needs goes: GraphModule copies only what its graph names)
    for node in reversed(emitter.graph.nodes):
        if node.op not in ("placeholder", "output") and not node.users:
            emitter.graph.erase_node(node)
    module = fx.GraphModule(emitter.root, emitter.graph, class_name="OnnxModel")
    return module.eval()
