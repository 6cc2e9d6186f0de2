"""Firmware from a few lines of C, built with zig as ndtool's own is."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from ndtool.benchmarks.elf import FirmwareElf
from ndtool.benchmarks.targets import load_target
from ndtool.zig import zig_command, zig_environment

SCRIPT = """
ENTRY(reset)
MEMORY { flash : ORIGIN = 0x08000000, LENGTH = 1M sram : ORIGIN = 0x20000000, LENGTH = 64K }
SECTIONS
{
    .text : { KEEP(*(.vectors)) *(.text .text.* .rodata .rodata.*) } > flash
    .data : { *(.data .data.*) } > sram AT > flash
    .bss (NOLOAD) : { *(.bss .bss.* COMMON) } > sram
    /DISCARD/ : { *(.ARM.ex*) *(.ARM.attributes) *(.comment) }
}
"""

START_UP = """
#include <stdint.h>
__attribute__((noinline)) int main(void);
void reset(void) { main(); for (;;) { } }
__attribute__((used, section(".vectors"))) const void *const vectors[2] = {
    (const void *)0x20010000u, (const void *)reset};
"""

MARKERS = """
__attribute__((noinline)) void ndtool_start(void) { __asm__ volatile(""); }
__attribute__((noinline)) void ndtool_stop(void) { __asm__ volatile(""); }
"""

Link = Callable[..., Path]


@pytest.fixture
def link(tmp_path: Path) -> Link:
    """Link C (and a main in it) to an ELF, as a user would with their own linker script and start-up code."""

    def build(source: str, *, core: str = "cortex-m7", markers: bool = True, optimise: str = "-O1") -> Path:
        target = load_target(core).core
        (tmp_path / "program.c").write_text(START_UP + (MARKERS if markers else "") + source)
        (tmp_path / "program.ld").write_text(SCRIPT)
        out = tmp_path / "program.elf"
        abi = "eabihf" if target.hard_float else "eabi"
        subprocess.run(
            [
                *(*zig_command(), "build-exe", "-target", f"thumb-freestanding-{abi}", f"-mcpu={target.zig_cpu}"),
                *("-fentry=reset", "--script", str(tmp_path / "program.ld"), f"-femit-bin={out}", "-OReleaseSmall"),
                *("-fno-strip", "-fno-compiler-rt", "-cflags", optimise, "-g0", "-std=c99", "-fno-sanitize=undefined"),
                *("-ffreestanding", "--", str(tmp_path / "program.c")),
            ],
            env=zig_environment(),
            check=True,
        )
        return out

    return build


@pytest.fixture
def elf(link: Link) -> Callable[..., FirmwareElf]:
    """The same, read."""
    return lambda *args, **kwargs: FirmwareElf(link(*args, **kwargs))
