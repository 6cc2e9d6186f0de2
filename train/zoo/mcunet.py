"""MCUNet: networks found by search for microcontrollers, each a table of blocks."""

from collections import OrderedDict
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from torch import nn

from ndtool.errors import NdtoolError
from ndtool.train.zoo.blocks import InvertedResidual, classifier, conv_bn, initialise, kept_strides

_STEM = 16


class Block(NamedTuple):
    """An inverted residual: side of its depthwise kernel, expansion, output channels, stride."""

    kernel: int
    expansion: int
    outputs: int
    stride: int


# Source: J. Lin et al., "MCUNet: Tiny Deep Learning on IoT Devices", arXiv 2007.10319, and the published models
# mcunet-vww1 (80 pixels, 11.6 M MACs) and mcunet-in3 (176 pixels, 81.8 M MACs, 0.74 M parameters).
BLOCKS: Mapping[str, tuple[Block, ...]] = MappingProxyType(
    {
        "vww1": (
            Block(3, 1, 8, 1),
            Block(3, 6, 16, 2),
            Block(3, 3, 16, 1),
            Block(3, 3, 16, 1),
            Block(7, 3, 24, 2),
            Block(3, 6, 24, 1),
            Block(5, 5, 24, 1),
            Block(7, 6, 40, 2),
            Block(7, 6, 40, 1),
            Block(3, 6, 48, 1),
            Block(3, 4, 48, 1),
            Block(5, 5, 96, 2),
            Block(3, 5, 96, 1),
            Block(3, 4, 96, 1),
            Block(7, 3, 160, 1),
        ),
        "in3": (
            Block(3, 1, 8, 1),
            Block(7, 3, 16, 2),
            Block(3, 5, 16, 1),
            Block(7, 5, 16, 1),
            Block(5, 4, 16, 1),
            Block(5, 5, 24, 2),
            Block(5, 5, 24, 1),
            Block(5, 5, 24, 1),
            Block(3, 5, 40, 2),
            Block(7, 6, 40, 1),
            Block(5, 4, 40, 1),
            Block(5, 5, 48, 1),
            Block(7, 5, 48, 1),
            Block(3, 5, 48, 1),
            Block(3, 6, 96, 2),
            Block(7, 5, 96, 1),
            Block(3, 4, 96, 1),
            Block(7, 5, 160, 1),
        ),
    }
)
INPUT_SHAPE = (3, 80, 80)
IN3_INPUT_SHAPE = (3, 176, 176)


def mcunet(*, input_shape: tuple[int, ...], classes: int, architecture: str = "vww1") -> nn.Module:
    """An MCUNet for images (C, H, W); `architecture` is a table of BLOCKS. Strides below 64 pixels, see kept_strides.

    Raises: NdtoolError where there is no such table.
    """
    if architecture not in BLOCKS:
        raise NdtoolError(f"mcunet: no architecture is called {architecture!r}: choose from {', '.join(BLOCKS)}")
    blocks = BLOCKS[architecture]
    stem_stride, *strides = kept_strides(min(input_shape[1:]), (2, *(block.stride for block in blocks)))
    channels = _STEM
    layers: OrderedDict[str, nn.Module] = OrderedDict(stem=conv_bn(input_shape[0], channels, stride=stem_stride))
    for index, (block, stride) in enumerate(zip(blocks, strides, strict=True), 1):
        hidden = channels * block.expansion
        layers[f"block{index}"] = InvertedResidual(channels, hidden, block.outputs, kernel=block.kernel, stride=stride)
        channels = block.outputs
    layers["head"] = classifier(channels, classes)
    return initialise(nn.Sequential(layers))


def mcunet_in3(*, input_shape: tuple[int, ...], classes: int) -> nn.Module:
    """The MCUNet of 176 pixels found for ImageNet on 320 kB of SRAM and 1 MB of flash."""
    return mcunet(input_shape=input_shape, classes=classes, architecture="in3")
