"""What calls and strips cost on a core: executed once on the emulator, and remembered."""

import hashlib
import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ndtool.benchmarks.build import GCC, gcc_version, zig_version
from ndtool.benchmarks.elf import FirmwareElf
from ndtool.benchmarks.firmware_sources import KERNEL_BOUNDS
from ndtool.benchmarks.inputs import RandomInputs
from ndtool.benchmarks.measure import measure as run
from ndtool.benchmarks.targets import Target, load_target
from ndtool.benchmarks.timing import TimingModel
from ndtool.cache import cache_entry
from ndtool.export.c.call import Call, Constant, Part, Scratch, Slot, Struct
from ndtool.export.c.choose import Measure, Prices
from ndtool.export.c.graph import Tensor
from ndtool.export.c.kernel_files import header_sources, kernel_source, with_callees
from ndtool.export.c.library import CLibrary
from ndtool.export.c.objective import Objective, parse_objective
from ndtool.export.c.trial import trial_library
from ndtool.files import write_atomic


def pricing(target: Target, objective: Objective, *, compiler: str = "zig") -> Measure:
    """A measure for compile_tflite: modelled cycles of each call or strip, and the size of its kernels' code.

    The cycles are those of the target's core, without its memory's waits, compiled as the objective wants it. What was
    measured once is read from the cache as long as the call, its kernels, the compiler, its flags and the core stay the
    same.
    """
    core = load_target(target.core.name)

    def measure(slots: Sequence[Slot]) -> Prices:
        keys = [_key(slot, core, objective, compiler) for slot in slots]
        entries = {key: cache_entry("prices", key) / "price.json" for key in keys}
        missing = {key: slot for key, slot in zip(keys, slots, strict=True) if not entries[key].is_file()}
        if missing:
            _measure(list(missing.items()), core, objective, compiler)
        prices = [json.loads(entries[key].read_text(encoding="utf-8")) for key in keys]
        return Prices(
            costs=tuple(float(price["cycles"]) for price in prices),
            code={kernel: size for price in prices for kernel, size in price["code"].items()},
        )

    return measure


def compile_options(
    target: Target, *, optimize: str = "latency", pins: Mapping[str, str] | None = None, compiler: str = "zig"
) -> dict[str, Any]:
    """What compile_tflite is told, by keyword, so that the kernels are the best for a target."""
    objective = parse_objective(optimize)  # a wrong one is noticed before anything is done
    return {
        "features": target.core.features,
        "optimize": optimize,
        "pins": pins,
        "measure": pricing(target, objective, compiler=compiler),
    }


def _measure(missing: Sequence[tuple[str, Slot]], core: Target, objective: Objective, compiler: str) -> None:
    """Execute calls and strips once, all in one firmware, and write what each cost into the cache."""
    slots = [slot for _, slot in missing]
    library = trial_library(slots, objective.name)
    with tempfile.TemporaryDirectory(prefix="ndtool-") as room:
        found = run(library, core, inputs=RandomInputs(count=1), compiler=compiler, keep=Path(room))
        code = kernel_sizes(FirmwareElf(Path(room) / "firmware.elf"), library)
    costs = iter([layer.cost.cycles or 0.0 for layer in found.layers])
    for key, slot in missing:
        cycles = sum(next(costs) for _ in slot.calls)
        used = with_callees(slot.kernels)
        price = {"cycles": cycles, "code": {kernel: code[kernel] for kernel in sorted(used)}}
        write_atomic(cache_entry("prices", key) / "price.json", json.dumps(price))


def kernel_sizes(elf: FirmwareElf, library: CLibrary) -> dict[str, int]:
    """The bytes of code and tables of each kernel in a firmware that ndtool has linked."""
    kernels = [Path(file).stem for file in library.files if file.startswith("nd_") and file.endswith(".c")]
    bounds = {
        kernel: [elf.symbols[KERNEL_BOUNDS.format(kernel=kernel, end=end)].address for end in ("start", "end")]
        for kernel in kernels
    }
    return {kernel: end - start for kernel, (start, end) in bounds.items()}


def _key(slot: Slot, core: Target, objective: Objective, compiler: str) -> str:
    """A digest of all that a price depends on."""
    version = gcc_version() if compiler == "gcc" else zig_version()
    texts = [
        TimingModel(core, simulated=False).about.name,
        objective.compiler_flag,
        core.name,
        core.core.zig_cpu,
        GCC if compiler == "gcc" else "zig",
        version,
    ]
    texts += [kernel_source(f"{kernel}.c") for kernel in sorted(with_callees(slot.kernels))]
    texts += header_sources()
    return hashlib.sha256("\0".join([*texts, *_signature(slot)]).encode()).hexdigest()[:24]


def _signature(slot: Slot) -> Iterator[str]:
    """Everything of a call but the contents of its constants and its place in the model."""
    if isinstance(slot, Call):
        yield slot.kernel
        yield from _of_arguments(slot)
        return
    yield f"strip of {slot.steps}"
    for call, bands in zip(slot.calls, slot.bands, strict=True):
        yield from _signature(call)
        for band in bands:
            yield f"{band.first} {band.end} {band.move and (band.move.source, band.move.bytes)}"
            yield from _signature(band.call)


def _of_arguments(call: Call) -> Iterable[str]:
    for argument in call.arguments:
        if isinstance(argument, Struct):
            yield argument.ctype
            for name, value in argument.fields.items():
                yield f"{name} {_of_constant(value) if isinstance(value, Constant) else value}"
        elif isinstance(argument, Constant):
            yield _of_constant(argument)
        elif isinstance(argument, Scratch):
            yield f"scratch {argument.bytes}"
        elif isinstance(argument, Part):
            size = argument.owner.shape if isinstance(argument.owner, Tensor) else argument.owner.bytes
            yield f"part of {size} {argument.offset} {argument.step}"
        elif isinstance(argument, int):
            yield str(argument)
        else:
            yield f"tensor {argument.tensor.shape}"


def _of_constant(constant: Constant) -> str:
    return f"{constant.values.dtype}{constant.values.shape}"
