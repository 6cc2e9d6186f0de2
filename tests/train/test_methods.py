from contextlib import nullcontext

import pytest
import torch
from torch import nn

from ndtool.errors import NdtoolError
from ndtool.tests.train.steps import NETS, SHAPE, batch, config_of, method_of
from ndtool.train.config import TrainConfig
from ndtool.train.losses import DISTILLATIONS
from ndtool.train.methods import NetDistiller, Vanilla, autocasts, step
from ndtool.train.methods.base import _compiled
from ndtool.train.models import MODELS, ModelSpec, build
from ndtool.train.teacher import widen

WITHOUT_A_RUN = ("vanilla", "netdistiller", "inplace", "netaug")  # kd needs a teacher's


def test_vanilla_leaves_the_gradient_of_the_loss():
    config = config_of(method="vanilla", label_smoothing=0.1)
    method, (x, y) = method_of(config), batch()
    reference = method.student().train()
    loss = nn.functional.cross_entropy(reference(x), y, label_smoothing=0.1)
    loss.backward()
    metrics = step(method, x, y)
    assert metrics.loss.item() == pytest.approx(loss.item(), rel=1e-5)
    assert metrics.teacher_loss is metrics.conflict_rate is None
    for mine, expected in zip(method.parameters(), reference.parameters(), strict=True):
        assert torch.allclose(mine.grad, expected.grad, atol=1e-5)


@pytest.mark.parametrize("surgery", ["tensor", "network", "none"])
@pytest.mark.parametrize("distill", DISTILLATIONS)
def test_a_step_is_the_documented_one(surgery, distill):
    config = config_of(surgery=surgery, distill=distill, distill_weight=0.7, temperature=2.0, expand=2)
    method, (x, y) = method_of(config), batch()
    teacher, student = method.teacher().train(), method.student().train()
    sharing = widen(student, torch.zeros(2, *SHAPE), 2).sharing

    z_t = teacher(x)
    nn.functional.cross_entropy(z_t, y).backward()
    z_s = student(x)
    distance = DISTILLATIONS[distill](z_s, z_t.detach(), y, 2.0)
    (nn.functional.cross_entropy(z_s, y) + 0.7 * distance).backward()
    g_t = {name: p.grad for name, p in teacher.named_parameters()}
    g_s = {name: p.grad for name, p in student.named_parameters()}
    parts = {name: sharing.student_part(name, g_t[name]).clone() for name in sharing.index}
    dots = {name: (g_s[name] * part).sum() for name, part in parts.items()}
    squares = {name: g_s[name].square().sum() for name in parts}
    if surgery == "network":
        dots = dict.fromkeys(parts, torch.stack(list(dots.values())).sum())
        squares = dict.fromkeys(parts, torch.stack(list(squares.values())).sum())
    for name, part in parts.items():
        if surgery != "none" and dots[name] < 0:
            part = part - dots[name] / squares[name] * g_s[name]
        sharing.set_part(name, g_t[name], part + g_s[name])

    metrics = step(method, x, y)
    assert metrics.distill_loss.item() == pytest.approx(distance.item(), rel=1e-4)
    assert metrics.conflict_rate.item() == pytest.approx(sum(bool(d < 0) for d in dots.values()) / len(dots))
    for (name, expected), parameter in zip(g_t.items(), method.parameters(), strict=False):
        assert torch.allclose(parameter.grad, expected, atol=1e-5), name
    own = [g_s[name] for name, _ in student.named_parameters() if name in sharing.own]
    for parameter, expected in zip(method.parameters()[-len(own) :], own, strict=True):
        assert torch.allclose(parameter.grad, expected, atol=1e-5)


