"""Raw firmware: bytes for a flash, without symbols or sections."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from ndtool.benchmarks.elf import Section, Segment, Symbol
from ndtool.errors import NdtoolError


class FirmwareImage:
    """A .bin or Intel .hex file; offers what of FirmwareElf the emulator asks for."""

    sections: tuple[Section, ...] = ()
    symbols: Mapping[str, Symbol] = MappingProxyType({})

    def __init__(self, path: Path, origin: int, vectors: int | None = None):
        """Read the file.

        Args:
            path: the image.
            origin: its address, where the file does not say.
            vectors: the address of the vector table; None: it is the first thing in the image.

        Raises:
            NdtoolError: it cannot be read.
        """
        self.path = path
        try:
            if path.suffix == ".hex":
                origin, data = _intel_hex(path.read_text(encoding="ascii"))
            else:
                data = path.read_bytes()
        except OSError as error:
            raise NdtoolError(f"{path}: cannot be read: {error.strerror}") from error
        except (ValueError, UnicodeDecodeError, IndexError) as error:
            raise NdtoolError(f"{path}: not an Intel hex file") from error
        self.segments = (Segment(address=origin, load_address=origin, data=data, memory_bytes=len(data)),)
        self.vectors = origin if vectors is None else vectors

    def address_of(self, name: str, purpose: str) -> int:
        """There are no symbols.

        Raises:
            NdtoolError: always.
        """
        raise NdtoolError(f"{self.path}: no symbol {name} in a raw image: {purpose}")

    def where(self, address: int) -> str:
        """An address for people."""
        return f"{address:#010x}"

    def where_function(self, address: int) -> str:
        """The same: no function has a name."""
        return self.where(address)


def _intel_hex(text: str) -> tuple[int, bytes]:
    """The lowest address and the bytes from there on; gaps are as in erased flash."""
    base, parts = 0, {}
    for line in filter(None, map(str.strip, text.splitlines())):
        record = bytes.fromhex(line[1:])
        size, address, kind = record[0], int.from_bytes(record[1:3], "big"), record[3]
        if line[0] != ":" or sum(record) & 0xFF or len(record) != size + 5:
            raise ValueError(line)
        data = record[4 : 4 + size]
        if kind == 0:
            parts[base + address] = data
        elif kind in (2, 4):
            base = int.from_bytes(data, "big") << (16 if kind == 4 else 4)
    start, end = min(parts), max(address + len(data) for address, data in parts.items())
    image = bytearray(b"\xff" * (end - start))
    for address, data in parts.items():
        image[address - start : address - start + len(data)] = data
    return start, bytes(image)
