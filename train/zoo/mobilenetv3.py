"""MobileNetV3, small and large."""

from collections import OrderedDict
from typing import NamedTuple

from torch import nn

from ndtool.train.zoo.blocks import InvertedResidual, conv_bn, initialise, kept_strides, rounded

INPUT_SHAPE = (3, 96, 96)
LARGE_INPUT_SHAPE = (3, 160, 160)


class _Block(NamedTuple):
    kernel: int
    hidden: int
    outputs: int
    squeeze: bool
    hard_swish: bool
    stride: int


_STEM = 16
_SMALL_BLOCKS = (
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
_LARGE_BLOCKS = (
    _Block(3, 16, 16, False, False, 1),
    _Block(3, 64, 24, False, False, 2),
    _Block(3, 72, 24, False, False, 1),
    _Block(5, 72, 40, True, False, 2),
    _Block(5, 120, 40, True, False, 1),
    _Block(5, 120, 40, True, False, 1),
    _Block(3, 240, 80, False, True, 2),
    _Block(3, 200, 80, False, True, 1),
    _Block(3, 184, 80, False, True, 1),
    _Block(3, 184, 80, False, True, 1),
    _Block(3, 480, 112, True, True, 1),
    _Block(3, 672, 112, True, True, 1),
    _Block(5, 672, 160, True, True, 2),
    _Block(5, 960, 160, True, True, 1),
    _Block(5, 960, 160, True, True, 1),
)
_SMALL_HEAD = 1024
_LARGE_HEAD = 1280
_LEAST_SQUEEZE = 16  # channels inside the large network's squeeze-excite, however narrow it is


def mobilenetv3_small(*, input_shape: tuple[int, ...], classes: int, width: float = 1.0) -> nn.Module:
    """MobileNetV3-Small for images (C, H, W), with squeeze-excite and hard-swish; `width` scales every channel count.

    Source: A. Howard et al., "Searching for MobileNetV3", arXiv 1905.02244, table 2; strides below 64 pixels, see
    kept_strides.
    """
    return _network(_SMALL_BLOCKS, input_shape, classes, width, head=rounded(_SMALL_HEAD * width))


def mobilenetv3(*, input_shape: tuple[int, ...], classes: int, width: float = 0.35) -> nn.Module:
    """MobileNetV3-Large for images (C, H, W); `width` scales every channel count, the 1280 of the head only above 1.

    Source: A. Howard et al., "Searching for MobileNetV3", arXiv 1905.02244, table 1; narrow ones as in H. Cai et al.,
    "Network Augmentation for Tiny Deep Learning", arXiv 2110.08890: 2.2 M parameters and 19.6 M MACs at 160 pixels.
    """
    head = rounded(_LARGE_HEAD * max(1.0, width))
    return _network(_LARGE_BLOCKS, input_shape, classes, width, head=head, least_squeeze=_LEAST_SQUEEZE)


def _network(
    blocks: tuple[_Block, ...],
    input_shape: tuple[int, ...],
    classes: int,
    width: float,
    *,
    head: int,
    least_squeeze: int = 1,
) -> nn.Module:
    stem_stride, *strides = kept_strides(min(input_shape[1:]), (2, *(block.stride for block in blocks)))
    channels = rounded(_STEM * width)
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        stem=conv_bn(input_shape[0], channels, stride=stem_stride, act=nn.Hardswish)
    )
    for index, (block, stride) in enumerate(zip(blocks, strides, strict=True), 1):
        hidden, outputs = rounded(block.hidden * width), rounded(block.outputs * width)
        layers[f"block{index}"] = InvertedResidual(
            channels,
            hidden,
            outputs,
            kernel=block.kernel,
            stride=stride,
            act=nn.Hardswish if block.hard_swish else nn.ReLU,
            squeeze=max(rounded(hidden / 4), least_squeeze) if block.squeeze else 0,
        )
        channels = outputs
    last = rounded(blocks[-1].hidden * width)
    layers["last"] = conv_bn(channels, last, 1, act=nn.Hardswish)
    layers["pool"] = nn.AdaptiveAvgPool2d(1)
    layers["flatten"] = nn.Flatten()
    layers["hidden"] = nn.Linear(last, head)
    layers["act"] = nn.Hardswish()
    layers["linear"] = nn.Linear(head, classes)
    return initialise(nn.Sequential(layers))
