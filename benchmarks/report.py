"""A measurement told as tables and as JSON.

Keys of the JSON, all of them always there; a value is null where it does not apply:

    model, target           names
    clock_hz                of the target; nominal where it is a bare core
    macs                    multiply-accumulates of one inference; null for a user's own firmware
    instructions            counted between the markers, in the run that has most
    cycles, latency_ms      modelled, or measured on a board; null where there is neither (qemu), and with --fast
    cycles_by_reason        cycles of issue, stalls (waiting for results), branch, and waiting for each memory
    latency_error           nine of ten programs of the timing model's class were closer to silicon; null: no class
    place                   weights, arena: the memories that they lie in
    placements              with --profile, on boards: list of other placements: weights, arena, cycles
    sram                    bytes: arena (planned), stack (painted), static (.data and .bss), total; caller: the
                            caller's float buffers, which are not in the total
    flash                   bytes: code, weights, total; kernels and glue make up code
    bit_exact               every output byte equals LiteRT's reference kernels; null: not compared
    fits                    flash and SRAM suffice; null on a bare core
    excess                  bytes by which flash or sram is exceeded
    layers                  list of: symbol, name, kind, kernel, output_shape, macs, weight_bytes, live_bytes,
                            is_end (converts float inputs or outputs), instructions, cycles, cycles_by_reason,
                            alternatives [kernel, modelled cycles] that the kernel was chosen from, steps (of
                            the strip that the layer is made in, band by band of rows; null: whole)
    glue                    instructions, cycles and cycles_by_reason in no layer
    ends                    the same of the layers with is_end
    peak                    symbol, name, kind, live_bytes, live_tensors [name, bytes], lower_bound_bytes
    kernels                 list of: name, layers (how many), macs, instructions, cycles, cycles_by_reason; with
                            what they call
    functions               list of: name, instructions, cycles, cycles_by_reason; each without what it calls
    mix                     instructions by class
    runs                    list of: instructions, stack, mismatches (bytes), output_bytes, cycles (measured)
    instruction_range       fewest and most of any run
    inputs                  where they come from, with their seed
    objective               what kernels were chosen for; null for a user's own firmware
    model_sha256            of the model's file; null for a user's own firmware
    board                   null: emulated; of what was measured on a board: server, core, firmware_sha256, inputs
                            [address, bytes], modelled_cycles and modelled_by (the timing model)
    untrained               a MODEL by name, on random weights
    emulator, emulator_note, compiler, flags, versions
    timing                  model ("measured on hardware" on a board), description, validated (on this board), error,
                            trust (in words); null: no cycles
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ndtool.benchmarks.results import Cost, LayerResult, Measurement, Peak
from ndtool.console import table
from ndtool.files import write_atomic

FUNCTIONS_SHOWN = 20
ALIVE_SHOWN = 8
NAME_SHOWN = 60  # characters of a tensor's name


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One table; the first `left` columns are text, the others numbers."""

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    left: int = 1


