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
    BUSY = 10  # ticks of waiting until a line that was asked for before has come, or a word of it


PER_CYCLE = 16  # ticks
_BEAT = 8  # bytes of a line that come at a time


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
    """A range of addresses and the way to it: caches by name, EVERY, or None for memory that answers at once.

    A line comes word by word, beginning with the one that was asked for, with which the core goes on. `rest`: cycles
    from this word to the last; other words are waited for. `busy`: cycles from this word until the next line of the
    same kind (code or data) is asked for.
    """

    name: str
    start: int
    end: int
    fetch: str | None
    data: str | None
    cost: Mapping[Event, float]  # cycles that the core waits
    rest: float = 0.0
    busy: float = 0.0

    def ticks(self) -> list[int]:
        """`rest`, `busy` and the cost of each event, in ticks."""
        costs = (self.cost.get(event, 0.0) for event in Event)
        return [round(PER_CYCLE * cycles) for cycles in (self.rest, self.busy, *costs)]


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryMap:
    """All of a target's memory. Of banks that overlap, the first counts."""

    banks: tuple[Bank, ...]
    caches: tuple[Cache, ...]

    def native(self) -> tuple[list[int], list[int]]:
        """The arguments of memory_new in native/memory.h."""
        names = [cache.name for cache in self.caches]
        way = {None: -1, EVERY: -2} | {name: index for index, name in enumerate(names)}
        banks = [number for b in self.banks for number in (b.start, b.end, way[b.fetch], way[b.data], *b.ticks())]
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


@dataclass(slots=True)
class _Fill:
    """A line on its way: its first word comes at `first`, the last one at `end`; the next is asked for at `free`."""

    first: int = 0
    end: int = 0
    free: int = 0
    word: int = 0


class _BankState:
    """A bank with its times in ticks, and the lines on their way from it."""

    def __init__(self, bank: Bank):
        self.bank = bank
        self.rest, self.busy, *self.cost = bank.ticks()
        self.fills = (_Fill(), _Fill())  # of instructions, of data


class _CacheState:
    def __init__(self, cache: Cache):
        self.cache = cache
        self.lines = [[_Line() for _ in range(cache.ways)] for _ in range(cache.sets)]
        self.clock, self.seed, self.recent, self.next = 0, 1, 1, 1

    def find(self, address: int) -> tuple[_Line | None, bool]:
        """The line that an address is in, and whether that part of it is there."""
        cache = self.cache
        tag = address & ~(cache.line - 1)
        line = next((way for way in self.lines[tag // cache.line % cache.sets] if way.tag == tag), None)
        return line, line is not None and address & ~(cache.sector - 1) in line.valid

    def room(self, address: int) -> tuple[_Line, bool]:
        """A line for an address, and whether what was in it must be written back."""
        cache = self.cache
        tag = address & ~(cache.line - 1)
        line = self._victim(self.lines[tag // cache.line % cache.sets])
        dirty = line.dirty
        line.tag, line.valid, line.dirty = tag, set(), False
        return line, dirty

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
        self._banks = [_BankState(bank) for bank in layout.banks]
        self._caches = {cache.name: _CacheState(cache) for cache in layout.caches}
        self.now = 0  # ticks, without those of the block executed

    def fetch(self, address: int, size: int, events: Sequence[list[int]], ticks: int = 0) -> None:
        """Instructions from an address on are fetched, evenly over `ticks`; `events` has the counters of each bank."""
        index = self._index(address)
        if index is None or self._banks[index].bank.fetch is None:
            return
        state = self._banks[index]
        if state.bank.fetch == EVERY:
            self._spend(state, events[index], Event.FETCH)
            return
        cache = self._caches[str(state.bank.fetch)]
        sector = cache.cache.sector
        for at in range(address & ~(sector - 1), address + size, sector):
            start = max(at, address)
            after = ticks * (start - address) // size
            self._look_up(state, cache, start, False, after, events[index], Event.FETCH)

    def access(self, address: int, size: int, store: bool, events: Sequence[list[int]], after: int = 0) -> None:
        """A load or a store, `after` ticks of its block."""
        index = self._index(address)
        if index is None:
            return
        found, state = events[index], self._banks[index]
        way = state.bank.data
        self._spend(state, found, Event.READS + store)
        if address & (size - 1):
            self._spend(state, found, Event.UNALIGNED_READS + store)
        if way == EVERY:
            self._spend(state, found, Event.WRITE if store else Event.READ)
        elif way is not None:
            cache = self._caches[way]
            self._look_up(state, cache, address, store, after, found, Event.READ)
            if ((address + size - 1) ^ address) & ~(cache.cache.sector - 1):
                self._look_up(state, cache, address + size - 1, store, after, found, Event.READ)

    def _look_up(
        self,
        bank: _BankState,
        cache: _CacheState,
        address: int,
        store: bool,
        after: int,
        events: list[int],
        miss: Event,
    ) -> None:
        sector = address & ~(cache.cache.sector - 1)
        fill = bank.fills[miss != Event.FETCH]
        if sector == cache.recent and not store:
            self._await_word(cache.cache, fill, address, after, events)
            return
        line, there = cache.find(address)
        cache.clock += 1
        if line is not None and there:
            line.used, cache.recent = cache.clock, sector
            line.dirty |= store and cache.cache.allocate
            if not store:
                self._await_word(cache.cache, fill, address, after, events)
            return
        if store and not cache.cache.allocate:
            self._spend(bank, events, Event.WRITE)
            return
        self._begin_fill(bank, fill, address, after, events, Event.WRITE if store else miss + (sector == cache.next))
        cache.next = sector + cache.cache.sector
        if line is None:
            line, dirty = cache.room(address)
            if dirty:
                self._spend(bank, events, Event.WRITE_BACK)
        line.valid.add(sector)
        line.used, cache.recent = cache.clock, sector
        line.dirty |= store

    def _begin_fill(
        self, bank: _BankState, fill: _Fill, address: int, after: int, events: list[int], miss: int
    ) -> None:
        """A line is asked for when the memory is free. A store goes on meanwhile."""
        if bank.busy:
            self._wait_until(fill.free - after, events)
        self._spend(bank, events, miss)
        fill.first = self.now + after + (bank.cost[Event.READ] if miss == Event.WRITE else 0)
        fill.end, fill.free, fill.word = fill.first + bank.rest, fill.first + bank.busy, address // _BEAT

    def _await_word(self, cache: Cache, fill: _Fill, address: int, after: int, events: list[int]) -> None:
        """Other words of a line on its way come in turn, from the one that was asked for and round."""
        beats = cache.sector // _BEAT
        word = address // _BEAT
        if fill.end <= self.now + after or beats < 2 or word ^ fill.word >= beats:
            return
        place = (word - fill.word) % beats
        self._wait_until(fill.first + (fill.end - fill.first) * place // (beats - 1) - after, events)

    def _spend(self, bank: _BankState, events: list[int], event: int) -> None:
        events[event] += 1
        self.now += bank.cost[event]

    def _wait_until(self, time: int, events: list[int]) -> None:
        if time > self.now:
            events[Event.BUSY] += time - self.now
            self.now = time

    def _index(self, address: int) -> int | None:
        inside = (index for index, state in enumerate(self._banks) if state.bank.start <= address < state.bank.end)
        return next(inside, None)
