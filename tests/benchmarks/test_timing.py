"""Cycles of short sequences, as the tables of the manuals have them."""

import pytest

from ndtool.benchmarks.emulation.counts import Edge
from ndtool.benchmarks.emulation.memory import Event
from ndtool.benchmarks.instructions import Block, Kind, count, decode
from ndtool.benchmarks.targets import load_target
from ndtool.benchmarks.timing import TimingModel

ADD = bytes.fromhex("0130")  # adds r0, #1
ADD_OTHER = bytes.fromhex("0131")  # adds r1, #1
LOAD = bytes.fromhex("1068")  # ldr r0, [r2]
LOAD_OTHER = bytes.fromhex("1968")  # ldr r1, [r3]
STORE = bytes.fromhex("1060")  # str r0, [r2]
NOP = bytes.fromhex("00bf")
BACK = bytes.fromhex("fed1")  # bne to itself
LOAD_WIDE_POST = bytes.fromhex("52f8040b")  # ldr r0, [r2], #4
EXTEND = bytes.fromhex("2ffa80f3")  # sxtb16 r3, r0
ROTATED = bytes.fromhex("2ffa90f4")  # sxtb16 r4, r0, ror #8
SMLAD = bytes.fromhex("23fb0455")  # smlad r5, r3, r4, r5
ADD_R5 = bytes.fromhex("0135")  # adds r5, #1
FUSED = bytes.fromhex("e0ee000a")  # vfma.f32 s1, s0, s0
FUSED_OTHER = bytes.fromhex("a0ee001a")  # vfma.f32 s2, s0, s0
FLOAT_ADD = bytes.fromhex("71ee821a")  # vadd.f32 s3, s3, s4
FLOAT_LOAD = bytes.fromhex("d2ed002a")  # vldr s5, [r2]
FLOAT_LOAD_POST = bytes.fromhex("f2ec012a")  # vldmia r2!, {s5}
LOAD_NEXT, LOAD_AFTER = bytes.fromhex("5168"), bytes.fromhex("9168")  # ldr r1, [r2, #4]; ldr r1, [r2, #8]
LOAD_OTHER_POST = bytes.fromhex("53f8041b")  # ldr r1, [r3], #4
STORE_POST = bytes.fromhex("42f8041b")  # str r1, [r2], #4
MUL = bytes.fromhex("5543")  # muls r5, r2, r5
MLA = bytes.fromhex("03fb0455")  # mla r5, r3, r4, r5
SMULL = bytes.fromhex("83fb0456")  # smull r5, r6, r3, r4
UMLAL = bytes.fromhex("e3fb0456")  # umlal r5, r6, r3, r4
PUSH = bytes.fromhex("f0b5")  # push {r4-r7, lr}


def block(*parts: bytes, address: int = 0x1000) -> Block:
    return decode(address, b"".join(parts))


def cycles(core: str, edges: list[Edge]) -> list[float]:
    return [sum(amount for _, amount in spent.reasons) for spent in TimingModel(load_target(core)).cycles(edges)]


def alone(core: str, *parts: bytes, address: int = 0x1000) -> float:
    return cycles(core, [Edge(previous=None, block=block(*parts, address=address), segment=0, count=1)])[0]


def behind(core: str, first: tuple[bytes, ...], second: tuple[bytes, ...]) -> float:
    """What a block adds behind another one."""
    before = block(*first)
    after = block(*second, address=before.end)
    return cycles(core, [Edge(previous=before, block=after, segment=0, count=1)])[0]


@pytest.mark.parametrize(
    ("core", "parts", "cycles"),
    [
        ("cortex-m0plus", (ADD, ADD, ADD), 3),
        ("cortex-m0plus", (LOAD, ADD, STORE), 5),
        ("cortex-m0plus", (PUSH,), 6),
        ("cortex-m4", (ADD, ADD_OTHER), 2),
        ("cortex-m4", (LOAD,), 2),
        ("cortex-m4", (LOAD, LOAD_OTHER), 3),  # the second is pipelined
        ("cortex-m4", (PUSH,), 6),
        ("cortex-m3", (LOAD, LOAD_OTHER), 3),
        ("cortex-m3", (LOAD_WIDE_POST, LOAD_OTHER_POST), 4),  # not where they update their base
        ("cortex-m3", (STORE_POST, ADD), 2),
        ("cortex-m3", (LOAD_WIDE_POST, STORE_POST), 4),
        ("cortex-m3", (MUL, MUL), 2),
        ("cortex-m3", (MLA, MLA), 4),
        ("cortex-m3", (SMULL, UMLAL), 11),
        ("cortex-m4", (MLA, SMULL, UMLAL), 3),
        ("cortex-m33", (LOAD, ADD_OTHER), 2),
        ("cortex-m33", (LOAD, ADD), 3),  # load to use
        ("cortex-m4", (LOAD_WIDE_POST, LOAD_WIDE_POST), 3),  # an updated base does not hinder it
        ("cortex-m4", (LOAD, EXTEND), 4),  # a 32-bit instruction across a word's end right behind a load
        ("cortex-m4", (NOP, LOAD, EXTEND), 4),  # the same within a word
        ("cortex-m33", (EXTEND, ROTATED, SMLAD, SMLAD), 4),  # accumulators chain
        ("cortex-m33", (SMLAD, ADD_R5), 3),  # other users of a product wait
        ("cortex-m7", (ADD, ADD_OTHER), 1),  # together
        ("cortex-m7", (LOAD, ADD_OTHER, ADD), 2),
        ("cortex-m7", (STORE, STORE), 2),
        ("cortex-m7", (LOAD, EXTEND), 2),  # a loaded word is there for the late ALU in the next cycle
        ("cortex-m7", (SMLAD, SMLAD), 2),  # one multiplier; the accumulator chains
        ("cortex-m7", (EXTEND, ADD_OTHER), 1),
        ("cortex-m7", (ADD_OTHER, EXTEND), 2),  # bit fields and extensions only as the older of a pair
        ("cortex-m7", (PUSH,), 3),
        ("cortex-m7", (LOAD, LOAD_NEXT), 1),  # an even and an odd word: two banks
        ("cortex-m7", (LOAD, LOAD_AFTER), 2),
        ("cortex-m7", (LOAD, LOAD_OTHER), 2),  # two bases: perhaps one bank
        ("cortex-m7", (FLOAT_LOAD, FUSED), 1),
        ("cortex-m7", (FUSED, FLOAT_LOAD, FUSED_OTHER), 3),  # beside a load only the first of a row
        ("cortex-m7", (FUSED, FLOAT_LOAD_POST), 5),  # three cycles without multiple loads, even of one register
        ("cortex-m7", (FUSED, FLOAT_ADD), 5),
        ("cortex-m7", (FUSED, FUSED_OTHER, FUSED), 4),  # the accumulator after three cycles
        ("cortex-m4", (FLOAT_LOAD, FLOAT_LOAD), 3),
        ("cortex-m4", (FLOAT_LOAD_POST, FLOAT_LOAD_POST), 4),  # 1 + N each
    ],
)
def test_a_sequence_takes_its_cycles(core, parts, cycles):
    assert alone(core, *parts) == cycles


