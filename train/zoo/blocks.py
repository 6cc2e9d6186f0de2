"""What the zoo's networks are made of."""

import math
from collections import OrderedDict

import torch
from torch import Tensor, nn

SMALL = 64  # inputs below this many pixels keep more of their resolution, see kept_strides
_LEAST_MAP = 4


def rounded(channels: float, divisor: int = 8) -> int:
    """A channel count scaled by a width: the nearest multiple of `divisor`, at least one, not below 90 %.

    Source: M. Sandler et al., "MobileNetV2", arXiv 1801.04381, and its published implementation.
    """
    nearest = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return nearest + divisor if nearest < 0.9 * channels else nearest


def kept_strides(size: int, strides: tuple[int, ...]) -> tuple[int, ...]:
    """The strides of a network's stages for an input of `size` pixels (the smaller of height and width).

    From 64 pixels on, the published ones. Below, the first ones become 1 until the last map is 4 pixels or larger, or
    no stride is left: the usual change for CIFAR (32 pixels: stride 8 instead of 32).
    """
    kept = list(strides)
    while size < SMALL and math.ceil(size / math.prod(kept)) < _LEAST_MAP and any(stride > 1 for stride in kept):
        kept[next(index for index, stride in enumerate(kept) if stride > 1)] = 1
    return tuple(kept)


def conv_bn(
    inputs: int,
    outputs: int,
    kernel: int | tuple[int, int] = 3,
    *,
    stride: int = 1,
    padding: tuple[int, int] | None = None,
    groups: int = 1,
    act: type[nn.Module] | None = nn.ReLU6,
) -> nn.Sequential:
    """Convolution, BatchNorm and, if any, an activation; padded by half the kernel on each side."""
    sides = (kernel, kernel) if isinstance(kernel, int) else kernel
    pad = padding or (sides[0] // 2, sides[1] // 2)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["conv"] = nn.Conv2d(inputs, outputs, sides, stride, pad, groups=groups, bias=False)
    layers["bn"] = nn.BatchNorm2d(outputs)
    if act is not None:
        layers["act"] = act()
    return nn.Sequential(layers)


class SqueezeExcite(nn.Module):
    """Channels scaled by a gate computed from their means.

    Source: J. Hu et al., "Squeeze-and-Excitation Networks", arXiv 1709.01507; hard sigmoid as in MobileNetV3.
    """

    def __init__(self, channels: int, hidden: int):
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.reduce = nn.Conv2d(channels, hidden, 1)
        self.relu = nn.ReLU()
        self.expand = nn.Conv2d(hidden, channels, 1)
        self.gate = nn.Hardsigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        return x * self.gate(self.expand(self.relu(self.reduce(self.pool(x)))))


class InvertedResidual(nn.Module):
    """Expand by 1x1, filter each channel, project by 1x1; the input is added where the shape stays.

    Source: M. Sandler et al., "MobileNetV2", arXiv 1801.04381, section 3.3.
    """

    def __init__(
        self,
        inputs: int,
        hidden: int,
        outputs: int,
        *,
        kernel: int = 3,
        stride: int = 1,
        act: type[nn.Module] = nn.ReLU6,
        squeeze: int = 0,
    ):
        super().__init__()
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        if hidden != inputs:
            layers["expand"] = conv_bn(inputs, hidden, 1, act=act)
        layers["depthwise"] = conv_bn(hidden, hidden, kernel, stride=stride, groups=hidden, act=act)
        if squeeze:
            layers["squeeze"] = SqueezeExcite(hidden, squeeze)
        layers["project"] = conv_bn(hidden, outputs, 1, act=None)
        self.layers = nn.Sequential(layers)
        self.adds_input = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, ceil(H / stride), ceil(W / stride))."""
        y = self.layers(x)
        return x + y if self.adds_input else y


def classifier(channels: int, classes: int) -> nn.Sequential:
    """Mean over the image, then one score per class: (B, channels, H, W) to (B, classes)."""
    return nn.Sequential(
        OrderedDict(pool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten(), linear=nn.Linear(channels, classes))
    )


def initialise(network: nn.Module) -> nn.Module:
    """Kaiming-uniform weights, zero biases, BatchNorm as the identity; returns the network.

    Source: K. He et al., "Delving Deep into Rectifiers", arXiv 1502.01852.
    """
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                # A layer without bias is followed by BatchNorm and, mostly, ReLU; one with a bias stands alone.
                nn.init.kaiming_uniform_(module.weight, nonlinearity="relu" if module.bias is None else "linear")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
    return network
