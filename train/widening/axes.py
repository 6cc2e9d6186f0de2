"""Rules of the operators that move, join or cut axes."""

import operator
from typing import Any

import numpy as np
import torch
from torch import fx

from ndtool.train.widening.context import RefusedError, Rewriter, Solver, argument, source
from ndtool.train.widening.layout import (
    Ids,
    Layout,
    Part,
    as_slice,
    block_keys,
    fixed,
    reordering,
    reshape_ids,
    reshape_parts,
    student_index,
)


def _dim(s: Solver, node: fx.Node, position: int, rank: int, default: int = 0, name: str = "dim") -> int:
    dim = s.constant(argument(node, position, name, default))
    if not isinstance(dim, int):
        raise RefusedError("needs its axis as a number: give dim")
    return dim % rank


def solve_permute(s: Solver, node: fx.Node) -> Layout:
    """Axes change places."""
    layout = s.layout(source(node))
    labels = torch.empty(tuple(range(len(layout))), device="meta")  # sizes that tell the axes apart
    rest = [s.constant(arg) for arg in node.args[1:]]
    options = {name: s.constant(value) for name, value in node.kwargs.items() if name != "input"}
    function = getattr(torch.Tensor, node.target) if isinstance(node.target, str) else node.target
    return tuple(layout[axis] for axis in function(labels, *rest, **options).shape)  # type: ignore[operator]


def _parts(s: Solver, node: fx.Node) -> tuple[Part, ...]:
    """The independent parts of a reshape, the same for every batch size; the batch stays the outermost of its part."""
    x = source(node)
    cuts = [reshape_parts(s.values[x][run].shape, s.values[node][run].shape) for run in (0, 1)]
    batch_in, batch_out = s.batch_axis(x), s.batch_axis(node)
    apart = "reshapes the batch into other axes: keep it the first axis"
    if cuts[0] != cuts[1] or (batch_in is None) != (batch_out is None):
        raise RefusedError(apart)
    for part in cuts[0]:
        if batch_in in part.before or batch_out in part.after:
            leading = [next((a for a in part.before if s.shape(x)[a] > 1), None)]
            leading.append(next((a for a in part.after if s.shape(node)[a] > 1), None))
            if batch_in is not None and leading != [batch_in, batch_out]:
                raise RefusedError(apart)
    return cuts[0]


def solve_reshape(s: Solver, node: fx.Node) -> Layout:
    """Axes are merged and split; one axis of each part carries the widening."""
    layout = s.layout(source(node))
    after = s.shape(node)
    result = [fixed(size) for size in after]
    for part in _parts(s, node):
        if s.batch_axis(node) in part.after and len(part.before + part.after) > 2:
            for axis in part.before:
                s.groups.fix(layout[axis])
        elif s.batch_axis(node) not in part.after:
            for axis, ids in zip(part.after, reshape_ids(s.groups, layout, part, after), strict=True):
                result[axis] = ids
    return tuple(result)


def rewrite_reshape(w: Rewriter, node: fx.Node) -> fx.Node:
    """The teacher's shape, with the blocks of each part put in order between merging and splitting its axes."""
    before, after = w.solver.layout(source(node)), w.solver.layout(node)
    final, batch = w.shape(node), w.solver.batch_axis(node)
    merged: list[int] = []
    orders: list[tuple[int, Ids]] = []
    for part in _parts(w.solver, node):
        order = None
        if batch not in part.after:
            have, want = [w.widths(before[a]) for a in part.before], [w.widths(after[a]) for a in part.after]
            base = max([1, *(int(width.max(initial=1)) for width in have + want)])
            order = reordering(block_keys(have, base), block_keys(want, base))
        if order is not None:
            orders.append((len(merged), order))
            merged.append(len(order))
        else:
            merged.extend(final[a] for a in part.after)
    x = w.mapped(source(node))
    if merged != w.shape(source(node)):
        x = w.graph.call_function(torch.reshape, (x, tuple(merged)))
    for axis, order in orders:
        x = w.reorder(x, axis, order)
    return x if merged == final else w.graph.call_function(torch.reshape, (x, tuple(final)))


