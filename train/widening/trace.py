"""The network as a graph, with the shape of every tensor and the value of every number in it."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from ndtool.errors import NdtoolError, first_line

# Sizes that depend on the batch are those that differ between two runs.
PROBE_BATCHES = (2, 3)
_FAILURES = (RuntimeError, ValueError, TypeError, LookupError, AssertionError)  # of the user's forward pass


@dataclass(frozen=True)
class Traced:
    """A copy of the network in evaluation mode, its graph, and each node's value in two runs that differ in batch size
    (tensors on the meta device, so that only shape and dtype are kept)."""

    root: nn.Module
    graph: fx.Graph
    values: Mapping[fx.Node, tuple[Any, Any]]


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Also those that only derive from a layer of torch.nn and compute the same."""
        return super().is_leaf_module(m, module_qualified_name) or layer_type(m) is not None


def layer_type(module: nn.Module) -> type[nn.Module] | None:
    """The class of torch.nn whose computation this module performs, if any."""
    own = type(module)
    for cls in own.__mro__:
        if cls.__module__.startswith("torch.nn.modules") and cls not in (nn.Module, nn.Sequential):
            same = all(getattr(own, name, None) is getattr(cls, name, None) for name in ("forward", "_conv_forward"))
            return cls if same else None
    return None


class _Recorder(fx.Interpreter):
    def __init__(self, root: nn.Module, graph: fx.Graph) -> None:
        super().__init__(root, graph=graph)
        self.values: dict[fx.Node, Any] = {}

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        self.values[n] = pytree.tree_map_only(Tensor, lambda tensor: tensor.detach().to("meta"), result)
        return result


def trace(student: nn.Module, example: Tensor) -> Traced:
    """Trace the network and run it on copies of the example's first row.

    Raises:
        NdtoolError: the forward pass cannot be traced, takes other than one input, or fails on such a batch.
    """
    root = copy.deepcopy(student).eval()
    try:
        graph = _Tracer().trace(root)
    except (*_FAILURES, AttributeError, NotImplementedError) as error:
        raise NdtoolError(
            f"the forward pass of {type(student).__name__} cannot be traced by torch.fx ({_first_sentence(error)}): "
            "make its control flow independent of the data"
        ) from error
    required = [n.target for n in graph.nodes if n.op == "placeholder" and (not n.args or n.target.startswith("*"))]
    if len(required) != 1 or required[0].startswith("*"):
        raise NdtoolError(f"the network takes the inputs {required}: wrap it in a module that takes one tensor")
    if example.dim() < 2:
        raise NdtoolError(f"the example has shape {tuple(example.shape)}: it must be a batch")
    runs = []
    for batch in PROBE_BATCHES:
        recorder = _Recorder(root, graph)
        try:
            with torch.no_grad():
                recorder.run(example[:1].expand(batch, *example.shape[1:]).clone())
        except _FAILURES as error:
            raise NdtoolError(
                f"the network fails on an input of shape ({batch}, {', '.join(map(str, example.shape[1:]))}) "
                f"({_first_sentence(error)}): check the input shape, and that any batch size is accepted"
            ) from error
        runs.append(recorder.values)
    return Traced(root, graph, {node: (runs[0][node], runs[1][node]) for node in graph.nodes})


def _first_sentence(error: Exception) -> str:
    return first_line(error).split(". ")[0]
