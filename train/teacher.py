"""The weight-sharing teacher: any traceable network with wider hidden channels, and where the student lies in it."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, fx, nn

from ndtool.errors import NdtoolError
from ndtool.train.widening.context import Solver, Stored
from ndtool.train.widening.layout import Axis, Expansion, as_slice, part_index
from ndtool.train.widening.passes import rewrite, solve
from ndtool.train.widening.trace import Traced, trace

Index = tuple[Tensor | None, ...]


@dataclass(frozen=True)
class Sharing:
    """Where the student lies in the teacher. A parameter or buffer has the same name in both.

    index: of every shared parameter, for each axis the int64 positions (student's size,) in the teacher's axis;
        None: the same entries in both.
    own: parameters that the student does not share: BatchNorm's affine ones, and those that the forward pass does
        not use.
    own_index: of BatchNorm's parameters and buffers (running statistics), the positions of the student's channels in
        the teacher's; each network keeps its own values.
    """

    index: Mapping[str, Index]
    own: frozenset[str]
    own_index: Mapping[str, Index]

    @cached_property
    def _selectors(self) -> Mapping[str, tuple[tuple[slice, ...], tuple[tuple[int, Tensor], ...]]]:
        """For each name the evenly spaced axes as slices, and the others as (axis, positions)."""
        result = {}
        for name, index in {**self.own_index, **self.index}.items():
            slices, rest = [], []
            for i, positions in enumerate(index):
                each = slice(None) if positions is None else as_slice(positions.cpu().numpy())
                if positions is not None and each is None:
                    rest.append((i, positions))
                slices.append(each or slice(None))
            result[name] = tuple(slices), tuple(rest)
        return result

    def student_part(self, name: str, teacher_tensor: Tensor) -> Tensor:
        """The student's part of a teacher's tensor (parameter, gradient, optimiser state).

        A view where the positions are evenly spaced (they are but for concatenations of unequal widths and depthwise
        multipliers), otherwise gathered.
        """
        slices, rest = self._selectors[name]
        part = teacher_tensor[slices] if slices else teacher_tensor
        for axis, index in rest:
            part = part.index_select(axis, index.to(part.device))
        return part

    def add_part(self, name: str, teacher_tensor: Tensor, student_tensor: Tensor, alpha: float = 1.0) -> None:
        """teacher_tensor[student's part] += alpha * student_tensor, in place."""
        part = self.student_part(name, teacher_tensor)
        if self.is_view(name):
            part.add_(student_tensor, alpha=alpha)
        else:
            self._scatter(name, teacher_tensor, part.add(student_tensor, alpha=alpha))

    def set_part(self, name: str, teacher_tensor: Tensor, student_tensor: Tensor) -> None:
        """teacher_tensor[student's part] = student_tensor, in place."""
        if self.is_view(name):
            self.student_part(name, teacher_tensor).copy_(student_tensor)
        else:
            self._scatter(name, teacher_tensor, student_tensor)

    def is_view(self, name: str) -> bool:
        """Whether `student_part` returns a view of the teacher's tensor rather than a copy."""
        return not self._selectors[name][1]

    def to(self, device: torch.device | str) -> "Sharing":
        """The same with its positions on a device, so that gathering there needs no transfer."""

        def moved(places: Mapping[str, Index]) -> dict[str, Index]:
            return {name: tuple(i if i is None else i.to(device) for i in index) for name, index in places.items()}

        return Sharing(moved(self.index), self.own, moved(self.own_index))

    def _scatter(self, name: str, teacher_tensor: Tensor, student_tensor: Tensor) -> None:
        slices, rest = self._selectors[name]
        grid: list[Tensor] = []
        irregular = dict(rest)
        for axis, each in enumerate(slices):
            index = irregular.get(axis)
            if index is None:
                index = torch.arange(*each.indices(teacher_tensor.shape[axis]))
            shape = [1] * len(slices)
            shape[axis] = -1
            grid.append(index.to(teacher_tensor.device).view(shape))
        teacher_tensor.index_put_(tuple(grid), student_tensor.to(teacher_tensor.dtype))


@dataclass(frozen=True)
class Widened:
    """The teacher and where the student lies in it."""

    teacher: fx.GraphModule
    sharing: Sharing


def widen(student: nn.Module, example: Tensor, expand: int = 3) -> Widened:
    """Build the teacher: the student with `expand` times as many hidden channels.

    Input channels and outputs keep their number, and so do channels that are tied to them (by a residual connection
    from the input, for instance). Each student channel becomes a block of `expand` neighbouring channels, of which it
    is the first, in every tensor of the network; where an operator leaves the teacher's channels in another order
    (flatten, channel shuffle, depthwise multiplier), they are reordered. Depthwise convolutions stay depthwise, grouped
    ones keep the number of groups. The weights of widened layers are drawn anew, with the student's variance times its
    fan-in over theirs; all else has the student's values, repeated; see `embed`. The teacher is in the student's mode,
    on its device.

    Args:
        student: a module that torch.fx can trace, taking one tensor with the batch in the first axis.
        example: an input, (N, ...); only its first row is used, by running the network on it.
        expand: the factor, >= 1.

    Raises:
        NdtoolError: the network cannot be traced or has operators that cannot be widened (all are named), or it has no
            hidden channels.

    Source: Cai et al., "Network Augmentation for Tiny Deep Learning", 2022 (the widened network).
    """
    if isinstance(expand, bool) or not isinstance(expand, int) or expand < 1:
        raise NdtoolError(f"expand is {expand!r}: it must be a whole number of at least 1")
    traced = trace(student, example)
    names = _names(traced)
    solver = solve(traced)
    if expand > 1 and not any((solver.groups.widths(axis.ids, 2) > 1).any() for axis in _all_axes(solver)):
        raise NdtoolError(
            f"{type(student).__name__} has no hidden channels that can be widened, only inputs, outputs and what "
            "is tied to them: train it with the method vanilla"
        )
    teacher = rewrite(traced, solver, expand, example.device)
    sharing = _sharing(solver, names, {name for name, _ in student.named_parameters()}, expand)
    return Widened(teacher.train(student.training), sharing)


def subnetworks(student: nn.Module, example: Tensor, expand: int, *, count: int, seed: int) -> list[Widened]:
    """Random networks between the student and the teacher that `widen` makes of it.

    In each, every group of channels that must be equally wide is 1 to `expand` times as wide as the student's, drawn
    by `seed`. `sharing.index` says where all of its parameters, BatchNorm's too, lie in the teacher's of the same name;
    its own weights are not meant to be used. Raises NdtoolError as `widen`.
    """
    draw = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        traced = trace(student, example)
        names, parameters = _names(traced), {name for name, _ in student.named_parameters()}
        solver = solve(traced)
        widths = {group: int(draw.integers(1, expand, endpoint=True)) for group in solver.groups.free()}
        network = rewrite(traced, solver, widths, example.device)
        used = {name: solver.stored[key] for name, key in names.items() if name in parameters and key in solver.stored}
        index = {name: _positions(solver, stored, widths, expand) for name, stored in used.items()}
        made.append(Widened(network.train(student.training), Sharing(index, frozenset(), {})))
    return made


def embed(widened: Widened, student: nn.Module) -> None:
    """Give the teacher the student's values (weights, BatchNorm parameters and statistics) in the student's part."""
    theirs = dict(widened.teacher.named_parameters()) | dict(widened.teacher.named_buffers())
    ours = dict(student.named_parameters()) | dict(student.named_buffers())
    with torch.no_grad():
        for name in (*widened.sharing.index, *widened.sharing.own_index):
            widened.sharing.set_part(name, theirs[name], ours[name])


def _names(traced: Traced) -> dict[str, int]:
    """The id() of every parameter and buffer, by name; rewriting exchanges them."""
    named = (traced.root.named_parameters(), traced.root.named_buffers())
    return {name: id(tensor) for each in named for name, tensor in each}


def _all_axes(solver: Solver) -> list[Axis]:
    return [axis for stored in solver.stored.values() for axis in stored.axes]


def _sharing(solver: Solver, names: Mapping[str, int], parameters: set[str], expand: int) -> Sharing:
    """The positions of the student's part, by name; constants are no part of it."""
    shared, own = {}, {}
    for name, key in names.items():
        stored = solver.stored.get(key)
        if stored is not None and stored.own:
            own[name] = _positions(solver, stored, 1, expand)
        elif stored is not None and name in parameters:
            shared[name] = _positions(solver, stored, 1, expand)
    return Sharing(shared, frozenset(parameters - shared.keys()), own)


def _positions(solver: Solver, stored: Stored, part: Expansion, expand: int) -> Index:
    """Where a tensor of the network expanded by `part` lies in that of the network expanded by `expand`."""
    result: list[Tensor | None] = []
    for axis in stored.axes:
        narrow, wide = (solver.groups.widths(axis.ids, each) for each in (part, expand))
        same = np.array_equal(narrow, wide)
        result.append(None if same else torch.from_numpy(part_index(narrow, wide, axis.inner)))
    return tuple(result)
