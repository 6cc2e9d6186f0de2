"""Strided copies in as few and as long runs as possible: what every movement of data is made of."""

from collections.abc import Sequence
from dataclasses import dataclass

from ndtool.export.c.call import Alias, Buffer, Call, Struct, Value
from ndtool.export.c.context import Context
from ndtool.export.c.graph import Op, Tensor

MAX_LOOPS = 6  # ND_COPY_DIMS


@dataclass(frozen=True, slots=True)
class Axis:
    """One loop of a copy: rounds, and the bytes by which input and output move in a round."""

    size: int
    input_step: int
    output_step: int


def contiguous_steps(shape: Sequence[int]) -> tuple[int, ...]:
    """Bytes from one index to the next along each axis of an int8 tensor."""
    steps, step = [], 1
    for size in reversed(shape):
        steps.append(step)
        step *= size
    return tuple(reversed(steps))


def merged(axes: Sequence[Axis]) -> tuple[tuple[Axis, ...], int]:
    """The same copy with neighbouring loops merged where one continues the other, and the bytes of its inner runs."""
    result: list[Axis] = []
    for axis in axes:
        if axis.size == 1:
            continue
        if result:
            outer = result[-1]
            continues = (outer.input_step, outer.output_step) == (
                axis.size * axis.input_step,
                axis.size * axis.output_step,
            )
            if continues:
                result[-1] = Axis(outer.size * axis.size, axis.input_step, axis.output_step)
                continue
        result.append(axis)
    run = 1
    if result and (result[-1].input_step, result[-1].output_step) == (1, 1):
        run = result.pop().size
    return tuple(result), run


def copy(
    op: Op,
    context: Context,
    source: Tensor,
    target: Tensor,
    axes: Sequence[Axis],
    *,
    input_offset: int = 0,
    output_offset: int = 0,
) -> Call | Alias:
    """The call that copies along `axes`, outermost first; no call where all of `source` becomes all of `target`."""
    inner, run = merged(axes)
    if not inner and run == source.bytes == target.bytes and source.data is None:
        return Alias(op=op, input=source, output=target)
    if len(inner) > 1 and inner[-1].size < inner[-2].size:
        inner = (*inner[:-2], inner[-1], inner[-2])  # the order is free, and a long innermost loop is the cheaper one
    loops = (Axis(1, 0, 0),) * (MAX_LOOPS - len(inner)) + inner
    fields: dict[str, Value] = {
        "size": tuple(axis.size for axis in loops),
        "output_step": tuple(axis.output_step for axis in loops),
        "input_step": tuple(axis.input_step for axis in loops),
        "output_offset": output_offset,
        "input_offset": input_offset,
        "run": run,
    }
    arguments = (Buffer(tensor=target), context.operand(source), Struct(ctype="nd_copy_params", fields=fields))
    return Call(op=op, kernel="nd_copy", arguments=arguments)
