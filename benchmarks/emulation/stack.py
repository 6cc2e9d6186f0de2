"""Stack use: paint what lies below SP, run, and see how deep the paint is gone."""

from collections.abc import Iterable
from dataclasses import dataclass

from ndtool.benchmarks.elf import FirmwareElf
from ndtool.benchmarks.emulation.emulator import Emulator
from ndtool.benchmarks.targets import Region
from ndtool.errors import NdtoolError

_PAINT = b"\x5a\xc3\x96\x0f"  # unlikely as data, addresses or code
_LARGEST = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class StackRegion:
    """The free stack at a moment: from `limit`, its lowest address, up to SP."""

    limit: int
    pointer: int

    def paint(self, emulator: Emulator) -> None:
        """Fill it."""
        emulator.write(self.limit, _PAINT * ((self.pointer - self.limit) // len(_PAINT)))

    def depth(self, emulator: Emulator) -> int:
        """Bytes below SP that were written since.

        Raises:
            NdtoolError: the lowest word was: the stack may have gone beyond.
        """
        content = emulator.read(self.limit, self.pointer - self.limit)
        whole = len(content) - len(content) % 4
        intact = 0
        while intact < whole and content[intact : intact + 4] == _PAINT:
            intact += 4
        if not intact and whole:
            raise NdtoolError(f"the stack overflows: more than {whole} bytes are used between the markers")
        return len(content) - intact


def stack_region(elf: FirmwareElf, memory: Iterable[Region], pointer: int) -> StackRegion:
    """Where the stack may grow: to the start of a section that is named for it, else to the data or the end below."""
    writable = [section for section in elf.sections if section.writable]
    for section in writable:
        if "stack" in section.name.lower() and section.address < pointer <= section.address + section.bytes:
            return StackRegion(limit=section.address, pointer=pointer)
    below = [s.address + s.bytes for s in writable if s.address + s.bytes <= pointer]
    origins = [r.origin for r in memory if r.origin < pointer <= r.origin + r.emulated_bytes]
    limit = max([pointer - _LARGEST, *below, *origins])
    return StackRegion(limit=-(-limit // 4) * 4, pointer=pointer)
