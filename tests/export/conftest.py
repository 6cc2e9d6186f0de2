"""Small networks with the operators that matter, each exported once for all tests."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ndtool.export.student import ready_to_export
from ndtool.export.tflite import export_tflite


class Mobile(nn.Module):
    """Inverted-residual pieces: depthwise, squeeze-excite, hard-swish, ReLU6, residual add, mean, a bias-less head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.Hardswish())
        self.blocks = nn.ModuleList(nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1, groups=8), nn.ReLU6()) for _ in range(2))
        self.squeeze, self.excite = nn.Conv2d(8, 4, 1), nn.Conv2d(4, 8, 1)
        self.head = nn.Linear(8, 5, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = x + block(x)
        gate = F.hardsigmoid(self.excite(F.relu(self.squeeze(F.adaptive_avg_pool2d(x, 1)))))
        return self.head((x * gate).mean((2, 3)))


class Shuffle(nn.Module):
    """Grouped convolution, concatenation, channel shuffle, split, max-pooling with padding."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.grouped = nn.Conv2d(8, 8, 3, padding=1, groups=2)
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(F.relu(self.stem(x)))
        x = torch.cat([x, F.relu(self.grouped(x))], 1)
        n, c, h, w = x.shape
        x = x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        a, b = x.chunk(2, 1)
        return self.head(torch.cat([a, b * 2], 1).mean((2, 3)))


class Activations(nn.Module):
    """Every activation that ai-edge-quantizer has no int8 form of, and pools by maxima."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 1)
        self.leaky, self.prelu, self.elu, self.selu = nn.LeakyReLU(0.1), nn.PReLU(8), nn.ELU(), nn.SELU()
        self.softplus, self.mish, self.clamp = nn.Softplus(), nn.Mish(), nn.Hardtanh(-0.3, 0.4)
        self.pool, self.head = nn.AdaptiveMaxPool2d(4), nn.Conv2d(8, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        branches = [self.leaky(x), self.prelu(x), self.elu(x), self.selu(x), self.softplus(x), self.mish(x)]
        branches += [
            self.clamp(x),
            torch.abs(x),
            -x,
            torch.minimum(x, 0.5 * torch.sigmoid(x)),
            F.relu6(self.pool(x).mean((2, 3), True) * 9),
        ]
        return self.head(sum(branches)).amax((2, 3))


class Dense(nn.Module):
    """An autoencoder of vectors."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(20, 8, bias=False), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 20))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Wave(nn.Module):
    """Convolutions over time."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv1d(2, 8, 5, 2, 2, bias=False), nn.BatchNorm1d(8)
        self.second, self.head = nn.Conv1d(8, 8, 3, padding=1, groups=8), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.second(F.relu(self.norm(self.first(x))))).mean(2))


class Pictures(nn.Module):
    """Images to images."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.up(F.interpolate(F.relu(self.down(x)), scale_factor=2, mode="nearest"))


@dataclass(frozen=True)
class Case:
    """A network, what goes in, and its float32 file."""

    module: nn.Module
    example: Tensor
    path: Path


NETWORKS = {
    "mobile": (Mobile, (3, 16, 16)),
    "shuffle": (Shuffle, (3, 16, 16)),
    "activations": (Activations, (3, 8, 8)),
    "dense": (Dense, (20,)),
    "wave": (Wave, (2, 32)),
    "pictures": (Pictures, (3, 16, 16)),
}


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Case]:
    """`exported(name)`: the network, in evaluation mode with statistics of its own, and its TFLite file."""
    folder = tmp_path_factory.mktemp("tflite")
    cases: dict[str, Case] = {}

    def make(name: str) -> Case:
        if name not in cases:
            kind, shape = NETWORKS[name]
            torch.manual_seed(0)
            module = kind()
            for _ in range(20):
                module(torch.randn(16, *shape) + 0.5)  # BatchNorm's statistics
            example = torch.randn(1, *shape)
            path = folder / f"{name}.tflite"
            export_tflite(ready_to_export(module, example), example, path)
            cases[name] = Case(module.eval(), example, path)
        return cases[name]

    return make


@pytest.fixture(params=NETWORKS)
def case(request: pytest.FixtureRequest, exported: Callable[[str], Case]) -> Case:
    """Each network in turn."""
    return exported(request.param)
