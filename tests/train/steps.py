"""What the tests of the methods take steps with: a small network, its settings and made-up batches."""

from pathlib import Path

import torch

from ndtool.train.config import TrainConfig
from ndtool.train.methods import METHODS, Method
from ndtool.train.models import ModelSpec, build

NETS = Path(__file__).with_name("nets.py")
SHAPE = (2, 6, 6)


def config_of(**settings) -> TrainConfig:
    spec = ModelSpec(name=f"{NETS}:convolutional", input_shape=SHAPE, classes=3)
    return TrainConfig(model=spec, data="digits", **settings)


def method_of(config: TrainConfig, kind: str | None = None, seed: int = 0) -> Method:
    torch.manual_seed(seed)
    student = build(config.model)
    return METHODS[kind or config.method](config, "classification", student, torch.zeros(2, *config.model.input_shape))


def batch(seed: int = 1, count: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, *SHAPE, generator=generator), torch.randint(3, (count,), generator=generator)
