"""The suite of the C engine told as tables, Markdown and JSON."""

from collections.abc import Sequence
from typing import Any

from ndtool.benchmarks.engine.anchors import Anchor, Anchors
from ndtool.benchmarks.engine.rows import LATENCY, QUANTITIES, Baseline, Finding, LayerKind, Row
from ndtool.benchmarks.report.tables import Section
from ndtool.console import whole

OWN = "ndtool"


def sections(
    rows: Sequence[Row], findings: Sequence[Finding], anchors: Anchors, baseline: Baseline
) -> tuple[Section, ...]:
    """Every table of the suite that has something to tell."""
    by_target: dict[str, list[Row]] = {}
    for row in rows:
        by_target.setdefault(row.measured.target.name, []).append(row)
    found = [_measured(target, some) for target, some in by_target.items()]
    found += [_bars(findings), _engines(rows, anchors), _silicon(rows, anchors)]
    found += [
        _kinds(target, [row for row in some if row.optimize == some[0].optimize])
        for target, some in list(by_target.items())[:1]
    ]
    found.append(_changes(rows, baseline))
    return tuple(section for section in found if section.rows)


def markdown(shown: Sequence[Section]) -> str:
    """Sections as Markdown."""
    return "\n".join(line for section in shown for line in _lines(section))


def _lines(section: Section) -> list[str]:
    left = [":--"] * section.left + ["--:"] * (len(section.headings) - section.left)
    table = [_line(section.headings), _line(left), *(_line(row) for row in section.rows)]
    return [f"### {section.title}", "", *table, ""]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def as_json(rows: Sequence[Row], findings: Sequence[Finding], anchors: Anchors, baseline: Baseline) -> dict[str, Any]:
    """Plain data: rows (values, layer kinds, versions), bars, the anchors of the same models."""
    models = {row.model for row in rows}
    return {
        "rows": [_row_json(row, baseline) for row in rows],
        "bars": [
            {"row": f.row.name, "quantity": f.quantity, "measured": f.measured, "limit": f.limit, "ok": f.ok}
            for f in findings
        ],
        "engines": [
            {"model": a.model, "engine": a.engine, "instructions": a.instructions, "sram": a.sram, "code": a.code}
            for a in anchors.engines
            if a.model in models
        ],
        "silicon": [
            {"model": r.model, "core": r.core, "board": r.board, "engine": r.engine, "cycles": round(r.cycles)}
            for r in anchors.silicon
            if r.model in models
        ],
    }


def _row_json(row: Row, baseline: Baseline) -> dict[str, Any]:
    m = row.measured
    return {
        "name": row.name,
        "model": row.model,
        "target": m.target.name,
        "optimize": row.optimize,
        "macs": m.macs,
        **row.values,
        "stack": m.sram.stack,
        "weights": m.flash.weights,
        "cycles": None if m.cost.cycles is None else round(m.cost.cycles),
        "bit_exact": m.bit_exact,
        "baseline": baseline.get(row.name),
        "kinds": [
            {"label": k.label, "layers": k.layers, "macs": k.macs, "outputs": k.outputs, "instructions": k.instructions}
            for k in row.kinds
        ],
        "compiler": m.compiler,
        "flags": list(m.flags),
        "versions": dict(m.versions),
    }


def versions(rows: Sequence[Row]) -> str:
    """What measured, in one line."""
    m = rows[0].measured
    tools = ", ".join(f"{name} {number}" for name, number in m.versions.items())
    shown = " ".join(flag for flag in m.flags if flag.startswith("-O"))
    return f"{tools}; compiled by {m.compiler} {shown}; inputs: {m.inputs}"


def _name(row: Row) -> str:
    """A row as its model, with the objective where it is not the default."""
    return row.model if row.optimize == LATENCY else f"{row.model}, {row.optimize}"


def _measured(target: str, rows: Sequence[Row]) -> Section:
    cells = []
    for row in rows:
        m = row.measured
        cells.append(
            (
                _name(row),
                whole(m.macs or 0),
                whole(row.values["instructions"]),
                _ratio(m.cost.instructions, m.macs),
                "-" if m.cost.cycles is None else whole(m.cost.cycles),
                whole(m.sram.arena),
                whole(m.sram.stack),
                whole(m.flash.code),
                whole(m.flash.weights),
                "yes" if m.bit_exact else "NO",
            )
        )
    headings = ("model", "MACs", "instructions", "per MAC", "cycles", "arena", "stack", "code", "weights", "bit-exact")
    title = f"Measured on {target}: instructions counted, cycles modelled, memory in bytes"
    return Section(title=title, headings=headings, rows=tuple(cells))


