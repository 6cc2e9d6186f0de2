"""Where every tensor lies in the arena, decided ahead of time.

Time counts what is executed, calls and strips: the one at place t of n happens at t, inputs are there at -1, outputs
are read at n. Blocks (tensors and scratch) whose times meet must not share bytes, except where
a kernel allows its output to overlap an input that dies there.

Source: Sekiyama et al. 2018, "Profile-guided memory optimization for deep neural networks" (offset assignment as
two-dimensional strip packing); Pisarchyk and Lee 2020, "Efficient memory management for deep neural net inference"
(greedy by size and by breadth).
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ndtool.export.c.call import Scratch
from ndtool.export.c.graph import Tensor
from ndtool.export.c.lower import Program

SEARCH_STEPS = 400
SEARCH_WORK = 4_000_000  # pairs of blocks to look at in all steps: where thousands are alive at once there are few


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Block:
    """Bytes that are needed from time `first` to time `last`, both included."""

    owner: Tensor | Scratch
    bytes: int
    first: int
    last: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Below:
    """`output` may share bytes with `input` if output offset <= input offset - distance. Numbers of blocks."""

    output: int
    input: int
    distance: int
    exact: bool = False  # only if they are equal


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Problem:
    """Blocks to place, and the pairs that may overlap in their one common moment."""

    blocks: tuple[Block, ...]
    overlaps: tuple[Below, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plan:
    """An arena."""

    problem: Problem
    offsets: tuple[int, ...]  # of each block, in bytes
    arena_bytes: int
    lower_bound_bytes: int  # no arena can be smaller
    storage: Mapping[Tensor, Tensor]

    def offset(self, owner: Tensor | Scratch) -> int:
        """Where a tensor or a call's scratch begins."""
        if not isinstance(owner, Scratch):
            owner = self.storage.get(owner, owner)
        return next(o for block, o in zip(self.problem.blocks, self.offsets, strict=True) if block.owner is owner)

    def live(self, time: int) -> list[tuple[Block, int]]:
        """The blocks needed at a time, with their offsets."""
        pairs = zip(self.problem.blocks, self.offsets, strict=True)
        return [(block, offset) for block, offset in pairs if block.first <= time <= block.last]

    def live_bytes(self, time: int) -> int:
        """Bytes of the arena that are needed at a time; shared ones count once."""
        total = reach = 0
        for start, end in sorted((offset, offset + block.bytes) for block, offset in self.live(time)):
            total += max(0, end - max(start, reach))
            reach = max(reach, end)
        return total