def as_json(measurement: Measurement) -> dict[str, Any]:
    """Plain data with the keys of this module's docstring."""
    m = measurement
    return {
        "model": m.model,
        "target": m.target.name,
        "clock_hz": m.target.clock_hz,
        "macs": m.macs,
        **_cost(m.cost),
        "latency_ms": m.latency_ms,
        "latency_error": m.latency_error,
        "placements": [
            {"weights": other.weights, "arena": other.arena, "cycles": round(cycles)} for other, cycles in m.placements
        ],
        "place": {"weights": m.place.weights, "arena": m.place.arena},
        "sram": {
            "arena": m.sram.arena,
            "stack": m.sram.stack,
            "static": m.sram.static,
            "total": m.sram.total,
            "caller": m.sram.caller,
        },
        "flash": {
            "code": m.flash.code,
            "weights": m.flash.weights,
            "total": m.flash.total,
            "kernels": m.flash.kernels,
            "glue": m.flash.glue,
        },
        "bit_exact": m.bit_exact,
        "fits": m.fits,
        "excess": dict(m.excess),
        "layers": [_layer(layer) for layer in m.layers],
        "glue": _cost(m.glue),
        "ends": _cost(_sum([layer.cost for layer in m.layers if layer.is_end])),
        "peak": None
        if m.peak is None
        else {
            "symbol": m.peak.symbol,
            "name": m.peak.name,
            "kind": m.peak.kind,
            "live_bytes": m.peak.live_bytes,
            "live_tensors": [list(pair) for pair in m.peak.live_tensors],
            "lower_bound_bytes": m.peak.lower_bound_bytes,
        },
        "kernels": [
            {"name": name, "layers": len(layers), "macs": macs, **_cost(cost)}
            for name, layers, macs, cost in _by_kernel(m)
        ],
        "functions": [{"name": f.name, **_cost(f.cost)} for f in m.functions],
        "mix": dict(m.mix),
        "runs": [
            {
                "instructions": run.instructions,
                "stack": run.stack,
                "mismatches": run.mismatches,
                "output_bytes": run.output_bytes,
                "cycles": run.cycles,
            }
            for run in m.samples
        ],
        "instruction_range": list(m.instruction_range),
        "inputs": m.inputs,
        "untrained": m.untrained,
        "objective": m.objective,
        "model_sha256": m.model_sha256,
        "board": _board(m),
        "emulator": m.emulator,
        "emulator_note": m.emulator_note,
        "compiler": m.compiler,
        "flags": list(m.flags),
        "versions": dict(m.versions),
        "timing": None
        if m.timing is None
        else {
            "model": m.timing.name,
            "description": m.timing.description,
            "validated": m.timing.validated,
            "error": m.timing.error,
            "trust": m.timing.trust,
        },
    }


def _board(m: Measurement) -> dict[str, Any] | None:
    if m.board is None:
        return None
    modelled = m.board.modelled_cycles
    return {
        "server": m.board.server,
        "core": m.target.core.name,
        "firmware_sha256": m.board.firmware_sha256,
        "inputs": [list(pair) for pair in m.board.inputs],
        "modelled_cycles": None if modelled is None else round(modelled),
        "modelled_by": None if m.board.modelled_by is None else m.board.modelled_by.name,
    }


def write_json(measurement: Measurement, path: Path) -> None:
    """Write the JSON to a file."""
    write_atomic(path, json.dumps(as_json(measurement), indent=2) + "\n")


def tables(measurement: Measurement, *, profile: bool = False) -> None:
    """Print the sections of a measurement on stdout."""
    for section in sections(measurement, profile=profile):
        table(section.title, section.headings, section.rows, left=section.left)


def sections(measurement: Measurement, *, profile: bool = False) -> tuple[Section, ...]:
    """The tables of a measurement; with `profile` those by function and by class of instruction as well."""
    found = [_layers(measurement, profile)] if measurement.layers else []
    if profile and measurement.layers:
        found.append(_kernels(measurement))
        found += [_where(measurement)] if measurement.cost.parts else []
        found += [section for section in [_choices(measurement), _placements(measurement)] if section.rows]
    if profile and measurement.functions:
        found += [_functions(measurement), _mix(measurement)]
    if measurement.peak:
        found.append(_peak(measurement.peak))
    return (*found, _memory(measurement), _summary(measurement))


def _summary(m: Measurement) -> Section:
    fewest, most = m.instruction_range
    rows = []
    if m.macs:
        rows.append(("multiply-accumulates", _whole(m.macs), "of the model"))
    rows.append(("instructions", _whole(m.cost.instructions), "counted"))
    if fewest != most:
        rows.append(("", "", f"{_whole(fewest)} to {_whole(most)} over the inputs"))
    rows += [("", "", part) for part in filter(None, m.emulator_note.split("; "))]
    if m.macs:
        rows.append(("instructions per MAC", _ratio(m.cost.instructions, m.macs), ""))
    if m.board is not None:
        rows += _board_rows(m)
    elif m.timing and m.latency_ms is not None:
        clock = f"at {m.target.clock_hz / 1e6:g} MHz" + ("" if m.target.is_board else ", nominal")
        rows.append(("cycles", _whole(m.cost.cycles), f"modelled: {m.timing.description}"))
        rows += [
            ("", "", f"{_whole(spent)} {_REASONS.get(reason, f'waiting for {reason}')}")
            for reason, spent in _reasons(m.cost)
        ]
        rows.append(("latency", m.latency_text, f"modelled, {clock}"))
        rows.append(("", "", m.timing.trust))
    rows.append(("outputs", *_exactness(m)))
    if m.untrained:
        rows.append(("weights", "random", "untrained, calibrated on noise"))
    rows.append(("inputs", f"{len(m.samples)} runs" if len(m.samples) > 1 else "1 run", m.inputs))
    rows.append(("fits", *_fit(m)))
    if m.objective:
        rows.append(("kernels", f"for {m.objective}", "by modelled cycles of each candidate"))
    rows.append(("board" if m.board else "emulator", m.emulator, ""))
    if m.compiler:
        shown = [flag for flag in m.flags if flag.startswith(("-mcpu", "-O"))]
        rows.append(("compiler", m.compiler, " ".join(shown)))
    return Section(title=f"{m.model} on {m.target.title}", headings=_SUMMARY, rows=tuple(rows), left=3)


