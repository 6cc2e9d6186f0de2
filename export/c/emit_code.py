"""NAME.c: one function a call, and the run function that calls them in order."""

from ndtool.export.c.call import Argument, Buffer, Call, Constant, Scratch, Struct, Value
from ndtool.export.c.ctext import dims, float_literal
from ndtool.export.c.emission import Emission
from ndtool.export.c.identifiers import c_comment


def code(e: Emission) -> str:
    """The implementation."""
    return "\n".join(
        [
            f"/* {e.name}.c: made by {e.origin}. Do not edit. */\n"
            f'#include "{e.name}.h"\n#include "{e.name}_weights.h"\n#include "ndtool_kernels.h"\n',
            _prototypes(e),
            *(_layer(e, index, call) for index, call in enumerate(e.calls)),
            _run(e),
            *_ends(e),
        ]
    )


def _prototypes(e: Emission) -> str:
    """Layers are functions with external linkage so that profilers see them."""
    lines = ["/* One call each, in this order. External, so that profilers can see them. */"]
    lines += [f"void {e.layer(index)}(uint8_t *arena);" for index in range(len(e.calls))]
    return "\n".join(lines) + "\n" if e.calls else ""


def _layer(e: Emission, index: int, call: Call) -> str:
    output = call.op.outputs[0]
    structs: list[str] = []
    arguments = [_argument(e, argument, structs) for argument in call.arguments]
    body = "".join(structs) + ("\n" if structs else "") + f"    {_call(call.kernel, arguments)}\n"
    inputs = " ".join(dims(tensor.shape) for tensor in call.reads)
    return (
        f"/* {_work(call)} '{c_comment(output.name)}': {inputs} -> {dims(output.shape)} */\n"
        f"ND_NOINLINE void {e.layer(index)}(uint8_t *arena)\n{{\n{body}}}\n"
    )


def _work(call: Call) -> str:
    """The operator, and those whose work it has taken over."""
    taken = call.op.options.get("fused", ())
    return f"{call.op.kind} with {', '.join(taken)}" if taken else call.op.kind


def _argument(e: Emission, argument: Argument, structs: list[str]) -> str:
    """An argument as an expression; structs are defined before the call."""
    if isinstance(argument, Buffer):
        return f"(int8_t *)(arena + {e.plan.offset(argument.tensor)})"
    if isinstance(argument, Scratch):
        place = f"(arena + {e.plan.offset(argument)})" if argument.bytes else "arena"
        cast = f"({argument.ctype} *)"
        return cast + ("" if argument.ctype.endswith("int8_t") else "(void *)") + place
    if isinstance(argument, Constant):
        return e.constants.name(argument)
    if isinstance(argument, Struct):
        name = "params" if not structs else f"params_{len(structs) + 1}"
        structs.append(_struct(e, argument, name))
        return f"&{name}"
    return str(argument)


def _struct(e: Emission, struct: Struct, name: str) -> str:
    fields = "".join(f"        .{field} = {_value(e, value)},\n" for field, value in struct.fields.items())
    return f"    static const {struct.ctype} {name} = {{\n{fields}    }};\n"


def _value(e: Emission, value: Value) -> str:
    if isinstance(value, Constant):
        return e.constants.name(value)
    if isinstance(value, tuple):
        return "{" + ", ".join(str(item) for item in value) + "}"
    if value is None:
        return "NULL"
    return float_literal(value) if isinstance(value, float) else str(int(value))


def _call(function: str, arguments: list[str]) -> str:
    """A call, its arguments over several lines where they are long."""
    line = f"{function}({', '.join(arguments)});"
    return line if len(line) <= 110 else f"{function}(\n        " + ",\n        ".join(arguments) + ");"


def _run(e: Emission) -> str:
    calls = "".join(f"    {e.layer(index)}(bytes);\n" for index in range(len(e.calls)))
    body = f"    uint8_t *bytes = (uint8_t *)arena;\n\n{calls}" if calls else "    (void)arena;\n"
    return f"void {e.name}_run({e.parameter()})\n{{\n{body}}}\n"


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
