"""A model's C library or a user's firmware, measured on a target: build, run, compare, account."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ndtool.benchmarks.account import account, with_board
from ndtool.benchmarks.board.link import BoardLink, require_board
from ndtool.benchmarks.build import build_firmware
from ndtool.benchmarks.elf import FirmwareElf
from ndtool.benchmarks.firmware_sources import linker_script, main_c
from ndtool.benchmarks.inputs import Inputs, Ports, Sample, elf_ports, library_ports, samples_for
from ndtool.benchmarks.placement import USUAL, Placement
from ndtool.benchmarks.results import Measurement
from ndtool.benchmarks.running import EMULATORS, Program, Run, emulated, on_board
from ndtool.benchmarks.targets import Core, Target
from ndtool.errors import NdtoolError
from ndtool.export.c import write_library
from ndtool.export.c.library import CLibrary
from ndtool.files import write_atomic
from ndtool.quantize.runtime import TFLiteModel


def measure(
    subject: CLibrary | Path,
    target: Target,
    *,
    inputs: Inputs,
    emulator: str = "unicorn",
    compiler: str = "zig",
    keep: Path | None = None,
    reference: bytes | None = None,
    board: BoardLink | None = None,
    board_init: Path | None = None,
    ports: Ports | None = None,
    fast: bool = False,
    place: Placement = USUAL,
) -> Measurement:
    """Measure a library, or a firmware of the user's with markers, on a target.

    Args:
        subject: what compile_tflite made, or an ELF that calls ndtool_start and ndtool_stop.
        target: core or board.
        inputs: one run for each sample.
        emulator: "unicorn" (counts per layer and function) or "qemu" (a second opinion on the total).
        compiler: "zig" or "gcc"; of no effect on an ELF.
        keep: folder for the C library, the firmware, the inputs and the outputs.
        reference: the TFLite model whose reference kernels' outputs every output byte is compared with.
        board: a real one, on which the firmware runs after the emulator: its cycles, stack and outputs are reported.
        board_init: a C file with its ndtool_board_init, for a library.
        ports: of a firmware that ndtool has built earlier; None: as an ELF of the user's says itself.
        fast: counts alone, no cycles.
        place: where weights and arena lie; of no effect on an ELF.

    Raises:
        NdtoolError: a tool is missing, the firmware cannot be built, faults or does not end.
    """
    _require_possible(subject, target, emulator, board, board_init, place)
    with tempfile.TemporaryDirectory(prefix="ndtool-") as folder:
        room = Path(folder)
        library = subject if isinstance(subject, CLibrary) else None
        firmware = None
        path = subject if isinstance(subject, Path) else (keep or room) / "firmware.elf"
        if library:
            clock = "board" if board else ""
            firmware = build_firmware(
                library, target.core, target.memory, path, compiler=compiler, clock=clock, init=board_init, place=place
            )
        linked = elf = FirmwareElf(path)
        if library and emulator == "qemu":
            elf = _for_qemu(library, target.core, compiler, room)
        if ports is None:
            ports = library_ports(library, elf) if library else elf_ports(elf)
        samples = samples_for(inputs, ports.inputs)
        program = Program(
            library=library,
            linked=linked,
            elf=elf,
            target=target,
            place=place,
            ports=ports,
            samples=samples,
            origin=inputs.origin if ports.inputs else "the firmware's own: it has no ndtool_input",
            fast=fast,
        )
        runs, machine = on_board(program, board) if board else emulated(program, emulator)
        if keep:
            _keep(keep, program, runs)
        mismatches = _compare(reference, program, runs)
        found = account(program, runs, mismatches, machine, firmware)
        return with_board(found, board, path, ports) if board else found


def _for_qemu(library: CLibrary, core: Core, compiler: str, room: Path) -> FirmwareElf:
    """The same code at the addresses of QEMU's board, with a clock."""
    there = room / "qemu.elf"
    build_firmware(library, core, core.qemu_memory, there, compiler=compiler, clock="qemu")
    return FirmwareElf(there)


def _require_possible(
    subject: CLibrary | Path,
    target: Target,
    emulator: str,
    board: BoardLink | None,
    board_init: Path | None,
    place: Placement,
) -> None:
    """Raise NdtoolError where what is asked for does not go together."""
    if emulator not in EMULATORS:
        raise NdtoolError(f"no emulator {emulator!r}: choose from {', '.join(EMULATORS)}")
    if emulator == "qemu" and not isinstance(subject, CLibrary):
        raise NdtoolError(f"{subject}: it is linked for its own board, not for QEMU's: use --emulator unicorn")
    if board:
        require_board(target)
        if emulator != "unicorn":
            raise NdtoolError(f"a board measures, {emulator} does not: leave out --emulator {emulator} or --gdb")
    elif board_init:
        raise NdtoolError("--board-init is for a board: add --gdb HOST:PORT")
    if board_init and not isinstance(subject, CLibrary):
        raise NdtoolError(f"{subject} is linked already: leave out --board-init")
    if emulator == "qemu" and place != USUAL:
        raise NdtoolError("QEMU's boards have one SRAM: --place needs --emulator unicorn")


def _compare(reference: bytes | None, program: Program, runs: Sequence[Run]) -> list[int | None]:
    """Output bytes of each run that differ from LiteRT's reference kernels; None where there is no model."""
    if reference is None:
        return [None] * len(runs)
    model = TFLiteModel(reference, reference=True)
    shapes = [port.shape for port in program.ports.inputs]
    inputs = ([value.reshape(shape) for value, shape in zip(s, shapes, strict=True)] for s in program.samples)
    return [_differing(model.run(*values), run.outputs) for values, run in zip(inputs, runs, strict=True)]


def _differing(expected: Sample, found: Sample) -> int:
    different = 0
    for right, mine in zip(expected, found, strict=True):
        a, b = (np.frombuffer(value.tobytes(), dtype=np.uint8) for value in (right, mine))
        different += max(len(a), len(b)) if len(a) != len(b) else int(np.count_nonzero(a != b))
    return different


def _keep(folder: Path, program: Program, runs: Sequence[Run]) -> None:
    """The library, the harness and every input and output as raw bytes; the ELF is there already."""
    library = program.library
    if library:
        write_library(library, folder / "c")
        write_atomic(folder / "main.c", main_c(library))
        write_atomic(folder / "firmware.ld", linker_script(library, program.target.memory))
    for index, (sample, run) in enumerate(zip(program.samples, runs, strict=True)):
        for kind, values in (("input", sample), ("output", run.outputs)):
            for position, value in enumerate(values):
                file = folder / kept_name(kind, position, len(values), index)
                write_atomic(file, np.ascontiguousarray(value).tobytes())


def kept_name(kind: str, position: int, count: int, run: int) -> str:
    """The file of one of the `count` inputs or outputs of a run; kind is "input" or "output"."""
    suffix = f"_{position}" if count > 1 else ""
    return f"{kind}{suffix}.{run}.bin"
