"""MobileNetV3-Small."""

from collections import OrderedDict
from typing import NamedTuple

from torch import nn

from ndtool.train.zoo.blocks import InvertedResidual, conv_bn, initialise, kept_strides, rounded

INPUT_SHAPE = (3, 96, 96)


class _Block(NamedTuple):
    kernel: int
    hidden: int
    outputs: int
    squeeze: bool
    hard_swish: bool
    stride: int


_STEM = 16
_BLOCKS = (
    _Block(3, 16, 16, True, False, 2),
    _Block(3, 72, 24, False, False, 2),
    _Block(3, 88, 24, False, False, 1),
    _Block(5, 96, 40, True, True, 2),
    _Block(5, 240, 40, True, True, 1),
    _Block(5, 240, 40, True, True, 1),
    _Block(5, 120, 48, True, True, 1),
    _Block(5, 144, 48, True, True, 1),
    _Block(5, 288, 96, True, True, 2),
    _Block(5, 576, 96, True, True, 1),
    _Block(5, 576, 96, True, True, 1),
)
_LAST = 576
_HEAD = 1024


def mobilenetv3_small(*, input_shape: tuple[int, ...], classes: int, width: float = 1.0) -> nn.Module:
    """MobileNetV3-Small for images (C, H, W), with squeeze-excite and hard-swish; `width` scales every channel count.

    Source: A. Howard et al., "Searching for MobileNetV3", arXiv 1905.02244, table 2; strides below 64 pixels, see
    kept_strides.
    """
    stem_stride, *strides = kept_strides(min(input_shape[1:]), (2, *(block.stride for block in _BLOCKS)))
    channels = rounded(_STEM * width)
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        stem=conv_bn(input_shape[0], channels, stride=stem_stride, act=nn.Hardswish)
    )
    for index, (block, stride) in enumerate(zip(_BLOCKS, strides, strict=True), 1):
        hidden, outputs = rounded(block.hidden * width), rounded(block.outputs * width)
        layers[f"block{index}"] = InvertedResidual(
            channels,
            hidden,
            outputs,
            kernel=block.kernel,
            stride=stride,
            act=nn.Hardswish if block.hard_swish else nn.ReLU,
            squeeze=rounded(hidden / 4) if block.squeeze else 0,
        )
        channels = outputs
    last, head = rounded(_LAST * width), rounded(_HEAD * width)
    layers["last"] = conv_bn(channels, last, 1, act=nn.Hardswish)
    layers["pool"] = nn.AdaptiveAvgPool2d(1)
    layers["flatten"] = nn.Flatten()
    layers["hidden"] = nn.Linear(last, head)
    layers["act"] = nn.Hardswish()
    layers["linear"] = nn.Linear(head, classes)
    return initialise(nn.Sequential(layers))