def _board_rows(m: Measurement) -> list[tuple[str, str, str]]:
    """Cycles that were measured, beside those that are modelled of the same firmware."""
    rows = [("cycles", _whole(m.cost.cycles), "measured on the board" if m.cost.cycles else "it counts none")]
    measured = [run.cycles for run in m.samples if run.cycles]
    if measured and min(measured) != max(measured):
        rows.append(("", "", f"{_whole(min(measured))} to {_whole(max(measured))} over the inputs"))
    if m.latency_ms is not None:
        clock = f"at {m.target.clock_hz / 1e6:g} MHz, if ndtool_board_init sets that clock"
        rows.append(("latency", f"{m.latency_ms:,.3f} ms".replace(",", " "), f"measured cycles {clock}"))
    if m.board and m.board.modelled_cycles:
        by = m.board.modelled_by.name if m.board.modelled_by else ""
        off = f", {100 * (m.board.modelled_cycles / m.cost.cycles - 1):+.1f} %" if m.cost.cycles else ""
        rows.append(("cycles, modelled", _whole(m.board.modelled_cycles), by + off))
    return rows


_REASONS = {"issue": "issue", "stalls": "waiting for results", "branch": "branches"}


def _reasons(cost: Cost) -> list[tuple[str, float]]:
    """Where cycles went, most first; nothing below a thousandth."""
    spent = sorted(cost.parts.items(), key=lambda item: -item[1])
    return [(reason, cycles) for reason, cycles in spent if cycles >= 1e-3 * (cost.cycles or 0.0)]


_SUMMARY = ("quantity", "value", "how it is known")


def _exactness(m: Measurement) -> tuple[str, str]:
    if m.bit_exact is None:
        return "not compared", "there is no model to compare with"
    if m.bit_exact:
        return "bit-exact", "every byte as LiteRT's reference kernels"
    wrong = sum(run.mismatches or 0 for run in m.samples)
    return "DIFFERENT", f"{wrong} of {sum(run.output_bytes for run in m.samples)} bytes are not LiteRT's"


def _fit(m: Measurement) -> tuple[str, str]:
    if m.fits is None:
        return "-", "a bare core has no memory limits: name a board"
    if m.fits:
        limits = (f"{name} {_whole(m.target.memory[name].bytes)} B" for name in ("flash", "sram"))
        return "yes", ", ".join(limits)
    return "NO", ", ".join(f"{name} exceeded by {_whole(amount)} B" for name, amount in m.excess.items())


def _memory(m: Measurement) -> Section:
    own = m.compiler is not None
    rows = [("SRAM", "arena", "planned: inputs, outputs, tensors, scratch", _whole(m.sram.arena))] if own else []
    rows += [
        ("SRAM", "stack", "painted and read back", _whole(m.sram.stack)),
        ("SRAM", "static", ".data and .bss", _whole(m.sram.static)),
        ("SRAM", "total", "", _whole(m.sram.total)),
    ]
    if m.sram.caller:
        rows.append(("", "caller's buffers", "float inputs and outputs, not in the total", _whole(m.sram.caller)))
    rows += [
        ("flash", "weights" if own else "read-only data", "", _whole(m.flash.weights)),
        ("flash", "kernels" if own else "code", "", _whole(m.flash.kernels)),
        ("flash", *(("glue", "calls, start-up, compiler's runtime") if own else ("rest", "")), _whole(m.flash.glue)),
        ("flash", "total", "", _whole(m.flash.total)),
    ]
    return Section(title="memory", headings=("memory", "part", "what it is", "bytes"), rows=tuple(rows), left=3)


