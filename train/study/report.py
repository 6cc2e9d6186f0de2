"""The files that a study leaves beside its results: study.json, study.md and the figures."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ndtool.files import write_atomic
from ndtool.train.study.plan import Job
from ndtool.train.study.plots import draw
from ndtool.train.study.table import Found, Row, equal_time, markdown, rows_of
from ndtool.train.study.work import Study, without_folders


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What is finished of a study.

    `against`: the variant that differences are to. `settings`: those that all trainings have in common. `student`:
    its classes, MACs and parameters, and the versions that made it; empty before the first is finished. `missing`:
    names of the jobs that are not.
    """

    against: str
    settings: Mapping[str, Any]
    student: Mapping[str, Any]
    task: str | None
    rows: Sequence[Row]
    missing: Sequence[str]

    @property
    def of_accuracies(self) -> bool:
        """Whether the scores are accuracies, not errors."""
        return self.task != "reconstruction"

    @property
    def hint(self) -> str | None:
        """What to ask next, in words: that equal time is another question, where all trainings have equal epochs."""
        return equal_time(self.rows, self.settings["epochs"]) if "epochs" in self.settings else None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        rows = [asdict(row) for row in self.rows]
        return {
            "settings": self.settings,
            **self.student,
            "task": self.task,
            "against": self.against,
            "rows": rows,
            "missing": list(self.missing),
        }


def write(study: Study, jobs: Sequence[Job], *, against: str) -> Summary:
    """Write study.json, study.md and the figures; returns what is in them. Differences are to the variant `against`."""
    found = study.results(jobs)
    summary = summarise(found, jobs, against)
    write_atomic(study.path / "study.json", json.dumps(summary.to_dict(), indent=2) + "\n")
    if found:
        figures = draw(found, study.path)
        write_atomic(study.path / "study.md", _page(summary, [path.name for path in figures]))
    return summary


def summarise(found: Found, jobs: Sequence[Job], against: str) -> Summary:
    """What was found of the jobs so far; differences are to the variant `against`."""
    students = [without_folders(job.config).to_dict() for job in jobs if not job.is_teacher]
    common = {name: value for name, value in students[0].items() if all(each.get(name) == value for each in students)}
    first = next((result for job, result in found if not job.is_teacher), {})
    return Summary(
        against=against,
        settings=common,
        student={name: first[name] for name in ("classes", "macs", "parameters", "versions") if name in first},
        task=students[0].get("task"),
        rows=rows_of(found, against),
        missing=sorted({job.name for job in jobs} - {job.name for job, _ in found}),
    )


def _page(summary: Summary, figures: Sequence[str]) -> str:
    settings, student = summary.settings, summary.student
    epochs = f", {settings['epochs']} epochs" if "epochs" in settings else ""
    about = f"{student['parameters']} parameters, {student['macs']} MACs{epochs}"
    about += f"; test part, means over seeds, differences to {summary.against}."
    lines = [f"# {settings['model']['name']} on {settings['data']}", "", about, ""]
    lines.append(markdown(summary.rows, accuracy=summary.of_accuracies))
    if summary.hint:
        lines += [f"{summary.hint}.", ""]
    if summary.missing:
        lines += [f"Not finished: {', '.join(summary.missing)}.", ""]
    lines += [f"![{name}]({name})" for name in figures]
    return "\n".join(lines) + "\n"
