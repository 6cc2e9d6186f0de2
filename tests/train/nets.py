"""Small networks for the tests of training, named by path in their settings."""

import math

from torch import Tensor, nn


def convolutional(
    input_shape: tuple[int, ...], classes: int, width: int = 4, depth: int = 2, dropout: float = 0.0
) -> nn.Module:
    layers: list[nn.Module] = []
    widths = [input_shape[0], *(width * 2**i for i in range(depth))]
    for i in range(depth):
        layers.append(nn.Conv2d(widths[i], widths[i + 1], 3, 2 if i else 1, 1, bias=False))
        layers += [nn.BatchNorm2d(widths[i + 1]), nn.ReLU()]
    return nn.Sequential(
        *layers,
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(dropout),
        nn.Linear(widths[-1], classes),
    )


def autoencoder(input_shape: tuple[int, ...], hidden: int = 12) -> nn.Module:
    size = input_shape[0]
    return nn.Sequential(nn.Linear(size, hidden), nn.ReLU(), nn.Linear(hidden, 3), nn.ReLU(), nn.Linear(3, size))


class Cubic(nn.Module):
    """A network that no sensible learning rate is small enough for."""

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x.flatten(1)) ** 3


def cubic(input_shape: tuple[int, ...], classes: int) -> nn.Module:
    return Cubic(math.prod(input_shape), classes)
