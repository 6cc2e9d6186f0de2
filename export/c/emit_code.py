"""NAME.c: one function a call, and the run function that calls them in order."""

import re
import textwrap

from ndtool.export.c.call import (
    Argument,
    Band,
    Buffer,
    Call,
    Constant,
    Part,
    Scratch,
    Slot,
    Strip,
    Struct,
    Value,
)
from ndtool.export.c.ctext import dims, float_literal
from ndtool.export.c.emission import Emission
from ndtool.export.c.graph import Tensor
from ndtool.export.c.identifiers import c_comment


def code(e: Emission) -> str:
    """The implementation."""
    return "\n".join(
        [
            f"/* {e.name}.c: made by {e.origin}. Do not edit. */\n"
            f'#include "{e.name}.h"\n#include "{e.name}_weights.h"\n#include "ndtool_kernels.h"\n',
            _prototypes(e),
            *_layers(e),
            _run(e),
            *_ends(e),
        ]
    )


def _prototypes(e: Emission) -> str:
    """Layers are functions with external linkage so that profilers see them."""
    lines = ["/* One call each, in this order. External, so that profilers can see them. */"]
    for first, _, slot in e.placed():
        step = ", int32_t step" if isinstance(slot, Strip) else ""
        lines += [f"void {e.layer(first + index)}(uint8_t *arena{step});" for index in range(len(slot.calls))]
    return "\n".join(lines) + "\n" if e.calls else ""


def _layers(e: Emission) -> list[str]:
    texts = []
    for first, _, slot in e.placed():
        if isinstance(slot, Strip):
            texts += [_banded_layer(e, first + index, slot, index) for index in range(len(slot.calls))]
        else:
            texts.append(_layer(e, first, slot))
    return texts


def _layer(e: Emission, index: int, call: Call) -> str:
    structs: Structs = {}
    body = f"    {_call(e, call, structs)}\n"
    return (
        f"/* {_about(call)} */\nND_NOINLINE void {e.layer(index)}(uint8_t *arena)\n{{\n{_declared(structs)}{body}}}\n"
    )


def _about(call: Call) -> str:
    output = call.op.outputs[0]
    inputs = " ".join(dims(tensor.shape) for tensor in call.reads)
    return f"{_work(call)} '{c_comment(output.name)}': {inputs} -> {dims(output.shape)}"


def _banded_layer(e: Emission, index: int, strip: Strip, member: int) -> str:
    """A layer of a strip: some rows in each step."""
    structs: Structs = {}
    body = ""
    for band in strip.bands[member]:
        lines = _call(e, band.call, structs) + "\n"
        if band.move:
            window = f"(int8_t *)(arena + {e.plan.offset(band.move.window)})"
            lines += f"nd_move({window}, {window} + {band.move.source}, {band.move.bytes});\n"
        body += _conditional(band, strip.steps, lines)
    if not re.search(r"\bstep\b", body):
        body = f"    (void)step;\n{body}"
    return (
        f"/* {_about(strip.calls[member])}, by bands of rows */\n"
        f"ND_NOINLINE void {e.layer(index)}(uint8_t *arena, int32_t step)\n{{\n{_declared(structs)}{body}}}\n"
    )


def _conditional(band: Band, steps: int, lines: str) -> str:
    """What is done in some of the steps."""
    tests = [f"step >= {band.first}"] if band.first else []
    tests += [f"step < {band.end}"] if band.end < steps else []
    if not tests:
        return textwrap.indent(lines, "    ")
    return f"    if ({' && '.join(tests)}) {{\n{textwrap.indent(lines, '        ')}    }}\n"


Structs = dict[str, str]  # parameters of a function's calls: type and fields, to the name


def _declared(structs: Structs) -> str:
    declarations = (content.replace(" = ", f" {name} = ", 1) for content, name in structs.items())
    return "".join(f"    static const {declaration}" for declaration in declarations) + ("\n" if structs else "")


def _work(call: Call) -> str:
    """The operator, and those whose work it has taken over."""
    taken = call.op.options.get("fused", ())
    return f"{call.op.kind} with {', '.join(taken)}" if taken else call.op.kind


