"""What the rules work on: the solver collects layouts and constraints, the rewriter builds the teacher."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from ndtool.train.widening.layout import Axis, Expansion, Groups, Ids, Layout, fixed
from ndtool.train.widening.trace import Traced


class RefusedError(Exception):
    """Why a node cannot be widened, and what to use instead; the pass adds the node's name."""


@dataclass(frozen=True)
class Stored:
    """A parameter or buffer and the layout of its axes. own: the student has its own one (BatchNorm)."""

    tensor: Tensor
    axes: tuple[Axis, ...]
    own: bool


def argument(node: fx.Node, position: int, name: str, default: Any = None) -> Any:
    """An argument of a call, given by position or by name."""
    return node.args[position] if len(node.args) > position else node.kwargs.get(name, default)


def source(node: fx.Node) -> Any:
    """The tensor that a call works on."""
    return argument(node, 0, "input")


class Solver:
    """The layouts of all tensors so far; every rule reads its inputs' layouts, adds ties, and returns its output's."""

    def __init__(self, traced: Traced) -> None:
        self.root = traced.root
        self.values = traced.values
        self.groups = Groups()
        self.layouts: dict[fx.Node, Layout | list[Layout]] = {}
        self.stored: dict[int, Stored] = {}  # by id() of the tensor, so that tied weights are one

    def layout(self, node: Any) -> Layout:
        """The layout of a tensor.

        Raises:
            RefusedError: it is something else.
        """
        layout = self.layouts.get(node) if isinstance(node, fx.Node) else None
        if not isinstance(layout, tuple):
            raise RefusedError("expects a tensor here")
        return layout

    def is_tensor(self, node: fx.Node) -> bool:
        """Whether the node's value is one tensor."""
        return isinstance(self.values[node][0], Tensor)

    def shape(self, node: fx.Node) -> tuple[int, ...]:
        """The student's shape, with the first probe's batch size.

        Raises:
            RefusedError: the node gives several tensors.
        """
        if not self.is_tensor(node):
            raise RefusedError("gives several tensors: use the variant that gives one")
        return tuple(self.values[node][0].shape)

    def batch_axis(self, node: fx.Node) -> int | None:
        """The axis whose size depends on the batch size; None for a constant.

        Raises:
            RefusedError: several do.
        """
        first, second = (value.shape for value in self.values[node])
        axes = [axis for axis, (a, b) in enumerate(zip(first, second, strict=True)) if a != b]
        if len(axes) > 1:
            raise RefusedError("several axes depend on the batch size: keep the batch in the first axis")
        return axes[0] if axes else None

    def constant(self, value: Any) -> Any:
        """The value of an argument that is a number (or holds numbers) computed in the graph.

        Raises:
            RefusedError: it depends on the batch size or on data.
        """

        def resolve(node: fx.Node) -> Any:
            first, second = self.values[node]
            if holds_tensor(first) or first != second:
                raise RefusedError(f"{node.name!r} depends on the {'data' if holds_tensor(first) else 'batch size'}")
            return first

        return fx.node.map_arg(value, resolve)

    def module(self, node: fx.Node) -> Any:
        """The module that a call_module node calls."""
        return self.root.get_submodule(str(node.target))

    def store(self, tensor: Tensor | None, axes: tuple[Axis, ...], *, own: bool = False) -> None:
        """Record the layout of a parameter or buffer; where it is used again, the uses are tied."""
        if tensor is None:
            return
        known = self.stored.setdefault(id(tensor), Stored(tensor, axes, own))
        for before, now in zip(known.axes, axes, strict=True):
            if before.inner != now.inner or known.own != own:
                raise RefusedError("its weights are also used by another kind of layer: give it its own")
            self.groups.tie(before.ids, now.ids)

    def output_ids(self, weight: Tensor, axis: int, size: int) -> Ids:
        """The group of the channels that a layer makes: new, unless its weight was used before."""
        known = self.stored.get(id(weight))
        return known.axes[axis].ids if known else self.groups.new(size)


class Reorder(nn.Module):
    """Puts the entries of one axis into the teacher's block order."""

    def __init__(self, axis: int, index: Ids, device: torch.device) -> None:
        super().__init__()
        self.axis = axis
        self.index: Tensor
        self.register_buffer("index", torch.from_numpy(index).to(device), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """x with its entries along the axis taken in order of the index."""
        return x.index_select(self.axis, self.index)

    def extra_repr(self) -> str:
        """The axis and its size."""
        return f"axis={self.axis}, size={len(self.index)}"


class Rewriter:
    """Builds the teacher's graph once all widths are known."""

    def __init__(self, solver: Solver, expand: Expansion, device: torch.device) -> None:
        self.solver = solver
        self.expand = expand
        self.device = device
        self.graph = fx.Graph()
        self.modules: dict[str, nn.Module] = {}  # to be added to the root
        self.made: dict[fx.Node, Any] = {}  # the student's nodes to the teacher's, or to a number

    def widths(self, ids: Ids) -> Ids:
        """Teacher entries owned by each entry of the student's axis."""
        return self.solver.groups.widths(ids, self.expand)

    def size(self, ids: Ids) -> int:
        """The teacher's size of an axis."""
        return int(self.widths(ids).sum())

    def is_widened(self, ids: Ids) -> bool:
        """Whether the teacher has more entries."""
        return self.size(ids) > len(ids)

    def shape(self, node: fx.Node) -> list[int]:
        """The teacher's shape of a tensor of the student; -1 where it depends on the batch size."""
        shape = [self.size(ids) for ids in self.solver.layout(node)]
        batch = self.solver.batch_axis(node)
        if batch is not None:
            shape[batch] = -1
        return shape

    def mapped(self, value: Any) -> Any:
        """An argument with the teacher's nodes in place of the student's."""
        return fx.node.map_aggregate(value, lambda leaf: self.made[leaf] if isinstance(leaf, fx.Node) else leaf)

    def copy(self, node: fx.Node) -> fx.Node:
        """The same operation on the teacher's tensors."""
        return self.graph.create_node(
            node.op, node.target, self.mapped(node.args), self.mapped(node.kwargs), node.name, node.type
        )

    def module(self, stem: str, module: nn.Module, x: fx.Node) -> fx.Node:
        """Call a module that the student does not have."""
        taken = {name for name, _ in self.solver.root.named_modules()} | self.modules.keys()
        name = next(name for number in range(len(taken) + 1) if (name := f"{stem}_{number}") not in taken)
        self.modules[name] = module
        return self.graph.call_module(name, (x,))

    def reorder(self, x: fx.Node, axis: int, index: Ids | None) -> fx.Node:
        """x with its entries along the axis reordered; x itself for None."""
        return x if index is None else self.module("reorder", Reorder(axis, index, self.device), x)


def holds_tensor(value: Any) -> bool:
    """Whether a value is or holds a tensor."""
    return any(isinstance(leaf, Tensor) for leaf in pytree.tree_leaves(value))


def fixed_layout(value: Any) -> Layout | list[Layout]:
    """A layout without widening, for a tensor or a sequence of tensors."""
    if isinstance(value, Tensor):
        return tuple(fixed(size) for size in value.shape)
    return [tuple(fixed(size) for size in leaf.shape) for leaf in pytree.tree_leaves(value) if isinstance(leaf, Tensor)]


def whole(sizes: tuple[int, ...] | torch.Size) -> tuple[Axis, ...]:
    """Axes of a stored tensor that are not widened."""
    return tuple(Axis(fixed(size)) for size in sizes)
