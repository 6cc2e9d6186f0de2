"""The memory system counts what must wait, in C as in Python."""

import numpy as np
import pytest

from ndtool.benchmarks.emulator import UnicornEmulator
from ndtool.benchmarks.memory import EVERY, Bank, Cache, Event, MemoryMap, MemorySystem
from ndtool.benchmarks.targets import load_target

from .test_emulator import PLAIN, VARIED


def layout(**how) -> MemoryMap:
    values = {"bytes": 256, "line": 32, "sector": 32, "ways": 2, "random": False, "allocate": False}
    cache = Cache(name="cache", **(values | how))
    bank = Bank(name="memory", start=0x1000, end=0x9000, fetch="cache", data="cache", cost={})
    return MemoryMap(banks=(bank,), caches=(cache,))


def counted(memory: MemoryMap, accesses) -> dict[str, int]:
    system, events = MemorySystem(memory), [[0] * len(Event) for _ in memory.banks]
    for address, size, store in accesses:
        system.access(address, size, store, events)
    return {event.name: events[0][event] for event in Event if events[0][event]}


def test_a_line_is_missed_once_and_the_next_one_follows():
    loads = [(address, 4, False) for address in range(0x1000, 0x1040, 4)]
    assert counted(layout(), loads + loads) == {"READ": 1, "READ_NEXT": 1, "READS": 32}


def test_sectors_are_missed_one_by_one():
    loads = [(0x1000 + 8 * index, 4, False) for index in (0, 2, 1)]
    assert counted(layout(sector=8), loads) == {"READ": 3, "READS": 3}


def test_the_line_not_used_for_longest_makes_room():
    one, two, three = ((0x1000 + 128 * way, 4, False) for way in range(3))
    assert counted(layout(), [one, two, one, three, one, two])["READ"] == 4


def test_stores_pass_by_or_bring_their_line_and_write_it_back():
    stores = [(0x1000 + 128 * way, 4, True) for way in range(3)]
    assert counted(layout(), [*stores, stores[0]]) == {"WRITE": 4, "WRITES": 4}
    assert counted(layout(allocate=True), [*stores, stores[0]]) == {"WRITE": 4, "WRITES": 4, "WRITE_BACK": 2}


def test_an_access_across_lines_needs_both_and_is_unaligned():
    found = counted(layout(), [(0x101E, 4, False)])
    assert found == {"READ": 1, "READ_NEXT": 1, "READS": 1, "UNALIGNED_READS": 1}


def test_memory_without_a_cache_waits_always_or_never():
    for data, expected in ((EVERY, {"READ": 2, "READS": 2}), (None, {"READS": 2})):
        bank = Bank(name="memory", start=0x1000, end=0x9000, fetch=None, data=data, cost={})
        assert counted(MemoryMap(banks=(bank,), caches=()), [(0x1000, 4, False)] * 2) == expected


@pytest.mark.parametrize(
    "board", ["stm32f746", "stm32l4r5", "stm32u575", "stm32g0b1", "stm32f103", "nrf52840", "rp2040"]
)
def test_the_simulation_in_c_equals_the_one_in_python(elf, board):
    target = load_target(board)
    program = elf(VARIED, core=target.core.name)
    counts = []
    for native in (True, False):
        machine = UnicornEmulator(program, target.core, target.memory, PLAIN, waits=target.waits, native=native)
        machine.run()
        machine.rewind()
        counts.append(machine.run())
    one, other = (dict(zip(map(tuple, c.edges), map(np.array, c.events), strict=True)) for c in counts)
    assert one.keys() == other.keys()
    assert all((one[edge] == other[edge]).all() for edge in one)
    assert sum(found.sum() for found in one.values()) > 0
