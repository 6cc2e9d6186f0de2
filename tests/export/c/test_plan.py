"""The memory plan: no live buffers share bytes but where a kernel allows it, and no arena is below its lower bound."""

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ndtool.export.c.call import Buffer, Call, Overlap, Scratch
from ndtool.export.c.graph import Op, Tensor
from ndtool.export.c.lower import Program
from ndtool.export.c.plan import Below, Plan, plan
from ndtool.tests.export.c.batches import Draw


def tensor(index: int, size: int) -> Tensor:
    return Tensor(index=index, name=f"t{index}", shape=(size,), dtype="int8")


def call(op: Op, *, scratch: int = 0, overlaps: tuple[Overlap, ...] = ()) -> Call:
    buffers = [Buffer(tensor=t) for t in (*op.outputs, *op.inputs) if t is not None]
    arguments = (*buffers, *((Scratch(bytes=scratch),) if scratch else ()))
    return Call(op=op, kernel="nd_nothing", arguments=arguments, overlaps=overlaps)


@st.composite
def programs(draw: Draw) -> Program:
    """Calls that read one to three earlier tensors, some with scratch, with aliases and overlaps here and there."""
    sizes = st.integers(1, 4000)
    tensors = [tensor(0, draw(sizes))]
    storage: dict[Tensor, Tensor] = {}
    calls = []
    for index in range(1, draw(st.integers(2, 14))):
        recent = tensors[-draw(st.integers(1, 5)) :]
        inputs = tuple(draw(st.lists(st.sampled_from(recent), min_size=1, max_size=3, unique=True)))
        output = tensor(index, draw(sizes))
        op = Op(index=index, kind="ADD", inputs=inputs, outputs=(output,))
        if len(inputs) == 1 and draw(st.integers(0, 4)) == 0:
            output = tensor(index, inputs[0].bytes)
            storage[output] = storage.get(inputs[0], inputs[0])
        else:
            overlaps = tuple(
                Overlap(input=source, distance=draw(st.sampled_from([0, 1, 64, 1000])), exact=draw(st.booleans()))
                for source in inputs
                if draw(st.booleans())
            )
            calls.append(call(op, scratch=draw(st.sampled_from([0, 0, 300])), overlaps=overlaps))
        tensors.append(output)
    outputs = tuple(dict.fromkeys([tensors[-1], draw(st.sampled_from(tensors))]))
    return Program(inputs=(tensors[0],), outputs=outputs, slots=tuple(calls), storage=storage)


def may_share(pair: Below, output: int, source: int) -> bool:
    """Whether an output may share bytes with an input at these offsets."""
    return output == source - pair.distance if pair.exact else output <= source - pair.distance


def collisions(arena: Plan) -> list[tuple[int, int]]:
    """The pairs of blocks that share bytes at some time without being allowed to."""
    allowed = {(pair.output, pair.input): pair for pair in arena.problem.overlaps}
    found = []
    placed = list(zip(arena.problem.blocks, arena.offsets, strict=True))
    for a, (one, start) in enumerate(placed):
        for b, (other, begin) in enumerate(placed):
            together = one.first <= other.last and other.first <= one.last
            sharing = start < begin + other.bytes and begin < start + one.bytes
            if a < b and together and sharing:
                trails = (a, b) in allowed and may_share(allowed[a, b], start, begin)
                leads = (b, a) in allowed and may_share(allowed[b, a], begin, start)
                if not trails and not leads:
                    found.append((a, b))
    return found


@given(programs(), st.sampled_from([4, 16]))
@settings(max_examples=60, deadline=None)
def test_live_buffers_share_bytes_only_where_a_kernel_allows_it(program, alignment):
    arena = plan(program, alignment=alignment)
    assert not collisions(arena)
    assert all(offset >= 0 and offset % alignment == 0 for offset in arena.offsets)


@given(programs())
@settings(max_examples=60, deadline=None)
def test_the_arena_holds_every_block_and_is_not_below_its_bound(program):
    arena = plan(program)
    ends = [offset + block.bytes for block, offset in zip(arena.problem.blocks, arena.offsets, strict=True)]
    assert max(ends) <= arena.arena_bytes < max(ends) + 4
    assert arena.arena_bytes >= arena.lower_bound_bytes
    assert all(arena.live_bytes(time) <= arena.arena_bytes for time in range(-1, len(program.slots) + 1))


@given(programs())
@settings(max_examples=20, deadline=None)
def test_overlaps_are_allowed_only_for_inputs_that_die_there(program):
    problem = plan(program).problem
    for pair in problem.overlaps:
        assert problem.blocks[pair.input].last == problem.blocks[pair.output].first


def chain(sizes: list[int], distance: int, exact: bool = False) -> Program:
    tensors = [tensor(index, size) for index, size in enumerate(sizes)]
    calls = []
    for index, (source, target) in enumerate(pairwise(tensors)):
        op = Op(index=index, kind="RELU", inputs=(source,), outputs=(target,))
        calls.append(call(op, overlaps=(Overlap(input=source, distance=distance, exact=exact),)))
    return Program(inputs=tensors[:1], outputs=tensors[-1:], slots=tuple(calls), storage={})


def test_a_chain_in_place_needs_its_largest_tensor():
    assert plan(chain([100, 100, 40, 100], 0)).arena_bytes == 100


def test_a_chain_that_trails_needs_the_distances_beside_its_largest_tensor():
    assert plan(chain([1000, 1000, 1000], 100)).arena_bytes == 1200


def test_an_input_that_is_read_again_is_not_overwritten():
    a, b, c = (tensor(index, 64) for index in range(3))
    first = Op(index=0, kind="RELU", inputs=(a,), outputs=(b,))
    second = Op(index=1, kind="ADD", inputs=(a, b), outputs=(c,))
    calls = (call(first, overlaps=(Overlap(input=a, distance=0),)), call(second))
    arena = plan(Program(inputs=(a,), outputs=(c,), slots=calls, storage={}))
    assert arena.offset(a) != arena.offset(b)
    assert arena.arena_bytes == 3 * 64


def test_the_same_program_gets_the_same_plan():
    program = chain(list(np.random.default_rng(0).integers(1, 999, size=20)), 7)
    assert plan(program).offsets == plan(program).offsets


def test_an_output_takes_the_exact_place_or_none():
    """A chain in place needs its largest tensor; one that is a word off would share bytes and has its own."""
    in_place, beside = (plan(chain([400, 400, 400], distance, exact=True)) for distance in (0, 2))
    assert in_place.arena_bytes == 400
    assert beside.arena_bytes == 800
