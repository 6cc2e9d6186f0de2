"""An in-order pipeline as rules: what each instruction costs, what it must wait for, what issues together.

A block costs what it adds behind the block before it, so that a loop's body is counted in its steady state and a result
needed across the branch is waited for.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ndtool.benchmarks.emulation.counts import Edge, Pace
from ndtool.benchmarks.instructions import Block, Instruction, Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A value in a register: what computes it, since when, and whether an early stage does."""

    by: Instruction
    issued: float
    swift: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """One core. Cycles throughout.

    `issue`: cycles an instruction occupies the pipeline, given the one before. `wait`: from the issue of what makes a
    result to the earliest issue of what uses it in a given register; 0 lets both issue together.
    `taken`: what a taken branch adds, given the instruction before it and its target.
    `pairs`: whether two neighbours may issue together as far as resources go. `swift`: whether an instruction can
    execute in an earlier stage where its operands are there a cycle before, given whether it is the younger of a pair.
    `locks`: whether an instruction keeps others away for a while, which `locked` gives: from its issue to the earliest
    issue of another one, given the older one that it would pair with, if any.
    """

    issue: Callable[[Instruction, Instruction | None], float]
    wait: Callable[[Result, Instruction, int], float]
    taken: Callable[[Instruction, Instruction | None, Instruction], float]
    pairs: Callable[[Instruction, Instruction], bool] | None = None
    swift: Callable[[Instruction, bool], bool] | None = None
    locks: Callable[[Instruction], bool] | None = None
    locked: Callable[[Instruction, Instruction, Instruction | None], float] = lambda _, __, ___: 0.0
    mispredict: float = 0.0  # added for each time a branch goes its rarer way


@dataclass(frozen=True, slots=True, kw_only=True)
class Cycles:
    """Where cycles go: issue, waiting for results, branches."""

    issue: float
    stalls: float
    branch: float


@dataclass(slots=True)
class _State:
    """The pipeline after some instructions."""

    time: float = 0.0  # the earliest issue of the next instruction
    stalls: float = 0.0
    paired: bool = True  # the last slot is taken: the next cannot join it
    last: Instruction | None = None
    last_issue: float = 0.0
    lock: Result | None = None
    results: dict[int, Result] = field(default_factory=dict)


class Pipeline:
    """Applies rules to edges; costs are kept, as blocks repeat over segments."""

    def __init__(self, rules: Rules):
        self._rules = rules
        self._known: dict[tuple[Block | None, Block], tuple[Cycles, tuple[float, ...]]] = {}

    def cycles(self, edges: Sequence[Edge]) -> list[Cycles]:
        """Cycles of each edge, all its executions together; mispredictions are charged to the rarer edge."""
        rare = set(self.rare(edges)) if self._rules.mispredict else set()
        found = []
        for position, edge in enumerate(edges):
            one, _ = self._cost(edge)
            branch = one.branch + (self._rules.mispredict if position in rare else 0.0)
            found.append(
                Cycles(issue=one.issue * edge.count, stalls=one.stalls * edge.count, branch=branch * edge.count)
            )
        return found

    def pace(self, edge: Edge) -> Pace:
        """Of one execution of an edge's block."""
        one, accesses = self._cost(edge)
        return Pace(cycles=one.issue + one.stalls + one.branch, accesses=accesses)

    def rare(self, edges: Sequence[Edge]) -> list[int]:
        """The less frequent edge of each conditional branch, where it goes both ways."""
        ways: dict[tuple[int, int, bool], list[int]] = {}
        for position, edge in enumerate(edges):
            if edge.previous is not None and edge.previous.instructions[-1].conditional:
                ways.setdefault((edge.previous.end, edge.segment, edge.taken), []).append(position)
        rare = []
        for (end, segment, taken), positions in ways.items():
            other = ways.get((end, segment, not taken), [])
            here, there = (sum(edges[p].count for p in where) for where in (positions, other))
            if there and (here < there or (here == there and taken)):
                rare += positions
        return rare

    def _cost(self, edge: Edge) -> tuple[Cycles, tuple[float, ...]]:
        """The cycles of an edge, and after how many of them each word is loaded or stored."""
        key = (edge.previous, edge.block)
        if key not in self._known:
            state, branch = _State(), 0.0
            if edge.previous is not None:
                before = edge.previous.instructions
                for instruction in before:
                    self._step(state, instruction)
                if edge.taken:
                    ahead = before[-2] if len(before) > 1 else None
                    branch = self._rules.taken(before[-1], ahead, edge.block.instructions[0])
                    state.time += branch
            time, stalls = state.time, state.stalls
            accesses = []
            for instruction in edge.block.instructions:
                self._step(state, instruction)
                if instruction.kind in (Kind.LOAD, Kind.STORE):
                    each = (state.time - state.last_issue) / instruction.registers
                    since = max(state.last_issue - time, 0.0) + branch
                    accesses += [since + each * word for word in range(instruction.registers)]
            waited = state.stalls - stalls
            cycles = Cycles(issue=state.time - time - waited, stalls=waited, branch=branch)
            self._known[key] = cycles, tuple(accesses)
        return self._known[key]

    def _step(self, state: _State, instruction: Instruction) -> None:
        rules, last = self._rules, state.last
        sources = [(state.results[r], r) for r in instruction.reads if r in state.results]
        needed = max((result.issued + rules.wait(result, instruction, r) for result, r in sources), default=0.0)
        lock = state.lock
        alone, paired = (lock.issued + rules.locked(lock.by, instruction, o) if lock else 0.0 for o in (None, last))
        together = (
            rules.pairs is not None
            and not state.paired
            and last is not None
            and max(needed, paired) <= state.last_issue
            and state.time <= state.last_issue + 1
            and rules.pairs(last, instruction)
        )
        if together:
            at = state.last_issue
        else:
            at = max(state.time, needed, alone)
            state.stalls += at - state.time
        state.paired = together
        state.time = max(state.time, at + rules.issue(instruction, last))
        swift = False
        if rules.swift is not None and rules.swift(instruction, together):
            swift = all(result.issued + rules.wait(result, instruction, r) < at for result, r in sources)
        result = Result(by=instruction, issued=at, swift=swift)
        for register in instruction.writes:
            state.results[register] = result
        if rules.locks is not None and rules.locks(instruction):
            state.lock = result
        state.last, state.last_issue = instruction, at


CPSR = 3  # capstone's number of the flags
