"""A client of gdb's remote protocol: memory, registers and breakpoints of a stopped target."""

import socket
from contextlib import suppress
from pathlib import Path

from ndtool.errors import NdtoolError

_CHUNK = 1024  # bytes of memory in a packet
SP, PC = 13, 15


class GdbTarget:
    """A target behind a gdb server, stopped between calls.

    Source: https://sourceware.org/gdb/current/onlinedocs/gdb.html/Remote-Protocol.html
    """

    def __init__(self, address: Path | tuple[str, int], timeout: float = 10.0):
        """Connect to a Unix socket or to a host and port.

        Raises:
            NdtoolError: nobody answers there.
        """
        family = socket.AF_UNIX if isinstance(address, Path) else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        self._socket.settimeout(timeout)
        self._timeout = timeout
        self._received = b""
        try:
            self._socket.connect(str(address) if isinstance(address, Path) else address)
        except OSError as error:
            self._socket.close()
            raise NdtoolError(f"no gdb server at {address}: {error}") from error
        self._ask("?")

    def close(self) -> None:
        """Kill the target where the server allows, and disconnect."""
        with suppress(OSError):
            self._send("k")
        self._socket.close()

    def read(self, address: int, count: int) -> bytes:
        """Memory."""
        found = b""
        while len(found) < count:
            part = min(_CHUNK, count - len(found))
            found += bytes.fromhex(self._ask(f"m{address + len(found):x},{part:x}"))
        return found

    def write(self, address: int, data: bytes) -> None:
        """Set memory."""
        for start in range(0, len(data), _CHUNK):
            part = data[start : start + _CHUNK]
            self._ask(f"M{address + start:x},{len(part):x}:{part.hex()}")

    def word(self, address: int) -> int:
        """A word of memory."""
        return int.from_bytes(self.read(address, 4), "little")

    def register(self, number: int) -> int:
        """A core register, 0 to 15."""
        # All of them: QEMU answers "p" only after its register description was read.
        return int.from_bytes(bytes.fromhex(self._ask("g")[8 * number : 8 * number + 8]), "little")

    def run_to(self, *addresses: int, seconds: float) -> int:
        """Continue until one of these Thumb instructions is next; returns which.

        Raises:
            NdtoolError: it is not reached in time, or the server is gone.
        """
        for address in addresses:
            self._ask(f"Z0,{address:x},2")
        self._socket.settimeout(seconds)
        try:
            self._ask("c")
        finally:
            self._socket.settimeout(self._timeout)
        for address in addresses:
            self._ask(f"z0,{address:x},2")
        return self.register(PC) & ~1

    def _ask(self, command: str) -> str:
        self._send(command)
        answer = self._answer()
        if answer.startswith("E") and len(answer) == 3:
            raise NdtoolError(f"the gdb server refuses {command[:40]!r}: error {answer[1:]}")
        return answer

    def _send(self, command: str) -> None:
        data = command.encode()
        self._socket.sendall(b"$" + data + b"#" + f"{sum(data) & 255:02x}".encode())

    def _answer(self) -> str:
        """The next packet; acknowledgements and console output are passed over."""
        while True:
            start = self._received.find(b"$")
            end = self._received.find(b"#", start)
            if start >= 0 and 0 <= end <= len(self._received) - 3:
                packet, self._received = self._received[start + 1 : end], self._received[end + 3 :]
                self._socket.sendall(b"+")
                if not packet.startswith(b"O") or packet == b"OK":
                    return packet.decode("ascii", "replace")
                continue
            try:
                data = self._socket.recv(65536)
            except TimeoutError as error:
                raise NdtoolError("the gdb server's target does not stop in time") from error
            except OSError as error:
                raise NdtoolError(f"the gdb server is gone: {error}") from error
            if not data:
                raise NdtoolError("the gdb server has closed the connection")
            self._received += data
