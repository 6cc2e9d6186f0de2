"""Pieces of C as text."""

from collections.abc import Iterable

import numpy as np

WIDTH = 116
CTYPES = {
    "int8": "int8_t",
    "uint8": "uint8_t",
    "int16": "int16_t",
    "uint16": "uint16_t",
    "int32": "int32_t",
    "uint32": "uint32_t",
    "float32": "float",
    "float64": "double",
}


def float_literal(value: float) -> str:
    """The shortest literal that is exactly this float32."""
    return f"{np.float32(value)!s}f"


def dims(shape: Iterable[int]) -> str:
    """A shape in a comment: [1,49,10,1]."""
    return "[" + ",".join(str(size) for size in shape) + "]"


def array(declaration: str, values: np.ndarray) -> str:
    """A constant array with its values."""
    flat = values.reshape(-1)
    if flat.size > 1 and not np.ascontiguousarray(flat).view(np.uint8).any():
        return f"{declaration} = {{0}};\n"
    if values.dtype.kind == "f":
        literals = [float_literal(value) if values.dtype == np.float32 else repr(float(value)) for value in flat]
    else:
        literals = [str(value) for value in flat.tolist()]
    return f"{declaration} = {{\n{wrapped(literals)}}};\n"


def wrapped(literals: list[str]) -> str:
    """Literals, comma-separated, in indented lines."""
    lines, line = [], ""
    for literal in literals:
        if len(line) + len(literal) > WIDTH:
            lines.append(line)
            line = ""
        line += ("    " if not line else " ") + literal + ","
    return "".join(f"{text}\n" for text in [*lines, line] if text)