def test_surgery_changes_the_step_where_gradients_conflict():
    """Seeds whose first step has conflicts: the merged gradient then never works against the student's."""
    config = config_of(expand=2, distill_weight=5.0)
    conflicts = 0
    for seed in range(6):
        x, y = batch(seed)
        method = method_of(config, seed=seed)
        torch.manual_seed(seed)
        plain = method_of(config_of(expand=2, distill_weight=5.0, surgery="none"), seed=seed)
        rate = step(method, x, y).conflict_rate
        step(plain, x, y)
        same = all(torch.allclose(a.grad, b.grad) for a, b in zip(method.parameters(), plain.parameters(), strict=True))
        assert same == (rate == 0)
        conflicts += rate > 0
    assert conflicts > 0


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:dynamo_pgo")  # torch's own
@pytest.mark.parametrize(("name", "networks"), [("netdistiller", 2), ("netaug", 2), ("vanilla", 1)])
@pytest.mark.parametrize("compiler", ["c++", "/nowhere/c++"])
def test_a_compiled_method_takes_the_same_step(name, networks, compiler):
    """Also where there is nothing to compile with: then the networks run as they are, and a warning says so."""
    from torch._dynamo.utils import counters
    from torch._inductor import config as inductor

    torch._dynamo.reset()
    _compiled.cache_clear()
    counters.clear()
    works = compiler == "c++"
    plain = method_of(config_of(method=name))
    with inductor.patch({"cpp.cxx": (compiler,), "force_disable_caches": True}):
        compiled = method_of(config_of(method=name, compile=True))
        with nullcontext() if works else pytest.warns(UserWarning, match="No working C"):
            step(compiled, *batch())
    step(plain, *batch())
    assert counters["stats"]["unique_graphs"] == (networks + 1 if works else 0)  # with the one that was tried first
    for mine, expected in zip(compiled.parameters(), plain.parameters(), strict=True):
        assert torch.allclose(mine.grad, expected.grad, atol=1e-5)


def whole(method):
    return torch.cat([p.grad.flatten() for p in method.parameters()])


@pytest.mark.parametrize("name", WITHOUT_A_RUN)
def test_autocast_takes_nearly_the_same_step(name):
    """On a CPU where it is asked for: networks compute in bfloat16, losses, gradients and weights stay in float32."""
    plain, default, autocast = (
        method_of(config_of(method=name, **chosen)) for chosen in ({}, {"amp": False}, {"amp": True})
    )
    exact, same, near = (step(method, *batch(count=64)) for method in (plain, default, autocast))
    assert torch.equal(whole(plain), whole(default))
    assert exact.loss == same.loss != near.loss
    assert near.loss.dtype is torch.float32
    assert {p.grad.dtype for p in autocast.parameters()} == {torch.float32}
    assert near.loss.item() == pytest.approx(exact.loss.item(), rel=0.02)
    assert torch.cosine_similarity(whole(autocast), whole(plain), dim=0) > 0.99
    assert all(tensor.dtype is torch.float32 for tensor in autocast.state_dict().values() if tensor.is_floating_point())


@pytest.mark.parametrize(
    ("amp", "on_gpu", "on_old_gpu", "on_cpu"),
    [(None, True, False, False), (True, True, True, True), (False, False, False, False)],
)
def test_autocast_is_for_gpus_that_have_bfloat16_where_nothing_is_said(monkeypatch, amp, on_gpu, on_old_gpu, on_cpu):
    config, cuda = config_of(amp=amp), torch.device("cuda")
    assert autocasts(config, torch.device("cpu")) == on_cpu
    for itself, expected in ((True, on_gpu), (False, on_old_gpu)):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation, itself=itself: itself)
        assert autocasts(config, cuda) == expected


def test_each_network_has_its_own_batchnorm():
    method, (x, y) = method_of(config_of()), batch()
    step(method, x, y)
    state = method.state_dict()
    assert state["student.1.running_mean"].shape == (4,)
    assert state["teacher.1.running_mean"].shape == (12,)
    assert "student.0.weight" not in state
    assert len([p for p in method.parameters() if p.ndim == 1]) == 4 + 4 + 1  # both's affine, one shared bias
    assert not torch.equal(state["student.1.running_mean"], torch.zeros(4))


