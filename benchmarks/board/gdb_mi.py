"""gdb itself, told what to do through its machine interface: whatever server it can talk to is a board."""

import codecs
import queue
import re
import shutil
import signal
import subprocess
import threading
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

from ndtool.errors import NdtoolError

PROGRAMS = ("gdb-multiarch", "arm-none-eabi-gdb")
SP, PC, XPSR = 13, 15, 25  # numbers of registers, whose names are the server's choice
_CHUNK = 16 * 1024  # bytes of memory in a command
_ANSWER = 60.0  # seconds for one command
_CONNECT = 20.0
_LOAD = 300.0  # flash is written at some tens of kilobytes a second
_SETTINGS = (
    "auto-load no",  # what lies beside the firmware, or in it, is not run
    "confirm off",
    "tcp auto-retry off",
    "remotetimeout 10",
    "mem inaccessible-by-default off",  # servers' memory maps may leave out a bank of SRAM
)
_STRING = r'"((?:[^"\\]|\\.)*)"'


def find_gdb() -> str:
    """The gdb for Arm that is installed.

    Raises:
        NdtoolError: there is none.
    """
    for program in PROGRAMS:
        if shutil.which(program):
            return program
    raise NdtoolError(
        "no gdb for Arm is installed: install gdb-multiarch (Debian, Ubuntu) or arm-none-eabi-gdb (Arm GNU toolchain)"
    )


@cache
def gdb_version(program: str) -> str:
    """For example "GNU gdb (Debian 13.1-3) 13.1"."""
    done = subprocess.run([program, "--version"], capture_output=True, text=True)
    return done.stdout.partition("\n")[0].strip()


