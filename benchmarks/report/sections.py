"""A measurement told as tables."""

from ndtool.benchmarks.report.profile import profile_sections
from ndtool.benchmarks.report.tables import Section, cost_cells, layer_label, ratio, reasons, show
from ndtool.benchmarks.results import Cost, Measurement, Peak
from ndtool.console import whole

ALIVE_SHOWN = 8
NAME_SHOWN = 60  # characters of a tensor's name


def tables(measurement: Measurement, *, profile: bool = False) -> None:
    """Print the sections of a measurement on stdout."""
    show(sections(measurement, profile=profile))


def sections(measurement: Measurement, *, profile: bool = False) -> tuple[Section, ...]:
    """The tables of a measurement; with `profile` those by function and by class of instruction as well."""
    found = [_layers(measurement, profile)] if measurement.layers else []
    if profile:
        found += profile_sections(measurement)
    if measurement.peak:
        found.append(_peak(measurement.peak))
    return (*found, _memory(measurement), _summary(measurement))


def _summary(m: Measurement) -> Section:
    fewest, most = m.instruction_range
    rows = []
    if m.macs:
        rows.append(("multiply-accumulates", whole(m.macs), "of the model"))
    rows.append(("instructions", whole(m.cost.instructions), "counted"))
    if fewest != most:
        rows.append(("", "", f"{whole(fewest)} to {whole(most)} over the inputs"))
    rows += [("", "", part) for part in filter(None, m.emulator_note.split("; "))]
    if m.macs:
        rows.append(("instructions per MAC", ratio(m.cost.instructions, m.macs), ""))
    if m.board is not None:
        rows += _board_rows(m)
    elif m.timing and m.latency_ms is not None:
        clock = f"at {m.target.clock_hz / 1e6:g} MHz" + ("" if m.target.is_board else ", nominal")
        rows.append(("cycles", whole(m.cost.cycles), f"modelled: {m.timing.description}"))
        rows += [
            ("", "", f"{whole(spent)} {_REASONS.get(reason, f'waiting for {reason}')}")
            for reason, spent in reasons(m.cost)
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
    rows = [("cycles", whole(m.cost.cycles), "measured on the board" if m.cost.cycles else "it counts none")]
    measured = [run.cycles for run in m.samples if run.cycles]
    if measured and min(measured) != max(measured):
        rows.append(("", "", f"{whole(min(measured))} to {whole(max(measured))} over the inputs"))
    if m.latency_ms is not None:
        clock = f"at {m.target.clock_hz / 1e6:g} MHz, if ndtool_board_init sets that clock"
        rows.append(("latency", m.latency_text, f"measured cycles {clock}"))
    if m.board and m.board.modelled_cycles:
        by = m.board.modelled_by.name if m.board.modelled_by else ""
        off = f", {100 * (m.board.modelled_cycles / m.cost.cycles - 1):+.1f} %" if m.cost.cycles else ""
        rows.append(("cycles, modelled", whole(m.board.modelled_cycles), by + off))
    return rows


_REASONS = {"issue": "issue", "stalls": "waiting for results", "branch": "branches"}


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
        limits = (f"{name} {whole(m.target.memory[name].bytes)} B" for name in ("flash", "sram"))
        return "yes", ", ".join(limits)
    return "NO", ", ".join(f"{name} exceeded by {whole(amount)} B" for name, amount in m.excess.items())


def _memory(m: Measurement) -> Section:
    own = m.compiler is not None
    rows = [("SRAM", "arena", "planned: inputs, outputs, tensors, scratch", whole(m.sram.arena))] if own else []
    rows += [
        ("SRAM", "stack", "painted and read back", whole(m.sram.stack)),
        ("SRAM", "static", ".data and .bss", whole(m.sram.static)),
        ("SRAM", "total", "", whole(m.sram.total)),
    ]
    if m.sram.caller:
        rows.append(("", "caller's buffers", "float inputs and outputs, not in the total", whole(m.sram.caller)))
    rows += [
        ("flash", "weights" if own else "read-only data", "", whole(m.flash.weights)),
        ("flash", "kernels" if own else "code", "", whole(m.flash.kernels)),
        ("flash", *(("glue", "calls, start-up, compiler's runtime") if own else ("rest", "")), whole(m.flash.glue)),
        ("flash", "total", "", whole(m.flash.total)),
    ]
    return Section(title="memory", headings=("memory", "part", "what it is", "bytes"), rows=tuple(rows), left=3)


def _peak(peak: Peak) -> Section:
    """What is in the arena when most of it is needed."""
    rows = [(_short(name), whole(size)) for name, size in peak.live_tensors[:ALIVE_SHOWN]]
    if rest := peak.live_tensors[ALIVE_SHOWN:]:
        rows.append((f"({len(rest)} more)", whole(sum(size for _, size in rest))))
    rows.append(("together, shared bytes once", whole(peak.live_bytes)))
    rows.append(("no arena can be smaller than", whole(peak.lower_bound_bytes)))
    title = f"peak of the arena: {peak.symbol}, {peak.kind} {_short(peak.name)}"
    return Section(title=title, headings=("alive there", "bytes"), rows=tuple(rows))


def _short(name: str) -> str:
    """The first of the names that a converter has joined, its end where it is long."""
    first = name.split(";")[0]
    return first if len(first) <= NAME_SHOWN else "…" + first[1 - NAME_SHOWN :]


def _layers(m: Measurement, profile: bool) -> Section:
    """One row a layer; with `profile` kernels and MAC per cycle in place of operators and instructions per MAC."""

    def rate(macs: int | None, cost: Cost) -> str:
        return ratio(macs or None, cost.cycles) if profile else ratio(cost.instructions, macs)

    rows = [
        (
            layer_label(layer, m.model) + (f" ({layer.steps} bands)" if layer.steps else ""),
            layer.kernel.removeprefix("nd_") if profile else layer.kind,
            "x".join(map(str, layer.output_shape)),
            whole(layer.macs),
            *cost_cells(layer.cost, m.cost),
            rate(layer.macs, layer.cost),
            whole(layer.live_bytes),
        )
        for layer in m.layers
    ]
    rows.append(("glue", "", "", "", *cost_cells(m.glue, m.cost), "", ""))
    total = (*cost_cells(m.cost, m.cost), rate(m.macs, m.cost), whole(m.sram.arena))
    rows.append(("total", "", "", whole(m.macs), *total))
    cycles = "measured as a whole" if m.board else "modelled"
    headings = ("layer", "kernel" if profile else "operator", "output", "MACs", "instructions", "share", "cycles")
    return Section(
        title=f"layers (instructions counted, cycles {cycles}, bytes of the arena alive)",
        headings=(*headings, "MAC/cycle" if profile else "instr/MAC", "alive"),
        rows=tuple(rows),
        left=3,
    )
