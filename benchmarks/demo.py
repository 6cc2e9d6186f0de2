"""The whole way on data that are always there: scanned digits to an emulated Cortex-M7, and a check."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ndtool.benchmarks.bench import bench
from ndtool.benchmarks.candidates import compile_options
from ndtool.benchmarks.check import Plan, judge
from ndtool.benchmarks.regression import Verdict
from ndtool.benchmarks.report.document import write_json
from ndtool.benchmarks.results import Measurement
from ndtool.benchmarks.subject import open_subject
from ndtool.benchmarks.targets import load_target
from ndtool.export.pipeline import export_model
from ndtool.export.record import ExportResult
from ndtool.export.source import open_with_data
from ndtool.train.loop import fit
from ndtool.train.metrics import Progress
from ndtool.train.outcome import TrainResult
from ndtool.train.run import RunFolder
from ndtool.train.setup import prepare

MODEL = "resnet8"
EPOCHS = 20
TARGET = "cortex-m7"
BASELINE = Path(__file__).with_name("baselines") / "demo.json"
ENTRY = "demo"


@dataclass(frozen=True, kw_only=True)
class DemoResult:
    """What each stage ended with."""

    run: RunFolder
    parameters: int
    training: TrainResult
    export: ExportResult
    measurement: Measurement
    verdict: Verdict


def run_demo(
    out: Path, *, epochs: int | None, tell: Callable[[str], None], progress: Callable[[Progress], None]
) -> DemoResult:
    """Train, export, bench and check. An earlier demo in `out` is replaced.

    Args:
        out: run folder. epochs: None takes EPOCHS.
        tell: told, in a line, what begins. progress: of training.
    """
    config, data = prepare(MODEL, "digits", epochs=epochs or EPOCHS, batch_size=64)
    run = RunFolder.create(out, config, overwrite=True)
    tell(f"1/4 training {MODEL} inside a teacher {config.expand} times as wide, on {data.name}")
    training = fit(config, run, data=data, progress=progress)
    tell("2/4 exporting to ONNX, TFLite, int8 and C")
    source, _ = open_with_data(run)
    target = load_target(TARGET)
    compiling = compile_options(target)
    exported = export_model(source, out=run, data=data, int8=True, c=True, c_name=ENTRY, compiling=compiling)
    tell(f"3/4 running the C on an emulated {TARGET}")
    subject = open_subject(str(run.path))
    measurement = bench(subject, target)
    write_json(measurement, run.bench(TARGET))
    tell(f"4/4 checking against {BASELINE.name}")
    verdict = judge(subject, measurement, Plan(baseline=BASELINE), entry=f"{ENTRY}@{TARGET}", data=data)
    return DemoResult(
        run=run,
        parameters=run.result()["parameters"],
        training=training,
        export=exported,
        measurement=measurement,
        verdict=verdict,
    )
