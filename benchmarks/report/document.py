"""A measurement as JSON.

Its keys, all of them always there; a value is null where it does not apply:

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
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ndtool.benchmarks.results import Cost, LayerResult, Measurement, Peak, total
from ndtool.benchmarks.timing.about import About
from ndtool.files import write_atomic


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
        "placements": [asdict(other) | {"cycles": round(cycles)} for other, cycles in m.placements],
        "place": asdict(m.place),
        **_memory(m),
        "bit_exact": m.bit_exact,
        **_parts(m),
        "runs": [asdict(run) for run in m.samples],
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
        "timing": None if m.timing is None else _timing(m.timing),
    }


def write_json(measurement: Measurement, path: Path) -> None:
    """Write the JSON to a file."""
    write_atomic(path, json.dumps(as_json(measurement), indent=2) + "\n")


def _memory(m: Measurement) -> dict[str, Any]:
    flash = {"code": m.flash.code, "weights": m.flash.weights, "total": m.flash.total}
    return {
        "sram": asdict(m.sram) | {"total": m.sram.total},
        "flash": flash | {"kernels": m.flash.kernels, "glue": m.flash.glue},
        "fits": m.fits,
        "excess": dict(m.excess),
    }


def _parts(m: Measurement) -> dict[str, Any]:
    """What of the cost is where."""
    return {
        "layers": [_layer(layer) for layer in m.layers],
        "glue": _cost(m.glue),
        "ends": _cost(total(layer.cost for layer in m.layers if layer.is_end)),
        "peak": None if m.peak is None else _peak(m.peak),
        "kernels": [
            {"name": kernel.name, "layers": kernel.layers, "macs": kernel.macs, **_cost(kernel.cost)}
            for kernel in m.kernels
        ],
        "functions": [{"name": function.name, **_cost(function.cost)} for function in m.functions],
        "mix": dict(m.mix),
    }


def _peak(peak: Peak) -> dict[str, Any]:
    return asdict(peak) | {"live_tensors": [list(pair) for pair in peak.live_tensors]}


def _timing(about: About) -> dict[str, Any]:
    described = {"model": about.name, "description": about.description, "validated": about.validated}
    return described | {"error": about.error, "trust": about.trust}


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
