"""Firmware on a real board, behind any gdb server: loaded, run from marker to marker, its cycles and memory read."""

import re
from dataclasses import dataclass

from ndtool.benchmarks.board.gdb_mi import PC, SP, XPSR, Gdb, find_gdb, gdb_version
from ndtool.benchmarks.elf import FirmwareElf
from ndtool.benchmarks.emulation.counts import Counts
from ndtool.benchmarks.emulation.emulator import FAULT, MARKERS, START, STOP, STOPPED, TICKS, reset_vector
from ndtool.benchmarks.targets import Target
from ndtool.errors import NdtoolError

_BOOT_SECONDS = 30.0  # from reset to the first marker
_RUN_SECONDS = 300.0  # of an inference; the largest networks take a minute at the reset clock of a small part
_THUMB = 1 << 24  # in xPSR
RESET = "reset halt"


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardLink:
    """Where a board is. `reset`: the server's own command that resets the board and halts it."""

    server: str  # HOST:PORT
    reset: str = RESET


def parse_link(server: str, reset: str = RESET) -> BoardLink:
    """A link from what the user wrote: HOST:PORT, or :PORT on this machine.

    Raises:
        NdtoolError: it is neither.
    """
    host, _, port = server.rpartition(":")
    host = host or "localhost"
    # Nothing else goes to gdb, for which a target that begins with | is a program to run.
    plain = re.fullmatch(r"[A-Za-z0-9_][\w.-]*|\[[0-9A-Fa-f:]+\]", host, re.ASCII)
    if not plain or not re.fullmatch(r"[0-9]{1,5}", port) or not 0 < int(port) < 65536:
        raise NdtoolError(f"{server!r} is no gdb server: write HOST:PORT, e.g. localhost:3333")
    return BoardLink(server=f"{host}:{port}", reset=reset)


def require_board(target: Target) -> None:
    """Raise NdtoolError where a target is a bare core, whose addresses and clock are no board's."""
    if not target.is_board:
        raise NdtoolError(
            f"{target.name} is a core, not a board: name the one behind the server with --target (ndtool list targets)"
        )


class Board:
    """A firmware on a board, brought to ndtool_start: the same interface as the emulators."""

    def __init__(self, elf: FirmwareElf, link: BoardLink, *, loops: bool):
        """Reset the board, load the firmware and run it to ndtool_start.

        Args:
            elf: the firmware, with the two markers.
            link: where the board is.
            loops: it runs from the end marker to the start marker again; one inference is then run before all others,
                so that caches are as in use. Otherwise the board is reset between runs.

        Raises:
            NdtoolError: no gdb is installed, the board does not answer, or the firmware does not come to ndtool_start.
        """
        self._elf, self._link, self._loops = elf, link, loops
        self._start = elf.address_of(START, MARKERS)
        self._end = elf.address_of(STOPPED if STOPPED in elf.symbols else STOP, MARKERS)
        self._fault = elf.symbols[FAULT].address if FAULT in elf.symbols else None
        self.name = f"{link.server}, {gdb_version(find_gdb())}"
        self._gdb = Gdb(elf.path, link.server)
        try:
            self._counts, self.note = self._counter()
            self._reset()
            self._gdb.load()
            self._gdb.stop_at(*(place for place in (self._start, self._end, self._fault) if place is not None))
            self._boot()
            if loops:
                self._go(self._end, _RUN_SECONDS)
                self.rewind()
        except BaseException:
            self.close()
            raise

    def read(self, address: int, count: int) -> bytes:
        """Memory."""
        return self._gdb.read(address, count)

    def write(self, address: int, data: bytes) -> None:
        """Set memory."""
        self._gdb.write(address, data)

    def stack_pointer(self) -> int:
        """SP now."""
        return self._gdb.register(SP)

    def run(self) -> Counts:
        """Execute from ndtool_start to ndtool_stop."""
        self._go(self._end, _RUN_SECONDS)
        return Counts(instructions=None, edges=(), cycles=self._cycles())

    def rewind(self) -> None:
        """At ndtool_start again: by the harness's next round, or from reset."""
        if self._loops:
            self._go(self._start, _BOOT_SECONDS)
        else:
            self._boot()

    def close(self) -> None:
        """Let the board go on by itself."""
        self._gdb.close()

    def _counter(self) -> tuple[bool, str]:
        """Whether cycles are counted, and why not."""
        if TICKS not in self._elf.symbols:
            return False, "the firmware counts no cycles: build it with ndtool's markers.c and -DNDTOOL_BOARD"
        if self._of_qemu():
            return False, "this machine has no cycle counter: it is QEMU"
        return True, ""

    def _of_qemu(self) -> bool:
        """QEMU alone knows this packet. Its SysTick follows the host's time, so that cycles would seem to be there."""
        self._gdb.console("maintenance packet qqemu.sstepbits")
        return "ENABLE" in "".join(self._gdb.said)

    def _reset(self) -> None:
        try:
            self._gdb.monitor(self._link.reset)
        except NdtoolError as error:
            raise NdtoolError(f"{error}: name the server's own command with --gdb-reset (J-Link: reset)") from error
        self._gdb.forget_registers()

    def _boot(self) -> None:
        """From reset to ndtool_start, whatever a boot loader would do first, or has been done to write the flash."""
        self._reset()
        stack, reset = reset_vector(self._elf)
        for register, value in ((SP, stack), (XPSR, _THUMB), (PC, reset)):
            self._gdb.set_register(register, value)
        self._go(self._start, _BOOT_SECONDS)

    def _cycles(self) -> int | None:
        if not self._counts:
            return None
        cycles = self._gdb.word(self._elf.symbols[TICKS].address)
        if not cycles:
            self.note = "this machine has no cycle counter: it stays 0"
        return cycles or None

    def _go(self, to: int, seconds: float) -> None:
        where = self._elf.where
        at = self._gdb.go(seconds)
        if at is None:
            stuck = self._gdb.interrupt()
            told = "it does not listen to gdb any more" if stuck is None else f"it is still in {where(stuck)}"
            raise NdtoolError(
                f"the board at {self._link.server} does not reach {where(to)} within {seconds:g} s: {told}"
            )
        if at == self._fault:
            pc = self._gdb.word(self._gdb.register(SP) + 24) & ~1  # of the stacked frame
            raise NdtoolError(f"{self._elf.path}: fault at {pc:#010x} in {where(pc)} on the board")
        if at != to:
            raise NdtoolError(
                f"the board at {self._link.server} stopped at {at:#010x} in {where(at)} on its way to {where(to)}"
            )