def test_the_extracted_student_equals_the_functional_one():
    method, (x, y) = method_of(config_of()), batch()
    optimizer = torch.optim.SGD(method.parameters(), lr=0.1)
    for _ in range(3):
        step(method, x, y)
        optimizer.step()
    student = method.student()
    assert not student.training
    functional = method._student.eval()
    with torch.no_grad():
        expected = torch.func.functional_call(functional, method._student_weights(), (x,))
        assert torch.equal(student(x), expected)
    method._student.train()
    # the copy is not trained any further
    before = student.state_dict()["0.weight"].clone()
    step(method, x, y)
    optimizer.step()
    assert torch.equal(student.state_dict()["0.weight"], before)
    assert not torch.equal(method.student().state_dict()["0.weight"], before)


@pytest.mark.parametrize("name", WITHOUT_A_RUN)
def test_a_state_restores_the_method(name):
    one, other = (method_of(config_of(method=name), seed=seed) for seed in (0, 1))
    x, y = batch()
    step(one, x, y)
    other.load_state_dict({key: tensor.clone() for key, tensor in one.state_dict().items()})
    assert torch.equal(one.student()(x), other.student()(x))
    step(one, x, y)
    step(other, x, y)
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(a.grad, b.grad)


class Summed(nn.Module):
    """Two parameters that have one gradient between them, and one that is not used."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.unused = (nn.Parameter(torch.randn(3)) for _ in range(3))

    def forward(self, x):
        return x.mean((2, 3))[:, :1] * (self.a + self.b)


def test_gradients_have_memory_of_their_own():
    method = Vanilla(config_of(method="vanilla"), "classification", Summed(), torch.zeros(2, *SHAPE))
    step(method, *batch())
    a, b, unused = (p.grad for p in method.parameters())
    assert torch.equal(a, b)
    a.mul_(2)
    assert not torch.equal(a, b)
    assert torch.equal(unused, torch.zeros(3))


def test_vanilla_leaves_frozen_weights_and_netdistiller_refuses_them():
    student = build(config_of().model)
    student[0].weight.requires_grad_(False)
    method = Vanilla(config_of(), "classification", student, torch.zeros(2, *SHAPE))
    step(method, *batch())
    assert student[0].weight.grad is None
    with pytest.raises(NdtoolError, match=r"0\.weight is frozen.*--method vanilla"):
        NetDistiller(config_of(), "classification", student, torch.zeros(2, *SHAPE))


def test_a_reconstruction_is_distilled_by_squared_error():
    spec = ModelSpec(name=f"{NETS}:autoencoder", input_shape=(8,), classes=0)
    config = TrainConfig(model=spec, data="made", distill_weight=2.0)
    method = NetDistiller(config, "reconstruction", build(spec), torch.zeros(2, 8))
    x = torch.randn(16, 8)
    with torch.no_grad():
        z_t, z_s = method.teacher()(x), method.student()(x)
    metrics = step(method, x, x)
    assert metrics.distill_loss.item() == pytest.approx(nn.functional.mse_loss(z_s, z_t).item(), rel=1e-5)
    expected = sum(nn.functional.mse_loss(a, b).item() for a, b in ((z_t, x), (z_s, x))) + 2 * metrics.distill_loss
    assert metrics.loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert metrics.student_accuracy is metrics.teacher_accuracy is None


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_every_network_of_the_zoo_takes_a_step(name):
    shape = MODELS[name].input_shape
    reconstruction = MODELS[name].task == "reconstruction"
    if len(shape) == 3:
        shape = (shape[0], min(shape[1], 32), min(shape[2], 32))
    spec = ModelSpec(name=name, input_shape=shape, classes=0 if reconstruction else 5)
    config = TrainConfig(model=spec, data="made", expand=2)
    method = NetDistiller(config, MODELS[name].task, build(spec), torch.zeros(2, *shape))
    x = torch.randn(4, *shape)
    optimizer = torch.optim.SGD(method.parameters(), lr=0.01)
    before = method.student().state_dict()
    metrics = step(method, x, x if reconstruction else torch.tensor([0, 1, 2, 4]))
    optimizer.step()
    assert torch.isfinite(metrics.loss)
    assert 0 <= metrics.conflict_rate <= 1
    after = method.student().state_dict()
    kernels = [key for key, tensor in after.items() if tensor.ndim > 1]
    assert [key for key in kernels if torch.equal(after[key], before[key])] == []
