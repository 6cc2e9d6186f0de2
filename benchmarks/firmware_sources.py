"""The C around a library that makes it a firmware: the harness, and the memory map for the linker."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template

from ndtool.benchmarks.placement import USUAL, Placement
from ndtool.benchmarks.targets import Region, Target
from ndtool.export.c.library import CLibrary, Port
from ndtool.export.c.objective import parse_objective
from ndtool.export.c.packages import Beside

FOLDER = Path(__file__).with_name("firmware")
STACK_BYTES = 16 * 1024  # reserved; what is used of it is painted and read back
ARENA = "ndtool_arena"
_LINKED = ("flash", "sram")
KERNEL_BOUNDS = "ndtool_{kernel}_{end}"  # symbols


def numbered(name: str, ports: Sequence[Port], index: int) -> str:
    """The name of a port's function or buffer: plain where there is one port, numbered where there are several."""
    return name if len(ports) == 1 else f"{name}_{index}"


def end_symbols(library: CLibrary) -> tuple[str, ...]:
    """The functions that convert float inputs and outputs, in the order they are called."""
    before = (
        numbered(f"{library.name}_quantize_input", library.inputs, index)
        for index, port in enumerate(library.inputs)
        if port.is_float
    )
    after = (
        numbered(f"{library.name}_dequantize_output", library.outputs, index)
        for index, port in enumerate(library.outputs)
        if port.is_float
    )
    return (*before, *after)


def float_buffer(kind: str, ports: Sequence[Port], index: int) -> str:
    """The symbol of the caller's buffer of a float port; kind is "input" or "output"."""
    return numbered(f"ndtool_float_{kind}", ports, index)


def main_c(library: CLibrary) -> str:
    """The harness: one inference between the markers, for ever. Float buffers are the caller's, outside the arena."""
    name, buffers, before, after = library.name, [], [], []
    for index, port in enumerate(library.inputs):
        if port.is_float:
            buffer = float_buffer("input", library.inputs, index)
            buffers.append(_declare(buffer, port))
            before.append(f"{numbered(f'{name}_quantize_input', library.inputs, index)}({buffer}, {ARENA});")
    for index, port in enumerate(library.outputs):
        if port.is_float:
            buffer = float_buffer("output", library.outputs, index)
            buffers.append(_declare(buffer, port))
            after.append(f"{numbered(f'{name}_dequantize_output', library.outputs, index)}({ARENA}, {buffer});")
    calls = ["ndtool_start();", *before, f"{name}_run({ARENA});", *after, "ndtool_stop();"]
    return "\n".join(
        [
            f'#include "{name}.h"',
            '#include "markers.h"',
            "",
            f'uint32_t {ARENA}[{_upper(name)}_ARENA_WORDS] __attribute__((section(".arena")));',
            *buffers,
            "",
            "int main(void)",
            "{",
            "    for (;;) {",
            *(f"        {call}" for call in calls),
            "    }",
            "}",
            "",
        ]
    )


def _declare(buffer: str, port: Port) -> str:
    elements = max(1, port.bytes)  # one int8 each in the arena
    return f'float {buffer}[{elements}] __attribute__((section(".caller")));'


def _upper(name: str) -> str:
    return name.upper()


def linker_script(
    library: CLibrary, memory: Mapping[str, Region], place: Placement = USUAL, *, real: bool = False
) -> str:
    """The memory map. Regions have their emulated length, so that a firmware too large is linked all the same.

    With `real` they have the board's own. Weights that are placed elsewhere are stored in flash as well, and copied by
    whoever loads the firmware.
    """

    def length(region: Region) -> int:
        return region.bytes if real and region.bytes is not None else region.emulated_bytes

    weights, kernels = f"{library.name}_weights", sorted(filter(is_kernel, library.files))
    template = Template((FOLDER / "firmware.ld").read_text(encoding="utf-8"))
    flash, sram = memory["flash"], memory["sram"]
    further = {name: memory[name] for name in sorted({place.weights, place.arena} - {"flash", "sram"})}
    return template.substitute(
        further="".join(
            f"\n    {name} (rw) : ORIGIN = {region.origin:#x}, LENGTH = {region.emulated_bytes}"
            for name, region in further.items()
        ),
        weights_region="flash" if place.weights == "flash" else f"{place.weights} AT > flash",
        arena_region=place.arena,
        flash_origin=f"{flash.origin:#x}",
        flash_bytes=length(flash),
        sram_origin=f"{sram.origin:#x}",
        sram_bytes=length(sram),
        stack_bytes=STACK_BYTES,
        weights=f"*/{weights}.o(.rodata .rodata.*)",
        kernels=" ".join(_bounded(Path(kernel).stem) for kernel in kernels),
    )


def benchmark_files(library: CLibrary, target: Target, sources: str) -> Mapping[str, str]:
    """The firmware for a board as files of a folder beside the library's, which lie in `sources`, seen from there."""
    readme = Template((FOLDER / "README.md").read_text(encoding="utf-8"))
    regions = (f"{name} at {region.origin:#010x}" for name, region in target.memory.items() if name in _LINKED)
    bare = "" if target.is_board else ", as the core has none of its own: change them to your board's"
    support = sorted(FOLDER.glob("*.[ch]"))
    return {
        "README.md": readme.substitute(
            name=library.name,
            title=target.title,
            target=target.name if target.is_board else "BOARD",
            flags=" ".join(target.core.gcc_flags),
            level=parse_objective(library.objective).compiler_flag,
            sources=sources,
            memory=f"`firmware.ld` has {' and '.join(regions)}{bare}.",
        ),
        "main.c": main_c(library),
        "firmware.ld": linker_script(library, target.memory, real=True),
        **{path.name: path.read_text(encoding="utf-8") for path in support},
    }


def benchmark_folder(target: Target) -> Beside:
    """What `export --c` writes beside a library: the folder benchmark/ with the firmware for a board."""

    def files(library: CLibrary, sources: str) -> Mapping[str, str]:
        inside = benchmark_files(library, target, ".." if sources == "." else f"../{sources}")
        return {f"benchmark/{name}": text for name, text in inside.items()}

    return files


def _bounded(kernel: str) -> str:
    """The code of a kernel between two symbols."""
    start, end = (KERNEL_BOUNDS.format(kernel=kernel, end=end) for end in ("start", "end"))
    return f"{start} = .; */{kernel}.o(.text .text.* .rodata .rodata.*) {end} = .;"


def is_kernel_header(file: str) -> bool:
    """Whether a file of a library is a header that fixed kernels share, by its name."""
    return re.fullmatch(r"(nd|ndtool)_\w+\.h", file) is not None


def is_kernel(file: str) -> bool:
    """Whether a file of a library is one of the fixed kernels, by its name."""
    return re.fullmatch(r"nd_\w+\.c", file) is not None