class Gdb:
    """A gdb with a firmware's file, connected to a server. The target is stopped between calls.

    Source: https://sourceware.org/gdb/current/onlinedocs/gdb.html/GDB_002fMI.html
    """

    def __init__(self, elf: Path, server: str):
        """Start gdb and connect.

        Args:
            elf: the firmware. server: HOST:PORT, checked.

        Raises:
            NdtoolError: no gdb is installed, nobody answers, or it is not an Arm.
        """
        settings = [word for setting in _SETTINGS for word in ("-iex", f"set {setting}")]
        self._process = subprocess.Popen(
            [find_gdb(), "--nx", "--quiet", "--interpreter=mi2", *settings, str(elf.absolute())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,  # an interrupt from the keyboard is ours to handle
        )
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._token = 0
        self._server = server
        self.said: list[str] = []  # what server and gdb have told people since the last command
        try:
            self._connect()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the target, which runs on, and end gdb."""
        with suppress(NdtoolError, OSError):
            self.command("-target-detach", seconds=5)
        self._process.kill()
        self._process.wait()
        self._reader.join()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()

    def load(self) -> None:
        """Write the firmware into the target's memory, flash included: the server's business."""
        self.command("-target-download", seconds=_LOAD)

    def monitor(self, command: str) -> str:
        """A command to the server itself; returns what it says."""
        self.console(f"monitor {command}")
        return " ".join("".join(self.said).split())

    def console(self, command: str) -> None:
        """A command as people type it."""
        escaped = command.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
        self.command(f'-interpreter-exec console "{escaped}"')

    def read(self, address: int, count: int) -> bytes:
        """Memory."""
        found = b""
        while len(found) < count:
            part = min(_CHUNK, count - len(found))
            answer = self.command(f"-data-read-memory-bytes {address + len(found):#x} {part}")
            content = re.search(rf"contents={_STRING}", answer)
            data = bytes.fromhex(content[1]) if content else b""
            if len(data) != part:
                raise NdtoolError(f"the board at {self._server} does not give the {part} bytes at {address:#010x}")
            found += data
        return found

    def write(self, address: int, data: bytes) -> None:
        """Set memory."""
        for start in range(0, len(data), _CHUNK):
            self.command(f"-data-write-memory-bytes {address + start:#x} {data[start : start + _CHUNK].hex()}")

    def word(self, address: int) -> int:
        """A word of memory."""
        return int.from_bytes(self.read(address, 4), "little")

    def register(self, number: int) -> int:
        """A core register, 0 to 15."""
        answer = self.command(f"-data-list-register-values x {number}")
        value = re.search(rf"value={_STRING}", answer)
        if value is None:
            raise NdtoolError(f"the board at {self._server} does not give its registers")
        return int(value[1], 16)

    def set_register(self, number: int, value: int) -> None:
        """Set a register."""
        self.command(f"-gdb-set var ${self._names[number]}={value:#x}")

    def forget_registers(self) -> None:
        """What gdb remembers of registers is no longer true: the server has reset the target."""
        try:
            self.console("maintenance flush register-cache")
        except NdtoolError:
            self.console("flushregs")  # before gdb 11

    def stop_at(self, *addresses: int) -> None:
        """Set hardware breakpoints, which flash needs, before these Thumb instructions."""
        for address in addresses:
            self.command(f"-break-insert -h *{address:#x}")

    def go(self, seconds: float) -> int | None:
        """Continue to a breakpoint, or whatever else stops the target; returns where it is, None if it did not stop."""
        self.command("-exec-continue")
        if self._stops(seconds):
            return self.register(PC) & ~1
        return None

    def interrupt(self) -> int | None:
        """Stop a target that runs; returns where it is, None where it does not listen."""
        self._process.send_signal(signal.SIGINT)
        return self.register(PC) & ~1 if self._stops(5) else None

    def command(self, text: str, seconds: float | None = None) -> str:
        """Have a command of the machine interface done; returns its result.

        Raises:
            NdtoolError: gdb refuses it, does not answer in time, or is gone.
        """
        self._token += 1
        self.said.clear()
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{self._token}{text}\n")
            self._process.stdin.flush()
        except OSError as error:
            raise NdtoolError(f"gdb has ended: {error}") from error
        mark, deadline = f"{self._token}^", time.monotonic() + (seconds or _ANSWER)
        while True:
            line = self._next(deadline)
            if line is None:
                raise NdtoolError(f"the board at {self._server} does not answer: gdb waits in {text[:40]!r}")
            if line.startswith(mark):
                kind, _, rest = line.removeprefix(mark).partition(",")
                if kind == "error":
                    message = re.search(rf"msg={_STRING}", rest)
                    said = _plain(message[1]) if message else rest
                    raise NdtoolError(f"gdb at {self._server}: {' '.join(said.split())}")
                return rest

    def _connect(self) -> None:
        try:
            self.command(f"-target-select extended-remote {self._server}", seconds=_CONNECT)
            answer = self.command("-data-list-register-names")
        except NdtoolError as error:
            cause = str(error).removeprefix(f"gdb at {self._server}: ").removeprefix(f"{self._server}: ").rstrip(".")
            raise NdtoolError(
                f"no gdb server answers at {self._server} ({cause}): start OpenOCD, pyOCD or J-Link's there first"
            ) from error
        self._names = re.findall(_STRING, answer)
        if [self._names[number] for number in (SP, PC) if number < len(self._names)] != ["sp", "pc"]:
            raise NdtoolError(f"the gdb server at {self._server} has no Arm core behind it")

    def _stops(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while (line := self._next(deadline)) is not None:
            if line.startswith("*stopped"):
                return True
            if line.startswith("=thread-group-exited"):
                raise NdtoolError(f"the gdb server at {self._server} has closed the connection")
        return False

    def _next(self, deadline: float) -> str | None:
        """The next line but what is told to people, which is kept apart; None after the deadline."""
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                return None
            if line is None:
                self._lines.put(None)
                raise NdtoolError(f"gdb has ended (exit code {self._process.wait()})")
            if line[:1] in ("~", "@", "&"):
                self.said.append(_plain(line[2:-1]))
            else:
                return line

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line.rstrip("\r\n"))
        self._lines.put(None)


def _plain(text: str) -> str:
    """A string of the machine interface, without its escapes."""
    return codecs.decode(text.encode("ascii", "replace"), "unicode_escape")
