"""The files that hold arrays: weights, golden vectors, the pixel tables."""

import numpy as np

from ndtool.export.c.ctext import CTYPES, array, wrapped
from ndtool.export.c.emission import Emission


def weights_header(e: Emission) -> str:
    """NAME_weights.h: declarations of the constants."""
    guard = f"{e.macro}_WEIGHTS_H"
    lines = [
        f"extern const {CTYPES[str(values.dtype)]} {name}[{values.size}];"
        for name, values in e.constants.arrays.items()
    ]
    return (
        f"/* {e.name}_weights.h: made by {e.origin}. Do not edit. */\n"
        f"#ifndef {guard}\n#define {guard}\n\n#include <stdint.h>\n\n"
        + "\n".join(lines)
        + f"\n\n#endif /* {guard} */\n"
    )


def weights(e: Emission) -> str:
    """NAME_weights.c: the constants, each stored once."""
    section = f"{e.macro}_WEIGHTS_SECTION"
    texts = [
        f"/* {e.name}_weights.c: made by {e.origin}. Do not edit.\n"
        f" * {e.constants.bytes} bytes. Define {section} as an attribute to place them elsewhere. */\n"
        f'#include "{e.name}_weights.h"\n#include "ndtool_kernels.h"\n\n'
        f"#ifndef {section}\n#define {section}\n#endif\n"
    ]
    for name, values in e.constants.arrays.items():
        declaration = f"{section} ND_ALIGNED(4) const {CTYPES[str(values.dtype)]} {name}[{values.size}]"
        texts.append(array(declaration, values))
    return "\n".join(texts)


def golden(e: Emission) -> str:
    """NAME_golden.c: inputs, the outputs of LiteRT's reference kernels, and the self-test."""
    texts = [
        f'/* {e.name}_golden.c: made by {e.origin}. Do not edit. */\n#include "{e.name}.h"\n\n#include <stddef.h>\n'
    ]
    tests = []
    for number, vector in enumerate(e.golden):
        fill = ""
        for port, value in zip(e.inputs, vector.inputs, strict=True):
            name = f"{e.port_name(port, 'input').removeprefix(e.name + '_')}_vector_{number}"
            texts.append(array(f"static const int8_t {name}[{value.size}]", value))
            fill += f"    copy({e.port_name(port, 'input')}(arena), {name}, sizeof {name});\n"
        compare = ""
        for port, value in zip(e.outputs, vector.outputs, strict=True):
            name = f"{e.port_name(port, 'output').removeprefix(e.name + '_')}_vector_{number}"
            texts.append(array(f"static const int8_t {name}[{value.size}]", value))
            compare += (
                f"    if (differs({e.port_name(port, 'output')}(arena), {name}, sizeof {name}))\n"
                f"        return {number + 1};\n"
            )
        tests.append(f"{fill}    {e.name}_run(arena);\n{compare}")
    texts.append(_HELPERS)
    texts.append(f"int {e.name}_selftest({e.parameter()})\n{{\n" + "\n".join(tests) + "    return 0;\n}\n")
    return "\n".join(texts)


_HELPERS = """static void copy(int8_t *to, const int8_t *from, size_t count)
{
    for (size_t i = 0; i < count; i++)
        to[i] = from[i];
}

static int differs(const int8_t *a, const int8_t *b, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (a[i] != b[i])
            return 1;
    return 0;
}
"""


def pixels(e: Emission) -> str:
    """NAME_pixels.c: normalisation and quantisation of pixels by table, one for each channel that differs."""
    assert e.pixels is not None
    channels = len(e.pixels)
    shared = bool(np.all(e.pixels == e.pixels[0]))
    table = e.pixels[:1] if shared else e.pixels
    rows = 1 if shared else channels
    port = e.inputs[0]
    index = "table[0][pixels[i]]" if shared else f"table[i % {channels}][pixels[i]]"
    body = "".join(f"    {{\n{_indented(row)}    }},\n" for row in table)
    return (
        f"/* {e.name}_pixels.c: made by {e.origin}. Do not edit. */\n"
        f'#include "{e.name}.h"\n\n'
        f"/* clamp(round((pixel / 255 - mean) / std / scale) + zero point) of each channel and pixel value */\n"
        f"static const int8_t table[{rows}][256] = {{\n{body}}};\n\n"
        f"void {e.name}_input_from_pixels(const uint8_t *pixels, {e.parameter()})\n{{\n"
        f"    int8_t *input = {e.port_name(port, 'input')}(arena);\n\n"
        f"    for (uint32_t i = 0; i < {port.bytes}u; i++)\n"
        f"        input[i] = {index};\n}}\n"
    )


def _indented(row: np.ndarray) -> str:
    return "".join(f"    {line}\n" for line in wrapped([str(value) for value in row.tolist()]).splitlines())
