"""Which kernel computes each call, and what is made in strips: chosen by measured costs, for an objective."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from ndtool.errors import NdtoolError
from ndtool.export.c.call import Call, Constant, Slot, Strip, constants_of
from ndtool.export.c.graph import Tensor
from ndtool.export.c.kernel_files import with_callees
from ndtool.export.c.lower import Draft, Program
from ndtool.export.c.objective import Objective, Values, parse_objective
from ndtool.export.c.plan import Plan, plan
from ndtool.export.c.strips import can_join, strip

STRIP_ROWS = (1, 2, 4, 8)  # of the last call's output in each step
UNMEASURED = 1000.0  # what a preferred candidate is taken to cost, without a measurement
STEERED = 0.1  # times the weight of latency: where SRAM counts for more, see _Shrinking
NORM = 64  # see _soft_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """What a measurement says: the cost of each call or strip, and the code of each kernel in bytes."""

    costs: tuple[float, ...]
    code: Mapping[str, int]


Measure = Callable[[Sequence[Slot]], Prices]
"""Gives the costs of calls and strips on a target, for instance in instructions counted by an emulator."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Chosen:
    """A program whose kernels are chosen, where its tensors lie, and what the choice was made from."""

    program: Program
    plan: Plan
    alternatives: Mapping[Call, tuple[tuple[str, float | None], ...]] = field(default_factory=dict)
    """For every call that could be computed by several kernels: their names and measured costs, if any."""


def choose(
    draft: Draft, objective: Objective, *, measure: Measure | None = None, pins: Mapping[str, str] | None = None
) -> Chosen:
    """Choose kernels and strips for an objective.

    Args:
        draft: from `lower`.
        objective: what is to be small.
        measure: gives costs; without it the kernels that are usually the fastest are taken.
        pins: kernels that the user has chosen: the name of a layer, with * and ?, to the name of a kernel.

    Raises:
        NdtoolError: a pin fits nothing, or the objective needs a measurement.
    """
    candidates = _pinned(draft.candidates, pins or {})
    if measure is None and objective.is_flash:
        raise NdtoolError(f"the objective {objective.name} needs measured sizes of kernels: name a target")
    market = _Market(candidates, measure)
    calls = _cheapest(candidates, objective, market)
    slots: tuple[Slot, ...] = tuple(calls)
    if objective.weight("sram") and slots:
        slots = _Shrinking(draft, objective, market).run(slots)
    program = draft.program(slots)
    alternatives = {
        call: tuple((each.kernel, market.known(each)) for each in some)
        for call, some in zip(calls, candidates, strict=True)
        if len(some) > 1
    }
    return Chosen(program=program, plan=plan(program), alternatives=alternatives)


def _pinned(candidates: Sequence[tuple[Call, ...]], pins: Mapping[str, str]) -> list[tuple[Call, ...]]:
    """The candidates that the user's pins leave; of several pins that fit a layer the last counts."""
    left = list(candidates)
    for pattern, kernel in pins.items():
        fitting = [i for i, some in enumerate(candidates) if fnmatchcase(some[0].op.outputs[0].name, pattern)]
        serving = {i: tuple(c for c in candidates[i] if c.kernel == kernel) for i in fitting}
        if not any(serving.values()):
            there = sorted({call.kernel for i in fitting for call in candidates[i]})
            what = f"they have {', '.join(there)}" if there else "no layer has such a name"
            raise NdtoolError(f"no layer {pattern!r} can be computed by {kernel!r}: {what}")
        for index, some in serving.items():
            left[index] = some or left[index]
    return left


class _Market:
    """Costs and sizes, measured when first asked for."""

    def __init__(self, candidates: Sequence[tuple[Call, ...]], measure: Measure | None):
        self._measure = measure
        self._costs: dict[Slot, float] = {}
        self._code: dict[str, int] = {}
        self.learn([call for some in candidates for call in some])
        self._assumed = {call: UNMEASURED * 2.0**i for some in candidates for i, call in enumerate(some)}

    def learn(self, slots: Sequence[Slot]) -> None:
        """Measure what is not known yet."""
        unknown = [slot for slot in slots if slot not in self._costs]
        if self._measure is None or not unknown:
            return
        prices = self._measure(unknown)
        self._costs |= dict(zip(unknown, prices.costs, strict=True))
        self._code |= prices.code

    def known(self, slot: Slot) -> float | None:
        """The measured cost, if there is one."""
        return self._costs.get(slot)

    def cost(self, slot: Slot) -> float:
        """The cost. Without a measurement each candidate is taken to cost twice the one that is preferred to it."""
        if slot in self._costs:
            return self._costs[slot]
        return sum(self._assumed[call] for call in slot.calls)

    def code(self, kernels: frozenset[str]) -> int:
        """Bytes of kernels and of those that they call."""
        return sum(self._code.get(kernel, 0) for kernel in with_callees(kernels))


# Kernels


def _cheapest(candidates: Sequence[tuple[Call, ...]], objective: Objective, market: _Market) -> list[Call]:
    """One call of each, by local search over the set of kernels that are allowed: from all of them, one in or out."""
    every = frozenset(call.kernel for some in candidates for call in some)
    contested = sorted({call.kernel for some in candidates if len(some) > 1 for call in some})
    allowed, best = every, _pick(candidates, every, objective, market)
    assert best is not None
    score = objective.score(_values(best, market))
    improved = True
    while improved:
        improved = False
        for kernel in contested:
            trial = allowed ^ {kernel}
            calls = _pick(candidates, trial, objective, market)
            if calls is not None and (found := objective.score(_values(calls, market))) < score:
                allowed, best, score, improved = trial, calls, found, True
    return best


