"""One check: a model measured and evaluated, then compared with its baseline and its budgets."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ndtool.benchmarks.bench import bench
from ndtool.benchmarks.regression import (
    Baseline,
    Verdict,
    against_baseline,
    against_budget,
    entries,
    parse_limits,
    read_baseline,
    updated,
    write_baseline,
)
from ndtool.benchmarks.results import Measurement
from ndtool.benchmarks.subject import Subject
from ndtool.benchmarks.targets import Target, load_target, target_names
from ndtool.errors import NdtoolError
from ndtool.train.data import Data


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Absolute limits, and who set them: "budget" or a board."""

    source: str
    limits: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to compare with."""

    baseline: Path | None = None
    update: bool = False  # write the baseline anew instead of comparing with it
    budgets: tuple[Budget, ...] = ()
    tolerances: Mapping[str, float] = field(default_factory=dict)  # override the baseline's own


def parse_budgets(texts: tuple[str, ...]) -> tuple[Budget, ...]:
    """Read `flash=256k,sram=64k` and names of boards, in any mixture.

    Raises:
        NdtoolError: an item is neither.
    """
    budgets: list[Budget] = []
    for text in texts:
        items = [item.strip() for item in text.split(",") if item.strip()]
        budgets += [_board(item) for item in items if "=" not in item]
        if limits := parse_limits(",".join(item for item in items if "=" in item)):
            budgets.append(Budget(source="budget", limits=limits))
    return tuple(budgets)


def _board(name: str) -> Budget:
    boards = {target.name: target for target in map(load_target, target_names()) if target.is_board}
    if name in boards:
        return _memory(boards[name])
    close = difflib.get_close_matches(name, boards, n=1)
    hint = f"did you mean {close[0]}?" if close else f"write quantity=amount, or a board: {', '.join(boards)}"
    raise NdtoolError(f"{name!r} is no budget: {hint}")


def _memory(board: Target) -> Budget:
    memory = {key: board.memory[key].bytes for key in ("flash", "sram")}
    return Budget(source=board.name, limits={key: limit for key, limit in memory.items() if limit is not None})


def _with_target(plan: Plan, target: Target) -> Plan:
    """The plan, and what fits on the board where the target is one."""
    if not target.is_board or target.name in [budget.source for budget in plan.budgets]:
        return plan
    return replace(plan, budgets=(*plan.budgets, _memory(target)))


def check(
    subject: Subject, target: Target, plan: Plan, *, data: Data | None = None, name: str | None = None, **how: Any
) -> Verdict:
    """Measure and evaluate a model and judge it; where the target is a board, its memory is a budget.

    Args:
        subject: from `open_subject`; a model, not a firmware. target: where it is measured.
        plan: baseline, budgets, tolerances. data: on whose test part the int8 model is evaluated; None leaves it out.
        name: what the baseline calls the model; None takes the subject's own. how: further arguments of `bench`.

    Raises:
        NdtoolError: there is nothing to compare with, a byte of the output is wrong, or what `bench` raises.
    """
    entry = f"{name or subject.c_name}@{target.name}"
    _check_plan(_with_target(plan, target), entry)
    _check_subject(subject)
    return judge(subject, bench(subject, target, **how), plan, entry=entry, data=data)


def judge(subject: Subject, measurement: Measurement, plan: Plan, *, entry: str, data: Data | None) -> Verdict:
    """Compare what was measured; `entry` names it in the baseline file. Arguments and errors as for `check`."""
    plan = _with_target(plan, measurement.target)
    known = _check_plan(plan, entry)
    model = _check_subject(subject)
    if measurement.bit_exact is False:
        raise NdtoolError(f"{entry}: the C library's output differs from LiteRT's: please report the model")
    measured = values(model, measurement, data)
    findings = [finding for b in plan.budgets for finding in against_budget(measured, b.limits, b.source)]
    timing = measurement.timing
    notes = (f"latency is modelled, {measurement.latency_text}: {timing.trust}",) if timing else ()
    if plan.update and plan.baseline is not None:
        kept = read_baseline(plan.baseline, entry) if plan.baseline.exists() else None
        tolerances = {**(kept.tolerances if kept else {}), **plan.tolerances}
        write_baseline(plan.baseline, entry, Baseline(values=measured, tolerances=tolerances))
        findings = [*updated(measured, kept.values if kept else {}), *findings]
        notes = (*notes, f"{plan.baseline} was written")
    elif known is not None:
        findings = [*against_baseline(measured, known.values, {**known.tolerances, **plan.tolerances}), *findings]
    return Verdict(entry=entry, findings=tuple(findings), baseline=plan.baseline, notes=notes)


def _check_plan(plan: Plan, entry: str) -> Baseline | None:
    """The baseline's entry to compare with, if any; found before anything is measured."""
    if plan.baseline is None and not plan.budgets:
        raise NdtoolError("there is nothing to check against: give --baseline FILE or --budget flash=256k,sram=64k")
    if plan.update and plan.baseline is None:
        raise NdtoolError("--update writes a baseline: name it with --baseline FILE")
    if plan.tolerances and plan.baseline is None:
        raise NdtoolError("--tolerance is what may change against a baseline: name it with --baseline FILE")
    return None if plan.baseline is None or plan.update else _entry(plan.baseline, entry)


def _check_subject(subject: Subject) -> Path:
    """The model's file."""
    if subject.model is None:
        raise NdtoolError(f"{subject.name} is a firmware: check needs a run or an int8 .tflite file")
    return subject.model


def _entry(path: Path, entry: str) -> Baseline:
    baseline = read_baseline(path, entry)
    if baseline is None:
        there = ", ".join(entries(path)) or "nothing"
        raise NdtoolError(f"{path} has no entry {entry!r} (it has {there}): add it with --update, or fix --target")
    return baseline


def values(model: Path, measurement: Measurement, data: Data | None) -> dict[str, float]:
    """The guarded quantities of a measured model, by the keys of `METRICS`."""
    found: dict[str, float] = {
        "size": model.stat().st_size,
        "flash": measurement.flash.total,
        "sram": measurement.sram.total,
        "instructions": measurement.cost.instructions or 0,
    }
    if measurement.latency_ms is not None:
        found["latency"] = measurement.latency_ms
    if data is not None:
        from ndtool.export.evaluate import evaluate_model
        from ndtool.export.source import open_source

        score = evaluate_model(open_source(model), data)
        if score.accuracy is not None:
            found["accuracy"] = 100 * score.accuracy
        elif score.mse is not None:
            found["error"] = score.mse
    return {key: float(f"{value:.12g}") for key, value in found.items()}  # as short as it stands in a baseline