def solve_expand(s: Solver, node: fx.Node) -> Layout:
    """Axes of size one are repeated; the repeated axis is fixed."""
    layout, shape = s.layout(source(node)), s.shape(node)
    if s.batch_axis(node) is not None and s.batch_axis(source(node)) is None:
        raise RefusedError("repeats a constant over the batch: let broadcasting do it")
    result = [fixed(size) for size in shape[: len(shape) - len(layout)]]
    for ids, size in zip(layout, shape[len(result) :], strict=True):
        if len(ids) != size:
            s.groups.fix(ids)
        result.append(ids if len(ids) == size else fixed(size))
    return tuple(result)


def rewrite_expand(w: Rewriter, node: fx.Node) -> fx.Node:
    """Expand to the teacher's shape."""
    return w.graph.call_method("expand", (w.mapped(source(node)), *w.shape(node)))


def solve_cat(s: Solver, node: fx.Node) -> Layout:
    """Channels are stacked: along the axis the inputs' layouts follow each other, the other axes are tied."""
    tensors = argument(node, 0, "tensors")
    pieces = s.layouts.get(tensors) if isinstance(tensors, fx.Node) else [s.layout(tensor) for tensor in tensors]
    if not isinstance(pieces, list):
        raise RefusedError("needs a list of tensors")
    layouts: list[Layout] = pieces
    dim = _dim(s, node, 1, len(layouts[0]), name="axis" if "axis" in node.kwargs else "dim")
    if s.batch_axis(node) == dim:
        raise RefusedError("joins batches: concatenate along another axis")
    for layout in layouts[1:]:
        for axis, ids in enumerate(layout):
            if axis != dim:
                s.groups.tie(layouts[0][axis], ids)
    return (*layouts[0][:dim], np.concatenate([layout[dim] for layout in layouts]), *layouts[0][dim + 1 :])


def solve_split(s: Solver, node: fx.Node) -> list[Layout]:
    """Channels are cut where the student's are; each piece follows its part of the input."""
    layout = s.layout(source(node))
    dim = _dim(s, node, 2, len(layout))
    if s.batch_axis(source(node)) == dim:
        raise RefusedError("splits the batch: split along another axis")
    sizes = [piece.shape[dim] for piece in s.values[node][0]]
    pieces = np.split(layout[dim], np.cumsum(sizes)[:-1])
    return [(*layout[:dim], ids, *layout[dim + 1 :]) for ids in pieces]


def rewrite_split(w: Rewriter, node: fx.Node) -> fx.Node:
    """Cut at the teacher's sizes."""
    pieces = w.solver.layouts[node]
    dim = _dim(w.solver, node, 2, len(w.solver.layout(source(node))))
    return w.graph.call_function(torch.split, (w.mapped(source(node)), [w.size(piece[dim]) for piece in pieces], dim))


def solve_getitem(s: Solver, node: fx.Node) -> Layout | list[Layout]:
    """Of several tensors one; of one tensor slices of its axes, where an axis that is indexed by a number is fixed."""
    source = s.layouts.get(node.args[0])  # type: ignore[call-overload,arg-type]
    if isinstance(source, list):
        return source[s.constant(node.args[1])]
    layout = s.layout(node.args[0])
    result = []
    for axis, item in _items(s, node, len(layout)):
        if axis is None:
            result.append(fixed(1))
        elif axis == s.batch_axis(node.args[0]) and item != slice(None):  # type: ignore[arg-type]
            raise RefusedError("takes a part of the batch: index the other axes only")
        elif isinstance(item, slice):
            result.append(layout[axis][item])
        else:
            s.groups.fix(layout[axis])
    return tuple(result)


