import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck

from ndtool.train.choices import CHOICES
from ndtool.train.losses import (
    DISTILLATIONS,
    ENTROPY_FLOOR,
    accuracy,
    entropy_temperature,
    squared_error,
    task_loss,
    uncertainty,
)


def logits(*probabilities):
    return torch.tensor(probabilities, dtype=torch.float64).log()


LABEL = torch.tensor([0])


def value(name, student, teacher, target=LABEL, temperature=1.0):
    return DISTILLATIONS[name](student, teacher, target, temperature).item()


def plain_kl(p, q):
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def test_kl_is_the_forward_divergence():
    p, q = (0.5, 0.25, 0.25), (0.25, 0.5, 0.25)  # 0.5 ln 2 - 0.25 ln 2
    assert value("kl", logits(q), logits(p)) == pytest.approx(0.25 * math.log(2))


def test_kl_is_scaled_with_the_square_of_the_temperature():
    p, q = (0.64, 0.32, 0.04), (0.25, 0.25, 0.5)
    softened = [[v**0.5 / sum(w**0.5 for w in r) for v in r] for r in (p, q)]
    assert value("kl", logits(q), logits(p), temperature=2.0) == pytest.approx(4 * plain_kl(*softened))


def test_adaptive_kl_goes_forward_where_the_student_is_surer_and_back_where_the_teacher_is():
    sure, unsure = (0.9, 0.05, 0.05), (0.4, 0.35, 0.25)
    assert value("adaptive-kl", logits(sure), logits(unsure)) == pytest.approx(plain_kl(unsure, sure))
    assert value("adaptive-kl", logits(unsure), logits(sure)) == pytest.approx(plain_kl(unsure, sure))
    both = DISTILLATIONS["adaptive-kl"](logits(sure, unsure), logits(unsure, sure), LABEL.expand(2), 1.0)
    assert both.item() == pytest.approx(plain_kl(unsure, sure))


def test_alpha_takes_the_larger_divergence():
    p, q = (0.5, 0.25, 0.25), (0.25, 0.5, 0.25)
    negative = (0.25**2 / 0.5 + 0.5**2 / 0.25 + 0.25 - 1) / 2  # 0.1875 > 0.1733 = KL
    assert value("alpha", logits(q), logits(p)) == pytest.approx(max(negative, plain_kl(p, q)))
    p, q = (0.98, 0.01, 0.01), (0.02, 0.49, 0.49)
    clipped = 0.02**2 / 0.98 / 2 + 2 * (5 * 0.49 - 12.5 * 0.01) - 0.5
    assert value("alpha", logits(q), logits(p)) == pytest.approx(max(clipped, plain_kl(p, q)))
    p, q = (0.5, 0.499, 0.001), (0.5, 0.4, 0.1)
    clipped = 0.5 / 2 + 0.4**2 / 0.499 / 2 + 5 * 0.1 - 12.5 * 0.001 - 0.5
    assert clipped > plain_kl(p, q)
    assert value("alpha", logits(q), logits(p)) == pytest.approx(clipped)


def test_alpha_bounds_the_gradient_where_the_student_sees_what_the_teacher_does_not():
    student = torch.tensor([[0.0, 0.0]], requires_grad=True)
    DISTILLATIONS["alpha"](student, torch.tensor([[40.0, -40.0]]), LABEL, 1.0).backward()
    assert student.grad is not None
    assert student.grad.abs().max() <= 5
    assert student.grad[0, 0] < 0 < student.grad[0, 1]


def test_dkd_weighs_the_other_classes_by_the_teachers_certainty():
    p, q = (0.6, 0.3, 0.1), (0.5, 0.2, 0.3)
    certainty = 1 + sum(v * math.log(v) for v in p) / math.log(3)
    expected = plain_kl((0.6, 0.4), (0.5, 0.5)) + certainty * plain_kl((0.75, 0.25), (0.4, 0.6))
    assert value("dkd", logits(q), logits(p)) == pytest.approx(expected)


def test_dkd_of_two_classes_is_kl():
    p, q = (0.6, 0.4), (0.3, 0.7)
    assert value("dkd", logits(q), logits(p), torch.tensor([1])) == pytest.approx(plain_kl(p, q))


def test_tempered_is_kl_for_a_teacher_that_is_unsure_enough():
    p, q = (0.5, 0.3, 0.2), (0.2, 0.2, 0.6)
    assert value("tempered", logits(q), logits(p)) == pytest.approx(plain_kl(p, q))