@pytest.mark.parametrize(
    ("core", "taken"), [("cortex-m0plus", 1), ("cortex-m3", 2), ("cortex-m4", 2), ("cortex-m33", 1), ("cortex-m7", 0)]
)
def test_a_taken_branch_costs_its_refill(core, taken):
    first = block(ADD, BACK)
    out = block(ADD, BACK, address=first.end)
    loop = Edge(previous=first, block=first, segment=0, count=100)
    fall = Edge(previous=first, block=out, segment=0, count=100)
    model = TimingModel(load_target(core))
    assert [spent.branch for spent in model.cycles([loop])] == [100 * taken]
    assert [spent.branch for spent in model.cycles([fall])] == [0]


def test_waiting_for_results_is_told_from_issue():
    [spent] = TimingModel(load_target("cortex-m33")).cycles(
        [Edge(previous=None, block=block(LOAD, ADD), segment=0, count=10)]
    )
    assert (spent.issue, spent.stalls, spent.branch) == (20, 10, 0)


def test_a_result_is_waited_for_across_a_block_s_end():
    assert behind("cortex-m33", (LOAD,), (ADD,)) == 2
    assert behind("cortex-m33", (LOAD,), (ADD_OTHER,)) == 1


def test_the_rarer_way_of_a_branch_is_mispredicted_on_the_m7():
    first, after = block(ADD, BACK), block(ADD_OTHER, address=0x1004)
    edges = [
        Edge(previous=first, block=first, segment=0, count=90),
        Edge(previous=first, block=after, segment=0, count=10),
    ]
    together = cycles("cortex-m7", edges)
    assert together[0] == cycles("cortex-m7", edges[:1])[0]
    assert together[1] == cycles("cortex-m7", edges[1:])[0] + 80


def test_memory_events_cost_what_the_board_says():
    target = load_target("stm32f746")
    events = [[0] * len(Event) for _ in target.waits.banks]
    names = [bank.name for bank in target.waits.banks]
    events[names.index("flash")][Event.READ] = 3
    events[names.index("sram")][Event.READ_NEXT] = 2
    edge = Edge(previous=None, block=block(ADD), segment=0, count=1, events=events)
    [spent] = TimingModel(target).cycles([edge])
    waits = {name: region.wait for name, region in target.memory.items()}
    assert dict(spent.memory) == pytest.approx(
        {"flash": 3 * waits["flash"][Event.READ], "sram": 2 * waits["sram"][Event.READ_NEXT]}
    )


def test_only_boards_with_programs_that_ran_on_them_are_validated():
    def about(name):
        return TimingModel(load_target(name)).about

    assert about("stm32f746").validated
    assert "on this board" in about("stm32f746").trust
    for name in ("cortex-m7", "stm32h743", "nrf52840"):
        assert not about(name).validated
        assert about(name).error > about("stm32f746").error
    assert "this board's memory is not" in about("stm32h743").trust


def test_instructions_are_classified():
    code = bytes.fromhex("21fb01122ff3018210b590fbf1f200eb4100fff7feffbff34f8f18bf0120")
    kinds = [instruction.kind for instruction in decode(0, code).instructions]
    assert kinds[0] is Kind.MAC
    assert kinds[2:] == [Kind.STORE, Kind.DIVIDE, Kind.ALU, Kind.BRANCH, Kind.OTHER, Kind.OTHER, Kind.ALU]
    assert count(code) == len(kinds)


def test_if_then_makes_the_next_instruction_conditional():
    decoded = decode(0, bytes.fromhex("18bf01200121")).instructions
    assert [instruction.conditional for instruction in decoded] == [False, True, False]


def test_unknown_code_still_counts():
    strange = bytes.fromhex("ffffffff00bf")
    assert count(strange) == len(decode(0, strange).instructions) == 2


@pytest.mark.parametrize("name", ["cortex-m3", "stm32f103"])
def test_a_core_without_programs_from_silicon_says_so_and_states_no_error(name):
    about = TimingModel(load_target(name)).about
    assert (about.validated, about.error, about.trust) == (False, None, "Cortex-M3 not validated")
