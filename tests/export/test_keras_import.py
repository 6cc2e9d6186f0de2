"""Keras files and SavedModel folders; the tests that need TensorFlow skip where no Python has it."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from ndtool.errors import NdtoolError
from ndtool.export.keras_import import convert, interpreter, predict
from ndtool.quantize.runtime import TFLiteModel


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models that TensorFlow wrote."""
    folder = tmp_path_factory.mktemp("keras")
    script = Path(__file__).with_name("keras_models.py")
    find = "import importlib.util, sys; sys.exit(importlib.util.find_spec('tensorflow') is None)"
    if subprocess.run([interpreter(), "-P", "-c", find], check=False).returncode:
        pytest.skip(f"{interpreter()} has no TensorFlow: set NDTOOL_TENSORFLOW_PYTHON to a Python that has it")
    subprocess.run([interpreter(), "-P", str(script), str(folder)], check=True, capture_output=True)
    return folder


@pytest.mark.parametrize("name", ["cnn.keras", pytest.param("cnn.h5", marks=pytest.mark.slow), "saved"])
def test_conversion_keeps_layout_and_values(name: str, models: Path, tmp_path: Path) -> None:
    out = tmp_path / "m.tflite"
    convert(models / name, out)
    model = TFLiteModel(out)
    assert [info.shape for info in model.inputs] == [(1, 8, 8, 3)]
    assert model.inputs[0].dtype == np.float32
    x, y = np.load(models / "x.npy"), np.load(models / "y.npy")
    got = np.concatenate([model.run(image[None])[0] for image in x])
    np.testing.assert_allclose(got, y, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["cnn.keras", pytest.param("saved", marks=pytest.mark.slow)])
def test_prediction_of_several_images_is_that_of_tensorflow(name: str, models: Path) -> None:
    got = predict(models / name, np.load(models / "x.npy"))
    np.testing.assert_allclose(got, np.load(models / "y.npy"), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_data_of_another_size_are_refused(models: Path) -> None:
    with pytest.raises(NdtoolError, match=r"cnn\.keras: takes \(N, 8, 8, 3\), not \(1, 9, 9, 3\): give data"):
        predict(models / "cnn.keras", np.zeros((1, 9, 9, 3)))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lambda.keras", "Lambda of keras.layers is code of its own, which is not run: build"),
        ("lambda.h5", "Lambda of .* is code of its own, which is not run: build"),
        ("custom.keras", "Custom of .* is code of its own"),
        ("only.weights.h5", "holds weights only: save the whole model"),
        pytest.param("open.keras", r"input size \(N, \?, \?, 3\) is not fixed", marks=pytest.mark.slow),
        pytest.param("two.keras", "has 2 inputs .*, one is supported", marks=pytest.mark.slow),
        ("reader", "contains ReadFile, which is not run"),
    ],
)
def test_what_cannot_be_taken_is_one_clear_line(name: str, message: str, models: Path, tmp_path: Path) -> None:
    with pytest.raises(NdtoolError, match=message) as caught:
        convert(models / name, tmp_path / "m.tflite")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "m.tflite").exists()


def test_a_truncated_file_is_refused(models: Path, tmp_path: Path) -> None:
    for name in ("cnn.keras", "cnn.h5"):
        part = tmp_path / name
        part.write_bytes((models / name).read_bytes()[:1000])
        with pytest.raises(NdtoolError, match="not a complete"):
            convert(part, tmp_path / "m.tflite")


def keras_file(path: Path, layer: dict[str, object]) -> Path:
    """A .keras file of one layer, without weights."""
    config = {"class_name": "Sequential", "module": "keras", "config": {"layers": [layer]}}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(config))
    return path


@pytest.mark.parametrize(
    "layer",
    [
        {"class_name": "Lambda", "module": "keras.layers"},
        {"class_name": "function", "module": "os", "config": "system"},
        {"class_name": "function", "module": "keras_of_mine", "config": "run"},
        {"class_name": "Mine", "module": None, "registered_name": "package>Mine"},
        {"class_name": "Dense", "config": {"activation": {"class_name": "__lambda__", "config": {"value": "x"}}}},
    ],
)
def test_code_in_a_file_is_refused_before_anything_is_loaded(layer: dict[str, object], tmp_path: Path) -> None:
    path = keras_file(tmp_path / "m.keras", layer)
    with pytest.raises(NdtoolError, match="is code of its own, which is not run"):
        convert(path, tmp_path / "m.tflite")


@pytest.mark.parametrize(
    ("name", "message"),
    [("absent.keras", "no such file"), (".", r"has no saved_model\.pb"), ("m.onnx", "not a Keras file by its name")],
)
def test_paths_that_are_no_models_are_refused(name: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"x")
    with pytest.raises(NdtoolError, match=message):
        convert(tmp_path / name, tmp_path / "m.tflite")


def test_without_tensorflow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NDTOOL_TENSORFLOW_PYTHON", raising=False)
    hidden = tmp_path / "sitecustomize.py"
    hidden.write_text("import sys\nsys.modules['tensorflow'] = None\n")  # as if it were not installed
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    path = keras_file(tmp_path / "m.keras", {"class_name": "ReLU", "module": "keras.layers"})
    with pytest.raises(NdtoolError, match=r'needs TensorFlow: pip install "ndtool\[tensorflow\]"'):
        predict(path, np.zeros((1, 2)))


def test_a_python_that_cannot_be_run_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NDTOOL_TENSORFLOW_PYTHON", str(tmp_path / "python"))
    with pytest.raises(NdtoolError, match=r"NDTOOL_TENSORFLOW_PYTHON: .*python cannot be run: No such file"):
        predict(tmp_path, np.zeros((1, 2)))


def test_a_worker_that_dies_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "python"
    script.write_text(f"#!{sys.executable}\nimport sys\nsys.exit('No module named ndtool')\n")
    script.chmod(0o755)
    monkeypatch.setenv("NDTOOL_TENSORFLOW_PYTHON", str(script))
    with pytest.raises(NdtoolError, match=r"failed: No module named ndtool \(it needs both tensorflow and ndtool\)"):
        predict(tmp_path, np.zeros((1, 2)))
