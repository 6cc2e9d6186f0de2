"""ResNet8, the image classification model of MLPerf Tiny."""

from collections import OrderedDict

from torch import Tensor, nn

from ndtool.train.zoo.blocks import classifier, conv_bn, initialise, rounded

INPUT_SHAPE = (3, 32, 32)
_STAGES = ((16, 1), (32, 2), (64, 2))  # output channels, stride


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions; where the shape changes, the shortcut is a 1x1 convolution with bias, without BatchNorm."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.conv1 = conv_bn(inputs, outputs, stride=stride, act=nn.ReLU)
        self.conv2 = conv_bn(outputs, outputs, act=None)
        changes = stride != 1 or inputs != outputs
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride) if changes else nn.Identity()
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, ceil(H / stride), ceil(W / stride))."""
        return self.relu(self.conv2(self.conv1(x)) + self.shortcut(x))


def resnet8(*, input_shape: tuple[int, ...], classes: int, width: float = 1.0) -> nn.Module:
    """ResNet8 for images (C, H, W); `width` scales its 16, 32 and 64 channels.

    Source: C. Banbury et al., "MLPerf Tiny Benchmark", arXiv 2106.07597; 12 501 632 MACs with its softmax left out.
    """
    channels = rounded(_STAGES[0][0] * width)
    layers: OrderedDict[str, nn.Module] = OrderedDict(stem=conv_bn(input_shape[0], channels, act=nn.ReLU))
    for index, (outputs, stride) in enumerate(_STAGES, 1):
        layers[f"stage{index}"] = ResidualBlock(channels, rounded(outputs * width), stride)
        channels = rounded(outputs * width)
    layers["head"] = classifier(channels, classes)
    return initialise(nn.Sequential(layers))
