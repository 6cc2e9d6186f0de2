"""Rules of the operators without weights that leave the axes where they are: elementwise, over space, over an axis."""

import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import torchvision
from torch import fx, nn

from ndtool.train.widening.context import RefusedError, Rewriter, Solver, argument, holds_tensor, source
from ndtool.train.widening.layers import images
from ndtool.train.widening.layout import (
    Layout,
    fixed,
)


def solve_elementwise(s: Solver, node: fx.Node) -> Layout:
    """Every output element depends on one element of each input: widths are tied; a broadcast axis is fixed."""
    layouts = [s.layout(n) for n in node.all_input_nodes if holds_tensor(s.values[n][0])]
    shape = s.shape(node)
    result = []
    for axis, size in enumerate(shape):
        parts = [layout[axis - len(shape)] for layout in layouts if len(layout) >= len(shape) - axis]
        full = [ids for ids in parts if len(ids) == size]
        for ids in parts:
            if len(ids) == size:
                s.groups.tie(full[0], ids)
            else:
                s.groups.fix(ids)
        result.append(full[0])
    return tuple(result)


# Functions of the training mode, which the trace has frozen: the module that follows the teacher's mode instead.
DROPOUTS: Mapping[Any, Callable[..., nn.Module]] = MappingProxyType(
    {
        nn.functional.dropout: nn.Dropout,
        nn.functional.dropout1d: nn.Dropout1d,
        nn.functional.dropout2d: nn.Dropout2d,
        nn.functional.dropout3d: nn.Dropout3d,
        torchvision.ops.stochastic_depth: torchvision.ops.StochasticDepth,
    }
)


def rewrite_dropout(w: Rewriter, node: fx.Node) -> fx.Node:
    """As a module."""
    names = list(inspect.signature(node.target).parameters)  # type: ignore[arg-type]
    given = dict(zip(names, node.args, strict=False)) | node.kwargs
    if given.get("training", True):
        return w.copy(node)
    options = {name: value for name, value in given.items() if name in ("p", "mode")}
    return w.module("dropout", DROPOUTS[node.target](**options), w.mapped(given["input"]))


def spatial(dims: int) -> Callable[[Solver, fx.Node], Layout]:
    """The rule of pools, resizing and padding over `dims` spatial axes: channels follow."""

    def solve(s: Solver, node: fx.Node) -> Layout:
        layout = images(s, node, dims)
        return (*layout[:2], *(fixed(size) for size in s.shape(node)[2:]))

    return solve


def solve_interpolate(s: Solver, node: fx.Node) -> Layout:
    """Resizing: channels follow, spatial axes are fixed."""
    return spatial(len(s.shape(source(node))) - 2)(s, node)


def solve_reduction(s: Solver, node: fx.Node) -> Layout:
    """Mean, sum, maximum over axes: these are fixed, the others follow."""
    layout = s.layout(source(node))
    dims = s.constant(argument(node, 1, "dim", None))
    dims = range(len(layout)) if dims is None else (dims,) if isinstance(dims, int) else dims
    reduced = {dim % len(layout) for dim in dims}
    if s.batch_axis(source(node)) in reduced:
        raise RefusedError("reduces over the batch: reduce over the other axes only")
    for axis in reduced:
        s.groups.fix(layout[axis])
    if len(s.shape(node)) == len(layout):
        return tuple(fixed(1) if axis in reduced else ids for axis, ids in enumerate(layout))
    return tuple(ids for axis, ids in enumerate(layout) if axis not in reduced)


def solve_softmax(s: Solver, node: fx.Node) -> Layout:
    """Softmax couples the entries of its axis, which is therefore fixed."""
    layout = s.layout(source(node))
    dim = s.module(node).dim if node.op == "call_module" else s.constant(argument(node, 1, "dim"))
    if not isinstance(dim, int):
        raise RefusedError("needs its axis as a number: give dim")
    s.groups.fix(layout[dim])
    return layout


def _padding(s: Solver, node: fx.Node) -> list[tuple[int, int]]:
    """(before, after) for each axis of the input."""
    pad = s.constant(argument(node, 1, "pad"))
    rank = len(s.layout(source(node)))
    return [(0, 0)] * (rank - len(pad) // 2) + [(pad[i], pad[i + 1]) for i in range(len(pad) - 2, -1, -2)]


def solve_pad(s: Solver, node: fx.Node) -> Layout:
    """Padding: new channels of zeros are a group of their own; spatial axes are fixed."""
    layout, padding = s.layout(source(node)), _padding(s, node)
    result = []
    for axis, (ids, (before, after)) in enumerate(zip(layout, padding, strict=True)):
        if (before, after) == (0, 0):
            result.append(ids)
        elif axis == s.batch_axis(source(node)):
            raise RefusedError("pads the batch: pad the other axes only")
        elif axis == 1 and min(before, after) >= 0:
            result.append(np.concatenate([s.groups.new(before), ids, s.groups.new(after)]))
        else:
            s.groups.fix(ids)
            result.append(fixed(s.shape(node)[axis]))
    return tuple(result)


def rewrite_pad(w: Rewriter, node: fx.Node) -> fx.Node:
    """Pad by the widths of the new channels."""
    before, after = w.solver.layout(source(node)), w.solver.layout(node)
    pad: list[int] = []
    for axis, (left, right) in reversed(list(enumerate(_padding(w.solver, node)))):
        if axis == 1 and min(left, right) >= 0:
            left, right = w.size(after[axis][:left]), w.size(after[axis][left + len(before[axis]) :])
        pad += [left, right]
    while len(pad) > 2 and pad[-2:] == [0, 0]:
        pad = pad[:-2]
    mode, value = argument(node, 2, "mode", "constant"), argument(node, 3, "value", None)
    return w.graph.call_function(
        nn.functional.pad, (w.mapped(source(node)), tuple(pad)), {"mode": mode, "value": w.mapped(value)}
    )


def solve_refusal(reason: str) -> Callable[[Solver, fx.Node], Layout]:
    """The rule of an operator that cannot be widened."""

    def solve(s: Solver, node: fx.Node) -> Layout:
        raise RefusedError(reason)

    return solve
