"""The validation as part of a page: figures in SVG, tables in Markdown."""

from collections.abc import Sequence
from pathlib import Path

from ndtool.benchmarks.validation.compare import Comparison, summary
from ndtool.benchmarks.validation.figures import errors, kind_of, scatter
from ndtool.console import whole
from ndtool.errors import NdtoolError
from ndtool.files import write_atomic

_START, _END = "<!-- made by ndtool.benchmarks.validation -->", "<!-- end of what is made -->"


def write_page(found: Sequence[Comparison], page: Path) -> None:
    """Put figures and tables between the page's marks; the figures are files beside it.

    Raises:
        NdtoolError: the page has no marks.
    """
    before, _, rest = page.read_text(encoding="utf-8").partition(_START)
    _, mark, after = rest.partition(_END)
    if not mark:
        raise NdtoolError(f"{page}: no line {_START!r} with a line {_END!r} behind it")
    cores = sorted({one.core for one in found})
    figures = {f"{page.stem}-scatter.svg": ("predicted against silicon, all programs", scatter(found))}
    figures |= {f"{page.stem}-{core}.svg": (f"{core}: error of each program", errors(found, core)) for core in cores}
    for name, (_, figure) in figures.items():
        write_atomic(page.with_name(name), figure)
    links = "\n\n".join(f"![{title}]({name})" for name, (title, _) in figures.items())
    write_atomic(page, f"{before}{_START}\n\n{links}\n\n{_tables(found)}\n{_END}{after}")


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
        kind = "" if kind_of(one.point) == "exact" else kind_of(one.point)
        alone = one.alone / one.measured - 1
        lines.append(
            f"| {one.point.name} | {whole(one.instructions)} | {whole(one.predicted)} | {whole(one.measured)} "
            f"| {100 * one.error:+.1f} % | {100 * alone:+.1f} % | {kind} |"
        )
    return "\n".join(lines) + "\n"
