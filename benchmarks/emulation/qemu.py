"""A second opinion: firmware in qemu-system-arm, instructions counted by SysTick under -icount."""

import shutil
import subprocess
import tempfile
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

from ndtool.benchmarks.elf import FirmwareElf
from ndtool.benchmarks.emulation.counts import Counts
from ndtool.benchmarks.emulation.emulator import FAULT, START, STOPPED, TICKS
from ndtool.benchmarks.emulation.gdb import SP, GdbTarget
from ndtool.benchmarks.targets import Core
from ndtool.errors import NdtoolError

QEMU = "qemu-system-arm"
_SECONDS = 900.0  # for one run; several hundred million instructions take less than a minute


@cache
def qemu_version() -> str:
    """For example "7.2.22".

    Raises:
        NdtoolError: it is not installed.
    """
    if shutil.which(QEMU) is None:
        raise NdtoolError(f"{QEMU} is not installed: install it (Debian: {QEMU}), or use --emulator unicorn")
    first = subprocess.run([QEMU, "--version"], capture_output=True, text=True).stdout.split("\n", 1)[0]
    return first.split("version ", 1)[-1].split(" ", 1)[0]


class QemuEmulator:
    """A firmware of ndtool's own, built for QEMU's memory map, brought from reset to ndtool_start.

    One instruction is one nanosecond of virtual time, so that SysTick counts them, one tick for many.
    """

    def __init__(self, elf: FirmwareElf, core: Core):
        """Start QEMU.

        Raises:
            NdtoolError: it is not installed, or the firmware faults or does not come to ndtool_start.
        """
        self.name = f"qemu {qemu_version()} ({core.qemu_machine})"
        self._elf = elf
        self._nanoseconds = 1e9 / core.qemu_systick_hz
        self.note = f"instructions counted in steps of {self._nanoseconds:.0f}" + (
            f"; {core.qemu_note}" if core.qemu_note else ""
        )
        own = "build the firmware with its clock for QEMU"
        self._places = {name: elf.address_of(name, own) for name in (START, STOPPED, FAULT)}
        self._ticks = elf.address_of(TICKS, own)
        self._room = tempfile.TemporaryDirectory(prefix="ndtool-")
        door = Path(self._room.name) / "gdb"
        self._process = subprocess.Popen(
            [
                *(QEMU, "-M", core.qemu_machine, "-kernel", str(elf.path), "-nographic", "-monitor", "none"),
                *("-serial", "none", "-icount", "shift=0", "-S"),
                *("-chardev", f"socket,path={door},server=on,wait=off,id=gdb", "-gdb", "chardev:gdb"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            self._target = self._connect(door)
            self._go(START)
        except BaseException:
            self.close()
            raise

    def read(self, address: int, count: int) -> bytes:
        """Memory."""
        return self._target.read(address, count)

    def write(self, address: int, data: bytes) -> None:
        """Set memory."""
        self._target.write(address, data)

    def stack_pointer(self) -> int:
        """SP now."""
        return self._target.register(SP)

    def run(self) -> Counts:
        """Execute from ndtool_start to ndtool_stop."""
        self._go(STOPPED)
        return Counts(instructions=round(self._target.word(self._ticks) * self._nanoseconds), edges=())

    def rewind(self) -> None:
        """On to the harness's next round."""
        self._go(START)

    def close(self) -> None:
        """End QEMU."""
        if target := getattr(self, "_target", None):
            target.close()
        self._process.kill()
        self._process.communicate()
        self._room.cleanup()

    def _connect(self, door: Path) -> GdbTarget:
        deadline = time.monotonic() + 20
        while True:
            if door.exists():
                with suppress(NdtoolError):  # it is there a moment before it listens
                    return GdbTarget(door)
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise NdtoolError(f"{QEMU} does not start: {self._last_words()}")
            time.sleep(0.02)

    def _go(self, name: str) -> None:
        try:
            at = self._target.run_to(self._places[name], self._places[FAULT], seconds=_SECONDS)
        except NdtoolError as error:
            if self._process.poll() is None:
                raise
            raise NdtoolError(f"{QEMU} has ended: {self._last_words()}") from error
        if at == self._places[FAULT]:
            pc = self._target.word(self._target.register(SP) + 24) & ~1  # of the stacked frame
            raise NdtoolError(f"{self._elf.path}: fault at {pc:#010x} in {self._elf.where(pc)}")
        if at != self._places[name]:
            raise NdtoolError(f"{self._elf.path}: stopped at {at:#010x} in {self._elf.where(at)}, not at {name}")

    def _last_words(self) -> str:
        self._process.kill()
        _, errors = self._process.communicate()
        return errors.strip().splitlines()[0] if errors.strip() else "no message"
