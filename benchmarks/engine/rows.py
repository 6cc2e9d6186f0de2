"""What the suite of the C engine measures and compares with: rows, bars, and a committed baseline."""

import json
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ndtool.benchmarks.bench import bench
from ndtool.benchmarks.inputs import RandomInputs
from ndtool.benchmarks.results import LayerResult, Measurement
from ndtool.benchmarks.subject import open_subject
from ndtool.benchmarks.targets import Target
from ndtool.errors import NdtoolError
from ndtool.export.c.graph import Graph, Op
from ndtool.export.c.reader import read_graph
from ndtool.files import write_atomic

LATENCY = "latency"  # what is compiled for where nothing is said
QUANTITIES = ("instructions", "arena", "code")  # that bars limit and the baseline holds
FORMAT = 1
FUSED = 4  # operators that one layer may stand for


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerKind:
    """The layers of a model that are alike. `outputs` counts the values that they write."""

    label: str  # "CONV_2D 3x3 /2"
    layers: int
    macs: int
    outputs: int
    instructions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One model, compiled for one objective, on one target."""

    model: str
    optimize: str
    measured: Measurement
    kinds: tuple[LayerKind, ...]

    @property
    def name(self) -> str:
        """What the baseline calls it."""
        suffix = "" if self.optimize == LATENCY else f"/{self.optimize}"
        return f"{self.model}@{self.measured.target.name}{suffix}"

    @property
    def values(self) -> Mapping[str, int]:
        """By the names of QUANTITIES."""
        m = self.measured
        return {"instructions": m.cost.instructions or 0, "arena": m.sram.arena, "code": m.flash.code}


def measure_row(path: Path, target: Target, optimize: str = LATENCY) -> Row:
    """Compile a model, run it twice on random inputs and compare every output byte with LiteRT's reference kernels.

    Raises:
        NdtoolError: it cannot be compiled or measured.
    """
    subject = open_subject(str(path))
    how: dict[str, Any] = {} if optimize == LATENCY else {"optimize": optimize}
    measured = bench(subject, target, inputs=RandomInputs(), **how)
    graph = read_graph(path.read_bytes(), path.name)
    return Row(model=path.stem, optimize=optimize, measured=measured, kinds=layer_kinds(measured.layers, graph))


def layer_kinds(layers: Iterable[LayerResult], graph: Graph) -> tuple[LayerKind, ...]:
    """Layers grouped by operator, filter and stride, the dearest first."""
    makers = {tensor.name: op for op in graph.ops for tensor in op.outputs}
    groups: dict[str, list[LayerResult]] = {}
    for layer in layers:
        groups.setdefault(_label(layer, _op_of(layer, makers)), []).append(layer)
    kinds = [
        LayerKind(
            label=label,
            layers=len(members),
            macs=sum(layer.macs for layer in members),
            outputs=sum(_size(layer.output_shape) for layer in members),
            instructions=sum(layer.cost.instructions or 0 for layer in members),
        )
        for label, members in groups.items()
    ]
    return tuple(sorted(kinds, key=lambda kind: -kind.instructions))


def _op_of(layer: LayerResult, makers: Mapping[str, Op]) -> Op | None:
    """The model's operator behind a layer: that which makes its tensor, or one before it that was fused with it."""
    waiting = [layer.name]
    for _ in range(FUSED):
        ops = [makers[name] for name in waiting if name in makers]
        if found := next((op for op in ops if op.kind == layer.kind), None):
            return found
        waiting = [tensor.name for op in ops for tensor in op.inputs if tensor is not None]
    return None


def _label(layer: LayerResult, op: Op | None) -> str:
    """An operator with its filter and stride, as far as it has them and the model's own operator is known."""
    if op is None:
        return layer.kind
    weights = op.inputs[1] if layer.kind in ("CONV_2D", "DEPTHWISE_CONV_2D") else None
    size = weights.shape[1:3] if weights is not None else _sizes(op, "filter_height", "filter_width")
    strides = _sizes(op, "stride_h", "stride_w")
    filters = f" {'x'.join(map(str, size))}" if size else ""
    return f"{layer.kind}{filters}" + (f" /{'x'.join(map(str, sorted(set(strides))))}" if strides else "")


def _sizes(op: Op, *names: str) -> tuple[int, ...]:
    return tuple(op.options[name] for name in names if name in op.options)


def _size(shape: Sequence[int]) -> int:
    size = 1
    for length in shape:
        size *= length
    return size


# Bars


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One quantity of a row against its bar."""

    row: Row
    quantity: str
    measured: float
    limit: float

    @property
    def ok(self) -> bool:
        """Whether the bar is met."""
        return self.measured <= self.limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Bars:
    """The limits of a TOML file, by model and objective; they hold on one target."""

    target: str
    limits: Mapping[tuple[str, str], Mapping[str, float]]


def read_bars(path: Path) -> Bars:
    """Read the limits. Raises NdtoolError where the file is not such a table."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        limits = {}
        for bar in content.get("bar", []):
            key = (bar.pop("model"), bar.pop("optimize", LATENCY))
            if wrong := [name for name in bar if name not in (*QUANTITIES, "times_latency")]:
                raise NdtoolError(f"{path}: {wrong[0]!r} cannot be limited: use {', '.join(QUANTITIES)}, times_latency")
            limits[key] = {name: float(value) for name, value in bar.items()}
        return Bars(target=content.get("target", ""), limits=limits)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, KeyError, TypeError, ValueError, AttributeError) as e:
        raise NdtoolError(f"{path}: no readable table of bars: {e}") from e


def judge(rows: Sequence[Row], bars: Bars) -> tuple[Finding, ...]:
    """Every bar that there is a measurement for. One in times of latency needs the latency row of its model too."""
    there = {row.name: row for row in rows}
    found = []
    for row in rows:
        if row.measured.target.name != bars.target:
            continue
        limits = dict(bars.limits.get((row.model, row.optimize), {}))
        times, base = limits.pop("times_latency", None), there.get(f"{row.model}@{bars.target}")
        if times is not None and base is not None:
            limits["instructions"] = min(limits.get("instructions", float("inf")), times * base.values["instructions"])
        found += [
            Finding(row=row, quantity=name, measured=row.values[name], limit=limit) for name, limit in limits.items()
        ]
    return tuple(found)


# The baseline

Baseline = Mapping[str, Mapping[str, int]]  # row's name -> quantity -> value


def read_baseline(path: Path) -> Baseline:
    """The values of an earlier run; none where there is no file. Raises NdtoolError where it is no such file."""
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] == FORMAT:
            return {name: {key: int(row[key]) for key in QUANTITIES} for name, row in content["rows"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    raise NdtoolError(f"{path}: not a baseline of the engine: delete it and write one with --update")


def write_baseline(path: Path, rows: Sequence[Row]) -> None:
    """Put rows into the baseline; those of other models and targets stay as they are."""
    merged = {**read_baseline(path), **{row.name: row.values for row in rows}}
    ordered = {name: dict(merged[name]) for name in sorted(merged)}
    write_atomic(path, json.dumps({"format": FORMAT, "rows": ordered}, indent=2) + "\n")
