"""The files that a study leaves beside its results: study.json, study.md and the figures."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from ndtool.files import write_atomic
from ndtool.train.study.plan import Job
from ndtool.train.study.plots import draw
from ndtool.train.study.table import Row, markdown, rows_of
from ndtool.train.study.work import Study


def summarise(study: Study, jobs: Sequence[Job]) -> dict[str, Any]:
    """What is finished, as plain values: settings that all have in common, rows (see Row), runs still missing."""
    found = study.results(jobs)
    students = [job.config.to_dict() for job in jobs if not job.is_teacher]
    common = {name: value for name, value in students[0].items() if all(each.get(name) == value for each in students)}
    first = next((result for job, result in found if not job.is_teacher), {})
    return {
        "settings": common,
        **{name: first[name] for name in ("classes", "macs", "parameters", "versions") if name in first},
        "task": students[0].get("task"),
        "rows": [asdict(row) for row in rows_of(found)],
        "missing": sorted({job.name for job in jobs} - {job.name for job, _ in found}),
    }


def write(study: Study, jobs: Sequence[Job]) -> dict[str, Any]:
    """Write study.json, study.md and the figures; returns the content of study.json."""
    found, summary = study.results(jobs), summarise(study, jobs)
    write_atomic(study.path / "study.json", json.dumps(summary, indent=2) + "\n")
    if found:
        figures = draw(found, study.path)
        write_atomic(study.path / "study.md", _page(summary, [path.name for path in figures]))
    return summary


def is_accuracy(summary: dict[str, Any]) -> bool:
    """Whether the scores are accuracies, not errors."""
    return summary["task"] != "reconstruction"


def _page(summary: dict[str, Any], figures: Sequence[str]) -> str:
    settings = summary["settings"]
    model, data = settings["model"]["name"], settings["data"]
    about = f"{summary['parameters']} parameters, {summary['macs']} MACs, {settings.get('epochs', '?')} epochs"
    lines = [f"# {model} on {data}", "", f"{about}; test part, means over seeds.", ""]
    lines.append(markdown([Row(**row) for row in summary["rows"]], accuracy=is_accuracy(summary)))
    if summary["missing"]:
        lines += [f"Not finished: {', '.join(summary['missing'])}.", ""]
    lines += [f"![{name}]({name})" for name in figures]
    return "\n".join(lines) + "\n"
