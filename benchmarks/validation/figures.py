"""Figures of the validation, in SVG: predicted against silicon, and the error of each program of a core."""

import math
from collections.abc import Iterator, Sequence
from html import escape

from ndtool.benchmarks.validation.compare import Comparison
from ndtool.benchmarks.validation.points import Point

_COLOURS = {  # Okabe and Ito's, told apart by colour-blind readers as well
    "cortex-m7": "#0072b2",
    "cortex-m4": "#d55e00",
    "cortex-m33": "#009e73",
    "cortex-m3": "#e69f00",
    "cortex-m0plus": "#cc79a7",
}
_OTHER, _INK, _GRID = "#555555", "#333333", "#dddddd"
_BAND = 0.1  # the part of the plane that is shaded: errors up to this
_SCATTER, _MARGIN = 520, 64  # pixels
_LABELS, _PLOT, _ROW, _HEAD = 230, 430, 15, 40
_KINDS = ("fitted", "exact", "float", "built again")


def kind_of(point: Point) -> str:
    """What a program is to the model."""
    if point.fit:
        return "fitted"
    return "float" if point.is_float else "exact" if point.exact else "built again"


def scatter(found: Sequence[Comparison]) -> str:
    """Predicted cycles over those of silicon, both logarithmic; the band holds errors of 10 %."""
    values = [value for one in found for value in (one.measured, one.predicted)]
    round_ones = [digit * 10.0**power for power in range(13) for digit in (1, 2, 5)]
    least, most = max(c for c in round_ones if c <= min(values)), min(c for c in round_ones if c > max(values))

    def place(cycles: float) -> float:
        return math.log(cycles / least) / math.log(most / least) * _SCATTER

    def x(cycles: float) -> float:
        return _MARGIN + place(cycles)

    def y(cycles: float) -> float:
        return _MARGIN / 2 + _SCATTER - place(cycles)

    parts = []
    for at in (cycles for cycles in round_ones if least <= cycles <= most):
        parts += [_line(x(at), y(least), x(at), y(most), _GRID), _line(x(least), y(at), x(most), y(at), _GRID)]
        parts.append(_text(x(at), y(least) + 16, _cycles(at), "middle"))
        parts.append(_text(x(least) - 8, y(at) + 4, _cycles(at), "end"))
    inner, outer = least * (1 + _BAND), most / (1 + _BAND)
    corners = ((least, least), (least, inner), (outer, most), (most, most), (most, outer), (inner, least))
    shape = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in corners)
    parts.append(f'<polygon points="{shape}" fill="#eeeeee"/>')
    parts.append(_line(x(least), y(least), x(most), y(most), "#999999"))
    parts += [_mark(x(one.measured), y(one.predicted), one.core, kind_of(one.point), _title(one)) for one in found]
    parts.append(_text(x(least) + _SCATTER / 2, y(least) + 36, "cycles on silicon", "middle"))
    middle = y(least) - _SCATTER / 2
    turned = f'transform="rotate(-90 14 {middle:.0f})"'
    parts.append(f'<text x="14" y="{middle:.0f}" text-anchor="middle" {turned}>cycles predicted</text>')
    cores = sorted({one.core for one in found})
    parts += _legend(x(least) + 16, y(most) + 20, [(core, core, "exact") for core in cores])
    kinds = [kind for kind in _KINDS if any(kind_of(one.point) == kind for one in found)]
    parts += _legend(x(least) + 130, y(most) + 20, [(kind, "", kind) for kind in kinds])
    return _svg(_SCATTER + _MARGIN + 24, _SCATTER + _MARGIN + 24, parts)


def errors(found: Sequence[Comparison], core: str) -> str:
    """The error of each program of a core, one row a program, board by board."""
    mine = sorted((one for one in found if one.core == core), key=lambda one: one.point.target)
    limit = max(0.05, math.ceil(20 * max(abs(one.error) for one in mine)) / 20)
    zero, scale = _LABELS + _PLOT / 2, (_PLOT / 2 - 10) / limit
    steps = round(limit / 0.05)
    each = math.ceil(steps / 4)  # of the lines is labelled
    height = _HEAD + _ROW * len(mine) + 10
    parts = []
    for step in range(-steps, steps + 1):
        x = zero + scale * step * 0.05
        parts.append(_line(x, _HEAD - 6, x, height - 6, "#999999" if step == 0 else _GRID))
        if step % each == 0:
            parts.append(_text(x, _HEAD - 10, f"{5 * step:+d} %" if step else "0", "middle"))
    kinds = [kind for kind in _KINDS if any(kind_of(one.point) == kind for one in mine)]
    for index, kind in enumerate(kinds):
        parts += _legend(12 + 110 * index, 14, [(kind, core, kind)])
    for row, one in enumerate(mine):
        y = _HEAD + _ROW * (row + 0.5)
        if row and one.point.target != mine[row - 1].point.target:
            parts.append(_line(8, y - _ROW / 2, _LABELS + _PLOT, y - _ROW / 2, _GRID))
        x = zero + scale * one.error
        parts.append(_text(8, y + 4, one.point.name))
        parts.append(_line(zero, y, x, y, _COLOURS.get(core, _OTHER)))
        parts.append(_mark(x, y, core, kind_of(one.point), _title(one)))
    return _svg(_LABELS + _PLOT + 10, height, parts)


def _cycles(value: float) -> str:
    for unit, name in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= unit:
            return f"{value / unit:g}{name}"
    return f"{value:g}"


def _title(one: Comparison) -> str:
    return f"{one.point.name}: {100 * one.error:+.1f} %"


def _legend(x: float, y: float, rows: Sequence[tuple[str, str, str]]) -> Iterator[str]:
    """Text, core and kind of each row."""
    for index, (text, core, kind) in enumerate(rows):
        yield _mark(x, y + 17 * index - 4, core, kind)
        yield _text(x + 10, y + 17 * index, text)


def _mark(x: float, y: float, core: str, kind: str, title: str = "") -> str:
    """A dot; hollow where constants were chosen from the program, a square if built again, a diamond for float."""
    colour = _COLOURS.get(core, _OTHER)
    fill = f'fill="{"white" if kind == "fitted" else colour}" stroke="{colour}" stroke-width="1.2"'
    tip = f"<title>{escape(title)}</title>" if title else ""
    if kind in ("fitted", "exact"):
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.6" {fill}>{tip}</circle>'
    turn = f' transform="rotate(45 {x:.1f} {y:.1f})"' if kind == "float" else ""
    return f'<rect x="{x - 3.2:.1f}" y="{y - 3.2:.1f}" width="6.4" height="6.4" {fill}{turn}>{tip}</rect>'


def _line(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"/>'


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(width: float, height: float, parts: Sequence[str]) -> str:
    size = f'width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}"'
    font = f'font-family="sans-serif" font-size="11" fill="{_INK}"'
    back = f'<rect width="{width:.0f}" height="{height:.0f}" fill="white"/>'
    return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" {size} {font}>', back, *parts, "</svg>", ""])
