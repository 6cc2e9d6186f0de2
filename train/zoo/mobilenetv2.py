"""MobileNetV2, and the tiny one that NetAug trains."""

from collections import OrderedDict

from torch import nn

from ndtool.train.zoo.blocks import InvertedResidual, classifier, conv_bn, initialise, kept_strides, rounded

INPUT_SHAPE = (3, 96, 96)
TINY_INPUT_SHAPE = (3, 144, 144)
_STEM = 32
_STAGES = (  # expansion, output channels, blocks, stride of the first block
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
_HEAD = 1280


def mobilenetv2(*, input_shape: tuple[int, ...], classes: int, width: float = 0.35) -> nn.Module:
    """MobileNetV2 for images (C, H, W); `width` scales every channel count, the 1280 of the head only above 1.

    Source: M. Sandler et al., "MobileNetV2", arXiv 1801.04381, table 2; strides below 64 pixels, see kept_strides.
    """
    return _network(input_shape, classes, width, rounded(_HEAD * max(1.0, width)))


def mobilenetv2_tiny(*, input_shape: tuple[int, ...], classes: int, width: float = 0.35) -> nn.Module:
    """MobileNetV2-Tiny: width 0.35 in the head too (448 channels), 0.75 M parameters and 23.5 M MACs at 144 pixels.

    Source: H. Cai et al., "Network Augmentation for Tiny Deep Learning", arXiv 2110.08890.
    """
    return _network(input_shape, classes, width, rounded(_HEAD * width))


def _network(input_shape: tuple[int, ...], classes: int, width: float, head: int) -> nn.Module:
    stem_stride, *strides = kept_strides(min(input_shape[1:]), (2, *(stage[3] for stage in _STAGES)))
    channels = rounded(_STEM * width)
    layers: OrderedDict[str, nn.Module] = OrderedDict(stem=conv_bn(input_shape[0], channels, stride=stem_stride))
    for stage, ((expansion, outputs, blocks, _), first_stride) in enumerate(zip(_STAGES, strides, strict=True), 1):
        for block in range(blocks):
            stride = first_stride if block == 0 else 1
            name = f"stage{stage}_{block + 1}"
            layers[name] = InvertedResidual(channels, channels * expansion, rounded(outputs * width), stride=stride)
            channels = rounded(outputs * width)
    layers["last"] = conv_bn(channels, head, 1)
    layers["head"] = classifier(head, classes)
    return initialise(nn.Sequential(layers))