def test_tempered_restores_the_teachers_entropy():
    p, q = (0.99, 0.008, 0.002), (0.2, 0.2, 0.6)
    tau = entropy_temperature(logits(p), 1.0).item()
    softened = [[v ** (1 / tau) / sum(w ** (1 / tau) for w in r) for v in r] for r in (p, q)]
    assert -sum(v * math.log(v) for v in softened[0]) / math.log(3) == pytest.approx(ENTROPY_FLOOR, abs=1e-4)
    assert value("tempered", logits(q), logits(p)) == pytest.approx(tau**2 * plain_kl(*softened))


@given(seed=st.integers(0, 10**6), scale=st.floats(0.1, 300), classes=st.integers(2, 20))
@settings(max_examples=40, deadline=None)
def test_the_entropy_reaches_its_floor_and_no_more_than_needed(seed, scale, classes):
    z = scale * torch.randn(4, classes, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    tau = entropy_temperature(z, 1.0)
    u = uncertainty((z / tau[:, None]).log_softmax(1))
    assert (u >= ENTROPY_FLOOR - 1e-3).all()
    assert ((tau == 1) | (u <= ENTROPY_FLOOR + 1e-3)).all()


def test_every_choice_of_the_settings_is_there():
    assert tuple(DISTILLATIONS) == CHOICES["distill"]


@pytest.mark.parametrize("name", DISTILLATIONS)
@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_gradients_equal_finite_differences(name, temperature):
    generator = torch.Generator().manual_seed(3)
    student = (2 * torch.randn(6, 5, dtype=torch.float64, generator=generator)).requires_grad_()
    teacher = 4 * torch.randn(6, 5, dtype=torch.float64, generator=generator)
    target = torch.randint(5, (6,), generator=generator)
    assert gradcheck(lambda z: DISTILLATIONS[name](z, teacher, target, temperature), (student,))


@pytest.mark.parametrize("name", DISTILLATIONS)
def test_the_teacher_gets_no_gradient(name):
    student, teacher = (torch.randn(3, 4, requires_grad=True) for _ in range(2))
    DISTILLATIONS[name](student, teacher, torch.tensor([0, 1, 3]), 1.0).backward()
    assert teacher.grad is None
    assert student.grad is not None


@pytest.mark.parametrize("name", DISTILLATIONS)
def test_a_student_that_equals_its_teacher_has_nothing_to_learn(name):
    teacher = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    student = teacher.clone().requires_grad_()
    loss = DISTILLATIONS[name](student, teacher, torch.tensor([0, 1, 3]), 1.0)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-12)
    assert student.grad is not None
    assert student.grad.abs().max() < 1e-12


@pytest.mark.parametrize("name", DISTILLATIONS)
def test_extreme_logits_stay_finite(name):
    student = torch.tensor([[200.0, -200.0, 0.0], [-200.0, 200.0, 0.0]], requires_grad=True)
    loss = DISTILLATIONS[name](student, torch.tensor([[-200.0, 200.0, 0.0]] * 2), torch.tensor([0, 1]), 1.0)
    loss.backward()
    assert student.grad is not None
    assert torch.isfinite(loss)
    assert torch.isfinite(student.grad).all()


def test_the_task_decides_the_loss():
    output = logits((0.7, 0.2, 0.1))
    assert task_loss("classification", output, LABEL).item() == pytest.approx(-math.log(0.7))
    smooth = -(0.9 + 0.1 / 3) * math.log(0.7) - 0.1 / 3 * (math.log(0.2) + math.log(0.1))
    assert task_loss("classification", output, LABEL, 0.1).item() == pytest.approx(smooth)
    x = torch.tensor([[1.0, 2.0]])
    assert task_loss("reconstruction", torch.tensor([[0.0, 4.0]]), x).item() == 2.5
    assert accuracy("classification", logits((0.7, 0.3), (0.6, 0.4)), torch.tensor([0, 1])) == 0.5
    assert accuracy("reconstruction", x, x) is None


def test_a_reconstructions_distillation_is_the_squared_error():
    student = torch.tensor([[1.0, 3.0]], dtype=torch.float64, requires_grad=True)
    teacher = torch.tensor([[0.0, 1.0]], dtype=torch.float64, requires_grad=True)
    assert squared_error(student, teacher).item() == 2.5
    assert gradcheck(lambda z: squared_error(z, teacher.detach()), (student,))
    squared_error(student, teacher).backward()
    assert teacher.grad is None
