"""PAD and PADV2: the input inside a border."""

from dataclasses import dataclass

from ndtool.export.c import rules
from ndtool.export.c.call import Alias, Buffer, Call, Overlap, Struct, Value
from ndtool.export.c.context import Context
from ndtool.export.c.graph import Op, Tensor
from ndtool.export.c.operators.movement import constant_inputs, values

MAX_AXES = 5


def paddings(op: Op) -> list[tuple[int, int]]:
    """Before and after, for each axis."""
    flat = values(op.inputs[1])
    return list(zip(flat[::2], flat[1::2], strict=True))


def padding_value(op: Op) -> int:
    """PADV2's constant, else the zero point."""
    if len(op.inputs) > 2 and op.inputs[2] is not None:
        return values(op.inputs[2])[0]
    return op.outputs[0].zero_point[0]


@dataclass(frozen=True, slots=True)
class Border:
    """Loops of nd_pad, outermost first: sizes of the padded groups of axes and the bytes around their rounds."""

    size: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]


def border(op: Op) -> Border:
    """Axes without padding merged into the padded axis ahead of them, or into one loop at the front."""
    source = op.inputs[0]
    assert source is not None
    groups: list[tuple[int, int, int]] = [(1, 0, 0)]  # size, before, after
    for size, (before, after) in zip(source.shape, paddings(op), strict=True):
        if before == after == 0:
            last, last_before, last_after = groups.pop()
            groups.append((last * size, last_before * size, last_after * size))
        else:
            groups.append((size, before, after))
    if len(groups) > 1 and groups[0] == (1, 0, 0):
        groups.pop(0)
    unit = 1
    befores, afters = [], []
    for size, before, after in reversed(groups):
        befores.append(before * unit)
        afters.append(after * unit)
        unit *= size + before + after
    sizes = tuple(size for size, _, _ in groups)
    return Border(size=sizes, before=tuple(reversed(befores)), after=tuple(reversed(afters)))


def lower(op: Op, context: Context) -> Call | Alias:
    """Rows of bytes set and copied. The input may lie in the output's memory, at its end."""
    source, output = op.inputs[0], op.outputs[0]
    assert source is not None
    if source.shape == output.shape:
        return Alias(op=op, input=source, output=output)
    plan = border(op)
    missing = MAX_AXES - len(plan.size)
    *outer, run = (1,) * missing + plan.size
    fields: dict[str, Value] = {
        "size": tuple(outer),
        "before": (0,) * missing + plan.before,
        "after": (0,) * missing + plan.after,
        "run": run,
    }
    return Call(
        op=op,
        kernel="nd_pad",
        arguments=(
            Buffer(tensor=output),
            Buffer(tensor=source),
            padding_value(op),
            Struct(ctype="nd_pad_params", fields=fields),
        ),
        overlaps=(Overlap(input=source, distance=output.bytes - source.bytes - sum(plan.after) + run),),
    )


# Rules


def paddings_fit(op: Op) -> str | None:
    """paddings must be two numbers, not negative, for each axis, and give the output's shape"""
    source, output = op.inputs[0], op.outputs[0]
    assert source is not None
    if len(values(op.inputs[1])) != 2 * len(source.shape):
        return f"there are {len(values(op.inputs[1]))} numbers for {len(source.shape)} axes"
    pairs = paddings(op)
    shape = tuple(size + before + after for size, (before, after) in zip(source.shape, pairs, strict=True))
    fits = shape == output.shape and all(before >= 0 and after >= 0 for before, after in pairs)
    return None if fits else f"they are {pairs} from {source.shape} to {output.shape}"


def pads_in_five_loops(op: Op) -> str | None:
    """padding must not need more than five nested loops: pad in two steps"""
    count = len(border(op).size)
    return None if count <= MAX_AXES else f"it needs {count}"


def value_is_a_constant(op: Op) -> str | None:
    """the value must be one int8 constant, quantised as the output"""
    value: Tensor | None = op.inputs[2] if len(op.inputs) > 2 else None
    if value is None:
        return None
    if value.data is None or value.data.size != 1 or value.dtype != "int8":
        return f"{value.name!r} is not"
    output = op.outputs[0]
    alike = (value.scale, value.zero_point) == (output.scale, output.zero_point)
    return None if alike else f"{value.name!r} is quantised in another way"


_RULES = (
    rules.has_one_output,
    rules.input_is_int8,
    rules.input_is_computed,
    rules.outputs_are_int8,
    constant_inputs(1, 1, "paddings"),
    paddings_fit,
    pads_in_five_loops,
)
PAD_RULES = (rules.inputs_are(2), *_RULES)
PADV2_RULES = (rules.inputs_are(3), *_RULES, value_is_a_constant)
