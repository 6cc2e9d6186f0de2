"""Pixels that are in memory already, brought to another size or number of channels."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ndtool.errors import NdtoolError

_CHUNK = 1024  # images turned into floats at once
_LUMA = (0.299, 0.587, 0.114)  # grey of RGB: ITU-R BT.601, as Pillow converts


def fitted(pixels: Tensor, shape: tuple[int, ...], name: str) -> Tensor:
    """Pixels (N, C, H, W) uint8 scaled to cover `shape` (C, H, W) and cut around the centre; RGB may become grey.

    Raises: NdtoolError where one channel would have to become three.
    """
    if pixels.shape[1] == 1 and shape[0] == 3:
        raise NdtoolError(f"{name}: the images have one channel where three are expected: give the input one channel")
    if (pixels.shape[1], shape[0]) not in ((1, 1), (3, 3), (3, 1)):
        raise NdtoolError(
            f"{name}: the images have {pixels.shape[1]} channels and the input {shape[0]}: make them alike"
        )
    return torch.cat([_fitted(chunk, shape) for chunk in pixels.split(_CHUNK)])


def _fitted(pixels: Tensor, shape: tuple[int, ...]) -> Tensor:
    channels, height, width = shape
    floats = pixels.float()
    if channels < pixels.shape[1]:
        floats = (floats * torch.tensor(_LUMA).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)
    scale = max(height / pixels.shape[2], width / pixels.shape[3])
    cover = (max(height, round(pixels.shape[2] * scale)), max(width, round(pixels.shape[3] * scale)))
    if cover != tuple(pixels.shape[2:]):
        floats = F.interpolate(floats, size=cover, mode="bilinear", antialias=True, align_corners=False)
    top, left = (cover[0] - height) // 2, (cover[1] - width) // 2
    floats = floats[:, :, top : top + height, left : left + width]
    return floats.round().clamp(0, 255).to(torch.uint8)
