"""MobileNetV2, and the tiny one that NetAug trains."""

from collections import OrderedDict

from torch import nn

from ndtool.train.zoo.blocks import InvertedResidual, classifier, conv_bn, initialise, kept_strides, rounded

INPUT_SHAPE = (3, 96, 96)
MICRO_INPUT_SHAPE = (3, 32, 32)
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
_MICRO_STAGES = ((2, 16, 1, 1), (3, 24, 2, 2), (3, 32, 2, 2), (3, 48, 2, 2))  # as _STAGES


def mobilenetv2(*, input_shape: tuple[int, ...], classes: int, width: float = 0.35) -> nn.Module:
    """MobileNetV2 for images (C, H, W); `width` scales every channel count, the 1280 of the head only above 1.

    Source: M. Sandler et al., "MobileNetV2", arXiv 1801.04381, table 2; strides below 64 pixels, see kept_strides.
    """
    return _published(input_shape, classes, width, _HEAD * max(1.0, width))


def mobilenetv2_tiny(*, input_shape: tuple[int, ...], classes: int, width: float = 0.35) -> nn.Module:
    """MobileNetV2-Tiny: width 0.35 in the head too (448 channels), 0.75 M parameters and 23.5 M MACs at 144 pixels.

    Source: H. Cai et al., "Network Augmentation for Tiny Deep Learning", arXiv 2110.08890.
    """
    return _published(input_shape, classes, width, _HEAD * width)


def mobilenetv2_micro(*, input_shape: tuple[int, ...], classes: int, width: float = 1.0) -> nn.Module:
    """MobileNetV2's blocks for images of 32 pixels: 53 962 parameters and 1.4 M MACs for ten classes; ours.

    Half the resolution from the first layer on, small expansions, few layers: what a CPU trains in minutes.
    """
    strides = (2, *(stage[3] for stage in _MICRO_STAGES))
    return _network(input_shape, classes, width, stem=16, stages=_MICRO_STAGES, head=128 * width, strides=strides)


def _published(input_shape: tuple[int, ...], classes: int, width: float, head: float) -> nn.Module:
    strides = kept_strides(min(input_shape[1:]), (2, *(stage[3] for stage in _STAGES)))
    return _network(input_shape, classes, width, stem=_STEM, stages=_STAGES, head=head, strides=strides)


def _network(
    input_shape: tuple[int, ...],
    classes: int,
    width: float,
    *,
    stem: int,
    stages: tuple[tuple[int, int, int, int], ...],
    head: float,
    strides: tuple[int, ...],
) -> nn.Module:
    """Stem, stages, head: `stem` and the stages' channels are scaled here; `strides` are the stem's and the stages'."""
    channels, last = rounded(stem * width), rounded(head)
    layers: OrderedDict[str, nn.Module] = OrderedDict(stem=conv_bn(input_shape[0], channels, stride=strides[0]))
    for stage, ((expansion, outputs, blocks, _), first_stride) in enumerate(zip(stages, strides[1:], strict=True), 1):
        for block in range(blocks):
            stride = first_stride if block == 0 else 1
            name = f"stage{stage}_{block + 1}"
            layers[name] = InvertedResidual(channels, channels * expansion, rounded(outputs * width), stride=stride)
            channels = rounded(outputs * width)
    layers["last"] = conv_bn(channels, last, 1)
    layers["head"] = classifier(last, classes)
    return initialise(nn.Sequential(layers))