def _items(s: Solver, node: fx.Node, rank: int) -> list[tuple[int | None, Any]]:
    """(axis, slice or number) for every axis in turn, (None, None) for a new axis."""
    index = s.constant(node.args[1])
    index = list(index) if isinstance(index, tuple) else [index]
    if not all(item is None or item is Ellipsis or type(item) in (int, slice) for item in index):
        raise RefusedError("is indexed by something else than numbers and slices: use those")
    named = sum(item is not None and item is not Ellipsis for item in index)
    where = next((place for place, item in enumerate(index) if item is Ellipsis), len(index))
    index[where : where + 1] = [slice(None)] * (rank - named)
    axes = iter(range(rank))
    return [(None, None) if item is None else (next(axes), item) for item in index]


def rewrite_getitem(w: Rewriter, node: fx.Node) -> fx.Node:
    """The blocks of the channels that the student takes."""
    if isinstance(w.solver.layouts[node.args[0]], list):  # type: ignore[index]
        return w.graph.call_function(operator.getitem, (w.mapped(node.args[0]), w.solver.constant(node.args[1])))
    layout = w.solver.layout(node.args[0])
    items: list[Any] = []
    x = w.mapped(node.args[0])
    for axis, item in _items(w.solver, node, len(layout)):
        if axis is not None and isinstance(item, slice) and item != slice(None) and w.is_widened(layout[axis]):
            index = _block_index(w.widths(layout[axis]), item)
            item = as_slice(index)
            if item is None:
                x, item = w.reorder(x, axis, index), slice(None)
        items.append(item)
    if all(item == slice(None) for item in items):
        return x
    return w.graph.call_function(operator.getitem, (x, tuple(items)))


def _block_index(widths: Ids, item: slice | Ids) -> Ids:
    """The teacher's entries in the blocks of the entries that the student takes."""
    taken, first = widths[item], student_index(widths)[item]
    return np.repeat(first - (np.cumsum(taken) - taken), taken) + np.arange(taken.sum())


def solve_channel_shuffle(s: Solver, node: fx.Node) -> Layout:
    """The channels of the groups are interleaved."""
    layout = s.layout(source(node))
    return (layout[0], layout[1][_shuffled(s, node)], *layout[2:])


def _shuffled(s: Solver, node: fx.Node) -> Ids:
    """For each channel of the output, the input's."""
    groups = s.module(node).groups if node.op == "call_module" else s.constant(argument(node, 1, "groups"))
    return np.arange(s.shape(node)[1]).reshape(groups, -1).T.ravel()


def rewrite_channel_shuffle(w: Rewriter, node: fx.Node) -> fx.Node:
    """The blocks are interleaved."""
    widths = w.widths(w.solver.layout(source(node))[1])
    return w.reorder(w.mapped(source(node)), 1, _block_index(widths, _shuffled(w.solver, node)))


def solve_narrow(s: Solver, node: fx.Node) -> Layout:
    """A slice of one axis follows its part of the input."""
    layout = s.layout(source(node))
    dim, item = _narrow(s, node)
    if s.batch_axis(source(node)) == dim:
        raise RefusedError("takes a part of the batch: narrow another axis")
    return (*layout[:dim], layout[dim][item], *layout[dim + 1 :])


def _narrow(s: Solver, node: fx.Node) -> tuple[int, slice]:
    dim = _dim(s, node, 1, len(s.layout(source(node))))
    start, length = s.constant(argument(node, 2, "start")), s.constant(argument(node, 3, "length"))
    start %= s.shape(source(node))[dim]
    return dim, slice(start, start + length)


def rewrite_narrow(w: Rewriter, node: fx.Node) -> fx.Node:
    """The blocks of the channels that the student takes."""
    dim, item = _narrow(w.solver, node)
    index = _block_index(w.widths(w.solver.layout(source(node))[dim]), item)
    return w.graph.call_function(torch.narrow, (w.mapped(source(node)), dim, int(index[0]), len(index)))
