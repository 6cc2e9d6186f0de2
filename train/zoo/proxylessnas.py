"""ProxylessNAS-Mobile: found by search for phones, narrow enough for microcontrollers at width 0.35."""

from collections import OrderedDict

from torch import nn

from ndtool.train.zoo.blocks import InvertedResidual, classifier, conv_bn, initialise, kept_strides, rounded

INPUT_SHAPE = (3, 160, 160)
_STEM = 32
# Source: H. Cai et al., "ProxylessNAS", arXiv 1812.00332, figure 4 (mobile).
_STAGES = (  # output channels, stride of the first block, (kernel, expansion) of each block
    (16, 1, ((3, 1),)),
    (32, 2, ((5, 3), (3, 3))),
    (40, 2, ((7, 3), (3, 3), (5, 3), (5, 3))),
    (80, 2, ((7, 6), (5, 3), (5, 3), (5, 3))),
    (96, 1, ((5, 6), (5, 3), (5, 3), (5, 3))),
    (192, 2, ((7, 6), (7, 6), (7, 3), (7, 3))),
    (320, 1, ((7, 6),)),
)
_HEAD = 1280


def proxylessnas(*, input_shape: tuple[int, ...], classes: int, width: float = 0.35) -> nn.Module:
    """ProxylessNAS-Mobile for images (C, H, W); `width` scales every channel count, the 1280 of the head only above 1.

    At width 0.35 and 160 pixels: 1.8 M parameters, 35.7 M MACs (H. Cai et al., "Network Augmentation for Tiny Deep
    Learning", arXiv 2110.08890). Strides below 64 pixels, see kept_strides.
    """
    stem_stride, *strides = kept_strides(min(input_shape[1:]), (2, *(stride for _, stride, _ in _STAGES)))
    channels = rounded(_STEM * width)
    layers: OrderedDict[str, nn.Module] = OrderedDict(stem=conv_bn(input_shape[0], channels, stride=stem_stride))
    for stage, ((outputs, _, blocks), first_stride) in enumerate(zip(_STAGES, strides, strict=True), 1):
        for block, (kernel, expansion) in enumerate(blocks):
            layers[f"stage{stage}_{block + 1}"] = InvertedResidual(
                channels,
                rounded(channels * expansion),
                rounded(outputs * width),
                kernel=kernel,
                stride=first_stride if block == 0 else 1,
            )
            channels = rounded(outputs * width)
    head = rounded(_HEAD * max(1.0, width))
    layers["last"] = conv_bn(channels, head, 1)
    layers["head"] = classifier(head, classes)
    return initialise(nn.Sequential(layers))
