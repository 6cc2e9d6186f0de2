"""Random numbers of samples: functions of seed, epoch and sample, whatever batch or process a sample comes in."""

from enum import IntEnum

import numpy as np
import torch
from torch import Tensor

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio: consecutive multiples are far apart
_ODD = 0xD1B54A32D192ED03


class Purpose(IntEnum):
    """What a number is drawn for; each has a number of its own per sample."""

    ROW_SHIFT = 0
    COLUMN_SHIFT = 1
    FLIP = 2
    BRIGHTNESS = 3
    CONTRAST = 4
    SATURATION = 5
    CUTOUT_ROW = 6
    CUTOUT_COLUMN = 7


class Draws:
    """The random numbers of the samples `indices` (B,) under one seed, one per sample and purpose.

    Source: the finaliser of SplitMix64 (Steele et al. 2014) over a counter; integers only, so alike on every machine.
    """

    def __init__(self, seed: int, indices: Tensor):
        self._samples = _sample_keys(seed, indices)

    def __len__(self) -> int:
        return len(self._samples)

    def uniform(self, purpose: Purpose) -> Tensor:
        """Numbers in [0, 1), (B,) float64."""
        bits = _mixed(self._samples + np.uint64((purpose + 1) * _ODD % 2**64))
        return torch.from_numpy((bits >> np.uint64(11)).astype(np.float64) * 2.0**-53)

    def integers(self, purpose: Purpose, low: int, high: int) -> Tensor:
        """Whole numbers in [low, high), (B,) int64."""
        return low + (self.uniform(purpose) * (high - low)).floor().long()


def seed_of(*entropy: int) -> int:
    """A seed in [0, 2^63) that several numbers decide together."""
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> 1)


def sample_seeds(seed: int, indices: Tensor) -> list[int]:
    """A seed in [0, 2^63) for each of the samples `indices` (B,), for what draws its random numbers itself."""
    return [int(key >> np.uint64(1)) for key in _mixed(_sample_keys(seed, indices))]


def _sample_keys(seed: int, indices: Tensor) -> np.ndarray:
    """A key per sample, (B,) uint64."""
    return _mixed(np.uint64(seed) + (indices.cpu().numpy().astype(np.uint64) + np.uint64(1)) * _GOLDEN)


def _mixed(x: np.ndarray) -> np.ndarray:
    """A bijection of 64 bits in which each bit of the input changes half of the output."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
