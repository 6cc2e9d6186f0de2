"""What a converter of an ONNX operator works with: its inputs, and the torch.fx graph that it adds to."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from ndtool.errors import first_line
from ndtool.export.onnx_import.problems import UnsupportedError
from ndtool.export.onnx_import.reader import LARGEST, OnnxNode

Value = fx.Node | np.ndarray | None  # computed from the input, constant, or absent


@dataclass(slots=True)
class Emitter:
    """Adds nodes to a torch.fx graph and knows the shape of each, by running it on fake tensors."""

    root: nn.Module = field(default_factory=nn.Module)
    graph: fx.Graph = field(default_factory=fx.Graph)
    _fake: FakeTensorMode = field(default_factory=lambda: FakeTensorMode(allow_non_fake_inputs=True))
    _values: dict[fx.Node, Any] = field(default_factory=dict)

    def placeholder(self, name: str, shape: tuple[int, ...]) -> fx.Node:
        """The graph's input, float32."""
        node = self.graph.placeholder(_identifier(name))
        with self._fake:
            self._values[node] = torch.empty(shape)
        return node

    def call(self, source: str, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> fx.Node:
        """Add a call of a function, named after the ONNX node `source`."""
        node = self.graph.create_node("call_function", function, args, kwargs, name=_identifier(source))
        return self._run(node, source, function)

    def layer(self, source: str, module: nn.Module, args: tuple[Any, ...]) -> fx.Node:
        """Add a submodule, named after the ONNX node `source`, and its call."""
        target = self._free_name(_identifier(source))
        self.root.add_module(target, module)
        return self._run(self.graph.create_node("call_module", target, args, name=target), source, module)

    def buffer(self, source: str, value: np.ndarray) -> fx.Node:
        """Add a constant tensor; floats become float32."""
        target = self._free_name(_identifier(source) + "_constant")
        self.root.register_buffer(target, as_tensor(value))
        node = self.graph.create_node("get_attr", target, name=target)
        node.meta["onnx_node"] = source
        self._values[node] = self._fake.from_tensor(self.root.get_buffer(target))
        return node

    def shape(self, value: fx.Node | np.ndarray) -> tuple[int, ...]:
        """The static shape of a value."""
        return tuple(value.shape if isinstance(value, np.ndarray) else self._values[value].shape)

    def _run(self, node: fx.Node, source: str, function: Callable[..., Any]) -> fx.Node:
        args, kwargs = fx.node.map_aggregate(
            (node.args, node.kwargs), lambda x: self._values[x] if isinstance(x, fx.Node) else x
        )
        try:
            with self._fake, torch.no_grad():
                result = function(*args, **kwargs)
        except (RuntimeError, ValueError, TypeError, IndexError, NotImplementedError, AssertionError) as error:
            self.graph.erase_node(node)
            raise UnsupportedError(
                f"PyTorch refuses it ({first_line(error)})", "check the node's attributes and shapes"
            ) from error
        if isinstance(result, Tensor) and math.prod(result.shape) > LARGEST:
            raise UnsupportedError(f"its result has {math.prod(result.shape)} elements", "use a smaller input size")
        node.meta["onnx_node"] = source
        self._values[node] = result
        return node

    def _free_name(self, name: str) -> str:
        while hasattr(self.root, name):
            name += "_"
        return name


@dataclass(frozen=True, slots=True)
class Call:
    """One ONNX node to convert, with the values of its inputs."""

    node: OnnxNode
    inputs: tuple[Value, ...]
    emitter: Emitter

    def attribute(self, name: str, default: Any = None) -> Any:
        """An attribute of the node, or the operator's default."""
        return self.node.attributes.get(name, default)

    def value(self, index: int) -> Value:
        """An input; None where it is absent."""
        return self.inputs[index] if index < len(self.inputs) else None

    def tensor(self, index: int) -> fx.Node:
        """An input as a node of the graph; a constant becomes a buffer."""
        value = self.value(index)
        if value is None:
            raise UnsupportedError(f"input {index} is missing", "export the model again")
        return self.buffer(value) if isinstance(value, np.ndarray) else value

    def constant(self, index: int, what: str) -> np.ndarray | None:
        """An optional input that has to be a constant."""
        value = self.value(index)
        if isinstance(value, fx.Node):
            raise UnsupportedError(f"its {what} is computed from the input", f"make the {what} constant before export")
        return value

    def required(self, index: int, what: str) -> np.ndarray:
        """An input that has to be there and constant."""
        value = self.constant(index, what)
        if value is None:
            raise UnsupportedError(f"its {what} is missing", "export the model again")
        return value

    def integers(self, index: int, attribute: str) -> tuple[int, ...] | None:
        """A list of integers that older operator sets have as an attribute and newer ones as an input."""
        if attribute in self.node.attributes:
            return tuple(int(item) for item in self.node.attributes[attribute])
        value = self.constant(index, attribute)
        return None if value is None else tuple(int(item) for item in value.ravel())

    def shape(self, value: fx.Node | np.ndarray) -> tuple[int, ...]:
        """The static shape of a value."""
        return self.emitter.shape(value)

    def call(self, function: Callable[..., Any], *args: Any, part: str = "", **kwargs: Any) -> fx.Node:
        """Add a call to the graph; `part` names one that only prepares the node's result."""
        return self.emitter.call(self._name(part), function, args, kwargs)

    def layer(self, module: nn.Module, *args: Any, part: str = "") -> fx.Node:
        """Add a module and its call to the graph."""
        return self.emitter.layer(self._name(part), module, args)

    def buffer(self, value: np.ndarray) -> fx.Node:
        """Add a constant tensor to the graph."""
        return self.emitter.buffer(self.node.name, value)

    def _name(self, part: str) -> str:
        return f"{self.node.name}/{part}" if part else self.node.name


def as_tensor(value: np.ndarray) -> Tensor:
    """A copy as a tensor; floats of every width become float32."""
    if np.issubdtype(value.dtype, np.floating):
        value = value.astype(np.float32)
    return torch.from_numpy(np.array(value, order="C"))


def parameter(value: np.ndarray) -> nn.Parameter:
    """A float32 parameter with these values."""
    return nn.Parameter(as_tensor(value))


def _identifier(name: str) -> str:
    plain = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_")
    return plain if plain and not plain[0].isdigit() else f"node_{plain}"
