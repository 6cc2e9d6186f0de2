"""A small float32 TFLite file for the tests of quantisation."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ndtool.export.student import ready_to_export
from ndtool.export.tflite import export_tflite

SHAPE = (8, 8, 3)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.act = nn.Conv2d(3, 8, 3, padding=1), nn.LeakyReLU(0.2)
        self.pool, self.head = nn.MaxPool2d(3, 2, 1), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.conv(x))
        return torch.softmax(self.head(self.pool(x * x).mean((2, 3))), 1)


@pytest.fixture(scope="session")
def float_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Takes (1, 8, 8, 3)."""
    torch.manual_seed(0)
    path, example = tmp_path_factory.mktemp("model") / "float.tflite", torch.randn(1, 3, 8, 8)
    export_tflite(ready_to_export(Net(), example), example, path)
    return path


@pytest.fixture(scope="session")
def samples() -> np.ndarray:
    """(32, 8, 8, 3)."""
    return np.random.default_rng(0).normal(size=(32, *SHAPE)).astype(np.float32)
