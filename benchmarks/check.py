"""One check: a model measured and evaluated, then compared with its baseline and its budgets."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ndtool.benchmarks.bench import bench
from ndtool.benchmarks.regression import (
    Baseline,
    Verdict,
    against_baseline,
    against_budget,
    entries,
    parse_limits,
    read_baseline,
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
    boards = [target for target in map(load_target, target_names()) if target.is_board]
    for board in boards:
        if board.name == name:
            memory = {"flash": board.memory["flash"].bytes, "sram": board.memory["sram"].bytes}
            return Budget(source=name, limits={key: limit for key, limit in memory.items() if limit is not None})
    names = ", ".join(board.name for board in boards)
    raise NdtoolError(f"{name!r} is no budget: write quantity=amount, e.g. flash=256k, or a board: {names}")


def check(subject: Subject, target: Target, plan: Plan, *, data: Data | None = None) -> Verdict:
    """Measure and evaluate a model and judge it.

    Args:
        subject: from `open_subject`; a model, not a firmware. target: where it is measured.
        plan: baseline, budgets, tolerances. data: on whose test part the int8 model is evaluated; None leaves it out.

    Raises:
        NdtoolError: there is nothing to compare with, a byte of the output is wrong, or what `bench` raises.
    """
    entry = f"{subject.c_name}@{target.name}"
    _check_plan(plan, entry)
    return judge(subject, bench(subject, target), plan, entry=entry, data=data)


def judge(subject: Subject, measurement: Measurement, plan: Plan, *, entry: str, data: Data | None) -> Verdict:
    """Compare what was measured; `entry` names it in the baseline file. Arguments and errors as for `check`."""
    known = _check_plan(plan, entry)
    if subject.model is None:
        raise NdtoolError(f"{subject.name} is a firmware: check needs a run or an int8 .tflite file")
    if measurement.bit_exact is False:
        raise NdtoolError(f"{entry}: the C library's output differs from LiteRT's: please report the model")
    measured = values(subject.model, measurement, data)
    findings = [finding for b in plan.budgets for finding in against_budget(measured, b.limits, b.source)]
    notes: tuple[str, ...] = ("latency is modelled and has not been validated against silicon",)
    if plan.update and plan.baseline is not None:
        kept = read_baseline(plan.baseline, entry) if plan.baseline.exists() else None
        known = Baseline(values=measured, tolerances={**(kept.tolerances if kept else {}), **plan.tolerances})
        write_baseline(plan.baseline, entry, known)
        notes = (*notes, f"{plan.baseline} was written")
    if known is not None:
        findings = [*against_baseline(measured, known.values, {**known.tolerances, **plan.tolerances}), *findings]
    return Verdict(entry=entry, findings=tuple(findings), baseline=plan.baseline, notes=notes)


def _check_plan(plan: Plan, entry: str) -> Baseline | None:
    """The baseline's entry to compare with, if any; found before anything is measured."""
    if plan.baseline is None and not plan.budgets:
        raise NdtoolError("there is nothing to check against: give --baseline FILE or --budget flash=256k,sram=64k")
    if plan.update and plan.baseline is None:
        raise NdtoolError("--update writes a baseline: name it with --baseline FILE")
    return None if plan.baseline is None or plan.update else _entry(plan.baseline, entry)


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
    return found
