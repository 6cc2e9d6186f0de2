"""Has the model grown? Measured values against a committed baseline and against budgets."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ndtool.errors import NdtoolError
from ndtool.files import write_atomic

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One quantity that is guarded. `tolerance` is a fraction of the baseline, or absolute where `absolute` is set."""

    key: str
    label: str
    unit: str  # "B", "", "ms", "%"
    tolerance: float
    higher_is_better: bool = False
    absolute: bool = False


METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        metric.key: metric
        for metric in (
            Metric(key="size", label="model file", unit="B", tolerance=0.01),
            Metric(key="flash", label="flash", unit="B", tolerance=0.01),
            Metric(key="sram", label="SRAM", unit="B", tolerance=0.01),
            Metric(key="instructions", label="instructions", unit="", tolerance=0.01),
            Metric(key="latency", label="latency", unit="ms", tolerance=0.02),
            Metric(
                key="accuracy", label="int8 accuracy", unit="%", tolerance=1.0, higher_is_better=True, absolute=True
            ),
            Metric(key="error", label="int8 squared error", unit="", tolerance=0.05),
        )
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One quantity compared with one limit."""

    metric: Metric
    source: str  # "baseline" or the name of the budget
    reference: float | None  # the baseline's value; None for a budget, or where the baseline has none
    measured: float
    limit: float | None  # the worst value that passes

    @property
    def ok(self) -> bool:
        """Whether the measured value keeps within the limit."""
        if self.limit is None:
            return True
        return self.measured >= self.limit if self.metric.higher_is_better else self.measured <= self.limit

    @property
    def excess(self) -> float:
        """By how much the limit is missed, in the metric's unit; 0 where it is kept."""
        return 0.0 if self.ok or self.limit is None else abs(self.measured - self.limit)

    @property
    def change(self) -> float | None:
        """Relative to the baseline; in points where the metric's tolerance is absolute."""
        if self.reference is None:
            return None
        if self.metric.absolute:
            return self.measured - self.reference
        return (self.measured - self.reference) / self.reference if self.reference else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Every comparison of one check. `entry` names the model and target in the baseline file."""

    entry: str
    findings: tuple[Finding, ...]
    baseline: Path | None = None
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether every limit is kept."""
        return all(finding.ok for finding in self.findings)

    @property
    def failures(self) -> tuple[Finding, ...]:
        """The limits that are missed."""
        return tuple(finding for finding in self.findings if not finding.ok)


def against_baseline(
    measured: Mapping[str, float], baseline: Mapping[str, float], tolerances: Mapping[str, float]
) -> tuple[Finding, ...]:
    """Compare measured values with the baseline's; a quantity the baseline has and this run lacks is an error.

    Raises:
        NdtoolError: a baseline quantity was not measured.
    """
    if missing := [METRICS[key].label for key in baseline if key not in measured]:
        raise NdtoolError(
            f"the baseline has {', '.join(missing)}, not measured here: give --data, or write it anew with --update"
        )
    findings = []
    for key, value in measured.items():
        metric, reference = METRICS[key], baseline.get(key)
        slack = tolerances.get(key, metric.tolerance)
        limit = None if reference is None else _limit(metric, reference, slack)
        findings.append(Finding(metric=metric, source="baseline", reference=reference, measured=value, limit=limit))
    return tuple(findings)


def updated(measured: Mapping[str, float], baseline: Mapping[str, float]) -> tuple[Finding, ...]:
    """Measured values beside those of a baseline that they replace: nothing is limited."""
    return tuple(
        Finding(metric=METRICS[key], source="baseline", reference=baseline.get(key), measured=value, limit=None)
        for key, value in measured.items()
    )


def _limit(metric: Metric, reference: float, slack: float) -> float:
    room = slack if metric.absolute else abs(reference) * slack
    return reference - room if metric.higher_is_better else reference + room


def against_budget(
    measured: Mapping[str, float], budget: Mapping[str, float], source: str = "budget"
) -> tuple[Finding, ...]:
    """Compare measured values with absolute limits.

    Raises:
        NdtoolError: a budget names a quantity that was not measured.
    """
    if missing := [key for key in budget if key not in measured]:
        raise NdtoolError(f"the budget limits {', '.join(missing)}, not measured here: give --data, or leave it out")
    return tuple(
        Finding(metric=METRICS[key], source=source, reference=None, measured=measured[key], limit=limit)
        for key, limit in budget.items()
    )