def plan(program: Program, *, alignment: int = 4, search_steps: int = SEARCH_STEPS) -> Plan:
    """Place every tensor and scratch of a program; the smallest arena that several heuristics and a short search find.

    `alignment`, of every block and of the arena's start, is a power of two in bytes, at least 4. `search_steps` bounds
    the search; with 0 only the heuristics are tried.
    """
    problem = problem_of(program)
    bound = lower_bound(problem)
    offsets = _solve(problem, alignment, bound, search_steps)
    return Plan(
        problem=problem,
        offsets=tuple(offsets),
        arena_bytes=-(-_height(problem, offsets) // 4) * 4,
        lower_bound_bytes=bound,
        storage=program.storage,
    )


def problem_of(program: Program) -> Problem:
    """The lifetimes of a program's tensors and scratch."""
    end = len(program.slots)
    spans: dict[Tensor, list[int]] = {}

    def use(tensor: Tensor, time: int) -> None:
        span = spans.setdefault(program.stored(tensor), [time, time])
        span[1] = max(span[1], time)

    for tensor in program.inputs:
        use(tensor, -1)
    for time, slot in enumerate(program.slots):
        for tensor in (*slot.reads, *slot.writes):
            use(tensor, time)
    for tensor in program.outputs:
        use(tensor, end)

    blocks = [Block(owner=t, bytes=t.bytes, first=first, last=last) for t, (first, last) in spans.items()]
    for time, slot in enumerate(program.slots):
        blocks += [Block(owner=s, bytes=s.bytes, first=time, last=time) for s in slot.scratches if s.bytes]
    return Problem(blocks=tuple(blocks), overlaps=tuple(_overlaps(program, blocks)))


def _overlaps(program: Program, blocks: Sequence[Block]) -> list[Below]:
    """The overlaps that are offered and that lifetimes allow: the input dies when the output is born."""
    number = {block.owner: index for index, block in enumerate(blocks)}
    found = []
    for time, slot in enumerate(program.slots):
        for offer in slot.overlaps:
            source = number[program.stored(offer.input)]
            for tensor in slot.writes:
                target = number[program.stored(tensor)]
                if blocks[source].last == time == blocks[target].first:
                    found.append(Below(output=target, input=source, distance=offer.distance, exact=offer.exact))
    return found


def lower_bound(problem: Problem) -> int:
    """The largest sum over all calls of what is alive, less the most that the allowed overlaps can save."""
    best = 0
    for time in {block.first for block in problem.blocks}:
        alive = {i for i, block in enumerate(problem.blocks) if block.first <= time <= block.last}
        total = sum(problem.blocks[i].bytes for i in alive)
        for pair in problem.overlaps:
            if pair.output in alive and pair.input in alive:
                source, target = problem.blocks[pair.input].bytes, problem.blocks[pair.output].bytes
                total -= max(0, min(source, target - pair.distance))
        best = max(best, total, *(problem.blocks[i].bytes for i in alive))
    return best


def _height(problem: Problem, offsets: Sequence[int]) -> int:
    return max((offset + block.bytes for block, offset in zip(problem.blocks, offsets, strict=True)), default=0)


def _solve(problem: Problem, alignment: int, bound: int, search_steps: int) -> list[int]:
    neighbours = _neighbours(problem)
    search_steps = min(search_steps, SEARCH_WORK // (1 + sum(map(len, neighbours))))
    numbers = range(len(problem.blocks))
    keys: tuple[Callable[[int], tuple[int, ...]], ...] = (
        lambda i: (-problem.blocks[i].bytes, i),
        lambda i: (-_breadth(problem, i), -problem.blocks[i].bytes, i),
        lambda i: (problem.blocks[i].first, -problem.blocks[i].last, i),
        lambda i: (-problem.blocks[i].last, problem.blocks[i].first, i),
        lambda i: (-problem.blocks[i].bytes * (problem.blocks[i].last - problem.blocks[i].first + 1), i),
    )
    orders = [sorted(numbers, key=key) for key in keys]
    best_order, best = min(
        ((order, _place(problem, neighbours, order, alignment)) for order in orders),
        key=lambda solution: _height(problem, solution[1]),
    )
    return _search(problem, neighbours, best_order, best, alignment, bound, search_steps)


def _breadth(problem: Problem, number: int) -> int:
    """The most bytes alive at one time during a block's life."""
    block = problem.blocks[number]
    times = {other.first for other in problem.blocks if block.first <= other.first <= block.last} | {block.first}
    return max(sum(other.bytes for other in problem.blocks if other.first <= t <= other.last) for t in times)


Neighbours = list[list[tuple[int, Below | None]]]  # block -> (other, how they may overlap)


def _neighbours(problem: Problem) -> Neighbours:
    """For each block those whose times meet its own, and how they may overlap."""
    allowed = {(pair.output, pair.input): pair for pair in problem.overlaps}
    result: Neighbours = [[] for _ in problem.blocks]
    for a, one in enumerate(problem.blocks):
        for b, other in enumerate(problem.blocks):
            if a != b and one.first <= other.last and other.first <= one.last:
                result[a].append((b, allowed.get((a, b), allowed.get((b, a)))))
    return result


def _place(problem: Problem, neighbours: Neighbours, order: Sequence[int], alignment: int) -> list[int]:
    """First fit: each block in turn at the lowest offset that those before it leave."""
    offsets: list[int | None] = [None] * len(problem.blocks)
    for number in order:
        size = problem.blocks[number].bytes
        forbidden: list[tuple[int, int]] = []  # the offsets in (low, high) are not possible
        for other, pair in neighbours[number]:
            start = offsets[other]
            if start is not None:
                forbidden += _forbidden(number, size, start, problem.blocks[other].bytes, pair)
        offset = 0
        for low, high in sorted(forbidden):
            if low < offset < high:
                offset = -(-high // alignment) * alignment
        offsets[number] = offset
    return [offset for offset in offsets if offset is not None]


def _forbidden(number: int, size: int, start: int, bytes: int, pair: Below | None) -> list[tuple[int, int]]:
    """The offsets, as open intervals, at which a block is in the way of another that lies at `start`."""
    low, high = start - size, start + bytes
    if pair is None:
        return [(low, high)]
    here = start - pair.distance if pair.output == number else start + pair.distance
    if pair.exact:
        return [(low, here), (here, high)] if low < here < high else [(low, high)]
    return [(max(low, here), high)] if pair.output == number else [(low, min(high, here))]


def _search(
    problem: Problem,
    neighbours: Neighbours,
    order: list[int],
    best: list[int],
    alignment: int,
    bound: int,
    steps: int,
) -> list[int]:
    """Move single blocks to the front or swap two in the order while that does not make the arena larger."""
    generator = random.Random(0)  # the same arena for the same model
    height = _height(problem, best)
    for _ in range(steps if len(order) > 1 else 0):
        if height <= -(-bound // 4) * 4:
            break
        candidate = list(order)
        a, b = generator.sample(range(len(order)), 2)
        if generator.random() < 0.5:
            candidate.insert(b, candidate.pop(a))
        else:
            candidate[a], candidate[b] = candidate[b], candidate[a]
        offsets = _place(problem, neighbours, candidate, alignment)
        if _height(problem, offsets) <= height:
            order, best, height = candidate, offsets, _height(problem, offsets)
    return best