def _call(e: Emission, call: Call, structs: Structs) -> str:
    """A call, its arguments over several lines where they are long."""
    arguments = [_argument(e, argument, structs) for argument in call.arguments]
    line = f"{call.kernel}({', '.join(arguments)});"
    return line if len(line) <= 110 else f"{call.kernel}(\n    " + ",\n    ".join(arguments) + ");"


def _argument(e: Emission, argument: Argument, structs: Structs) -> str:
    """An argument as an expression; structs are declared ahead of the calls, equal ones once."""
    if isinstance(argument, Buffer):
        return f"(int8_t *)(arena + {e.plan.offset(argument.tensor)})"
    if isinstance(argument, Scratch):
        place = f"(arena + {e.plan.offset(argument)})" if argument.bytes else "arena"
        cast = f"({argument.ctype} *)"
        return cast + ("" if argument.ctype.endswith("int8_t") else "(void *)") + place
    if isinstance(argument, Part):
        return _part(e, argument)
    if isinstance(argument, Constant):
        return e.constants.name(argument)
    if isinstance(argument, Struct):
        return "&" + structs.setdefault(_struct(e, argument), "params" + (f"_{len(structs) + 1}" if structs else ""))
    return str(argument)


def _part(e: Emission, part: Part) -> str:
    offset = e.plan.offset(part.owner) + part.offset if not _is_empty(part.owner) else 0
    moving = f" + {part.step} * step" if part.step else ""
    cast = f"({part.ctype} *)" + ("" if part.ctype.endswith("int8_t") else "(void *)")
    return f"{cast}(arena + {offset}{moving})"


def _is_empty(owner: Tensor | Scratch) -> bool:
    return isinstance(owner, Scratch) and not owner.bytes


def _struct(e: Emission, struct: Struct) -> str:
    fields = "".join(f"        .{field} = {_value(e, value)},\n" for field, value in struct.fields.items())
    return f"{struct.ctype} = {{\n{fields}    }};\n"


def _value(e: Emission, value: Value) -> str:
    if isinstance(value, Constant):
        return e.constants.name(value)
    if isinstance(value, tuple):
        return "{" + ", ".join(str(item) for item in value) + "}"
    if value is None:
        return "NULL"
    return float_literal(value) if isinstance(value, float) else str(int(value))


def _run(e: Emission) -> str:
    calls = "".join(_executed(e, first, slot) for first, _, slot in e.placed())
    body = f"    uint8_t *bytes = (uint8_t *)arena;\n\n{calls}" if calls else "    (void)arena;\n"
    return f"void {e.name}_run({e.parameter()})\n{{\n{body}}}\n"


def _executed(e: Emission, first: int, slot: Slot) -> str:
    if not isinstance(slot, Strip):
        return f"    {e.layer(first)}(bytes);\n"
    layers = "".join(f"        {e.layer(first + index)}(bytes, step);\n" for index in range(len(slot.calls)))
    return f"    for (int32_t step = 0; step < {slot.steps}; step++) {{\n{layers}    }}\n"


def _ends(e: Emission) -> list[str]:
    """Where inputs and outputs are, and their conversions from and to float."""
    texts = []
    for port in e.inputs:
        texts.append(
            f"int8_t *{e.port_name(port, 'input')}({e.parameter()})\n"
            f"{{\n    return (int8_t *)arena + {port.offset};\n}}\n"
        )
    for port in e.outputs:
        texts.append(
            f"const int8_t *{e.port_name(port, 'output')}({e.parameter('const ')})\n"
            f"{{\n    return (const int8_t *)arena + {port.offset};\n}}\n"
        )
    for port in e.inputs:
        if port.is_float:
            texts.append(
                f"void {e.port_name(port, 'quantize_input')}(const float *x, {e.parameter()})\n{{\n"
                f"    nd_quantize((int8_t *)arena + {port.offset}, x, {port.bytes}, "
                f"{float_literal(port.scale)}, {port.zero_point});\n}}\n"
            )
    for port in e.outputs:
        if port.is_float:
            texts.append(
                f"void {e.port_name(port, 'dequantize_output')}({e.parameter('const ')}, float *y)\n{{\n"
                f"    nd_dequantize(y, (const int8_t *)arena + {port.offset}, {port.bytes}, "
                f"{float_literal(port.scale)}, {port.zero_point});\n}}\n"
            )
    return texts