_BYTES = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}
_COUNTS = {"": 1, "k": 1e3, "m": 1e6, "g": 1e9}
_TIMES = {"": 1.0, "ms": 1.0, "us": 1e-3, "s": 1e3}
_NUMBER = re.compile(r"(?P<number>\d+(\.\d+)?)\s*(?P<suffix>[A-Za-zµ%]*)")


def parse_amount(key: str, text: str) -> float:
    """Read one limit with its unit: 256k (x 1024 bytes), 20M instructions, 50ms, 90% of accuracy.

    Raises:
        NdtoolError: not a number with a unit that fits the quantity.
    """
    match = _NUMBER.fullmatch(text.strip())
    if key not in METRICS:
        raise NdtoolError(f"{key!r} is no quantity to limit: choose from {', '.join(METRICS)}")
    unit = METRICS[key].unit
    if match:
        number, suffix = float(match["number"]), match["suffix"].lower().replace("µ", "u")
        if unit == "B" and (short := re.sub(r"(i?b)$", "", suffix)) in _BYTES:
            return number * _BYTES[short]
        if unit == "ms" and suffix in _TIMES:
            return number * _TIMES[suffix]
        if unit == "%" and suffix in ("", "%"):
            return number * 100 if suffix == "" and number <= 1 else number
        if unit == "" and suffix in _COUNTS:
            return number * _COUNTS[suffix]
    example = {"B": "256k", "ms": "50ms", "%": "90%", "": "20M"}[unit]
    raise NdtoolError(f"{text!r} is no amount of {key}: write it like {example}")


def parse_limits(text: str) -> dict[str, float]:
    """Read `flash=256k,sram=64k,latency=50ms`.

    Raises:
        NdtoolError: an item is not `quantity=amount`.
    """
    limits = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        key, equals, amount = item.partition("=")
        if not equals:
            raise NdtoolError(f"{item!r} is no budget: write quantity=amount, e.g. flash=256k, or the name of a board")
        limits[key.strip()] = parse_amount(key.strip(), amount)
    return limits


def parse_tolerances(text: str) -> dict[str, float]:
    """Read `instructions=2%,accuracy=0.5`: percent of the baseline, or points of accuracy.

    Raises:
        NdtoolError: an item is not `quantity=percent`.
    """
    tolerances = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        key, _, amount = item.partition("=")
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*%?", amount.strip())
        if key.strip() not in METRICS or not match:
            raise NdtoolError(f"{item!r} is no tolerance: write quantity=percent, e.g. instructions=2%")
        metric = METRICS[key.strip()]
        tolerances[metric.key] = float(match[1]) if metric.absolute else float(match[1]) / 100
    return tolerances


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """One entry of a baseline file: the values of one model on one target, and what may change."""

    values: Mapping[str, float]
    tolerances: Mapping[str, float]


def read_baseline(path: Path, entry: str) -> Baseline | None:
    """The entry of a baseline file, or None where the file has none of that name.

    Raises:
        NdtoolError: the file is missing or is no baseline file.
    """
    stored = _read_file(path)["models"].get(entry)
    if stored is None:
        return None
    try:
        values = {key: float(stored["values"][key]) for key in METRICS if key in stored["values"]}
        tolerances = {key: float(stored["tolerances"][key]) for key in METRICS if key in stored.get("tolerances", {})}
    except (TypeError, KeyError, ValueError) as error:
        raise NdtoolError(
            f"{path}: the entry {entry!r} is damaged ({error}): delete it and write it with --update"
        ) from error
    return Baseline(values=values, tolerances=tolerances)


def entries(path: Path) -> tuple[str, ...]:
    """The names in a baseline file."""
    return tuple(_read_file(path)["models"])


def write_baseline(path: Path, entry: str, baseline: Baseline) -> None:
    """Put one entry into a baseline file, made if need be; the others stay as they are."""
    content: dict[str, Any] = _read_file(path) if path.exists() else {"format": FORMAT, "models": {}}
    content["models"][entry] = {
        "values": {key: _plain(value) for key, value in baseline.values.items()},
        "tolerances": dict(baseline.tolerances),
    }
    content["models"] = dict(sorted(content["models"].items()))
    write_atomic(path, json.dumps(content, indent=2) + "\n")


def _plain(value: float) -> float | int:
    return int(value) if float(value).is_integer() else value


def _read_file(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise NdtoolError(f"{path}: no such baseline file: write one with --update")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        models = content["models"]
        known = content["format"] == FORMAT and isinstance(models, dict)
    except (ValueError, KeyError, TypeError):
        known = False
    if not known:
        raise NdtoolError(f"{path}: not a baseline file of this version: delete it and write one with --update")
    return content
