"""Chains of calls made by bands of rows, so that the tensors between them never exist whole.

In each step the last call makes some rows of its output, and every call before it the rows that this takes. Rows that
are needed again stay in a window between two calls: nothing is computed twice, unlike in patches that overlap.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ndtool.export.c.call import Argument, Band, Buffer, Call, Move, Overlap, Part, Rows, Scratch, Strip, Struct
from ndtool.export.c.graph import Tensor
from ndtool.export.c.operators.windows import trailing_distance

BANDED_FIELDS = ("input_height", "output_height", "pad_top")  # of a kernel's parameters


def can_join(first: Call, second: Call) -> bool:
    """Whether two calls may follow each other in a strip; that nothing else reads what lies between is not checked."""
    return _banded(first) and _banded(second) and first.writes == second.reads


def _banded(call: Call) -> bool:
    """Whether a call can be made on bands: one image, one input, one output, and geometry that its parameters hold."""
    if call.rows is None or len(call.reads) != 1 or len(call.writes) != 1:
        return False
    structs = [argument for argument in call.arguments if isinstance(argument, Struct)]
    shapes = [tensor.shape for tensor in (*call.reads, *call.writes)]
    return (
        len(structs) == 1
        and all(name in structs[0].fields for name in BANDED_FIELDS)
        and all(len(shape) == 4 and shape[0] == 1 for shape in shapes)
    )


def strip(calls: Sequence[Call], rows: int) -> Strip:
    """A strip of calls of which each can join the one before; the last makes `rows` rows in each step."""
    schedule = _schedule([_rows(call) for call in calls], rows)
    windows = [
        Scratch(bytes=capacity * _row_bytes(call.writes[0]))
        for call, capacity in zip(calls, schedule.capacities, strict=False)
    ]
    own = [scratch.bytes for call in calls for scratch in call.scratches]
    shared = Scratch(bytes=max(own, default=0))
    bands = tuple(tuple(_merged(_steps(calls, index, schedule, windows, shared))) for index in range(len(calls)))
    return Strip(
        calls=tuple(calls),
        bands=bands,
        steps=schedule.steps,
        scratches=(*windows, *((shared,) if shared.bytes else ())),
        overlaps=(Overlap(input=calls[0].reads[0], distance=_distance(calls, schedule)),),
    )


# The schedule


@dataclass(frozen=True, slots=True, kw_only=True)
class _Schedule:
    """For each call, at the start of each step and after the last: rows done of its output, first held of its input."""

    steps: int
    done: tuple[tuple[int, ...], ...]
    held: tuple[tuple[int, ...], ...]

    @property
    def capacities(self) -> tuple[int, ...]:
        """The most rows that each window holds, that behind the first call first."""
        return tuple(
            max(done[step + 1] - held[step] for step in range(self.steps))
            for done, held in zip(self.done, self.held[1:], strict=False)
        )


def _schedule(rows: Sequence[Rows], step: int) -> _Schedule:
    steps = -(-rows[-1].output // step)
    done = [[min(step * time, rows[-1].output) for time in range(steps + 1)]]
    held: list[list[int]] = []
    for index in range(len(rows) - 1, -1, -1):
        own, after = rows[index], done[0]
        needed = [_needed(own, end) for end in after]
        first = [max(start * own.stride - own.before, 0) for start in after]
        if index:
            done.insert(0, [min(row, rows[index - 1].output) for row in needed])
            first = [min(row, there) for row, there in zip(first, done[0], strict=True)]
        held.insert(0, [min(row, own.input) for row in first])
    return _Schedule(steps=steps, done=tuple(map(tuple, done)), held=tuple(map(tuple, held)))


def _needed(rows: Rows, end: int) -> int:
    """The rows of the input, from its first, that the first `end` rows of the output take."""
    return min(max((end - 1) * rows.stride - rows.before + rows.reach, 0), rows.input) if end else 0


def _distance(calls: Sequence[Call], schedule: _Schedule) -> int:
    """How far the strip's output may begin below its input."""
    ends = np.array(schedule.done[-1][1:], np.int64) * _row_bytes(calls[-1].writes[0])
    reads = np.array(schedule.held[0][:-1], np.int64) * _row_bytes(calls[0].reads[0])
    return trailing_distance(ends, reads, buffered=True)


