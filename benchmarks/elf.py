"""What is in a firmware: memory contents, functions, and how its bytes divide into flash and SRAM."""

import bisect
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ndtool.errors import NdtoolError

_ALLOC, _WRITE, _EXEC = 2, 1, 4  # SHF_…
_KERNEL = re.compile(r"^(nd_\w+)_[0-9a-f]{8}$")  # as ndtool_names.h has them for the linker


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """Bytes that are in memory before reset. `load_address` is where flash has them, `address` where they are used."""

    address: int
    load_address: int
    data: bytes
    memory_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A section that takes memory."""

    name: str
    address: int
    bytes: int
    writable: bool
    executable: bool
    stored: bool  # has contents in the file (.bss has none)


@dataclass(frozen=True, slots=True, kw_only=True)
class Symbol:
    """A function or object. Addresses of functions are without the Thumb bit."""

    name: str
    address: int
    bytes: int
    is_function: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Flash:
    """Bytes in flash. In a firmware that ndtool has not built, read-only data count as weights, all code as kernels."""

    weights: int
    kernels: int
    glue: int

    @property
    def code(self) -> int:
        """Everything but the weights."""
        return self.kernels + self.glue

    @property
    def total(self) -> int:
        """Everything."""
        return self.weights + self.code


class FirmwareElf:
    """An ELF file for a Cortex-M, read once."""

    def __init__(self, path: Path):
        """Read the file.

        Raises:
            NdtoolError: no such file, or it is not a linked 32-bit little-endian Arm ELF.
        """
        from elftools.common.exceptions import ELFError
        from elftools.elf.elffile import ELFFile

        self.path = path
        try:
            with path.open("rb") as file:
                elf = ELFFile(file)
                _check(path, elf)
                self.segments = _segments(elf)
                self.sections = _sections(elf)
                symbols = _symbols(elf)
        except OSError as error:
            raise NdtoolError(f"{path}: cannot be read: {error.strerror}") from error
        except (ELFError, ValueError, KeyError, UnicodeDecodeError, AttributeError) as error:
            raise NdtoolError(f"{path}: not a readable ELF file: {error or 'it is damaged'}") from error
        self.symbols: Mapping[str, Symbol] = MappingProxyType({symbol.name: symbol for symbol in symbols})
        functions: dict[int, Symbol] = {}
        for symbol in sorted(filter(_is_function, symbols), key=lambda s: (s.address, len(s.name))):
            functions.setdefault(symbol.address, symbol)  # of several names of one function, the shortest
        self.functions = tuple(functions.values())
        self._starts = list(functions)

    def address_of(self, name: str, purpose: str) -> int:
        """The address of a symbol.

        Raises:
            NdtoolError: there is none; the message says what it is for.
        """
        if name not in self.symbols:
            raise NdtoolError(f"{self.path}: no symbol {name}: {purpose}")
        return self.symbols[name].address

    def function_at(self, address: int) -> Symbol | None:
        """The function whose code is at an address."""
        position = bisect.bisect_right(self._starts, address) - 1
        if position < 0:
            return None
        function = self.functions[position]
        return function if address < function.address + max(function.bytes, 2) else None

    def where(self, address: int) -> str:
        """An address for people: "nd_conv+0x1c", or the number."""
        function = self.function_at(address)
        if function is None:
            return f"{address:#010x}"
        offset = address - function.address
        return f"{function.name}+{offset:#x}" if offset else function.name

    def where_function(self, address: int) -> str:
        """The name of the function at an address, or the address where no symbol says."""
        function = self.function_at(address)
        return function.name if function else f"{address:#010x}"

    def section(self, name: str) -> Section | None:
        """A section by name."""
        return next((section for section in self.sections if section.name == name), None)

    def section_bytes(self, name: str) -> int:
        """The size of a section, 0 where there is none."""
        section = self.section(name)
        return section.bytes if section else 0

    def code(self, address: int, count: int) -> bytes:
        """Bytes as they are before reset.

        Raises:
            KeyError: nothing is loaded there.
        """
        for segment in self.segments:
            offset = address - segment.address
            if offset >= 0 and offset + count <= len(segment.data):
                return segment.data[offset : offset + count]
        raise KeyError(address)

    def flash(self, *, own: bool = False) -> Flash:
        """The flash used, by the sections of ndtool's own linker script (`own`), else by kind.

        The total is every byte stored in the file; initial values of .data and gaps for alignment count as glue.
        """
        stored = [section for section in self.sections if section.stored]
        total = sum(len(segment.data) for segment in self.segments)
        if own:
            weights, kernels = self.section_bytes(".weights"), self.section_bytes(".kernels")
        else:
            weights = sum(s.bytes for s in stored if not s.executable and not s.writable)
            kernels = sum(s.bytes for s in stored if s.executable)
        return Flash(weights=weights, kernels=kernels, glue=total - weights - kernels)

    def static_bytes(self, *apart: str) -> int:
        """SRAM that is taken for good: writable sections, without those named."""
        return sum(section.bytes for section in self.sections if section.writable and section.name not in apart)


def _is_function(symbol: Symbol) -> bool:
    return symbol.is_function


def _check(path: Path, elf: Any) -> None:
    if elf["e_machine"] != "EM_ARM" or elf.elfclass != 32 or not elf.little_endian:
        raise NdtoolError(f"{path}: not an ELF for a Cortex-M: it is for {elf.get_machine_arch()}")
    if elf["e_type"] != "ET_EXEC":
        raise NdtoolError(f"{path}: not a linked program: give the ELF that would be flashed")


def _segments(elf: Any) -> tuple[Segment, ...]:
    return tuple(
        Segment(
            address=segment["p_vaddr"],
            load_address=segment["p_paddr"],
            data=segment.data(),
            memory_bytes=segment["p_memsz"],
        )
        for segment in elf.iter_segments("PT_LOAD")
        if segment["p_memsz"]
    )


def _sections(elf: Any) -> tuple[Section, ...]:
    return tuple(
        Section(
            name=section.name,
            address=section["sh_addr"],
            bytes=section["sh_size"],
            writable=bool(section["sh_flags"] & _WRITE),
            executable=bool(section["sh_flags"] & _EXEC),
            stored=section["sh_type"] != "SHT_NOBITS",
        )
        for section in elf.iter_sections()
        if section["sh_flags"] & _ALLOC and section["sh_size"]
    )


def _symbols(elf: Any) -> list[Symbol]:
    """Functions, objects and the linker's own symbols; mapping symbols ($t, $d) are left out."""
    table = elf.get_section_by_name(".symtab")
    found = []
    for symbol in table.iter_symbols() if table else ():
        kind = symbol["st_info"]["type"]
        if symbol.name.startswith("$") or not symbol.name or symbol["st_shndx"] == "SHN_UNDEF":
            continue
        if kind in ("STT_FUNC", "STT_OBJECT", "STT_NOTYPE"):
            address = symbol["st_value"] & ~1 if kind == "STT_FUNC" else symbol["st_value"]
            name = _KERNEL.sub(r"\1", symbol.name)
            found.append(Symbol(name=name, address=address, bytes=symbol["st_size"], is_function=kind == "STT_FUNC"))
    return found
