"""Parts held out of others: the same share of every class, the same choice for the same seed."""

import numpy as np
import torch
from torch import Tensor


def hold_out(labels: Tensor | None, count: int, part: float, seed: int) -> tuple[Tensor, Tensor]:
    """Choose `part` of `count` samples, of every class alike where `labels` (count,) are given.

    Returns (kept, held out): sorted indices, int64. Of a class with two samples or more at least one goes each way;
    a class with one sample keeps it.
    """
    generator = np.random.default_rng(seed)
    groups = np.zeros(count, dtype=np.int64) if labels is None else labels.numpy()
    held = np.zeros(count, dtype=bool)
    for group in np.unique(groups):
        members = np.flatnonzero(groups == group)
        wanted = min(max(round(part * len(members)), 1), len(members) - 1)
        held[generator.permutation(members)[:wanted]] = True
    return torch.from_numpy(np.flatnonzero(~held)), torch.from_numpy(np.flatnonzero(held))
