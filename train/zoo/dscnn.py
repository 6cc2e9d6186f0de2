"""DS-CNN, the keyword spotting model of MLPerf Tiny."""

from collections import OrderedDict

from torch import nn

from ndtool.train.zoo.blocks import classifier, conv_bn, initialise, rounded

INPUT_SHAPE = (1, 49, 10)
_CHANNELS = 64
_BLOCKS = 4
_KERNEL = (10, 4)  # in time and frequency
_PADDING = (5, 1)  # so that 49 x 10 becomes 25 x 5, as padding "SAME" makes it


def dscnn(*, input_shape: tuple[int, ...], classes: int, width: float = 1.0) -> nn.Module:
    """DS-CNN for spectrograms (C, time, frequency), such as 49 frames of 10 MFCCs; `width` scales its 64 channels.

    Source: Y. Zhang et al., "Hello Edge: Keyword Spotting on Microcontrollers", arXiv 1711.07128; C. Banbury et al.,
    "MLPerf Tiny Benchmark", arXiv 2106.07597 (2 656 768 MACs). Its dropout is left out.
    """
    channels = rounded(_CHANNELS * width)
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        stem=conv_bn(input_shape[0], channels, _KERNEL, stride=2, padding=_PADDING, act=nn.ReLU)
    )
    for index in range(1, _BLOCKS + 1):
        layers[f"depthwise{index}"] = conv_bn(channels, channels, groups=channels, act=nn.ReLU)
        layers[f"pointwise{index}"] = conv_bn(channels, channels, 1, act=nn.ReLU)
    layers["head"] = classifier(channels, classes)
    return initialise(nn.Sequential(layers))
