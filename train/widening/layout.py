"""How the channels of a widened network lie.

Every axis of every tensor is described by one group id per entry of the *student's* axis. In the teacher, an entry of a
widened group owns a block of `expand` neighbours, an entry of the fixed group owns one; the blocks keep the student's
order, and the student's own entry is the first of its block. A layout is the ids of all axes of one tensor.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int64]
Expansion = int | Mapping[int, int]  # of all groups alike, or of each by its number in Groups.free()
Layout = tuple[Ids, ...]


def fixed(size: int) -> Ids:
    """Ids of an axis that is never widened."""
    return np.zeros(size, np.int64)


class Groups:
    """Which channels must have the same width: union-find over group ids; group 0 is fixed (never widened)."""

    def __init__(self) -> None:
        self._parent = [0]

    def new(self, size: int) -> Ids:
        """Ids of an axis of `size` entries that form a group of their own."""
        self._parent.append(len(self._parent))
        return np.full(size, len(self._parent) - 1, np.int64)

    def tie(self, a: Ids, b: Ids) -> None:
        """Entry by entry, a and b get the same width."""
        for x, y in np.unique(np.stack([a, b]), axis=1).T.tolist():
            low, high = sorted((self._find(x), self._find(y)))
            self._parent[high] = low

    def fix(self, ids: Ids) -> None:
        """These entries are not widened."""
        self.tie(ids, fixed(len(ids)))

    def is_fixed(self, ids: Ids) -> bool:
        """Whether no entry can be widened, as far as is known."""
        return not self.widths(ids, 2).max(initial=1) > 1

    def widths(self, ids: Ids, expand: Expansion) -> Ids:
        """Teacher entries that each entry of the student's axis owns: (len(ids),), 1 where it is fixed."""
        members, inverse = np.unique(ids, return_inverse=True)
        roots = [self._find(member) for member in members.tolist()]
        each = [1 if root == 0 else expand if isinstance(expand, int) else expand[root] for root in roots]
        return np.array(each, np.int64)[inverse]

    def free(self) -> list[int]:
        """The numbers of the groups that can be widened, one for all that are tied."""
        return sorted({self._find(member) for member in range(len(self._parent))} - {0})

    def _find(self, x: int) -> int:
        while self._parent[x] != x:
            self._parent[x] = x = self._parent[self._parent[x]]
        return x


@dataclass(frozen=True)
class Axis:
    """One axis of a stored tensor. inner > 1: every entry of ids is a run of that many entries (depthwise multiplier)
    and a block repeats the whole run, because that is how a depthwise convolution orders its output channels."""

    ids: Ids
    inner: int = 1


def starts(widths: Ids) -> Ids:
    """The first teacher entry of each block: the student's own."""
    return np.cumsum(widths) - widths


def student_index(widths: Ids, inner: int = 1) -> Ids:
    """Where the student's entries of an axis lie in the teacher's."""
    return part_index(np.ones_like(widths), widths, inner)


def part_index(part: Ids, widths: Ids, inner: int = 1) -> Ids:
    """Where the entries of a network whose blocks are `part` wide lie in one whose blocks are `widths` wide.

    Of every block it has the first ones; both (axis,), part <= widths.
    """
    within = np.arange(part.sum()) - np.repeat(starts(part), part)
    first = np.repeat(starts(widths), part) + within
    return (first[:, None] * inner + np.arange(inner)).ravel()


def owners(widths: Ids, inner: int = 1) -> Ids:
    """For each teacher entry of an axis, the student's entry whose block it belongs to."""
    return (np.repeat(np.arange(len(widths)), widths)[:, None] * inner + np.arange(inner)).ravel()


def as_slice(index: Ids) -> slice | None:
    """The slice that selects the same entries, if they are evenly spaced."""
    if len(index) == 0:
        return None
    step = int(index[1] - index[0]) if len(index) > 1 else 1
    if step < 1 or (np.diff(index) != step).any():
        return None
    return slice(int(index[0]), int(index[-1]) + 1, step)


@dataclass(frozen=True)
class Part:
    """Neighbouring axes of a reshape that hold the same elements before and after; as small as possible."""

    before: tuple[int, ...]
    after: tuple[int, ...]


def reshape_parts(before: Sequence[int], after: Sequence[int]) -> tuple[Part, ...]:
    """Cut a reshape between two shapes of equal size into independent parts."""
    parts: list[Part] = []
    i = j = 0
    while i < len(before) and j < len(after):
        first_in, first_out = i, j
        size_in, size_out = before[i], after[j]
        i, j = i + 1, j + 1
        while size_in != size_out:
            if size_in < size_out:
                size_in, i = size_in * before[i], i + 1
            else:
                size_out, j = size_out * after[j], j + 1
        parts.append(Part(tuple(range(first_in, i)), tuple(range(first_out, j))))
    rest = Part(tuple(range(i, len(before))), tuple(range(j, len(after))))  # axes of size one
    last = parts.pop() if parts else Part((), ())
    return (*parts, Part(last.before + rest.before, last.after + rest.after))


def reshape_ids(groups: Groups, layout: Layout, part: Part, after: Sequence[int]) -> list[Ids]:
    """Ids of the axes `part.after`; exactly one of them carries the widening.

    Two widened axes cannot be merged into blocks of one width, and channels of several widths cannot be spread over
    axes unless they vary along one only: the first case narrows all but one axis, the second ties the widths.
    """
    carriers = [axis for axis in part.before if not groups.is_fixed(layout[axis])]
    for axis in carriers[1:] if part.after else carriers:
        groups.fix(layout[axis])
    shape = [len(layout[axis]) for axis in part.before]
    place = part.before.index(carriers[0]) if carriers else 0
    ids = layout[carriers[0]] if carriers else fixed(shape[0] if shape else 1)
    grid = np.broadcast_to(ids.reshape([-1] + [1] * max(len(shape) - 1 - place, 0)), shape or [1])
    grid = grid.reshape([after[axis] for axis in part.after])
    result = [fixed(after[axis]) for axis in part.after]
    if not part.after:
        return result
    preferred = sorted(range(len(result)), key=lambda k: part.after[k] != 1)  # networks keep channels in axis 1
    lines = [np.moveaxis(grid, k, 0).reshape(grid.shape[k], -1) for k in preferred]
    for k, line in zip(preferred, lines, strict=True):
        if (line == line[:, :1]).all():
            result[k] = line[:, 0].copy()
            return result
    groups.tie(grid.ravel(), np.full(grid.size, grid.flat[0], np.int64))
    result[preferred[0]] = lines[0][:, 0].copy()
    return result


def block_keys(widths: Sequence[Ids], base: int) -> Ids:
    """Sort keys of the elements of a tensor of blocks, row by row: student's element, then place in its block."""
    owner, place = fixed(1), fixed(1)
    for width in widths:
        offset = np.arange(width.sum()) - np.repeat(starts(width), width)
        owner = (owner[:, None] * len(width) + owners(width)).ravel()
        place = (place[:, None] + offset).ravel()
    return owner * base + place


def reordering(have: Ids, want: Ids) -> Ids | None:
    """index with have[index] == want for two orders of the same distinct keys; None where they are equal already."""
    if np.array_equal(have, want):
        return None
    rank = np.empty(len(want), np.int64)
    rank[np.argsort(want)] = np.arange(len(want))
    return np.argsort(have)[rank]
