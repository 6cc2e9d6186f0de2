"""The two passes over the graph: solve the layouts of all tensors, then write the teacher."""

from typing import Any

import torch
from torch import Tensor, fx, nn

from ndtool.errors import NdtoolError
from ndtool.train.widening.context import RefusedError, Rewriter, Solver, Stored, fixed_layout, holds_tensor
from ndtool.train.widening.layers import adapt
from ndtool.train.widening.layout import Axis, Expansion, Layout, fixed, owners
from ndtool.train.widening.operators import NUMBERS, rule_of
from ndtool.train.widening.trace import Traced


def solve(traced: Traced) -> Solver:
    """Find which channels of which tensors go together.

    Raises:
        NdtoolError: every node that cannot be widened, with the reason.
    """
    solver, findings = Solver(traced), []
    for node in traced.graph.nodes:
        try:
            layout = _solve_node(solver, node)
        except RefusedError as refused:
            findings.append(f"{_describe(solver, node)} {refused}")
            layout = fixed_layout(solver.values[node][0])
        if layout is not None:
            solver.layouts[node] = layout
    if findings:
        raise NdtoolError(f"the network cannot be widened: {'; '.join(findings)}")
    return solver


def _solve_node(s: Solver, node: fx.Node) -> Layout | list[Layout] | None:
    value = s.values[node][0]
    if node.op == "output":
        for source in node.all_input_nodes:
            layout = s.layouts.get(source, ())
            for ids in [ids for each in layout for ids in each] if isinstance(layout, list) else layout:
                s.groups.fix(ids)
        return None
    if node.op == "placeholder":
        return tuple(fixed(size) for size in value.shape) if isinstance(value, Tensor) else None
    if node.op == "get_attr":
        return _solve_attribute(s, node)
    if not holds_tensor(value):
        if node.target not in NUMBERS:
            raise RefusedError("makes a number in a way that may depend on the data or on the channels")
        return None
    rule = rule_of(s, node)
    if rule is None:
        raise RefusedError("is an operator that ndtool does not know how to widen")
    return rule.solve(s, node)


def _solve_attribute(s: Solver, node: fx.Node) -> Layout:
    """A parameter or constant used by itself: every axis may be widened, as its use demands."""
    tensor = attribute(s.root, str(node.target))
    if id(tensor) not in s.stored:
        may_grow = tensor.is_floating_point()
        axes = [Axis(s.groups.new(n) if may_grow and n > 1 else fixed(n)) for n in tensor.shape]
        s.store(tensor, tuple(axes))
    stored = s.stored[id(tensor)]
    if stored.own or any(axis.inner > 1 for axis in stored.axes):
        raise RefusedError("uses the weights of a layer directly: give it weights of its own")
    return tuple(axis.ids for axis in stored.axes)


def attribute(root: nn.Module, path: str) -> Tensor:
    """The tensor at a dotted path."""
    owner, _, name = path.rpartition(".")
    return getattr(root.get_submodule(owner), name)


def _describe(s: Solver, node: fx.Node) -> str:
    """A node's name, its operator and the module that it belongs to."""
    if node.op == "call_module":
        return f"{node.target!r} ({type(s.module(node)).__name__})"
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))
    stack = list(node.meta.get("nn_module_stack", {}).values())
    return f"{node.name!r} ({name}{f' in module {stack[-1][0]!r}' if stack else ''})"


def rewrite(traced: Traced, solver: Solver, expand: Expansion, device: torch.device) -> fx.GraphModule:
    """Write the teacher; the root's layers are widened in place."""
    w = Rewriter(solver, expand, device)
    numbers = []
    for node in traced.graph.nodes:
        first, second = traced.values[node]
        if node.op in ("placeholder", "get_attr", "output"):
            w.made[node] = w.copy(node)
        elif holds_tensor(first):
            rule = rule_of(solver, node)
            assert rule is not None, "solve() refuses unknown operators"
            w.made[node] = rule.rewrite(w, node)
        elif first == second:
            w.made[node] = first
        else:
            w.made[node] = w.copy(node)
            numbers.append(w.made[node])
    for number in reversed(numbers):
        if not number.users:
            w.graph.erase_node(number)
    exchange_weights(solver, w)
    for name, module in w.modules.items():
        traced.root.add_module(name, module)
    return fx.GraphModule(traced.root, w.graph, type(traced.root).__name__)


def exchange_weights(solver: Solver, w: Rewriter) -> None:
    """Put wider weights into the root's modules: layers newly initialised, anything else by repeating the student's."""
    wider: dict[int, Any] = {}
    for key, stored in solver.stored.items():
        tensor = _repeated(stored, w)
        if tensor is not None:
            parameter = isinstance(stored.tensor, nn.Parameter)
            wider[key] = nn.Parameter(tensor, stored.tensor.requires_grad) if parameter else tensor
    for module in list(solver.root.modules()):
        changed = False
        for tensors in (module._parameters, module._buffers):
            for name, tensor in tensors.items():
                if id(tensor) in wider:
                    tensors[name] = wider[id(tensor)]
                    changed = True
        if changed:
            adapt(module)


def _repeated(stored: Stored, w: Rewriter) -> Tensor | None:
    """The tensor with every entry repeated over its block; None where nothing is widened."""
    tensor = stored.tensor.detach()
    for axis, each in enumerate(stored.axes):
        if w.is_widened(each.ids):
            index = torch.from_numpy(owners(w.widths(each.ids), each.inner)).to(tensor.device)
            tensor = tensor.index_select(axis, index)
    return None if tensor is stored.tensor or tensor.shape == stored.tensor.shape else tensor