def _peak(peak: Peak) -> Section:
    """What is in the arena when most of it is needed."""
    rows = [(_short(name), _whole(size)) for name, size in peak.live_tensors[:ALIVE_SHOWN]]
    if rest := peak.live_tensors[ALIVE_SHOWN:]:
        rows.append((f"({len(rest)} more)", _whole(sum(size for _, size in rest))))
    rows.append(("together, shared bytes once", _whole(peak.live_bytes)))
    rows.append(("no arena can be smaller than", _whole(peak.lower_bound_bytes)))
    title = f"peak of the arena: {peak.symbol}, {peak.kind} {_short(peak.name)}"
    return Section(title=title, headings=("alive there", "bytes"), rows=tuple(rows))


def _short(name: str) -> str:
    """The first of the names that a converter has joined, its end where it is long."""
    first = name.split(";")[0]
    return first if len(first) <= NAME_SHOWN else "…" + first[1 - NAME_SHOWN :]


def _layers(m: Measurement, profile: bool) -> Section:
    """One row a layer; with `profile` kernels and MAC per cycle in place of operators and instructions per MAC."""

    def rate(macs: int | None, cost: Cost) -> str:
        return _ratio(macs or None, cost.cycles) if profile else _ratio(cost.instructions, macs)

    rows = [
        (
            _layer_label(layer, m.model) + (f" ({layer.steps} bands)" if layer.steps else ""),
            layer.kernel.removeprefix("nd_") if profile else layer.kind,
            "x".join(map(str, layer.output_shape)),
            _whole(layer.macs),
            *_cost_cells(layer.cost, m.cost),
            rate(layer.macs, layer.cost),
            _whole(layer.live_bytes),
        )
        for layer in m.layers
    ]
    rows.append(("glue", "", "", "", *_cost_cells(m.glue, m.cost), "", ""))
    total = (*_cost_cells(m.cost, m.cost), rate(m.macs, m.cost), _whole(m.sram.arena))
    rows.append(("total", "", "", _whole(m.macs), *total))
    cycles = "measured as a whole" if m.board else "modelled"
    headings = ("layer", "kernel" if profile else "operator", "output", "MACs", "instructions", "share", "cycles")
    return Section(
        title=f"layers (instructions counted, cycles {cycles}, bytes of the arena alive)",
        headings=(*headings, "MAC/cycle" if profile else "instr/MAC", "alive"),
        rows=tuple(rows),
        left=3,
    )


def _layer_label(layer: LayerResult, model: str) -> str:
    """The number of a layer; of the functions at float ends, what they do."""
    label = layer.symbol.removeprefix(f"{model}_").removeprefix("layer_")
    return label.replace("_input", "").replace("_output", "") if layer.is_end else label


def _by_kernel(m: Measurement) -> list[tuple[str, list[LayerResult], int, Cost]]:
    """Kernels with their layers, MACs and cost, the most expensive first."""
    grouped: dict[str, list[LayerResult]] = {}
    for layer in m.layers:
        grouped.setdefault(layer.kernel, []).append(layer)
    found = [
        (name, layers, sum(layer.macs for layer in layers), _sum([layer.cost for layer in layers]))
        for name, layers in grouped.items()
    ]
    return sorted(found, key=lambda row: -(row[3].instructions or 0))


def _kernels(m: Measurement) -> Section:
    rows = tuple(
        (name, str(len(layers)), _whole(macs), *_cost_cells(cost, m.cost), _ratio(macs or None, cost.cycles))
        for name, layers, macs, cost in _by_kernel(m)
    )
    headings = ("kernel", "layers", "MACs", "instructions", "share", "cycles", "MAC/cycle")
    return Section(title="kernels, each with what it calls", headings=headings, rows=rows)