def _bars(findings: Sequence[Finding]) -> Section:
    rows = tuple(
        (_name(f.row), f.quantity, whole(f.measured), whole(f.limit), f"{f.measured / f.limit:.2f}", _verdict(f))
        for f in findings
    )
    return Section(title="Bars", headings=("model", "quantity", "measured", "at most", "ratio", ""), rows=rows, left=2)


def _verdict(finding: Finding) -> str:
    return "PASS" if finding.ok else "FAIL"


def _engines(rows: Sequence[Row], anchors: Anchors) -> Section:
    """Rows of the bare Cortex-M7, on which the anchors were counted, each over those of other engines."""
    cells: list[tuple[str, ...]] = []
    for row in rows:
        others = [anchor for anchor in anchors.engines if anchor.model == row.model]
        if row.measured.target.name != "cortex-m7" or not others:
            continue
        exact = "identical" if row.measured.bit_exact else "NOT identical"
        values = row.values
        cells.append((_name(row), OWN, *map(whole, values.values()), "1.00", exact))
        cells += [_other(row, anchor) for anchor in others if row.optimize == LATENCY]
    headings = ("model", "engine", "instructions", "SRAM, B", "code, B", "instructions, of ndtool's", "output")
    return Section(title="Beside other engines, Cortex-M7", headings=headings, rows=tuple(cells), left=2)


def _other(row: Row, anchor: Anchor) -> tuple[str, ...]:
    numbers = ("" if value is None else whole(value) for value in (anchor.instructions, anchor.sram, anchor.code))
    return "", anchor.engine, *numbers, _ratio(anchor.instructions, row.values["instructions"]), anchor.output


def _silicon(rows: Sequence[Row], anchors: Anchors) -> Section:
    """Modelled cycles on boards, with the error of the model, beside the best that was measured on the same core."""
    cells = []
    for row in rows:
        target, cycles = row.measured.target, row.measured.cost.cycles
        best = anchors.best(row.model, target.core.name)
        if best is not None and cycles is not None and row.optimize == LATENCY and target.is_board:
            where = f"{best.engine}: {best.board}"
            error = row.measured.timing.error if row.measured.timing else None
            told = whole(cycles) + (f" ± {100 * error:.1f} %" if error else "")
            cells.append((row.model, target.name, where, whole(best.cycles), told, _ratio(cycles, best.cycles)))
    headings = ("model", "board", "best measured", "cycles, measured", "cycles, modelled", "ratio")
    return Section(title="Beside silicon", headings=headings, rows=tuple(cells), left=3)


def _kinds(target: str, rows: Sequence[Row]) -> Section:
    """A column a model: instructions per MAC of each kind of layer, per output value where a kind has no MACs."""
    total: dict[str, int] = {}
    for row in rows:
        for kind in row.kinds:
            total[kind.label] = total.get(kind.label, 0) + kind.instructions
    by_row = [{kind.label: kind for kind in row.kinds} for row in rows]
    cells = tuple(
        (label, _unit(next(kinds[label] for kinds in by_row if label in kinds)), *(_cost(k.get(label)) for k in by_row))
        for label in sorted(total, key=lambda label: -total[label])
    )
    title = f"Instructions of each kind of layer (filter, stride), {target}, for {rows[0].optimize}"
    return Section(title=title, headings=("layer", "per", *map(_name, rows)), rows=cells, left=2)


def _unit(kind: LayerKind) -> str:
    return "MAC" if kind.macs else "output"


def _cost(kind: LayerKind | None) -> str:
    return "" if kind is None else _ratio(kind.instructions, kind.macs or kind.outputs)


def _changes(rows: Sequence[Row], baseline: Baseline) -> Section:
    cells = []
    for row in rows:
        if old := baseline.get(row.name):
            pairs = [(old[key], row.values[key]) for key in QUANTITIES]
            cells.append((row.name, *(f"{whole(new)} ({_change(before, new)})" for before, new in pairs)))
    return Section(title="Change against the baseline", headings=("row", *QUANTITIES), rows=tuple(cells))


def _change(old: int, new: int) -> str:
    return "=" if old == new else f"{100 * (new - old) / old:+.2f} %" if old else f"{new:+}"


def _ratio(above: float | None, below: float | None) -> str:
    return "" if above is None or not below else f"{above / below:.2f}"