def _pick(
    candidates: Sequence[tuple[Call, ...]], allowed: frozenset[str], objective: Objective, market: _Market
) -> list[Call] | None:
    """Of each the call that is best by itself, among the allowed kernels; None where one has no such kernel."""
    latency, flash = objective.weight("latency"), objective.weight("flash")
    total = sum(market.cost(some[0]) for some in candidates) or 1.0
    stored = sum(_constant_bytes(some[0]) for some in candidates) or 1.0
    best = []
    for some in candidates:
        usable = [call for call in some if call.kernel in allowed]
        if not usable:
            return None
        prices = {c: latency * market.cost(c) / total + flash * _constant_bytes(c) / stored for c in usable}
        best.append(min(usable, key=lambda call: prices[call]))
    return best


def _values(calls: Sequence[Call], market: _Market) -> Values:
    """Latency and flash; kernels are chosen before tensors are placed."""
    code = market.code(frozenset(call.kernel for call in calls))
    return Values(latency=sum(map(market.cost, calls)), sram=1.0, flash=code + sum(map(_constant_bytes, calls)))


def _constant_bytes(call: Call) -> int:
    distinct: dict[int, Constant] = {id(constant.values): constant for constant in constants_of(call)}
    return sum(constant.values.nbytes for constant in distinct.values())


# Strips


class _Shrinking:
    """Make strips around the moment of the peak, as long as that improves the objective.

    Of several peaks the first strips bring little alone. Where SRAM counts for much, a second descent is steered by it;
    the objective decides between all that either has come by.
    """

    def __init__(self, draft: Draft, objective: Objective, market: _Market):
        self._draft, self._objective, self._market = draft, objective, market

    def run(self, slots: tuple[Slot, ...]) -> tuple[Slot, ...]:
        """The best slots found."""
        steers, sram = [self._objective], parse_objective("sram")
        if self._objective.weight("sram") > STEERED * self._objective.weight("latency") and self._objective != sram:
            steers.append(sram)
        seen = [state for steer in steers for state in self._descent(slots, steer)]
        return min(seen, key=lambda state: self._score(state[0], state[1].arena_bytes, self._objective))[0]

    def _descent(self, slots: tuple[Slot, ...], steer: Objective) -> Iterator[tuple[tuple[Slot, ...], Plan]]:
        """The slots and one trial after another that is better than the one before."""
        arena = self._plan(slots)
        score = self._score(slots, _soft_bytes(arena, len(slots)), steer)
        while True:
            yield slots, arena
            trials = [(trial, self._plan(trial)) for trial in self._trials(slots, _peak(arena, len(slots)))]
            sizes = [_soft_bytes(there, len(trial)) for trial, there in trials]
            useful = [i for i, size in enumerate(sizes) if size < _soft_bytes(arena, len(slots))]
            self._market.learn([slot for i in useful for slot in trials[i][0] if isinstance(slot, Strip)])
            scored = [(self._score(trials[i][0], sizes[i], steer), i) for i in useful]
            if not scored or min(scored)[0] >= score - 1e-9:
                return
            score, index = min(scored)
            slots, arena = trials[index]

    def _plan(self, slots: tuple[Slot, ...]) -> Plan:
        return plan(self._draft.program(slots))

    def _score(self, slots: Sequence[Slot], sram: float, objective: Objective) -> float:
        calls = [call for slot in slots for call in slot.calls]
        values = _values(calls, self._market)
        latency = sum(map(self._market.cost, slots))
        return objective.score(Values(latency=latency, sram=sram, flash=values.flash))

    def _trials(self, slots: tuple[Slot, ...], peak: int) -> Iterator[tuple[Slot, ...]]:
        """Every run of slots around the peak that can be one strip, with every number of rows."""
        first = last = peak
        while first and self._joins(slots, first - 1):
            first -= 1
        while last + 1 < len(slots) and self._joins(slots, last):
            last += 1
        for start in range(first, peak + 1):
            for end in range(peak, last + 1):
                if start == end and not isinstance(slots[start], Strip):
                    continue
                calls = [call for slot in slots[start : end + 1] for call in slot.calls]
                for rows in STRIP_ROWS:
                    if rows < calls[-1].writes[0].shape[1]:
                        yield (*slots[:start], strip(calls, rows), *slots[end + 1 :])

    def _joins(self, slots: Sequence[Slot], index: int) -> bool:
        """Whether a slot and the next can be in one strip: a chain, whose link nothing else reads."""
        one, other = slots[index].calls[-1], slots[index + 1].calls[0]
        return can_join(one, other) and self._is_private(slots, one.writes[0])

    def _is_private(self, slots: Sequence[Slot], tensor: Tensor) -> bool:
        readers = sum(self._stored(read) is tensor for slot in slots for read in slot.reads)
        outputs = map(self._stored, self._draft.outputs)
        return readers == 1 and all(output is not tensor for output in outputs)

    def _stored(self, tensor: Tensor) -> Tensor:
        return self._draft.storage.get(tensor, tensor)


def _peak(arena: Plan, times: int) -> int:
    """The time at which most bytes are alive."""
    return max(range(times), key=arena.live_bytes)


def _soft_bytes(arena: Plan, times: int) -> float:
    """The arena, a little more where many moments need nearly all of it: one of several peaks is worth lowering.

    The norm of what is alive, of an order at which twice as many moments of the same height count as 1 % more bytes.
    """
    alive = [arena.live_bytes(time) for time in range(times)]
    highest = max(alive)
    return arena.arena_bytes * sum((each / highest) ** NORM for each in alive) ** (1 / NORM) if highest else 0.0
