"""Results of the stages as tables for people and as plain data for programs."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ndtool.console import note, table, whole

if TYPE_CHECKING:
    from ndtool.benchmarks.board.points import BoardPoint
    from ndtool.benchmarks.demo import DemoResult
    from ndtool.benchmarks.targets import Target
    from ndtool.export.engine import EngineResult
    from ndtool.export.record import ExportResult
    from ndtool.export.verify import Stage
    from ndtool.quantize.fidelity import LayerFidelity
    from ndtool.train.evaluation import Score

CLIPPED_SHOWN = 5  # tensors in the report on saturation
CLIPPED_LEAST = 0.001  # fraction of a tensor's values, below which nobody needs to be told


def percent(value: float | None, digits: int = 2) -> str:
    """A fraction in percent, or nothing."""
    return "" if value is None else f"{100 * value:.{digits}f} %"


def size(count: float) -> str:
    """Bytes, grouped by thousands."""
    return f"{whole(count)} B"


def _quality(stage: "Stage") -> str:
    return percent(stage.accuracy) if stage.accuracy is not None else "" if stage.mse is None else f"{stage.mse:.6f}"


def export_tables(result: "ExportResult", folder: Path) -> None:
    """Print what export made and how each step compares with the one before."""
    kind = "test samples" if result.real else "random inputs: give --data for accuracies"
    measure = "squared error" if any(stage.mse is not None for stage in result.stages) else "accuracy"
    rows = [
        (
            stage.name,
            size(stage.bytes),
            _quality(stage),
            percent(stage.agreement),
            "" if stage.max_difference is None else f"{stage.max_difference:.2g}",
        )
        for stage in result.stages
    ]
    compared = f", each step against the one before on {whole(result.samples)} {kind}" if result.samples else ""
    title = f"{folder}{compared}"
    table(title, ("step", "size", measure, "agreement", "largest difference"), rows)
    clipped = [row for row in result.saturation if row.fraction >= CLIPPED_LEAST]
    if result.saturation and not clipped:
        worst = result.saturation[0]
        note(f"saturation: at most {percent(worst.fraction, 3)} of a tensor's held-out values are clipped by int8")
    elif clipped:
        clippings = [
            (
                row.tensor,
                percent(row.fraction),
                f"{row.range[0]:.4g} … {row.range[1]:.4g}",
                f"{row.seen[0]:.4g} … {row.seen[1]:.4g}",
            )
            for row in clipped[:CLIPPED_SHOWN]
        ]
        table("saturation: held-out values that int8 clips", ("tensor", "clipped", "int8 range", "seen"), clippings)
    if result.library is not None:
        library = result.library
        note(
            f"C library {library.name}: arena {size(library.arena_bytes)} "
            f"(lower bound {size(library.lower_bound_bytes)}), constants {size(library.weight_bytes)}, "
            f"in {folder / 'c' / f'{library.name}.h'}"
        )


def export_json(result: "ExportResult") -> dict[str, Any]:
    """Plain data of an export: stages, samples, saturation, the C library's sizes."""
    data: dict[str, Any] = {
        "samples": result.samples,
        "real_data": result.real,
        "stages": [
            {
                "name": stage.name,
                "path": None if stage.path is None else str(stage.path),
                "bytes": stage.bytes,
                "accuracy": stage.accuracy,
                "mse": stage.mse,
                "agreement": stage.agreement,
                "max_difference": stage.max_difference,
            }
            for stage in result.stages
        ],
        "saturation": [
            {"tensor": row.tensor, "fraction": row.fraction, "range": row.range, "seen": row.seen}
            for row in result.saturation
            if row.fraction > 0
        ],
    }
    if result.library is not None:
        library = result.library
        data["c"] = {
            "name": library.name,
            "arena_bytes": library.arena_bytes,
            "lower_bound_bytes": library.lower_bound_bytes,
            "weight_bytes": library.weight_bytes,
            "macs": library.macs,
        }
    return data


