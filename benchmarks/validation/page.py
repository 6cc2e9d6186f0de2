"""The validation as part of a page: tables in Markdown, a figure in SVG."""

from collections.abc import Sequence
from pathlib import Path

from ndtool.benchmarks.validation.compare import Comparison, summary
from ndtool.errors import NdtoolError
from ndtool.files import write_atomic

_START, _END = "<!-- made by ndtool.benchmarks.validation -->", "<!-- end of what is made -->"
_WIDTH, _ROW, _LEFT, _RANGE = 760, 14, 220, 0.1  # pixels; the largest error that is drawn to scale
_COLOURS = {"cortex-m7": "#1f77b4", "cortex-m4": "#d62728", "cortex-m33": "#2ca02c", "cortex-m0plus": "#9467bd"}


def write_page(found: Sequence[Comparison], page: Path) -> None:
    """Put the tables between the page's marks and the figure beside it.

    Raises:
        NdtoolError: the page has no marks.
    """
    before, _, rest = page.read_text(encoding="utf-8").partition(_START)
    _, mark, after = rest.partition(_END)
    if not mark:
        raise NdtoolError(f"{page}: no line {_START!r} with a line {_END!r} behind it")
    write_atomic(page, f"{before}{_START}\n\n{_tables(found)}\n{_END}{after}")
    write_atomic(page.with_suffix(".svg"), _figure(found))


def _tables(found: Sequence[Comparison]) -> str:
    lines = ["| core | programs | number | median | worst | mean | worst program |"]
    lines.append("| --- | --- | --- | --- | --- | --- | --- |")
    lines += [
        f"| {core} | {title} | {count} | {100 * middle:.1f} % | {100 * most:.1f} % | {100 * mean:+.1f} % | {name} |"
        for core, title, count, middle, most, mean, name in summary(found)
    ]
    lines += ["", "| program | instructions | predicted | silicon | error | without memory | |"]
    lines.append("| --- | --- | --- | --- | --- | --- | --- |")
    for one in found:
        kind = (
            "fitted" if one.point.fit else "float" if one.point.is_float else "" if one.point.exact else "built again"
        )
        alone = one.alone / one.measured - 1
        lines.append(
            f"| {one.point.name} | {_whole(one.instructions)} | {_whole(one.predicted)} | {_whole(one.measured)} "
            f"| {100 * one.error:+.1f} % | {100 * alone:+.1f} % | {kind} |"
        )
    return "\n".join(lines) + "\n"


def _whole(value: float) -> str:
    return f"{value:,.0f}".replace(",", " ")


def _figure(found: Sequence[Comparison]) -> str:
    """Errors as dots, one row a program, cores one after the other; hollow where constants were chosen from it."""
    ordered = sorted(found, key=lambda one: one.core)
    height = _ROW * (len(ordered) + 2)
    middle, scale = _LEFT + (_WIDTH - _LEFT) / 2, (_WIDTH - _LEFT) / 2 / _RANGE
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" font-size="10">']
    parts.append(f'<rect width="{_WIDTH}" height="{height}" fill="white"/>')
    for percent in (-10, -5, 0, 5, 10):
        x = middle + scale * percent / 100
        parts.append(f'<line x1="{x:.0f}" y1="{_ROW}" x2="{x:.0f}" y2="{height}" stroke="#ccc"/>')
        parts.append(f'<text x="{x:.0f}" y="10" text-anchor="middle">{percent:+d} %</text>')
    for row, one in enumerate(ordered):
        y = _ROW * (row + 2)
        colour = _COLOURS[one.core]
        error = min(max(one.error, -_RANGE), _RANGE)
        fill = "white" if one.point.fit else colour
        beyond = f" ({100 * one.error:+.0f} %)" if error != one.error else ""
        parts.append(f'<text x="2" y="{y}" fill="{colour}">{one.point.name}{beyond}</text>')
        parts.append(f'<circle cx="{middle + scale * error:.1f}" cy="{y - 3}" r="3" fill="{fill}" stroke="{colour}"/>')
    return "\n".join([*parts, "</svg>", ""])
