import pytest
import torch
from safetensors.torch import save_file

from ndtool.errors import NdtoolError
from ndtool.train.config import TrainConfig
from ndtool.train.models import ModelSpec, build
from ndtool.train.run import Artifacts, RunFolder, last_run

CONFIG = TrainConfig(model=ModelSpec(name="mlp", input_shape=(6,), classes=3), data="digits")


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NDTOOL_CACHE", str(tmp_path / "cache"))


def test_a_run_keeps_its_settings(tmp_path):
    run = RunFolder.create(tmp_path / "run", CONFIG)
    assert RunFolder.open(tmp_path / "run") == run
    assert run.load_config() == CONFIG


def test_the_layout_is_the_documented_one(tmp_path):
    run = RunFolder(tmp_path)
    paths = [
        run.config,
        run.metrics,
        run.last,
        run.best,
        run.student,
        run.onnx,
        run.tflite_fp32,
        run.tflite_int8,
        run.c,
        run.bench("cortex-m7"),
    ]
    assert [str(path.relative_to(tmp_path)) for path in paths] == [
        "config.toml",
        "metrics.jsonl",
        "checkpoints/last.pt",
        "checkpoints/best.pt",
        "student.safetensors",
        "model.onnx",
        "model.fp32.tflite",
        "model.int8.tflite",
        "c",
        "bench.cortex-m7.json",
    ]
    assert Artifacts(tmp_path).tflite_int8 == run.tflite_int8


def test_what_is_no_run_is_refused(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(NdtoolError, match=r"has no config.toml\): give the folder that"):
        RunFolder.open(tmp_path / "folder")
    with pytest.raises(NdtoolError, match="is no folder"):
        RunFolder.open(tmp_path / "nothing")


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    for options in ({}, {"overwrite": True}, {"resume": True}):
        with pytest.raises(NdtoolError, match="not empty and not a run"):
            RunFolder.choose(tmp_path, **options)
    assert (tmp_path / "thesis.tex").read_text() == "x"


def test_an_existing_run_is_refused_resumed_or_overwritten(tmp_path):
    run = RunFolder.create(tmp_path / "run", CONFIG)
    run.tflite_int8.write_text("old")
    run.bench("cortex-m7").write_text("old")
    run.c.mkdir()
    (run.path / "notes.txt").write_text("mine")
    with pytest.raises(NdtoolError, match="holds a run already"):
        RunFolder.create(run.path, CONFIG)
    assert RunFolder.choose(run.path, resume=True) == run
    assert run.tflite_int8.exists()
    RunFolder.create(run.path, CONFIG, overwrite=True)
    assert sorted(path.name for path in run.path.iterdir()) == ["checkpoints", "config.toml", "notes.txt"]


def test_a_folder_that_cannot_be_written_is_noticed(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NdtoolError, match=r"cannot write to .*Not a directory"):
        RunFolder.create(tmp_path / "file" / "run", CONFIG)


def test_the_last_run_is_found_again(tmp_path):
    assert last_run() is None
    run = RunFolder.create(tmp_path / "run", CONFIG)
    run.remember()
    assert last_run() == run
    run.config.unlink()
    assert last_run() is None


def test_the_student_has_the_weights_that_were_written(tmp_path):
    run = RunFolder.create(tmp_path / "run", CONFIG)
    with pytest.raises(NdtoolError, match=r"has no student\.safetensors, its training has not finished"):
        run.load_student()
    model = build(CONFIG.model)
    save_file(model.state_dict(), run.student)
    student = run.load_student()
    assert not student.training
    assert all(torch.equal(student.state_dict()[name], tensor) for name, tensor in model.state_dict().items())


def test_the_result_is_read_back(tmp_path):
    run = RunFolder.create(tmp_path / "run", CONFIG)
    with pytest.raises(NdtoolError, match=r"has no result.json"):
        run.result()
    run.write_result({"test": {"student": {"accuracy": 0.5}}})
    assert run.result()["test"]["student"]["accuracy"] == 0.5
