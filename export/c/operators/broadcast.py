"""Two inputs broadcast to one output, as few loops as possible."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MAX_LOOPS = 4


def broadcast_shape(shape1: Sequence[int], shape2: Sequence[int]) -> tuple[int, ...] | None:
    """The shape that both broadcast to, aligned at their last axes; None where they do not."""
    try:
        return np.broadcast_shapes(tuple(shape1), tuple(shape2))
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class Loops:
    """Loops over the output, outermost first, and how far each input moves in one round (0: repeated)."""

    size: tuple[int, ...]
    step1: tuple[int, ...]
    step2: tuple[int, ...]

    def fields(self, prefix: str = "") -> dict[str, tuple[int, ...]]:
        """The fields of nd_broadcast."""
        return {f"{prefix}size": self.size, f"{prefix}step1": self.step1, f"{prefix}step2": self.step2}


def loops(shape1: Sequence[int], shape2: Sequence[int]) -> Loops:
    """Loops that merge axes of 1 and neighbours where the same inputs are repeated, filled up to four with rounds of 1.

    There may be more than four: see `MAX_LOOPS`.
    """
    rank = max(len(shape1), len(shape2))
    padded1, padded2 = ((1,) * (rank - len(shape)) + tuple(shape) for shape in (shape1, shape2))
    merged: list[tuple[int, bool, bool]] = []  # rounds; whether each input moves
    for size1, size2 in zip(padded1, padded2, strict=True):
        size = max(size1, size2)
        if size == 1:
            continue
        moves = (size1 > 1, size2 > 1)
        if merged and merged[-1][1:] == moves:
            size *= merged.pop()[0]
        merged.append((size, *moves))
    merged = [(1, False, False)] * (MAX_LOOPS - len(merged)) + merged
    sizes = tuple(size for size, _, _ in merged)
    return Loops(
        size=sizes,
        step1=_steps(sizes, [moves for _, moves, _ in merged]),
        step2=_steps(sizes, [moves for _, _, moves in merged]),
    )


def _steps(sizes: Sequence[int], moves: Sequence[bool]) -> tuple[int, ...]:
    steps, stride = [], 1
    for size, moving in zip(reversed(sizes), reversed(moves), strict=True):
        steps.append(stride if moving else 0)
        stride *= size if moving else 1
    return tuple(reversed(steps))
