import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ndtool.train.surgery import project


def tensors(*rows):
    return [torch.tensor(row, dtype=torch.float64) for row in rows]


def test_a_conflict_is_projected_out_of_the_teacher():
    # <s, t> = -2, ||s||² = 4: t' = t + 0.5 s
    projection = project(tensors([2.0, 0.0]), tensors([-1.0, 3.0]))
    assert projection.teacher[0].tolist() == [0.0, 3.0]
    assert projection.conflict_rate == 1
    assert projection.cosines.tolist() == pytest.approx([-1 / 10**0.5])


def test_gradients_that_agree_are_left_alone():
    projection = project(tensors([2.0, 1.0]), tensors([1.0, 3.0]))
    assert projection.teacher[0].tolist() == [1.0, 3.0]
    assert projection.conflict_rate == 0


def test_tensors_are_projected_one_by_one():
    student, teacher = tensors([1.0, 0.0], [[1.0], [1.0]]), tensors([-1.0, 1.0], [[3.0], [3.0]])
    projection = project(student, teacher, "tensor")
    assert [t.tolist() for t in projection.teacher] == [[0.0, 1.0], [[3.0], [3.0]]]
    assert projection.conflict_rate == 0.5
    assert projection.cosines.tolist() == pytest.approx([-(0.5**0.5), 1])


def test_the_network_is_projected_as_one():
    # in all: <s, t> = -1 + 6 = 5, so nothing conflicts, though the first tensor alone does
    student, teacher = tensors([1.0, 0.0], [[1.0], [1.0]]), tensors([-1.0, 1.0], [[3.0], [3.0]])
    projection = project(student, teacher, "network")
    assert [t.tolist() for t in projection.teacher] == [t.tolist() for t in teacher]
    assert projection.conflict_rate == 0
    # in all: <s, t> = -9 + 6 = -3, ||s||² = 3: t' = t + s
    projection = project(student, tensors([-9.0, 1.0], [[3.0], [3.0]]), "network")
    assert [t.tolist() for t in projection.teacher] == [[-8.0, 1.0], [[4.0], [4.0]]]
    assert projection.conflict_rate == 1


def test_without_surgery_the_conflicts_are_only_counted():
    projection = project(tensors([1.0]), tensors([-1.0]), "none")
    assert projection.teacher[0].tolist() == [-1.0]
    assert projection.conflict_rate == 1
    assert projection.cosines.tolist() == [-1]


def test_a_gradient_of_zeros_conflicts_with_nothing():
    projection = project(tensors([0.0, 0.0]), tensors([-1.0, 3.0]))
    assert projection.teacher[0].tolist() == [-1.0, 3.0]
    assert projection.conflict_rate == 0
    assert projection.cosines.tolist() == [0]


@given(seed=st.integers(0, 10**6), count=st.integers(1, 5), granularity=st.sampled_from(["tensor", "network"]))
@settings(max_examples=50, deadline=None)
def test_afterwards_nothing_works_against_the_student(seed, count, granularity):
    generator = torch.Generator().manual_seed(seed)
    shapes = [tuple(torch.randint(1, 5, (3,), generator=generator).tolist()) for _ in range(count)]
    student, teacher = ([torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes] for _ in range(2))
    before = [t.clone() for t in teacher]
    projected = project(student, teacher, granularity).teacher
    dots = torch.stack([(s * t).sum() for s, t in zip(student, projected, strict=True)])
    assert (dots if granularity == "tensor" else dots.sum()).min() >= -1e-12
    assert all(torch.equal(t, b) for t, b in zip(teacher, before, strict=True))
    # what is orthogonal to the student's gradient is untouched
    removed = [b - t for b, t in zip(before, projected, strict=True)]
    for s, r in zip(student, removed, strict=True):
        assert torch.allclose(r, (r * s).sum() / (s * s).sum() * s)
