"""Cycles of short sequences, as the tables of the manuals have them."""

import pytest

from ndtool.benchmarks.counts import Edge
from ndtool.benchmarks.instructions import Block, Kind, count, decode
from ndtool.benchmarks.timing import timing_model

ADD = bytes.fromhex("0130")  # adds r0, #1
ADD_OTHER = bytes.fromhex("0131")  # adds r1, #1
LOAD = bytes.fromhex("1068")  # ldr r0, [r2]
LOAD_OTHER = bytes.fromhex("1968")  # ldr r1, [r3]
STORE = bytes.fromhex("1060")  # str r0, [r2]
NOP = bytes.fromhex("00bf")
BACK = bytes.fromhex("fed1")  # bne to itself
PUSH = bytes.fromhex("f0b5")  # push {r4-r7, lr}


def block(*parts: bytes, address: int = 0x1000) -> Block:
    return decode(address, b"".join(parts))


def alone(core: str, *parts: bytes) -> float:
    return timing_model(core).cycles([Edge(previous=None, block=block(*parts), segment=0, count=1)])[0]


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
        ("cortex-m33", (LOAD, ADD_OTHER), 2),
        ("cortex-m33", (LOAD, ADD), 3),  # load to use
        ("cortex-m7", (ADD, ADD_OTHER), 1),  # together
        ("cortex-m7", (LOAD, ADD_OTHER, ADD), 2),
        ("cortex-m7", (STORE, STORE), 2),
    ],
)
def test_a_sequence_takes_its_cycles(core, parts, cycles):
    assert alone(core, *parts) == cycles


@pytest.mark.parametrize(
    ("core", "taken"), [("cortex-m0plus", 1), ("cortex-m4", 2), ("cortex-m33", 2), ("cortex-m7", 0)]
)
def test_a_taken_branch_costs_its_refill(core, taken):
    first, behind = block(ADD, BACK), block(NOP, address=0x1004)
    model = timing_model(core)
    loop, out = (Edge(previous=first, block=to, segment=0, count=100) for to in (first, behind))
    fall = model.cycles([out])[0]
    assert model.cycles([loop])[0] - 100 * alone(core, ADD, BACK) == pytest.approx(100 * taken, abs=100)
    assert fall <= 100


def test_the_rarer_way_of_a_branch_is_mispredicted_on_the_m7():
    first, behind = block(ADD, BACK), block(ADD_OTHER, address=0x1004)
    edges = [
        Edge(previous=first, block=first, segment=0, count=90),
        Edge(previous=first, block=behind, segment=0, count=10),
    ]
    model = timing_model("cortex-m7")
    together = model.cycles(edges)
    assert together[0] == model.cycles(edges[:1])[0]
    assert together[1] == model.cycles(edges[1:])[0] + 80


def test_no_model_claims_to_be_validated():
    assert not any(
        timing_model(core).about.validated for core in ("cortex-m7", "cortex-m4", "cortex-m33", "cortex-m0plus")
    )


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
