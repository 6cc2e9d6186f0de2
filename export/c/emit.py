"""A plan becomes files: pure, sorted, without dates, the same bytes every time."""

import re
from collections.abc import Mapping

from ndtool.export.c import emit_code, emit_data, emit_header
from ndtool.export.c.emission import Emission
from ndtool.export.c.kernel_files import kernel_source, with_callees
from ndtool.export.c.kernel_names import NAMES, names, renamed, weak

HEADER = "ndtool_kernels.h"


def emit(e: Emission) -> Mapping[str, str]:
    """Every file of the library by its name; of the kernels and their headers only those that are used."""
    files = {
        f"{e.name}.h": emit_header.header(e),
        f"{e.name}.c": emit_code.code(e),
        f"{e.name}_weights.h": emit_data.weights_header(e),
        f"{e.name}_weights.c": emit_data.weights(e),
        HEADER: renamed(kernel_source(HEADER)),
        NAMES: names(),
    }
    if e.golden:
        files[f"{e.name}_golden.c"] = emit_data.golden(e)
    if e.pixels is not None:
        files[f"{e.name}_pixels.c"] = emit_data.pixels(e)
    for kernel in kernels(e):
        source = kernel_source(f"{kernel}.c")
        files[f"{kernel}.c"] = f"{weak(kernel)}{source}"
        files |= {header: kernel_source(header) for header in re.findall(r'#include "(nd_\w+\.h)"', source)}
    return dict(sorted(files.items()))


def kernels(e: Emission) -> set[str]:
    """The kernels that a library calls, and those that they call."""
    used = {kernel for slot in e.slots for kernel in slot.kernels}
    if any(port.is_float for port in e.inputs):
        used.add("nd_quantize")
    if any(port.is_float for port in e.outputs):
        used.add("nd_dequantize")
    return set(with_callees(used))
