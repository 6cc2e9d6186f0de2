"""The public header, NAME.h."""

from ndtool.export.c.ctext import dims, float_literal
from ndtool.export.c.emission import Emission
from ndtool.export.c.library import Port


def header(e: Emission) -> str:
    """The whole API: sizes, scales and functions, each with its unit and layout."""
    guard = f"{e.macro}_H"
    sections = [
        _banner(e),
        f'#ifndef {guard}\n#define {guard}\n\n#include <stdint.h>\n\n#ifdef __cplusplus\nextern "C" {{\n#endif\n',
        _sizes(e),
        *(_port_macros(e, port) for port in (*e.inputs, *e.outputs)),
        _functions(e),
        f"#ifdef __cplusplus\n}}\n#endif\n\n#endif /* {guard} */\n",
    ]
    return "\n".join(sections)


def _banner(e: Emission) -> str:
    first = e.inputs[0]
    if first.is_float:
        fill = f"call {e.port_name(first, 'quantize_input')}(x, arena)"
    else:
        fill = f"write the input at {e.port_name(first, 'input')}(arena)"
    return (
        f"/* {e.name}.h: made by {e.origin}. Do not edit.\n"
        f" *\n"
        f" *     static uint32_t arena[{e.macro}_ARENA_WORDS];\n"
        f" *     {fill}, call {e.name}_run(arena), read the output\n"
        f" *\n"
        f" * No state, no heap, no failure: everything that changes is in the arena, whose contents are free between\n"
        f" * inferences. The input's place is reused while it runs: write the whole input before every run. */"
    )


def _sizes(e: Emission) -> str:
    size = f"{e.plan.arena_bytes:,}".replace(",", " ")
    return (
        f"/* Working memory: {size} bytes, input and output included. */\n"
        f"#define {e.macro}_ARENA_WORDS {e.arena_words}u\n"
        f"#define {e.macro}_ARENA_BYTES ({e.macro}_ARENA_WORDS * 4u)\n"
    )


def _port_macros(e: Emission, port: Port) -> str:
    which = "input" if port in e.inputs else "output"
    prefix = e.port_name(port, which).upper()
    elements = 1
    for size in port.shape:
        elements *= size
    values = {
        "SHAPE": "{" + ", ".join(str(size) for size in port.shape) + "}",
        "RANK": str(len(port.shape)),
        "SIZE": str(elements),
        "BYTES": str(port.bytes),
    }
    if len(port.shape) == 4:
        values |= {"HEIGHT": str(port.shape[1]), "WIDTH": str(port.shape[2]), "CHANNELS": str(port.shape[3])}
    values |= {"SCALE": float_literal(port.scale), "ZERO_POINT": f"({port.zero_point})"}
    if not port.shape:
        del values["SHAPE"]
    about = f"/* {which.capitalize()}: {dims(port.shape)}, {_real(port)}. SIZE in elements. */\n"
    return about + "".join(f"#define {prefix}_{key} {value}\n" for key, value in values.items())


def _real(port: Port) -> str:
    """The meaning of a quantised value."""
    sign = "-" if port.zero_point > 0 else "+"
    return f"real = {float_literal(port.scale)[:-1]} * (q {sign} {abs(port.zero_point)})"


def _functions(e: Emission) -> str:
    """Declarations, inputs before outputs, the odd ones last."""
    lines = []
    for port in e.inputs:
        lines.append(
            f"/* Where to write the input, int8 {dims(port.shape)}, {_real(port)}, before {e.name}_run. */\n"
            f"int8_t *{e.port_name(port, 'input')}({e.parameter()});\n"
        )
    for port in e.inputs:
        if port.is_float:
            lines.append(
                f"/* Write the input from real numbers {dims(port.shape)}, rounded as LiteRT's QUANTIZE does. */\n"
                f"void {e.port_name(port, 'quantize_input')}(const float *x, {e.parameter()});\n"
            )
    if e.pixels is not None:
        shape = dims(e.inputs[0].shape)
        lines.append(
            f"/* Write the input from pixels 0 to 255, {shape}, channels last; normalises as in training. */\n"
            f"void {e.name}_input_from_pixels(const uint8_t *pixels, {e.parameter()});\n"
        )
    lines.append(f"/* One inference. */\nvoid {e.name}_run({e.parameter()});\n")
    for port in e.outputs:
        lines.append(
            f"/* Where to read the output, int8 {dims(port.shape)}, {_real(port)}, after {e.name}_run. */\n"
            f"const int8_t *{e.port_name(port, 'output')}({e.parameter('const ')});\n"
        )
    for port in e.outputs:
        if port.is_float:
            lines.append(
                f"/* Read the output as real numbers {dims(port.shape)}. */\n"
                f"void {e.port_name(port, 'dequantize_output')}({e.parameter('const ')}, float *y);\n"
            )
    if e.golden:
        lines.append(
            f"/* Run {len(e.golden)} known inferences: 0 if every output byte is that of LiteRT's reference kernels,\n"
            f" * else the number of the first that differs. In {e.name}_golden.c: leave it out if not called. */\n"
            f"int {e.name}_selftest({e.parameter()});\n"
        )
    return "\n".join(lines)
