"""What an emulator counts: how often control went from one basic block to the next, apart for each segment."""

from collections.abc import Sequence
from dataclasses import dataclass

from ndtool.benchmarks.elf import FirmwareElf
from ndtool.benchmarks.instructions import Block, count, decode


@dataclass(frozen=True, slots=True, kw_only=True)
class Segments:
    """Address ranges (start, end, segment). Code in none of them belongs to the segment it was called from."""

    ranges: tuple[tuple[int, int, int], ...]
    initial: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """Control went from one block to another `count` times while in `segment`. `previous` is None at the start."""

    previous: Block | None
    block: Block
    segment: int
    count: int

    @property
    def taken(self) -> bool:
        """Whether the previous block ended with a taken branch."""
        return self.previous is not None and self.previous.end != self.block.address


# (address, bytes) of the block before, (0, 0) at the start; (address, bytes) of the block; segment; count.
RawEdges = Sequence[tuple[int, int, int, int, int, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """One run from marker to marker. `edges` is empty where no blocks are counted; `cycles` are a board's own."""

    instructions: int | None
    edges: RawEdges
    cycles: int | None = None


def instructions_of(edges: RawEdges, elf: FirmwareElf) -> int:
    """The exact number of instructions executed: blocks times their lengths."""
    lengths: dict[tuple[int, int], int] = {}
    for _, _, address, size, _, _ in edges:
        if (address, size) not in lengths:
            lengths[address, size] = count(elf.code(address, size))
    return sum(lengths[address, size] * times for _, _, address, size, _, times in edges)


def decoded(edges: RawEdges, elf: FirmwareElf, known: dict[tuple[int, int], Block]) -> tuple[Edge, ...]:
    """Edges with their blocks' instructions; `known` keeps blocks from one call to the next."""

    def block(address: int, size: int) -> Block:
        key = (address, size)
        if key not in known:
            known[key] = decode(address, elf.code(address, size))
        return known[key]

    return tuple(
        Edge(
            previous=block(previous, previous_size) if previous_size else None,
            block=block(address, size),
            segment=segment,
            count=times,
        )
        for previous, previous_size, address, size, segment, times in edges
        if times
    )