# The bands


def _steps(
    calls: Sequence[Call], index: int, schedule: _Schedule, windows: Sequence[Scratch], shared: Scratch
) -> Iterator[Band]:
    """What a call does in each step in which it makes any rows, step by step."""
    call, done, held = calls[index], schedule.done[index], schedule.held[index]
    rows, source, target = _rows(call), call.reads[0], call.writes[0]
    last = index == len(calls) - 1
    for step in range(schedule.steps):
        count = done[step + 1] - done[step]
        if not count:
            continue
        there = schedule.done[index - 1][step + 1] if index else _needed(rows, done[step + 1])
        from_ = (
            Part(owner=source, offset=held[step] * _row_bytes(source)) if not index else Part(owner=windows[index - 1])
        )
        room = 0 if last else schedule.held[index + 1][step]
        to = Part(owner=target if last else windows[index], offset=(done[step] - room) * _row_bytes(target))
        fields = {
            "input_height": there - held[step],
            "output_height": count,
            "pad_top": held[step] - (done[step] * rows.stride - rows.before),
        }
        move = _move(held, there, step, windows[index - 1], source) if index else None
        yield Band(first=step, end=step + 1, move=move, call=_banded_call(call, to, from_, shared, fields))


def _move(held: Sequence[int], there: int, step: int, window: Scratch, tensor: Tensor) -> Move | None:
    """The rows that stay in a window, once those that are not needed in the next step are dropped."""
    dropped, kept = held[step + 1] - held[step], there - held[step + 1]
    if not dropped or not kept:
        return None
    return Move(window=window, source=dropped * _row_bytes(tensor), bytes=kept * _row_bytes(tensor))


def _banded_call(call: Call, to: Part, from_: Part, shared: Scratch, fields: dict[str, int]) -> Call:
    def argument(old: Argument) -> Argument:
        if isinstance(old, Buffer):
            return to if old.tensor in call.op.outputs else from_
        if isinstance(old, Scratch):
            return Part(owner=shared, ctype=old.ctype)
        return replace(old, fields={**old.fields, **fields}) if isinstance(old, Struct) else old

    return replace(call, arguments=tuple(map(argument, call.arguments)), overlaps=())


def _merged(bands: Iterator[Band]) -> Iterator[Band]:
    """Steps in a row that differ only in places, by as much from each to the next, as one band."""
    group: list[Band] = []
    for band in bands:
        if group and not (_continues(group[-1], band) and _strides(group[:2], group[-1], band)):
            yield _joined(group)
            group = []
        group.append(band)
    yield _joined(group)


def _continues(one: Band, other: Band) -> bool:
    def content(band: Band) -> tuple[object, ...]:
        structs = [argument.fields for argument in band.call.arguments if isinstance(argument, Struct)]
        return (band.move and (band.move.source, band.move.bytes), structs)

    return one.end == other.first and content(one) == content(other)


def _strides(start: Sequence[Band], last: Band, band: Band) -> bool:
    """Whether places go on moving as they did between the first two."""
    return len(start) < 2 or _differences(start[0], start[1]) == _differences(last, band)


def _differences(one: Band, other: Band) -> list[int]:
    pairs = zip(_parts(one.call), _parts(other.call), strict=True)
    return [after.offset - before.offset for before, after in pairs]


def _parts(call: Call) -> list[Part]:
    return [argument for argument in call.arguments if isinstance(argument, Part)]


def _joined(group: Sequence[Band]) -> Band:
    """One band of several steps: places are counted from step 0."""
    first = group[0]
    moves = iter(_differences(group[0], group[1]) if len(group) > 1 else [0] * len(_parts(first.call)))

    def argument(old: Argument) -> Argument:
        if not isinstance(old, Part):
            return old
        step = next(moves)
        return replace(old, offset=old.offset - first.first * step, step=step)

    call = replace(first.call, arguments=tuple(map(argument, first.call.arguments)))
    return replace(first, end=group[-1].end, call=call)


def _rows(call: Call) -> Rows:
    assert call.rows is not None
    return call.rows


def _row_bytes(tensor: Tensor) -> int:
    return tensor.bytes // tensor.shape[1]
