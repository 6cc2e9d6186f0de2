"""Tables of a measurement: what they are, and their cells."""

from collections.abc import Iterable
from dataclasses import dataclass

from ndtool.benchmarks.results import Cost, LayerResult
from ndtool.console import table, whole


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One table; the first `left` columns are text, the others numbers."""

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    left: int = 1


def show(sections: Iterable[Section]) -> None:
    """Print tables on stdout."""
    for section in sections:
        table(section.title, section.headings, section.rows, left=section.left)


def cost_cells(cost: Cost, total: Cost) -> tuple[str, str, str]:
    """Instructions, their share of the total, cycles."""
    return whole(cost.instructions), share(cost.instructions, total.instructions), whole(cost.cycles)


def share(part: float | None, whole: float | None) -> str:
    """In percent."""
    return "-" if part is None or not whole else f"{100 * part / whole:.1f} %"


def ratio(above: float | None, below: float | None) -> str:
    """With two decimals; empty where a part is unknown."""
    return "" if above is None or not below else f"{above / below:.2f}"


def reasons(cost: Cost) -> list[tuple[str, float]]:
    """Where cycles went, most first; nothing below a thousandth."""
    spent = sorted(cost.parts.items(), key=lambda item: -item[1])
    return [(reason, cycles) for reason, cycles in spent if cycles >= 1e-3 * (cost.cycles or 0.0)]


def layer_label(layer: LayerResult, model: str) -> str:
    """The number of a layer; of the functions at float ends, what they do."""
    label = layer.symbol.removeprefix(f"{model}_").removeprefix("layer_")
    return label.replace("_input", "").replace("_output", "") if layer.is_end else label
