"""A target's memory as its core sees it: which fetches, loads and stores must wait, counted on the real addresses."""

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


class Event(enum.IntEnum):
    """What is counted in each region; native/memory.h has the same order."""

    FETCH = 0  # instructions that the cache does not hold
    FETCH_NEXT = 1  # the same, right after the miss before: what prefetching hides in part
    READ = 2  # loads that the cache does not hold
    READ_NEXT = 3
    WRITE = 4  # stores that the cache does not hold
    WRITE_BACK = 5  # changed lines that had to make room
    READS = 6  # every load
    WRITES = 7  # every store
    UNALIGNED_READS = 8
    UNALIGNED_WRITES = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Cache:
    """A cache or a read buffer (then of one line). Bytes throughout.

    `sector`: what one miss brings, a part of a line or all of it. `random`: a line at random makes room, else the one
    not used for longest. `allocate`: a store that misses brings the line in; else stores go past the cache.
    """

    name: str
    bytes: int
    line: int
    sector: int
    ways: int
    random: bool
    allocate: bool

    @property
    def sets(self) -> int:
        """Lines that have the same place."""
        return self.bytes // self.line // self.ways


EVERY = "every"  # in place of a cache: each access waits


@dataclass(frozen=True, slots=True, kw_only=True)
class Bank:
    """A range of addresses and the way to it: caches by name, EVERY, or None for memory that answers at once."""

    name: str
    start: int
    end: int
    fetch: str | None
    data: str | None
    cost: Mapping[Event, float]  # cycles that the core waits


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryMap:
    """All of a target's memory. Of banks that overlap, the first counts."""

    banks: tuple[Bank, ...]
    caches: tuple[Cache, ...]

    def native(self) -> tuple[list[int], list[int]]:
        """The arguments of memory_new in native/memory.h."""
        names = [cache.name for cache in self.caches]
        way = {None: -1, EVERY: -2} | {name: index for index, name in enumerate(names)}
        banks = [number for b in self.banks for number in (b.start, b.end, way[b.fetch], way[b.data])]
        caches = [
            number for c in self.caches for number in (c.line, c.sector, c.sets, c.ways, int(c.random), int(c.allocate))
        ]
        return banks, caches


@dataclass(slots=True)
class _Line:
    tag: int | None = None
    used: int = 0
    valid: set[int] = field(default_factory=set)
    dirty: bool = False


class _CacheState:
    def __init__(self, cache: Cache):
        self.cache = cache
        self.lines = [[_Line() for _ in range(cache.ways)] for _ in range(cache.sets)]
        self.clock, self.seed, self.recent, self.next = 0, 1, 1, 1

    def look_up(self, address: int, store: bool, events: list[int], miss: Event) -> None:
        cache = self.cache
        sector = address & ~(cache.sector - 1)
        if sector == self.recent and not store:
            return
        tag = address & ~(cache.line - 1)
        ways = self.lines[tag // cache.line % cache.sets]
        line = next((way for way in ways if way.tag == tag), None)
        self.clock += 1
        if line is not None and sector in line.valid:
            line.used, self.recent = self.clock, sector
            line.dirty |= store and cache.allocate
            return
        if store:
            events[Event.WRITE] += 1
            if not cache.allocate:
                return
        else:
            events[miss + (sector == self.next)] += 1
        self.next = sector + cache.sector
        if line is None:
            line = self._victim(ways)
            events[Event.WRITE_BACK] += line.dirty
            line.tag, line.valid, line.dirty = tag, set(), False
        line.valid.add(sector)
        line.used, self.recent = self.clock, sector
        line.dirty |= store

    def _victim(self, ways: list[_Line]) -> _Line:
        for way in ways:
            if way.tag is None:
                return way
        if self.cache.random:
            self.seed = (self.seed * 1103515245 + 12345) & 0xFFFFFFFF
            return ways[(self.seed >> 16) % len(ways)]
        return min(ways, key=lambda way: way.used)


class MemorySystem:
    """The simulation in Python, for where native/memory.h cannot be compiled; both count the same."""

    def __init__(self, layout: MemoryMap):
        self._banks = layout.banks
        self._caches = {cache.name: _CacheState(cache) for cache in layout.caches}

    def fetch(self, address: int, size: int, events: Sequence[list[int]]) -> None:
        """Instructions from an address on are fetched; `events` has the counters of each bank."""
        index = self._index(address)
        if index is None or self._banks[index].fetch is None:
            return
        if self._banks[index].fetch == EVERY:
            events[index][Event.FETCH] += 1
            return
        state = self._caches[str(self._banks[index].fetch)]
        sector = state.cache.sector
        for at in range(address & ~(sector - 1), address + size, sector):
            state.look_up(at, False, events[index], Event.FETCH)

    def access(self, address: int, size: int, store: bool, events: Sequence[list[int]]) -> None:
        """A load or a store."""
        index = self._index(address)
        if index is None:
            return
        found, way = events[index], self._banks[index].data
        found[Event.READS + store] += 1
        if address & (size - 1):
            found[Event.UNALIGNED_READS + store] += 1
        if way == EVERY:
            found[Event.WRITE if store else Event.READ] += 1
        elif way is not None:
            state = self._caches[way]
            state.look_up(address, store, found, Event.READ)
            if ((address + size - 1) ^ address) & ~(state.cache.sector - 1):
                state.look_up(address + size - 1, store, found, Event.READ)

    def _index(self, address: int) -> int | None:
        inside = (index for index, bank in enumerate(self._banks) if bank.start <= address < bank.end)
        return next(inside, None)
