"""Transfer: a run's weights on other data, its teacher with them, and what does not fit named."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ndtool.errors import NdtoolError
from ndtool.train.checkpoint import load_best
from ndtool.train.config import TrainConfig
from ndtool.train.data import load_data
from ndtool.train.loop import fit
from ndtool.train.models import build
from ndtool.train.run import RunFolder
from ndtool.train.setup import prepare
from ndtool.train.training import wire
from ndtool.train.transfer import load_student, open_start

SETTINGS = {"epochs": 1, "batch_size": 128, "expand": 2, "device": "cpu", "bn_samples": 128}


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NDTOOL_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> RunFolder:
    """ResNet8, narrow, on ten digits."""
    config, data = prepare("resnet8", "digits", arguments=["width=0.5"], **SETTINGS)
    folder = RunFolder(tmp_path_factory.mktemp("runs") / "digits")
    fit(config, folder, data=data)
    return folder


@pytest.fixture(scope="module")
def few(tmp_path_factory) -> str:
    """Three of the digits, as data of their own."""
    data = load_data("digits")
    arrays = {}
    for part, split in (("train", data.train), ("test", data.test)):
        chosen = split.y < 3
        arrays |= {f"x_{part}": split.x[chosen].numpy(), f"y_{part}": split.y[chosen].numpy()}
    path = tmp_path_factory.mktemp("data") / "few.npz"
    np.savez(path, **arrays)
    return str(path)


def begun(config: TrainConfig, data, tmp_path):
    """The training as it stands before its first step."""
    return wire(config, RunFolder(tmp_path / "new"), data, start=open_start(config.init))


def test_model_arguments_input_and_normalisation_are_those_of_the_run(run, few, tmp_path):
    config, data = prepare(None, few, init=str(run.path), **SETTINGS)
    assert config.model.name == "resnet8"
    assert config.model.arguments == {"width": 0.5}
    assert config.model.classes == 3
    assert config.model.input_shape == (1, 8, 8)
    assert config.normalisation == run.load_config().normalisation == data.normalisation
    assert config.init == str(run.path)
    assert TrainConfig.from_toml(config.to_toml()) == config


@pytest.mark.parametrize("method", ["vanilla", "netdistiller"])
def test_the_student_begins_as_it_shipped_but_for_a_classifier_of_its_own(run, few, tmp_path, method):
    config, data = prepare(None, few, init=str(run.path), method=method, **SETTINGS)
    shipped, student = open_start(str(run.path)).student, begun(config, data, tmp_path).method.student().state_dict()
    kept = [name for name, _ in build(config.model).named_parameters() if not name.startswith("head.")]
    assert len(kept) > 20
    assert all(torch.equal(student[name], shipped[name]) for name in kept)
    assert student["head.linear.weight"].shape == (3, 32)
    torch.manual_seed(config.seed)
    if method == "vanilla":
        assert torch.equal(student["head.linear.weight"], build(config.model).state_dict()["head.linear.weight"])


@pytest.mark.parametrize("method", ["netdistiller", "netaug", "inplace"])
def test_a_teacher_of_the_same_width_comes_along(run, few, tmp_path, method):
    config, data = prepare(None, few, init=str(run.path), method=method, **SETTINGS)
    teacher = begun(config, data, tmp_path).method.state_dict()
    before = load_best(run.best).method
    same = [name for name in teacher if "." in name and not name.startswith("teacher.head.")]
    assert sum(name.startswith("teacher.") for name in same) > 20
    assert all(torch.equal(teacher[name], before[name]) for name in same)
    assert teacher["teacher.head.linear.weight"].shape[0] == 3


def test_a_teacher_of_another_width_holds_the_student_in_fresh_weights(run, few, tmp_path):
    config, data = prepare(None, few, init=str(run.path), **{**SETTINGS, "expand": 3})
    training = begun(config, data, tmp_path)
    teacher = training.method.state_dict()["teacher.stem.conv.weight"]
    assert torch.equal(teacher[::3], open_start(str(run.path)).student["stem.conv.weight"])
    assert not torch.equal(teacher[1::3], teacher[::3])


def test_with_as_many_classes_the_classifier_is_kept(run, tmp_path):
    config, data = prepare(None, "digits", init=str(run.path), method="vanilla", **SETTINGS)
    student = begun(config, data, tmp_path).method.student()
    shipped = run.load_student()
    x = torch.randn(4, 1, 8, 8)
    torch.testing.assert_close(student(x), shipped(x))


def test_transfer_trains_and_resumes_without_the_run(run, few, tmp_path):
    config, data = prepare(None, few, init=str(run.path), **{**SETTINGS, "epochs": 2, "lr": 0.05})
    folder = RunFolder(tmp_path / "few")

    def stop(_: object) -> None:
        raise KeyboardInterrupt

    assert fit(config, folder, data=data, progress=stop).interrupted
    moved = run.path.rename(tmp_path / "elsewhere")
    try:
        result = fit(config, folder, data=data, resume=True)
    finally:
        moved.rename(run.path)
    assert result.epochs == 2
    assert result.test.accuracy > 0.9
    whole = fit(config, RunFolder(tmp_path / "whole"), data=data)
    assert (folder.student.read_bytes()) == (whole.run.student.read_bytes())


def test_kd_trains_its_teacher_on_the_new_data_from_fresh_weights(run, few, tmp_path):
    config, data = prepare(None, few, init=str(run.path), method="kd", **SETTINGS)
    result = fit(config, RunFolder(tmp_path / "kd"), data=data)
    assert result.run.teacher.load_config().init is None
    assert result.run.load_config().init == str(run.path)


class TestMisfits:
    def test_the_first_tensor_that_differs_is_named(self, run, few):
        with pytest.raises(NdtoolError) as error:
            prepare("resnet8", few, init=str(run.path), arguments=["width=1"], **SETTINGS)
        assert "(resnet8) does not fit the model: stem.conv.weight is (8, 1, 3, 3) there and (16, 1, 3, 3) here" in str(
            error.value
        )

    def test_another_model_is_refused_by_what_it_lacks(self, run, few):
        with pytest.raises(NdtoolError, match=r"does not fit the model: it has stage1.conv1.bn.bias, the model does"):
            prepare("mobilenetv2", few, init=str(run.path), **SETTINGS)

    def test_a_file_lacking_a_tensor_is_refused(self, run, few, tmp_path):
        weights = dict(open_start(str(run.path)).student)
        del weights["stage2.conv1.bn.running_mean"]
        save_file(weights, tmp_path / "less.safetensors")
        with pytest.raises(
            NdtoolError, match=r"less.safetensors does not fit .*: it has no stage2.conv1.bn.running_mean"
        ):
            prepare("resnet8", few, init=str(tmp_path / "less.safetensors"), arguments=["width=0.5"], **SETTINGS)

    def test_a_file_of_weights_needs_a_model(self, run, few):
        with pytest.raises(NdtoolError, match="holds weights only: name the MODEL"):
            prepare(None, few, init=str(run.student), **SETTINGS)

    def test_a_run_that_has_not_finished_is_refused(self, run, few, tmp_path):
        folder = RunFolder(tmp_path / "begun")
        folder.begin(run.load_config())
        with pytest.raises(NdtoolError, match="training has not finished"):
            prepare(None, few, init=str(folder.path), **SETTINGS)

    def test_what_is_not_there_is_refused(self, few, tmp_path):
        with pytest.raises(NdtoolError, match="does not exist: give the folder of a trained run"):
            prepare(None, few, init=str(tmp_path / "nothing"), **SETTINGS)


def test_two_layers_that_differ_are_no_classifier(run):
    start = open_start(str(run.path))
    spec = run.load_config().model
    student = build(spec)
    student.stage3.shortcut = torch.nn.Conv2d(16, 31, 1, 2)
    student.head.linear = torch.nn.Linear(32, 3)
    with pytest.raises(
        NdtoolError, match=r"stage3.shortcut.weight is \(32, 16, 1, 1\) there and \(31, 16, 1, 1\) here"
    ):
        load_student(start, student)