def _where(m: Measurement) -> Section:
    """Why each layer takes the cycles that it takes."""
    reasons = [reason for reason, _ in _reasons(m.cost)]

    def shares(cost: Cost) -> tuple[str, ...]:
        return tuple(_share(cost.parts.get(reason, 0.0), cost.cycles) for reason in reasons)

    rows = [
        (
            _layer_label(layer, m.model),
            layer.kernel.removeprefix("nd_"),
            _whole(layer.cost.cycles),
            *shares(layer.cost),
        )
        for layer in m.layers
    ]
    rows.append(("total", "", _whole(m.cost.cycles), *shares(m.cost)))
    return Section(
        title="where cycles go (stalls: waiting for results; a memory's name: waiting for it)",
        headings=("layer", "kernel", "cycles", *reasons),
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
            told = ", ".join(f"{name.removeprefix('nd_')} {_whole(cost)}" for name, cost in others)
            rows.append((_layer_label(layer, m.model), layer.kernel.removeprefix("nd_"), _whole(own), told))
    title = f"kernels chosen for {m.objective} (modelled cycles of each; --pin LAYER=KERNEL decides otherwise)"
    return Section(title=title, headings=("layer", "chosen", "cycles", "others"), rows=tuple(rows), left=2)


def _placements(m: Measurement) -> Section:
    """What other placements would bring."""
    own = m.cost.cycles or 1.0
    rows = tuple(
        (f"weights in {other.weights}", f"arena in {other.arena}", _whole(cycles), f"{100 * (cycles / own - 1):+.1f} %")
        for other, cycles in sorted(m.placements, key=lambda pair: pair[1])
    )
    title = f"instead of weights in {m.place.weights} and arena in {m.place.arena} (cycles modelled; --place)"
    return Section(title=title, headings=("weights", "arena", "cycles", "change"), rows=rows, left=2)


def _functions(m: Measurement) -> Section:
    shown = m.functions[:FUNCTIONS_SHOWN]
    rows = [(f.name, *_cost_cells(f.cost, m.cost)) for f in shown]
    if rest := m.functions[FUNCTIONS_SHOWN:]:
        rows.append((f"({len(rest)} more)", *_cost_cells(_sum([f.cost for f in rest]), m.cost)))
    return Section(
        title="functions, each without what it calls",
        headings=("function", "instructions", "share", "cycles"),
        rows=tuple(rows),
    )


def _mix(m: Measurement) -> Section:
    rows = tuple((kind, _whole(count), _share(count, m.cost.instructions)) for kind, count in m.mix.items())
    return Section(title="instructions by class", headings=("class", "instructions", "share"), rows=rows)


def _layer(layer: LayerResult) -> dict[str, Any]:
    return {
        "symbol": layer.symbol,
        "name": layer.name,
        "kind": layer.kind,
        "kernel": layer.kernel,
        "output_shape": list(layer.output_shape),
        "macs": layer.macs,
        "weight_bytes": layer.weight_bytes,
        "live_bytes": layer.live_bytes,
        "is_end": layer.is_end,
        **_cost(layer.cost),
        "alternatives": [list(pair) for pair in layer.alternatives],
        "steps": layer.steps,
    }


def _cost(cost: Cost) -> dict[str, Any]:
    return {
        "instructions": cost.instructions,
        "cycles": None if cost.cycles is None else round(cost.cycles),
        "cycles_by_reason": {reason: round(cycles) for reason, cycles in cost.parts.items()} or None,
    }


def _sum(costs: Sequence[Cost]) -> Cost:
    """A sum, unknown where a part is."""
    instructions = [cost.instructions for cost in costs if cost.instructions is not None]
    cycles = [cost.cycles for cost in costs if cost.cycles is not None]
    return Cost(
        instructions=sum(instructions) if len(instructions) == len(costs) else None,
        cycles=sum(cycles) if len(cycles) == len(costs) else None,
        parts={
            reason: sum(cost.parts.get(reason, 0.0) for cost in costs)
            for reason in dict.fromkeys(reason for cost in costs for reason in cost.parts)
        },
    )


def _cost_cells(cost: Cost, total: Cost) -> tuple[str, str, str]:
    return _whole(cost.instructions), _share(cost.instructions, total.instructions), _whole(cost.cycles)


def _whole(value: float | None) -> str:
    """Grouped by thousands."""
    return "-" if value is None else f"{value:,.0f}".replace(",", " ")


def _share(part: float | None, whole: float | None) -> str:
    return "-" if part is None or not whole else f"{100 * part / whole:.1f} %"


def _ratio(above: float | None, below: float | None) -> str:
    return "" if above is None or not below else f"{above / below:.2f}"