def inventory(what: str) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Headings and rows of `ndtool list`."""
    if what == "models":
        from ndtool.train.models import MODELS

        shapes = {name: "x".join(map(str, entry.input_shape)) for name, entry in MODELS.items()}
        return ("model", "input", "what it is"), [(n, shapes[n], e.about) for n, e in MODELS.items()]
    if what == "data":
        from ndtool.train.data import DATASETS

        return ("data", "what they are"), list(DATASETS.items())
    if what == "recipes":
        from ndtool.train.recipe import load_recipe, recipe_names

        recipes = [load_recipe(name) for name in recipe_names()]
        return ("recipe", "model", "data", "what it is"), [
            (r.name, r.settings.get("model", "--init RUN"), r.settings.get("data", "--data DATA"), r.about)
            for r in recipes
        ]
    if what == "methods":
        from ndtool.train.methods import METHODS

        return ("method", "what it does"), [(n, first_line(method.__doc__)) for n, method in METHODS.items()]
    if what == "ops":
        from ndtool.export.c.operators import OPERATORS

        rows = [(kind, "; ".join(first_line(rule.__doc__) for rule in op.rules)) for kind, op in OPERATORS.items()]
        return ("operator", "what must hold"), sorted(rows)
    from ndtool.benchmarks.targets import load_target, target_names

    targets = [load_target(name) for name in target_names()]
    return ("target", "what it is", "core", "clock", "memory"), [
        (t.name, t.title, t.core.name, f"{t.clock_hz / 1e6:g} MHz", _memory(t)) for t in targets
    ]


def first_line(text: str | None) -> str:
    """The first line of a docstring."""
    return (text or "").strip().splitlines()[0] if text else ""


def _memory(target: "Target") -> str:
    return ", ".join(f"{name} {region.bytes // 1024} KiB" for name, region in target.memory.items() if region.bytes)


def eval_tables(scores: "Mapping[str, Score]", layers: "Sequence[LayerFidelity]", title: str) -> None:
    """Print scores, and the layers that int8 hurts, worst first."""
    rows = [
        (name, percent(s.accuracy) if s.accuracy is not None else f"{s.mse or 0:.6f}", f"{s.loss:.4f}", whole(s.count))
        for name, s in scores.items()
    ]
    measure = "accuracy" if all(s.accuracy is not None for s in scores.values()) else "squared error"
    table(title, ("model", measure, "loss", "samples"), rows)
    if layers:
        lost = [
            (row.name, row.kind, "x".join(map(str, row.shape)), _db(row.local_db), _db(row.sqnr_db)) for row in layers
        ]
        table(
            "what int8 loses: SQNR in dB, worst layer first (alone: given exact inputs; in place: with all before it)",
            ("layer", "operator", "output", "alone", "in place"),
            lost,
            left=2,
        )


def engine_table(result: "EngineResult", title: str) -> None:
    """Print how a C library on this host compares with the reference."""
    if result.scores:
        eval_tables(result.scores, (), title)
    rows = [
        ("samples" if result.scores else "random inputs", whole(result.samples)),
        ("outputs compared", whole(result.outputs)),
        ("not LiteRT's bytes", whole(result.differing) if result.differing else "none"),
        ("C compiler", result.compiler),
    ]
    table(f"C library against LiteRT's reference kernels: {title}", ("what", "value"), rows)


def engine_json(result: "EngineResult", target: str) -> dict[str, Any]:
    """Plain data of the same."""
    return {
        **eval_json(result.scores, ()),
        "engine": "c",
        "target": target,
        "compiler": result.compiler,
        "samples": result.samples,
        "outputs": result.outputs,
        "differing": result.differing,
    }


def _db(value: float) -> str:
    return "exact" if value == float("inf") else f"{value:.1f}"


def eval_json(scores: "Mapping[str, Score]", layers: "Sequence[LayerFidelity]") -> dict[str, Any]:
    """Plain data of an evaluation."""
    data: dict[str, Any] = {"scores": {name: score.to_dict() for name, score in scores.items()}}
    if layers:
        data["layers"] = [
            {
                "name": row.name,
                "kind": row.kind,
                "shape": row.shape,
                "local_db": _finite(row.local_db),
                "sqnr_db": _finite(row.sqnr_db),
            }
            for row in layers
        ]
    return data


def _finite(value: float) -> float | None:
    return None if value == float("inf") else value


def points_table(points: "Sequence[BoardPoint]") -> None:
    """Print what was measured on boards of the user's beside what was modelled."""
    from ndtool.benchmarks.board.points import spread

    rows = [
        (p.name, p.target, p.compiler or "", p.objective or "", whole(p.measured), whole(p.predicted), _off(p.error))
        for p in points
    ]
    headings = ("model", "board", "compiler", "kernels for", "cycles, measured", "modelled", "error")
    table("cycles measured on boards of yours", headings, rows, left=4)
    found = spread(points)
    count = f"{len(points)} points" if len(points) > 1 else "1 point"
    models = ", ".join(sorted({point.predicted_by for point in points}))
    note(f"{count}: median error {percent(found.median, 1)}, worst {percent(found.worst, 1)} ({models})")


def _off(error: float) -> str:
    return f"{100 * error:+.1f} %"


def points_json(points: "Sequence[BoardPoint]") -> dict[str, Any]:
    """Plain data of the same, which ndtool validate reads again."""
    from ndtool.benchmarks.board.points import spread

    found = spread(points)
    return {
        "points": [{**asdict(point), "error": point.error} for point in points],
        "median_error": found.median,
        "worst_error": found.worst,
    }


def demo_table(result: "DemoResult") -> None:
    """Print the demo's one table."""
    from ndtool.benchmarks.verdict import conclusion

    m, stages = result.measurement, {stage.name: stage for stage in result.export.stages}
    fp32, int8 = stages["TFLite float32"], stages["TFLite int8"]
    exact = "byte for byte LiteRT's reference" if m.bit_exact else "DIFFERS from LiteRT's reference"
    rows = [
        ("parameters of the student", whole(result.parameters)),
        ("accuracy, fp32 (PyTorch)", percent(result.training.test.accuracy if result.training.test else None)),
        ("accuracy, int8 (TFLite)", percent(int8.accuracy)),
        ("size, fp32 / int8 TFLite", f"{size(fp32.bytes)} / {size(int8.bytes)}"),
        (f"instructions on {m.target.name} (counted)", whole(m.cost.instructions or 0)),
        (f"latency at {m.target.clock_hz / 1e6:g} MHz (modelled)", m.latency_text),
        ("SRAM: arena + stack + static", f"{size(m.sram.total)} ({m.sram.arena} + {m.sram.stack} + {m.sram.static})"),
        ("flash: code + weights", f"{size(m.flash.total)} ({m.flash.code} + {m.flash.weights})"),
        ("output of the C library", exact),
        ("check", conclusion(result.verdict)),
    ]
    table(f"demo: {result.run.path}", ("what", "value"), rows)


def demo_json(result: "DemoResult") -> dict[str, Any]:
    """Plain data of the demo: run, export, bench, check."""
    from ndtool.benchmarks import verdict
    from ndtool.benchmarks.report.document import as_json

    return {
        "run": {"path": str(result.run.path), **result.run.result()},
        "export": export_json(result.export),
        "bench": as_json(result.measurement),
        "check": verdict.as_json(result.verdict),
    }
