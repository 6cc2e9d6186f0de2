"""The tables of a profile: where cycles go, why, and what else there was to choose from."""

from ndtool.benchmarks.report.tables import Section, cost_cells, layer_label, ratio, reasons, share
from ndtool.benchmarks.results import Cost, Measurement, total
from ndtool.console import whole

FUNCTIONS_SHOWN = 20


def profile_sections(m: Measurement) -> list[Section]:
    """The tables beyond those of a plain measurement; those that would be empty are left out."""
    found = []
    if m.layers:
        found = [_kernels(m), *([_where(m)] if m.cost.parts else []), _choices(m), _placements(m)]
    if m.functions:
        found += [_functions(m), _mix(m)]
    return [section for section in found if section.rows]


def _kernels(m: Measurement) -> Section:
    rows = tuple(
        (
            kernel.name,
            str(kernel.layers),
            whole(kernel.macs),
            *cost_cells(kernel.cost, m.cost),
            ratio(kernel.macs or None, kernel.cost.cycles),
        )
        for kernel in m.kernels
    )
    headings = ("kernel", "layers", "MACs", "instructions", "share", "cycles", "MAC/cycle")
    return Section(title="kernels, each with what it calls", headings=headings, rows=rows)


def _where(m: Measurement) -> Section:
    """Why each layer takes the cycles that it takes."""
    shown = [reason for reason, _ in reasons(m.cost)]

    def shares(cost: Cost) -> tuple[str, ...]:
        return tuple(share(cost.parts.get(reason, 0.0), cost.cycles) for reason in shown)

    rows = [
        (
            layer_label(layer, m.model),
            layer.kernel.removeprefix("nd_"),
            whole(layer.cost.cycles),
            *shares(layer.cost),
        )
        for layer in m.layers
    ]
    rows.append(("total", "", whole(m.cost.cycles), *shares(m.cost)))
    return Section(
        title="where cycles go (stalls: waiting for results; a memory's name: waiting for it)",
        headings=("layer", "kernel", "cycles", *shown),
        rows=tuple(rows),
        left=2,
    )


def _choices(m: Measurement) -> Section:
    """Layers that could have had another kernel, with what was measured of each."""
    rows = []
    for layer in m.layers:
        others = [(name, cost) for name, cost in layer.alternatives if name != layer.kernel]
        if others:
            own = dict(layer.alternatives).get(layer.kernel)
            told = ", ".join(f"{name.removeprefix('nd_')} {whole(cost)}" for name, cost in others)
            rows.append((layer_label(layer, m.model), layer.kernel.removeprefix("nd_"), whole(own), told))
    title = f"kernels chosen for {m.objective} (modelled cycles of each; --pin LAYER=KERNEL decides otherwise)"
    return Section(title=title, headings=("layer", "chosen", "cycles", "others"), rows=tuple(rows), left=2)


def _placements(m: Measurement) -> Section:
    """What other placements would bring."""
    own = m.cost.cycles or 1.0
    rows = tuple(
        (f"weights in {other.weights}", f"arena in {other.arena}", whole(cycles), f"{100 * (cycles / own - 1):+.1f} %")
        for other, cycles in sorted(m.placements, key=lambda pair: pair[1])
    )
    title = f"instead of weights in {m.place.weights} and arena in {m.place.arena} (cycles modelled; --place)"
    return Section(title=title, headings=("weights", "arena", "cycles", "change"), rows=rows, left=2)


def _functions(m: Measurement) -> Section:
    shown = m.functions[:FUNCTIONS_SHOWN]
    rows = [(f.name, *cost_cells(f.cost, m.cost)) for f in shown]
    if rest := m.functions[FUNCTIONS_SHOWN:]:
        rows.append((f"({len(rest)} more)", *cost_cells(total(f.cost for f in rest), m.cost)))
    return Section(
        title="functions, each without what it calls",
        headings=("function", "instructions", "share", "cycles"),
        rows=tuple(rows),
    )


def _mix(m: Measurement) -> Section:
    rows = tuple((kind, whole(count), share(count, m.cost.instructions)) for kind, count in m.mix.items())
    return Section(title="instructions by class", headings=("class", "instructions", "share"), rows=rows)
