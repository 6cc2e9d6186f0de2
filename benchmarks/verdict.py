"""A check's verdict, told in several forms: rows of a table, Markdown for a pull request, JSON."""

from typing import Any

from ndtool.benchmarks.regression import METRICS, Finding, Metric, Verdict

HEADINGS = ("quantity", "limit set by", "old", "new", "change", "limit", "")


def amount(metric: Metric, value: float | None) -> str:
    """A value with its unit: 12 345 B, 1.234 ms, 97.1 %."""
    if value is None:
        return "-"
    digits = {"B": 0, "ms": 3, "%": 2, "": 0 if metric.key == "instructions" else 6}[metric.unit]
    return f"{value:,.{digits}f}".replace(",", " ") + (f" {metric.unit}" if metric.unit else "")


def change(finding: Finding) -> str:
    """The change against the baseline, signed."""
    if finding.change is None:
        return "-"
    return f"{finding.change:+.2f} points" if finding.metric.absolute else f"{100 * finding.change:+.2f} %"


def rows(verdict: Verdict) -> list[tuple[str, ...]]:
    """One row of text per comparison, in the order of `HEADINGS`."""
    return [
        (
            finding.metric.label,
            finding.source,
            amount(finding.metric, finding.reference),
            amount(finding.metric, finding.measured),
            change(finding),
            amount(finding.metric, finding.limit),
            _word(finding),
        )
        for finding in verdict.findings
    ]


def _word(finding: Finding) -> str:
    if finding.limit is None:
        return "new" if finding.reference is None else "updated"
    if finding.ok:
        return "ok"
    direction = "short by" if finding.metric.higher_is_better else "exceeded by"
    return f"{direction} {amount(finding.metric, finding.excess)}"


def conclusion(verdict: Verdict) -> str:
    """One line: passed, or what failed and the file to edit where the change is meant."""
    if verdict.ok:
        return f"{verdict.entry}: check passed"
    failed = ", ".join(dict.fromkeys(finding.metric.label for finding in verdict.failures))
    line = f"{verdict.entry}: check failed: {failed}"
    if verdict.baseline and any(finding.source == "baseline" for finding in verdict.failures):
        line += f" (if the change is meant: ndtool check … --baseline {verdict.baseline} --update)"
    return line


def markdown(verdict: Verdict) -> str:
    """A section for a CI summary or a pull-request comment."""
    lines = [
        f"### ndtool check: {verdict.entry}",
        "",
        "| " + " | ".join(HEADINGS) + " |",
        "|" + " --- |" * len(HEADINGS),
        *("| " + " | ".join(row) + " |" for row in rows(verdict)),
        "",
        f"**{conclusion(verdict)}**",
        *(f"\n{note}" for note in verdict.notes),
    ]
    return "\n".join(lines) + "\n"


def as_json(verdict: Verdict) -> dict[str, Any]:
    """Plain data: entry, ok, and per finding key, source, old, new, limit, ok."""
    return {
        "entry": verdict.entry,
        "ok": verdict.ok,
        "findings": [
            {
                "key": finding.metric.key,
                "unit": METRICS[finding.metric.key].unit,
                "source": finding.source,
                "old": finding.reference,
                "new": finding.measured,
                "limit": finding.limit,
                "ok": finding.ok,
            }
            for finding in verdict.findings
        ],
        "notes": list(verdict.notes),
    }
