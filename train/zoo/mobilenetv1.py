"""MobileNetV1, the visual wake words model of MLPerf Tiny."""

from collections import OrderedDict

from torch import nn

from ndtool.train.zoo.blocks import classifier, conv_bn, initialise, kept_strides, rounded

INPUT_SHAPE = (3, 96, 96)
_STEM = 32
_STAGES = (  # output channels, stride
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    *[(512, 1)] * 5,
    (1024, 2),
    (1024, 1),
)


def mobilenetv1(*, input_shape: tuple[int, ...], classes: int, width: float = 0.25) -> nn.Module:
    """MobileNetV1 for images (C, H, W); `width` scales every channel count.

    Source: A. Howard et al., "MobileNets", arXiv 1704.04861, table 1; C. Banbury et al., "MLPerf Tiny Benchmark",
    arXiv 2106.07597 (width 0.25, 96 pixels: 7 489 664 MACs); strides below 64 pixels, see kept_strides.
    """
    stem_stride, *strides = kept_strides(min(input_shape[1:]), (2, *(stride for _, stride in _STAGES)))
    channels = rounded(_STEM * width)
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        stem=conv_bn(input_shape[0], channels, stride=stem_stride, act=nn.ReLU)
    )
    for index, ((outputs, _), stride) in enumerate(zip(_STAGES, strides, strict=True), 1):
        wide = rounded(outputs * width)
        layers[f"depthwise{index}"] = conv_bn(channels, channels, stride=stride, groups=channels, act=nn.ReLU)
        layers[f"pointwise{index}"] = conv_bn(channels, wide, 1, act=nn.ReLU)
        channels = wide
    layers["head"] = classifier(channels, classes)
    return initialise(nn.Sequential(layers))
