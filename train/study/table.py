"""What a study found, as a table: means over seeds, their spread, and the difference to one of them."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ndtool.train.study.plan import Job

Found = Sequence[tuple[Job, Mapping[str, Any]]]
_Runs = dict[int, tuple[Job, Mapping[str, Any]]]  # by seed


@dataclass(frozen=True, kw_only=True)
class Row:
    """A variant of a study. Scores are of the test part: accuracies as fractions, or squared errors.

    `spread`: standard deviation over the seeds, None for one. `difference`: mean over the seeds that both have of this
    variant's score minus the baseline's, `difference_error` its standard error (paired: a seed decides the split, the
    order of the data and their augmentation for all variants). `teacher`: mean score of the teacher.
    `validation`: mean of the best validation. `seconds`: of one training, kd's teacher included.
    """

    variant: str
    seeds: int
    score: float
    spread: float | None
    difference: float | None
    difference_error: float | None
    teacher: float | None
    validation: float
    seconds: float


def rows_of(found: Found, against: str) -> list[Row]:
    """A row for each variant that has a result, in the order of the results; the teacher alone comes last.

    `against`: the variant that the differences are to; where it has no result there are none.
    """
    by_variant: dict[str, _Runs] = {}
    for job, result in sorted(found, key=lambda each: each[0].is_teacher):
        by_variant.setdefault(job.variant, {})[job.config.seed] = (job, result)
    seconds = {job.name: float(result["seconds"]) for job, result in found}
    baseline = by_variant.get(against, {})
    return [_row(name, runs, {} if name == against else baseline, seconds) for name, runs in by_variant.items()]


def _row(name: str, runs: _Runs, baseline: _Runs, seconds: Mapping[str, float]) -> Row:
    scores = {seed: _score(result["test"]["student"]) for seed, (_, result) in runs.items()}
    teachers = [_score(result["test"]["teacher"]) for _, result in runs.values() if "teacher" in result["test"]]
    common = sorted(scores.keys() & baseline.keys())
    differences = [scores[seed] - _score(baseline[seed][1]["test"]["student"]) for seed in common]
    taken = [
        seconds[job.name] + (seconds.get(job.teacher.name, 0.0) if job.teacher else 0.0) for job, _ in runs.values()
    ]
    return Row(
        variant=name,
        seeds=len(scores),
        score=statistics.fmean(scores.values()),
        spread=statistics.stdev(scores.values()) if len(scores) > 1 else None,
        difference=statistics.fmean(differences) if differences else None,
        difference_error=statistics.stdev(differences) / len(differences) ** 0.5 if len(differences) > 1 else None,
        teacher=statistics.fmean(teachers) if teachers else None,
        validation=statistics.fmean(_score(result["validation"]) for _, result in runs.values()),
        seconds=statistics.fmean(taken),
    )


def _score(score: Mapping[str, Any]) -> float:
    """Accuracy, or the squared error where there is none."""
    return float(score["accuracy"] if "accuracy" in score else score["mse"])


def equal_time(rows: Sequence[Row], epochs: int) -> str | None:
    """How netdistiller and vanilla, of equal epochs, would be compared at equal time; None where there is no need."""
    by_name = {row.variant: row for row in rows}
    alone, joint = by_name.get("vanilla"), by_name.get("netdistiller")
    if alone is None or joint is None or joint.seconds < 1.5 * alone.seconds:
        return None
    ratio = joint.seconds / alone.seconds
    took = f"netdistiller took {ratio:.1f} times as long as vanilla, if it was on a like machine"
    return f"{took}: --vary vanilla.epochs={round(ratio * epochs)} compares them at equal time"


HEADINGS = ("method", "seeds", "test", "±", "difference", "± (standard error)", "teacher", "validation", "minutes")


def cells(row: Row, *, accuracy: bool) -> tuple[str, ...]:
    """A row as text: accuracies in percent and points, or squared errors."""
    factor, digits = (100.0, 2) if accuracy else (1.0, 5)

    def text(value: float | None, sign: str = "") -> str:
        return "" if value is None else f"{factor * value:{sign}.{digits}f}"

    return (
        row.variant,
        str(row.seeds),
        text(row.score),
        text(row.spread),
        text(row.difference, "+"),
        text(row.difference_error),
        text(row.teacher),
        text(row.validation),
        f"{row.seconds / 60:.1f}",
    )


def markdown(rows: Sequence[Row], *, accuracy: bool) -> str:
    """The table in Markdown."""
    lines = [f"| {' | '.join(HEADINGS)} |", f"|{' --- |' * len(HEADINGS)}"]
    lines += [f"| {' | '.join(cells(row, accuracy=accuracy))} |" for row in rows]
    return "\n".join(lines) + "\n"
