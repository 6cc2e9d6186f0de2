"""Losses of the task and the distillation terms, as pure functions of logits."""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
import torch.nn.functional as F
from torch import Tensor

RATIO_CLIP = 5.0  # of the α-divergence: AlphaNet's bound on the importance ratio
ENTROPY_FLOOR = 0.25  # of `tempered`: the least u(p_T) that the student is taught with
MAX_TEMPERING = 2.0**12  # of `tempered`: no teacher is softened by more than this factor

Distillation = Callable[[Tensor, Tensor, Tensor, float], Tensor]


def task_loss(task: str, output: Tensor, target: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Mean loss of a batch: cross-entropy of logits (N, K) and labels (N,), or a reconstruction's squared error."""
    if task == "reconstruction":
        return F.mse_loss(_wide(output), target)
    return F.cross_entropy(_wide(output), target, label_smoothing=label_smoothing)


def accuracy(task: str, output: Tensor, target: Tensor) -> Tensor | None:
    """The fraction of a batch that is classified right, a scalar tensor; None where nothing is classified."""
    return None if task == "reconstruction" else (output.argmax(1) == target).float().mean()


def uncertainty(log_p: Tensor) -> Tensor:
    """u(p) = H(p) / log K in [0, 1], per sample, of log-probabilities (N, K)."""
    return _entropy(log_p) / math.log(log_p.shape[1])


def kl(student: Tensor, teacher: Tensor, target: Tensor, temperature: float) -> Tensor:
    """Forward KL: τ² · KL(p_T || p_S), p = softmax(z / τ).

    As every distillation term: `student` and `teacher` are logits (N, K), `target` labels (N,), the result is the mean
    over the batch, and no gradient reaches the teacher. The factor τ² keeps the gradient's size (Hinton et al. 2015).
    """
    log_s, log_t = _log_probabilities(student, teacher, temperature)
    return temperature**2 * _divergence(log_t, log_s).mean()


def adaptive_kl(student: Tensor, teacher: Tensor, target: Tensor, temperature: float) -> Tensor:
    """Forward KL where the student is the more certain of the two, reverse KL(p_S || p_T) where the teacher is.

    Per sample, by u(p) = H(p) / log K. Forward KL widens a student that is too sure; reverse KL lets it ignore the
    classes that an over-confident teacher has given up. Source: NetDistiller's abstract; the rule is ours.
    """
    log_s, log_t = _log_probabilities(student, teacher, temperature)
    student_is_surer = uncertainty(log_s.detach()) <= uncertainty(log_t)
    return temperature**2 * torch.where(student_is_surer, _divergence(log_t, log_s), _divergence(log_s, log_t)).mean()


def adaptive_alpha(student: Tensor, teacher: Tensor, target: Tensor, temperature: float) -> Tensor:
    """Per sample the larger of the α-divergences with α = -1 and α = +1.

    With r = p_S / p_T: D_{+1} = KL(p_T || p_S), D_{-1} = (Σ p_S · r - 1) / 2. Where r exceeds RATIO_CLIP (β), the
    summand p_S · r / 2 goes on along its tangent, β · p_S - β² · p_T / 2: so the gradient by p_S is min(r, β), which is
    AlphaNet's clipping of the importance ratio, and stays the gradient of the value returned.

    Source: AlphaNet (Wang et al. 2021).
    """
    log_s, log_t = _log_probabilities(student, teacher, temperature)
    p_s, p_t = log_s.exp(), log_t.exp()
    log_ratio = log_s - log_t
    ratio = log_ratio.clamp_max(math.log(RATIO_CLIP)).exp()
    clipped = log_ratio.detach() > math.log(RATIO_CLIP)
    summands = torch.where(clipped, RATIO_CLIP * p_s - RATIO_CLIP**2 / 2 * p_t, p_s * ratio / 2)
    negative, positive = summands.sum(1) - 0.5, _divergence(log_t, log_s)
    return temperature**2 * torch.where(negative.detach() > positive.detach(), negative, positive).mean()


def decoupled(student: Tensor, teacher: Tensor, target: Tensor, temperature: float) -> Tensor:
    """TCKD + (1 - u(p_T)) · NCKD: decoupled distillation, the non-target term weighted by the teacher's certainty.

    TCKD is the KL of (p_target, 1 - p_target), NCKD the KL among the other classes. Plain KL is TCKD +
    (1 - p_T,target) · NCKD, which fades just where the teacher knows most.

    Source: Zhao et al. 2022 (DKD, whose weight is a constant); the weight is ours.
    """
    log_s, log_t = _log_probabilities(student, teacher, temperature)
    others = torch.ones_like(log_s, dtype=torch.bool).scatter_(1, target[:, None], False)
    rest_s, rest_t = (log_p[others].view(len(log_p), -1) for log_p in (log_s, log_t))  # (N, K - 1)
    binary_s, binary_t = (
        torch.stack([log_p.gather(1, target[:, None])[:, 0], rest.logsumexp(1)], dim=1)
        for log_p, rest in ((log_s, rest_s), (log_t, rest_t))
    )
    target_term = _divergence(binary_t, binary_s)
    other_term = _divergence(rest_t.log_softmax(1), rest_s.log_softmax(1))
    return temperature**2 * (target_term + (1 - uncertainty(log_t)) * other_term).mean()


def tempered(student: Tensor, teacher: Tensor, target: Tensor, temperature: float) -> Tensor:
    """τ² · KL(p_T || p_S) with τ per sample: `temperature`, or more where u(p_T) lies below ENTROPY_FLOOR.

    A sample's τ is the smallest that brings the teacher's entropy up to the floor, so that the soft labels of an
    over-confident teacher say again how the other classes compare. Source: NetDistiller's abstract; the rule is ours.
    """
    tau = entropy_temperature(_wide(teacher.detach()), temperature)[:, None]
    log_s, log_t = _log_probabilities(student, teacher, tau)
    return (tau[:, 0] ** 2 * _divergence(log_t, log_s)).mean()


@torch.no_grad()
def entropy_temperature(logits: Tensor, temperature: float, floor: float = ENTROPY_FLOOR) -> Tensor:
    """Per sample, the smallest τ >= `temperature` with u(softmax(logits / τ)) >= floor: (N,), by bisection of log τ.

    At most MAX_TEMPERING · `temperature`. The entropy grows with τ, so the bisection is sound.
    """
    low = torch.full_like(logits[:, 0], math.log(temperature))
    high = low + math.log(MAX_TEMPERING)
    enough_from_the_start = uncertainty((logits / temperature).log_softmax(1)) >= floor
    for _ in range(24):
        middle = (low + high) / 2
        enough = uncertainty((logits / middle.exp()[:, None]).log_softmax(1)) >= floor
        low, high = torch.where(enough, low, middle), torch.where(enough, middle, high)
    return torch.where(enough_from_the_start, torch.full_like(high, temperature), high.exp())


def squared_error(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared error to the teacher's output: the distillation term of what is no classifier."""
    return F.mse_loss(_wide(student), _wide(teacher.detach()))


DISTILLATIONS: Mapping[str, Distillation] = MappingProxyType(
    {"kl": kl, "adaptive-kl": adaptive_kl, "alpha": adaptive_alpha, "dkd": decoupled, "tempered": tempered}
)


def _log_probabilities(student: Tensor, teacher: Tensor, temperature: float | Tensor) -> tuple[Tensor, Tensor]:
    """log softmax(z / τ) of both, (N, K); the teacher's without gradient."""
    return (_wide(student) / temperature).log_softmax(1), (_wide(teacher.detach()) / temperature).log_softmax(1)


def _wide(z: Tensor) -> Tensor:
    """In float32 at least: outputs of mixed precision are too coarse for a loss."""
    return z.to(torch.promote_types(z.dtype, torch.float32))


def _divergence(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p || q) = Σ p (log p - log q), per sample: (N,)."""
    return (log_p.exp() * (log_p - log_q)).sum(1)


def _entropy(log_p: Tensor) -> Tensor:
    return -(log_p.exp() * log_p).sum(1)
