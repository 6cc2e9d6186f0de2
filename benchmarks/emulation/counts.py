"""What an emulator counts: how often control went from one basic block to the next, apart for each segment."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ndtool.benchmarks.instructions import Block, count, decode


class Code(Protocol):
    """Where a block's bytes are found: an ELF file, or a machine's memory."""

    def code(self, address: int, count: int) -> bytes:
        """Bytes of instructions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Segments:
    """Address ranges (start, end, segment). Code in none of them belongs to the segment it was called from."""

    ranges: tuple[tuple[int, int, int], ...]
    initial: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """Control went from one block to another `count` times while in `segment`. `previous` is None at the start.

    `events` counts, for each memory bank, what of memory.Event happened in the block; empty where none was simulated.
    """

    previous: Block | None
    block: Block
    segment: int
    count: int
    events: Sequence[Sequence[int]] = ()

    @property
    def taken(self) -> bool:
        """Whether the previous block ended with a taken branch."""
        return self.previous is not None and self.previous.end != self.block.address


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """One execution of a block behind another one: its cycles, and after how many each word is loaded or stored."""

    cycles: float
    accesses: tuple[float, ...]


# (address, bytes) of the block before, (0, 0) at the start; (address, bytes) of the block; segment; count.
RawEdges = Sequence[tuple[int, int, int, int, int, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """One run from marker to marker.

    `edges` is empty where the emulator counts no blocks. `events` has, for each edge, a row for each memory bank with a
    count for each memory.Event; it is empty where no memory was simulated. `cycles` are a board's own.
    """

    instructions: int | None
    edges: RawEdges
    cycles: int | None = None
    events: Sequence[Sequence[Sequence[int]]] = ()


def instructions_of(edges: RawEdges, source: Code) -> int:
    """The exact number of instructions executed: blocks times their lengths."""
    lengths: dict[tuple[int, int], int] = {}
    for _, _, address, size, _, _ in edges:
        if (address, size) not in lengths:
            lengths[address, size] = count(source.code(address, size))
    return sum(lengths[address, size] * times for _, _, address, size, _, times in edges)


def decoded(counts: Counts, source: Code, known: dict[tuple[int, int], Block]) -> tuple[Edge, ...]:
    """Edges with their blocks' instructions; `known` keeps blocks from one call to the next."""
    return tuple(
        Edge(
            previous=block_at(previous, previous_size, source, known) if previous_size else None,
            block=block_at(address, size, source, known),
            segment=segment,
            count=times,
            events=counts.events[index] if counts.events else (),
        )
        for index, (previous, previous_size, address, size, segment, times) in enumerate(counts.edges)
        if times
    )


def block_at(address: int, size: int, source: Code, known: dict[tuple[int, int], Block]) -> Block:
    """A block's instructions, decoded once."""
    key = (address, size)
    if key not in known:
        known[key] = decode(address, source.code(address, size))
    return known[key]
