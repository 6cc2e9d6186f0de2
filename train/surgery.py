"""Gradient surgery between a student and the teacher that shares its weights; the student has priority."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Projection:
    """The teacher's gradient after surgery, and how much surgery there was.

    `teacher` has the shapes that came in. `cosines` are those of each tensor's two gradients before surgery, (T,) in
    [-1, 1]. `conflict_rate` is the fraction of units (tensors, or the one network) whose gradients point apart, in
    [0, 1]. Both are on the gradients' device: reading them costs a synchronisation, which is left to the caller.
    """

    teacher: list[Tensor]
    cosines: Tensor
    conflict_rate: Tensor


@torch.no_grad()
def project(student: Sequence[Tensor], teacher: Sequence[Tensor], granularity: str = "tensor") -> Projection:
    """Take from the teacher's gradient what works against the student's.

    Where <g_S, g_T> < 0: g_T' = g_T - <g_S, g_T> / ||g_S||² · g_S, so that <g_S, g_T'> = 0. The student's gradient is
    never changed, because the student is what ships.

    `student` and `teacher` are the gradients of the shared part, pairwise of one shape. `granularity` says over what
    the inner products run: each "tensor" for itself, the whole "network" at once, or "none": nothing is projected and
    only the metrics (per tensor) are computed.

    Source: PCGrad (Yu et al. 2020), one-sided as in NetDistiller (arXiv 2310.19820); the granularity is ours.
    """
    dots = torch.stack([torch.dot(s.flatten(), t.flatten()) for s, t in zip(student, teacher, strict=True)])
    student_squares = torch.stack(torch._foreach_norm(list(student))).square()
    teacher_squares = torch.stack(torch._foreach_norm(list(teacher))).square()
    tiny = torch.finfo(dots.dtype).tiny  # a gradient of zeros has no direction: cosine and coefficient are then 0
    cosines = dots / (student_squares.sqrt() * teacher_squares.sqrt()).clamp_min(tiny)
    if granularity == "network":
        dots, student_squares = (v.sum().expand(len(v)) for v in (dots, student_squares))
    projected = list(teacher)
    if granularity != "none":
        coefficients = dots.clamp_max(0) / student_squares.clamp_min(tiny)
        projected = list(torch._foreach_sub(projected, torch._foreach_mul(list(student), coefficients.unbind())))
    return Projection(teacher=projected, cosines=cosines.float(), conflict_rate=(dots < 0).float().mean())
