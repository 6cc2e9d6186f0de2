"""The methods that netdistiller is compared with: each step against the formula, written out."""

import copy
import dataclasses

import pytest
import torch
from torch.nn.functional import cross_entropy, kl_div, log_softmax

from ndtool.errors import NdtoolError
from ndtool.tests.train.steps import NETS, SHAPE, batch, config_of, method_of
from ndtool.train.config import TrainConfig
from ndtool.train.loop import fit
from ndtool.train.methods import step
from ndtool.train.models import ModelSpec, build
from ndtool.train.run import RunFolder, last_run
from ndtool.train.teacher import embed, subnetworks, widen


def saved_teacher(folder, config, *, shape=SHAPE):
    """A finished run of the widened network."""
    spec = dataclasses.replace(config.model, expand=config.expand, input_shape=shape)
    run = RunFolder.create(folder, dataclasses.replace(config, model=spec, method="vanilla"))
    torch.manual_seed(5)
    model = build(spec)
    from safetensors.torch import save_file

    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, run.student)
    return run, model.eval()


def test_kd_adds_the_divergence_from_the_frozen_teacher(tmp_path):
    config = config_of(method="kd", expand=2, distill_weight=0.7, temperature=2.0)
    run, teacher = saved_teacher(tmp_path / "teacher", config)
    method, (x, y) = method_of(dataclasses.replace(config, teacher=str(run.path))), batch()
    student = method.student().train()
    z_s, z_t = student(x), teacher(x).detach()
    distance = 4 * kl_div(log_softmax(z_s / 2, 1), log_softmax(z_t / 2, 1), reduction="batchmean", log_target=True)
    (cross_entropy(z_s, y) + 0.7 * distance).backward()
    metrics = step(method, x, y)
    assert metrics.distill_loss.item() == pytest.approx(distance.item(), rel=1e-4)
    for mine, expected in zip(method.parameters(), student.parameters(), strict=True):
        assert torch.allclose(mine.grad, expected.grad, atol=1e-5)
    for mine, before in zip(method.teacher().state_dict().values(), teacher.state_dict().values(), strict=True):
        assert torch.equal(mine, before)  # statistics too


def test_kd_refuses_a_teacher_of_other_data(tmp_path):
    config = config_of(method="kd", expand=2)
    run, _ = saved_teacher(tmp_path / "teacher", config, shape=(2, 8, 8))
    with pytest.raises(NdtoolError, match=r"teacher in .* takes \(2, 8, 8\)"):
        method_of(dataclasses.replace(config, teacher=str(run.path)))
    with pytest.raises(NdtoolError, match="--teacher RUN"):
        method_of(config)


def test_inplace_is_the_sum_of_both_gradients():
    config = config_of(method="inplace", expand=2, surgery="tensor", distill="dkd")  # neither of the two counts
    method, (x, y) = method_of(config), batch()
    plain = method_of(dataclasses.replace(config, method="netdistiller", surgery="none", distill="kl"))
    step(method, x, y)
    step(plain, x, y)
    for mine, expected in zip(method.parameters(), plain.parameters(), strict=True):
        assert torch.equal(mine.grad, expected.grad)


def test_a_subnetwork_lies_in_the_teacher_and_holds_the_student():
    torch.manual_seed(0)
    student, example = build(config_of().model), torch.zeros(2, *SHAPE)
    teacher = widen(student, example, 4)
    embed(teacher, student)
    wide = dict(teacher.teacher.named_parameters())
    widths = set()
    for network, sharing in (
        (each.teacher, each.sharing) for each in subnetworks(student, example, 4, count=6, seed=1)
    ):
        theirs = dict(network.named_parameters())
        assert theirs.keys() == sharing.index.keys() == wide.keys()
        for name, parameter in theirs.items():
            assert sharing.student_part(name, wide[name]).shape == parameter.shape, name
        # what the student has of the teacher lies within what the sub-network has of it
        marked = torch.zeros_like(wide["3.weight"])
        sharing.set_part("3.weight", marked, torch.ones_like(theirs["3.weight"]))
        assert teacher.sharing.student_part("3.weight", marked).all()
        widths.add(theirs["3.weight"].shape[:2])
    assert len(widths) > 2  # groups are drawn for themselves


def test_netaug_adds_the_loss_of_a_random_wider_network():
    config = config_of(method="netaug", expand=3, augment_weight=0.5)
    method, (x, y) = method_of(config), batch()
    other = copy.deepcopy(method)
    network, sharing = other._pool[other._drawn()]
    wide = {name: torch.zeros_like(p) for name, p in method._teacher.named_parameters()}
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.copy_(sharing.student_part(name, dict(method._teacher.named_parameters())[name]))
    augmented = cross_entropy(network(x), y)
    (0.5 * augmented).backward()
    student = method.student().train()
    own = cross_entropy(student(x), y)
    own.backward()
    for name, parameter in network.named_parameters():
        sharing.set_part(name, wide[name], parameter.grad)
    for name in method._shared:
        method._sharing.add_part(name, wide[name], dict(student.named_parameters())[name].grad)

    metrics = step(method, x, y)
    assert metrics.loss.item() == pytest.approx((own + 0.5 * augmented).item(), rel=1e-5)
    for name, parameter in method._teacher.named_parameters():
        assert torch.allclose(parameter.grad, wide[name], atol=1e-5), name
    drawn = set()
    for _ in range(30):
        drawn.add(method._drawn())
        assert method._drawn() in drawn  # until the step is taken
        step(method, x, y)
    assert len(drawn) > 3


class StoppedError(Exception):
    """Stands for the end of the process."""


def test_kd_trains_its_teacher_first_and_goes_on_where_it_was_killed(tmp_path, monkeypatch):
    monkeypatch.setenv("NDTOOL_CACHE", str(tmp_path / "cache"))
    from ndtool.train.data import load_data

    spec = ModelSpec(name=f"{NETS}:convolutional", input_shape=(1, 8, 8), classes=10)
    config = TrainConfig(model=spec, data="digits", method="kd", expand=2, epochs=2, batch_size=64, bn_samples=64)
    data = load_data("digits")
    config = dataclasses.replace(config, normalisation=data.normalisation)
    whole = fit(config, RunFolder(tmp_path / "whole"), data=data)
    assert whole.teacher_test.accuracy > 0.3  # chance is 0.1
    teacher = RunFolder(tmp_path / "whole" / "teacher")
    assert teacher.result()["test"]["student"] == whole.teacher_test.to_dict()
    assert teacher.result()["parameters"] > 2 * whole.run.result()["parameters"]

    killed = RunFolder(tmp_path / "killed")
    for of_teacher in (True, False):

        def die_in_the_second_epoch(standing, of_teacher=of_teacher):
            if standing.of_teacher == of_teacher and standing.epoch == 2:
                raise StoppedError

        with pytest.raises(StoppedError):
            fit(config, killed, data=data, resume=killed.config.is_file(), progress=die_in_the_second_epoch)
        assert last_run() == killed
    fit(config, killed, data=data, resume=True)
    assert killed.student.read_bytes() == whole.run.student.read_bytes()
    with pytest.raises(NdtoolError, match="expand: 2 -> 3"):
        fit(dataclasses.replace(config, expand=3), killed, data=data, resume=True)
