"""A C library becomes firmware: an ELF with start-up code, by zig's clang or by arm-none-eabi-gcc."""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ndtool.benchmarks import firmware_sources
from ndtool.benchmarks.placement import USUAL, Placement
from ndtool.benchmarks.targets import Core, Region
from ndtool.cache import cache_entry
from ndtool.errors import NdtoolError
from ndtool.export.c.library import CLibrary
from ndtool.export.c.objective import parse_objective
from ndtool.files import replacing, write_atomic
from ndtool.zig import zig_command, zig_environment, zig_version

COMPILERS = ("zig", "gcc")
GCC = "arm-none-eabi-gcc"

# Contraction into fused multiply-adds would change float results against LiteRT's.
_FLAGS = (
    "-std=c99",
    "-g0",
    "-ffunction-sections",
    "-fdata-sections",
    "-ffp-contract=off",
    "-fomit-frame-pointer",
    "-fno-unwind-tables",
    "-fno-asynchronous-unwind-tables",
)
CLOCKS = {"qemu": "-DNDTOOL_SYSTICK", "board": "-DNDTOOL_BOARD"}  # as firmware/markers.h has them


@dataclass(frozen=True, slots=True, kw_only=True)
class Firmware:
    """A linked firmware and what made it."""

    path: Path
    compiler: str  # name and version
    flags: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Unit:
    """A C file on disk with the flags of its own; the path depends on the contents of its folder alone."""

    path: Path
    flags: tuple[str, ...]


def build_firmware(
    library: CLibrary,
    core: Core,
    memory: Mapping[str, Region],
    out: Path,
    *,
    compiler: str = "zig",
    clock: str = "",
    init: Path | None = None,
    place: Placement = USUAL,
) -> Firmware:
    """Compile a library with its harness and link it at a target's addresses.

    Objects are cached by their contents.

    Args:
        library, core, memory, out: what is linked for what, into which file.
        compiler: "zig" or "gcc".
        clock: what counts between the markers: "" (nothing), or a key of CLOCKS.
        init: a C file of the user's with ndtool_board_init, for "board".
        place: where weights and arena lie.

    Raises:
        NdtoolError: no such compiler, it is not installed, or it refuses the sources (its first message is given).
    """
    if compiler not in COMPILERS:
        raise NdtoolError(f"no compiler {compiler!r}: choose from {', '.join(COMPILERS)}")
    own = {name: text for name, text in library.files.items() if not firmware_sources.is_kernel(name)}
    headers = {name: text for name, text in own.items() if firmware_sources.is_kernel_header(name)}
    kernels = {name: text for name, text in library.files.items() if firmware_sources.is_kernel(name)}
    support = {path.name: path.read_text(encoding="utf-8") for path in firmware_sources.FOLDER.glob("*.[ch]")}
    harness = {"main.c": firmware_sources.main_c(library), "markers.h": support["markers.h"]}

    level = parse_objective(library.objective).compiler_flag
    units = _units({**own, **harness}, (level,))
    for name, text in kernels.items():
        units += _units({name: text, **headers}, (level,))
    define = (CLOCKS[clock],) if clock else ()
    units += _units(support, ("-O3", *define, "-fno-builtin"))
    if init is not None:
        units += _units({"ndtool_board_init.c": _read_source(init)}, (level,))
    memory_map = firmware_sources.linker_script(library, memory, place, real=clock == "board")
    script = _stored({"firmware.ld": memory_map}) / "firmware.ld"
    with replacing(out) as temporary:
        if compiler == "zig":
            _zig_link(units, core, script, temporary)
        else:
            _gcc_link(units, core, script, temporary)
        temporary.chmod(0o644)
    version = zig_version() if compiler == "zig" else gcc_version()
    machine = (f"-mcpu={core.zig_cpu}",) if compiler == "zig" else core.gcc_flags
    return Firmware(path=out, compiler=version, flags=(*machine, level, *_FLAGS[1:]))


def _read_source(path: Path) -> str:
    """The text of a C file of the user's.

    Raises:
        NdtoolError: it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise NdtoolError(f"{path}: no readable C file: {error}") from error


def _units(files: Mapping[str, str], flags: tuple[str, ...]) -> list[_Unit]:
    folder = _stored(files)
    return [_Unit(path=folder / name, flags=flags) for name in sorted(files) if name.endswith(".c")]


def _stored(files: Mapping[str, str]) -> Path:
    """A folder of these files in the cache, named after their contents, so that compilers' caches find them again."""
    digest = hashlib.sha256()
    for name, text in sorted(files.items()):
        digest.update(f"{name}\0{len(text)}\0{text}".encode())
    folder = cache_entry("sources", digest.hexdigest()[:24])
    for name, text in files.items():
        if not (folder / name).is_file():
            write_atomic(folder / name, text)
    return folder


# zig


def _zig_link(units: Sequence[_Unit], core: Core, script: Path, out: Path) -> None:
    """One invocation: compiles what its cache lacks, with compiler-rt, and links."""
    abi = "eabihf" if core.hard_float else "eabi"
    command = [
        *zig_command(),
        "build-exe",
        *("-target", f"thumb-freestanding-{abi}", f"-mcpu={core.zig_cpu}", "-OReleaseFast", "-fcompiler-rt"),
        *("-fentry=ndtool_reset", "--script", str(script), "--gc-sections", "-fno-strip", f"-femit-bin={out}"),
    ]
    for flags in sorted({unit.flags for unit in units}):
        files = [str(unit.path) for unit in units if unit.flags == flags]
        command += ["-cflags", *_FLAGS, "-fno-sanitize=undefined", *flags, "--", *files]
    _call(command, zig_environment())


# arm-none-eabi-gcc


@cache
def gcc_version() -> str:
    """For example "arm-none-eabi-gcc 12.2.1".

    Raises:
        NdtoolError: it is not installed.
    """
    if shutil.which(GCC) is None:
        raise NdtoolError(f"{GCC} is not installed: install it (Debian: gcc-arm-none-eabi) or use zig")
    done = subprocess.run([GCC, "-dumpfullversion"], capture_output=True, text=True)
    return f"{GCC} {done.stdout.strip()}"


def _gcc_link(units: Sequence[_Unit], core: Core, script: Path, out: Path) -> None:
    version = gcc_version()

    def compiled(unit: _Unit) -> Path:
        # -ffreestanding: <stdint.h> without a libc; -fbuiltin: memcpy of a word stays one instruction all the same.
        flags = (*core.gcc_flags, "-mthumb", *_FLAGS, "-ffreestanding", "-fbuiltin", *unit.flags)
        key = hashlib.sha256("\0".join((version, unit.path.parent.name, *flags)).encode()).hexdigest()[:24]
        target = cache_entry("objects", key) / f"{unit.path.stem}.o"
        if not target.is_file():
            with replacing(target) as temporary:
                _call([GCC, *flags, "-c", str(unit.path), "-o", str(temporary)], dict(os.environ))
        return target

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(compiled, units))
    flags = (*core.gcc_flags, "-mthumb", "-nostdlib", "-Wl,--gc-sections", "-Wl,--no-warn-rwx-segments")
    _call([GCC, *flags, "-T", str(script), *map(str, objects), "-lgcc", "-o", str(out)], dict(os.environ))


def _call(command: Sequence[str], environment: Mapping[str, str]) -> None:
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
    except OSError as error:
        raise NdtoolError(f"{command[0]}: cannot be run: {error.strerror}") from error
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        first = next((line for line in lines if "error" in line), lines[0] if lines else "no message")
        raise NdtoolError(f"the C compiler refuses the firmware: {first}")
