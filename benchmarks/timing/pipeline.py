"""An in-order pipeline as rules: what each instruction costs, what it must wait for, what issues together.

A block costs T(previous then block) - T(previous), so that a loop's body is counted in its steady state and a result
needed across the branch is waited for.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ndtool.benchmarks.counts import Edge
from ndtool.benchmarks.instructions import Block, Instruction


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """One core. Cycles throughout.

    `issue`: cycles an instruction occupies the pipeline, given the one before. `latency`: from its issue, which takes
    the given cycles, until a dependent one can issue; 0 lets a dependent instruction issue together with one whose own
    operands were ready a cycle before. `early`: how much sooner a register is needed
    than by an ALU operation, e.g. by address generation. `pairs`: whether two independent neighbours issue together.
    """

    issue: Callable[[Instruction, Instruction | None], float]
    latency: Callable[[Instruction, float], float]
    early: Callable[[Instruction, int], float]
    taken: Callable[[Instruction], float]  # cycles added when a branch is taken
    pairs: Callable[[Instruction, Instruction], bool] | None = None
    mispredict: float = 0.0  # cycles added for each time a branch goes its rarer way


@dataclass(slots=True)
class _State:
    """The pipeline after some instructions."""

    time: float = 0.0  # the earliest issue of the next instruction
    paired: bool = True  # the last slot is taken: the next cannot join it
    last: Instruction | None = None
    last_issue: float = 0.0
    ready: dict[int, float] = field(default_factory=dict)  # register: when an ALU operation may use it


class Pipeline:
    """Applies rules to edges; costs are kept, as blocks repeat over segments."""

    def __init__(self, rules: Rules):
        self._rules = rules
        self._alone: dict[Block, float] = {}
        self._after: dict[tuple[Block, Block], float] = {}

    def cycles(self, edges: Sequence[Edge]) -> list[float]:
        """Cycles of each edge, all its executions together; mispredictions are charged to the rarer edge."""
        costs = [edge.count * self._cost(edge) for edge in edges]
        if self._rules.mispredict:
            for position in self._rare(edges):
                costs[position] += self._rules.mispredict * edges[position].count
        return costs

    def _cost(self, edge: Edge) -> float:
        if edge.previous is None:
            return self._time((edge.block,))
        key = (edge.previous, edge.block)
        if key not in self._after:
            if edge.previous not in self._alone:
                self._alone[edge.previous] = self._time((edge.previous,))
            self._after[key] = self._time(key) - self._alone[edge.previous]
        last = edge.previous.instructions[-1]
        return self._after[key] + (self._rules.taken(last) if edge.taken else 0.0)

    def _rare(self, edges: Sequence[Edge]) -> list[int]:
        """The less frequent edge of each conditional branch, where it goes both ways."""
        ways: dict[tuple[int, int, bool], list[int]] = {}
        for position, edge in enumerate(edges):
            if edge.previous is not None and edge.previous.instructions[-1].conditional:
                ways.setdefault((edge.previous.address, edge.segment, edge.taken), []).append(position)
        rare = []
        for (address, segment, taken), positions in ways.items():
            other = ways.get((address, segment, not taken), [])
            here, there = (sum(edges[p].count for p in where) for where in (positions, other))
            if there and (here < there or (here == there and taken)):
                rare += positions
        return rare

    def _time(self, blocks: tuple[Block, ...]) -> float:
        """Issue cycles of blocks one after the other, from an empty pipeline."""
        state = _State()
        for block in blocks:
            for instruction in block.instructions:
                self._step(state, instruction)
        return state.time

    def _step(self, state: _State, instruction: Instruction) -> None:
        rules = self._rules
        needed = max(
            (state.ready[r] + rules.early(instruction, r) for r in instruction.reads if r in state.ready),
            default=0.0,
        )
        pairs = rules.pairs
        if (
            pairs is not None
            and not state.paired
            and state.last is not None
            and needed <= state.last_issue
            and pairs(state.last, instruction)
        ):
            at, state.paired = state.last_issue, True
        else:
            at, state.paired = max(state.time, needed), False
        cycles = rules.issue(instruction, state.last)
        state.time = max(state.time, at + cycles)
        swift = not state.paired and needed < at
        result = at + max(rules.latency(instruction, cycles), 0.0 if swift else 1.0)
        for register in instruction.writes:
            state.ready[register] = result
        state.last, state.last_issue = instruction, at


CPSR = 3  # capstone's number of the flags
