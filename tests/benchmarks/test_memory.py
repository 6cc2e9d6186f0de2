"""The memory system counts what must wait and for how long a line is on its way, in C as in Python."""

import numpy as np
import pytest

from ndtool.benchmarks.emulation.emulator import UnicornEmulator
from ndtool.benchmarks.emulation.memory import EVERY, PER_CYCLE, Bank, Cache, Event, MemoryMap, MemorySystem
from ndtool.benchmarks.targets import load_target
from ndtool.benchmarks.timing import TimingModel
from ndtool.errors import NdtoolError

from .test_emulator import PLAIN, VARIED


def layout(bank=None, **how) -> MemoryMap:
    values = {"bytes": 256, "line": 32, "sector": 32, "ways": 2, "random": False, "allocate": False}
    cache = Cache(name="cache", **(values | how))
    memory = Bank(name="memory", start=0x1000, end=0x9000, fetch="cache", data="cache", **({"cost": {}} | (bank or {})))
    return MemoryMap(banks=(memory,), caches=(cache,))


def waited(memory: MemoryMap, accesses) -> list[float]:
    """Cycles that each load waits for a line asked for before; (cycle, address), waits aside."""
    system, events = MemorySystem(memory), [[0] * len(Event) for _ in memory.banks]
    found = []
    for cycle, address in accesses:
        before = events[0][Event.BUSY]
        system.access(address, 4, False, events, PER_CYCLE * cycle)
        found.append((events[0][Event.BUSY] - before) / PER_CYCLE)
    return found


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


def test_a_store_goes_on_while_its_line_is_fetched():
    system, events = MemorySystem(layout(FLASH, allocate=True)), [[0] * len(Event)]
    system.access(0x1000, 4, True, events, 0)
    assert system.now == 0
    system.access(0x1040, 4, False, events, 0)  # asked for 10 + 6 cycles later
    assert events[0][Event.BUSY] == 16 * PER_CYCLE


FLASH = {"cost": {Event.READ: 10, Event.READ_NEXT: 10}, "rest": 6, "busy": 6}


def test_other_words_come_in_turn_from_the_one_that_was_asked_for_and_round():
    loads = [(0, 0x1010), (0, 0x1014), (0, 0x1018), (0, 0x1000), (0, 0x1008), (9, 0x100C)]
    assert waited(layout(FLASH), loads) == [0, 0, 2, 2, 2, 0]


def test_a_line_is_asked_for_when_the_memory_has_done_with_the_one_before():
    assert waited(layout(FLASH), [(0, 0x1000), (1, 0x1040), (9, 0x1080)]) == [0, 5, 0]
    ahead = layout(FLASH | {"rest": 0})  # all words at once, but then it reads the next line ahead
    assert waited(ahead, [(0, 0x1000), (1, 0x101C), (1, 0x1040)]) == [0, 0, 5]


STREAMS = """
static const int32_t table[4][2048] = {{1}};
volatile int32_t sink;
int main(void)
{
    for (;;) {
        ndtool_start();
        int32_t sum = 0;
        for (int i = 0; i < 2048; i++) sum += table[0][i] ^ table[1][i] ^ table[2][i] ^ table[3][i];
        sink = sum;
        ndtool_stop();
    }
}
"""


BOARDS = ["stm32f746", "stm32h7a3", "stm32l4r5", "stm32u575", "stm32g0b1", "stm32f103", "nrf52840", "rp2040"]


@pytest.mark.parametrize("source", [VARIED, STREAMS], ids=["varied", "streams"])
@pytest.mark.parametrize("board", BOARDS)
def test_the_simulation_in_c_equals_the_one_in_python(elf, board, source):
    target = load_target(board)
    program = elf(source, core=target.core.name)
    counts = []
    for native in (True, False):
        pace = TimingModel(target).pace
        machine = UnicornEmulator(
            program, target.core, target.memory, PLAIN, waits=target.waits, pace=pace, native=native
        )
        machine.run()
        machine.rewind()
        counts.append(machine.run())
    one, other = (dict(zip(map(tuple, c.edges), map(np.array, c.events), strict=True)) for c in counts)
    assert one.keys() == other.keys()
    assert all((one[edge] == other[edge]).all() for edge in one)
    assert sum(found.sum() for found in one.values()) > 0
    if source == STREAMS:
        busy = sum(found[:, Event.BUSY].sum() for found in one.values())
        assert (busy > 0) == any(region.busy for region in target.memory.values())


@pytest.mark.parametrize("native", [True, False])
def test_a_pace_that_fails_is_no_silent_zero(elf, native):
    def fails(_):
        raise NdtoolError("no rule")

    target = load_target("stm32f746")
    machine = UnicornEmulator(
        elf(VARIED, core="cortex-m7"),
        target.core,
        target.memory,
        PLAIN,
        waits=target.waits,
        pace=fails,
        native=native,
    )
    with pytest.raises(NdtoolError, match="no rule"):
        machine.run()
