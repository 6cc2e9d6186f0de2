import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ndtool.errors import NdtoolError
from ndtool.export.evaluate import evaluate_model, rank_layers
from ndtool.export.pipeline import export_model
from ndtool.export.record import ExportResult, read_record
from ndtool.export.source import Source, open_source, open_with_data
from ndtool.export.verify import Stage, Verification
from ndtool.quantize.unsupported import UnsupportedOperators
from ndtool.train.data import Data, batches, load_data
from ndtool.train.evaluation import evaluate
from ndtool.train.run import Artifacts

NETWORK = """
from torch import nn

def net(hidden: int = 16):
    return nn.Sequential(
        nn.Conv2d(1, hidden, 3, 2, 1, bias=False), nn.BatchNorm2d(hidden), nn.ReLU6(),
        nn.Conv2d(hidden, hidden, 3, 1, 1, groups=hidden), nn.LeakyReLU(),
        nn.Flatten(), nn.Linear(16 * hidden, 10),
    )
"""


@pytest.fixture(scope="session")
def digits() -> Data:
    return load_data("digits")


@pytest.fixture(scope="session")
def network(digits: Data, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A file that makes a network, and weights trained on digits for some seconds."""
    folder = tmp_path_factory.mktemp("network")
    (folder / "net.py").write_text(NETWORK)
    scope: dict[str, Any] = {}
    exec(NETWORK, scope)
    torch.manual_seed(0)
    model = scope["net"]()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for epoch in range(8):
        for x, y in batches(digits.train, digits, batch_size=64, shuffle_seed=epoch):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
    torch.save(model.state_dict(), folder / "weights.pt")
    return folder / "net.py", folder / "weights.pt"


@pytest.fixture(scope="session")
def source(network: tuple[Path, Path], digits: Data) -> Source:
    return open_source(f"{network[0]}:net", weights=network[1], data=digits)


@pytest.fixture(scope="session")
def folder(source: Source, digits: Data, tmp_path_factory: pytest.TempPathFactory) -> tuple[Artifacts, ExportResult]:
    """A whole export, of which the tests change nothing."""
    out = Artifacts(tmp_path_factory.mktemp("export"))
    return out, export_model(source, out=out, data=digits, int8=True)


def test_every_stage_is_compared_with_the_one_before_on_the_test_data(
    folder: tuple[Artifacts, ExportResult], source: Source, digits: Data
) -> None:
    out, result = folder
    assert [stage.name for stage in result.stages] == ["PyTorch", "ONNX", "TFLite float32", "TFLite int8"]
    assert [stage.path for stage in result.stages[1:]] == [out.onnx, out.tflite_fp32, out.tflite_int8]
    assert (result.samples, result.real) == (len(digits.test), True)
    assert source.module is not None
    expected = evaluate(source.module, digits.test, digits).accuracy
    assert expected is not None
    assert expected > 0.9
    first, onnx, fp32, int8 = result.stages
    assert first.agreement is None
    assert first.accuracy == onnx.accuracy == fp32.accuracy == expected
    assert (onnx.agreement, fp32.agreement) == (1.0, 1.0)
    assert max(onnx.max_difference or 1, fp32.max_difference or 1) < 1e-4
    assert int8.accuracy is not None
    assert int8.accuracy > expected - 0.02
    assert int8.agreement is not None
    assert int8.agreement > 0.97
    assert all(stage.path is None or stage.bytes == stage.path.stat().st_size for stage in result.stages)


def test_saturation_is_reported_on_held_out_data(folder: tuple[Artifacts, ExportResult]) -> None:
    rows = folder[1].saturation
    assert {"input", "output"} <= {row.tensor for row in rows}
    assert all(row.fraction < 0.05 for row in rows)


def test_the_record_says_where_the_files_come_from(
    folder: tuple[Artifacts, ExportResult], network: tuple[Path, Path], digits: Data
) -> None:
    from ndtool.files import sha256_of

    record = read_record(folder[0].export_record)
    assert record is not None
    assert record["source"]["sha256"] == sha256_of(network[1])
    assert digits.normalisation is not None
    assert record["normalisation"]["mean"] == list(digits.normalisation.mean)
    assert record["classes"] == list(digits.classes)
    assert record["input_shape"] == [1, 8, 8]
    assert record["calibration_samples"] == 256
    assert [stage["file"] for stage in record["stages"]][1:] == ["model.onnx", "model.fp32.tflite", "model.int8.tflite"]
    assert record["stages"][3]["accuracy"] == folder[1].stages[3].accuracy
    assert record["versions"]["litert-torch"]


def test_evaluation_agrees_with_the_export_for_every_format(
    folder: tuple[Artifacts, ExportResult], source: Source, digits: Data
) -> None:
    out, result = folder
    sources = [source, *(open_source(path) for path in (out.onnx, out.tflite_fp32, out.tflite_int8))]
    assert [evaluate_model(one, digits).accuracy for one in sources] == [stage.accuracy for stage in result.stages]
    assert evaluate_model(sources[-1], digits, part="validation", limit=10).count == 10
    with pytest.raises(NdtoolError, match="no part of the data"):
        evaluate_model(source, digits, part="tests")


def test_layers_are_ranked_from_the_folder_or_the_file(folder: tuple[Artifacts, ExportResult], digits: Data) -> None:
    rows = rank_layers(folder[0], digits, count=8)
    assert {row.name for row in rows} == {"0/conv_2d", "3/depthwise_conv_2d", "4/leaky_relu", "output"} or len(
        rows
    ) == 4
    assert rank_layers(folder[0].tflite_int8, digits, count=8) == rows
    with pytest.raises(NdtoolError, match="not quantised"):
        rank_layers(folder[0].tflite_fp32, digits)


@pytest.mark.parametrize("start", ["onnx", "tflite_fp32"])
def test_a_pipeline_can_be_entered_at_any_file(
    start: str, folder: tuple[Artifacts, ExportResult], digits: Data, tmp_path: Path
) -> None:
    given = getattr(folder[0], start)
    result = export_model(open_source(given), out=Artifacts(tmp_path), data=digits, int8=True)
    assert result.stages[0].name.endswith("as given")
    assert result.stages[-1].name == "TFLite int8"
    assert result.stages[-1].accuracy == pytest.approx(folder[1].stages[-1].accuracy, abs=0.01)
    assert given.exists()
    if start == "tflite_fp32":
        assert Artifacts(tmp_path).tflite_int8.read_bytes() == folder[0].tflite_int8.read_bytes()


def test_an_int8_file_is_taken_as_it_is(folder: tuple[Artifacts, ExportResult], digits: Data, tmp_path: Path) -> None:
    result = export_model(open_source(folder[0].tflite_int8), out=Artifacts(tmp_path), data=digits, int8=True)
    assert [stage.path for stage in result.stages] == [Artifacts(tmp_path).tflite_int8]
    assert result.stages[0].accuracy == folder[1].stages[-1].accuracy


def test_exporting_inside_a_folder_keeps_what_the_source_was_made_from(
    folder: tuple[Artifacts, ExportResult], digits: Data, tmp_path: Path
) -> None:
    out = Artifacts(tmp_path / "copy")
    shutil.copytree(folder[0].path, out.path)
    export_model(open_source(out.tflite_fp32), out=out, data=digits)
    assert out.onnx.exists()
    assert out.tflite_fp32.read_bytes() == folder[0].tflite_fp32.read_bytes()
    assert not out.tflite_int8.exists()  # it belonged to the export before


def test_int8_without_data_is_refused_before_anything_is_written(source: Source, tmp_path: Path) -> None:
    with pytest.raises(NdtoolError, match="no data for calibration: give --data"):
        export_model(source, out=Artifacts(tmp_path / "out"), int8=True)
    assert not (tmp_path / "out").exists()


def test_without_data_steps_are_compared_on_random_inputs(exported: Callable[[str], Any], tmp_path: Path) -> None:
    case = exported("dense")
    result = export_model(open_source(case.module, input_shape=(20,)), out=Artifacts(tmp_path))
    assert not result.real
    assert all(stage.accuracy is None for stage in result.stages)
    assert all((stage.max_difference or 0) < 1e-5 for stage in result.stages)


class Sines(nn.Module):
    """A float32 file is possible, an int8 one is not."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.wave, self.head = nn.Conv2d(1, 4, 3), Wave(), nn.Linear(4, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.wave(self.first(x)).mean((2, 3)))


class Wave(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(x) * torch.cos(x)


def test_a_failed_export_leaves_an_earlier_one_as_it_was(
    folder: tuple[Artifacts, ExportResult], digits: Data, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(folder[0].path, out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(UnsupportedOperators) as caught:
        export_model(open_source(Sines(), data=digits), out=Artifacts(out), data=digits, int8=True)
    assert [(found.operator, found.source) for found in caught.value.findings] == [
        ("COS", "wave"),
        ("SIN", "wave"),
    ] or {found.operator for found in caught.value.findings} == {"SIN", "COS"}
    assert ".export." not in str(caught.value)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_a_step_that_differs_by_more_than_rounding_is_refused(digits: Data) -> None:
    verification = Verification(digits, (1, 8, 8), limit=4, progress=None)
    verification.stage(Stage(name="a", path=None, bytes=0), lambda x: (np.ones((len(x), 10), np.float32),), exact=False)
    other = np.full((4, 10), 1.0105, np.float32)
    with pytest.raises(NdtoolError, match=r"b differs from the step before by 0\.01"):
        verification.stage(Stage(name="b", path=None, bytes=0), lambda x: (other[: len(x)],), exact=True)


def test_data_of_another_shape_or_with_more_classes_are_refused(digits: Data, tmp_path: Path) -> None:
    narrow = open_source(nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), data=digits)
    with pytest.raises(NdtoolError, match="3 outputs, digits 10 classes"):
        evaluate_model(narrow, digits)
    other = open_source(nn.Sequential(nn.Flatten(), nn.Linear(48, 10)), input_shape=(3, 4, 4))
    with pytest.raises(NdtoolError, match="takes 3x4x4, digits is 1x8x8"):
        export_model(other, out=Artifacts(tmp_path), data=digits)
    assert not list(tmp_path.iterdir())


def test_reconstructions_are_scored_by_their_error(tmp_path: Path) -> None:
    data = load_data("digits", task="reconstruction")
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.Unflatten(1, (1, 8, 8)))
    result = export_model(open_source(model, data=data), out=Artifacts(tmp_path), data=data, int8=True, limit=20)
    errors = [stage.mse for stage in result.stages]
    assert all(error == pytest.approx(errors[0], rel=0.05) for error in errors)
    assert all(stage.accuracy is None and stage.agreement is None for stage in result.stages)


def test_a_run_is_exported_with_its_own_data_down_to_c(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ndtool.train import RunFolder, fit
    from ndtool.train.setup import prepare

    monkeypatch.setenv("NDTOOL_CACHE", str(tmp_path / "cache"))
    config, data = prepare("dscnn", "digits", method="vanilla", epochs=1, batch_size=64)
    run = RunFolder.create(tmp_path / "run", config)
    trained = fit(config, run, data=data)
    source, data = open_with_data(run.path)
    result = export_model(source, out=run, data=data, int8=True, c=True, limit=50)
    assert [stage.path for stage in result.stages] == [run.student, run.onnx, run.tflite_fp32, run.tflite_int8, run.c]
    assert result.library is not None
    assert {path.name for path in run.c.iterdir()} == set(result.library.files)
    assert evaluate_model(source, data).accuracy == trained.test.accuracy  # the same split and normalisation


def test_a_keras_file_is_converted_and_asked_for_its_own_results(
    folder: tuple[Artifacts, ExportResult], digits: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ndtool.export import keras_import
    from ndtool.quantize.runtime import TFLiteModel

    model = TFLiteModel(folder[0].tflite_fp32)
    calls: list[tuple[int, ...]] = []

    def predict(path: Path, x: np.ndarray) -> np.ndarray:
        calls.append(x.shape)
        return np.concatenate([model.run(sample[None])[0] for sample in x])

    monkeypatch.setattr(keras_import, "convert", lambda path, out: shutil.copyfile(folder[0].tflite_fp32, out))
    monkeypatch.setattr(keras_import, "predict", predict)
    given = tmp_path / "model.keras"
    given.write_bytes(b"read by TensorFlow only")
    result = export_model(open_source(given), out=Artifacts(tmp_path / "out"), data=digits, int8=True)
    assert [stage.name for stage in result.stages] == ["Keras, as given", "TFLite float32", "TFLite int8"]
    assert calls == [(len(digits.test), 8, 8, 1)]  # one start of TensorFlow, channels last
    assert result.stages[1].max_difference == 0


def test_a_model_by_name_gets_shape_and_classes_from_the_data(network: tuple[Path, Path]) -> None:
    opened, data = open_with_data(f"{network[0]}:net", data="digits", weights=network[1])
    assert data is not None
    assert opened.input_shape == data.input_shape == (1, 8, 8)
    assert evaluate_model(opened, data, limit=100).accuracy == pytest.approx(0.95, abs=0.06)


def test_a_file_gives_the_data_its_shape(folder: tuple[Artifacts, ExportResult], shared: Path) -> None:
    opened, data = open_with_data(folder[0].tflite_fp32, data="digits")
    assert data is not None
    assert data.input_shape == opened.input_shape == (1, 8, 8)
    assert open_source(shared / "models" / "ic.tflite").input_shape == (3, 32, 32)


@pytest.mark.parametrize(
    ("what", "options", "message"),
    [
        ("missing.onnx", {}, "does not exist"),
        ("resnet9", {"input_shape": (3, 32, 32)}, "did you mean resnet8"),
        (nn.Linear(2, 2), {}, "input shape is not known"),
    ],
)
def test_sources_that_cannot_be_opened_are_one_line(what: Any, options: Any, message: str) -> None:
    with pytest.raises(NdtoolError, match=message) as caught:
        open_source(what, **options)
    assert "\n" not in str(caught.value)


def test_weights_alone_and_weights_for_a_file_are_refused(
    network: tuple[Path, Path], folder: tuple[Artifacts, ExportResult]
) -> None:
    with pytest.raises(NdtoolError, match="holds weights only"):
        open_source(network[1])
    with pytest.raises(NdtoolError, match="has its own weights"):
        open_source(folder[0].onnx, weights=network[1])


@pytest.mark.slow
def test_the_record_is_the_same_for_the_same_export(
    folder: tuple[Artifacts, ExportResult], source: Source, digits: Data, tmp_path: Path
) -> None:
    export_model(source, out=Artifacts(tmp_path), data=digits, int8=True)
    for name in ("export.json", "model.fp32.tflite", "model.int8.tflite"):
        assert (tmp_path / name).read_bytes() == (folder[0].path / name).read_bytes()
    assert json.loads((tmp_path / "export.json").read_text())["ndtool"]
