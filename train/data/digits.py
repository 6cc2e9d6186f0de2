"""The data that are always there: 1797 scanned digits of 8 x 8 grey pixels, from scikit-learn."""

import numpy as np
import torch

from ndtool.train.data.source import Part, Source
from ndtool.train.data.split import hold_out

TEST_PART = 0.2
TEST_SEED = 0  # never the run's: the test data are the same in every run


def read_digits() -> Source:
    """Training and test part of `digits`; pixels from 16 grey levels to uint8.

    Source: E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI (1998), as in scikit-learn.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = torch.from_numpy(np.round(digits.images * (255 / 16)).astype(np.uint8))[:, None]  # (N, 1, 8, 8)
    labels = torch.from_numpy(digits.target.astype(np.int64))
    train, test = hold_out(labels, len(labels), TEST_PART, TEST_SEED)
    return Source(
        name="digits",
        parts={
            "train": Part(samples=pixels[train], labels=labels[train]),
            "test": Part(samples=pixels[test], labels=labels[test]),
        },
        classes=tuple(str(name) for name in digits.target_names),
        augment="crop",
    )
