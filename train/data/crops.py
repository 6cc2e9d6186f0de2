"""Crops of random size and shape, resized to the input: the augmentation under which ImageNet is trained."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ndtool.train.data.dataset import OnDemand

_RATIO = 4 / 3  # largest width / height, and height / width
_TRIES = 10


def random_box(width: int, height: int, least: float, seed: int, sample: int) -> tuple[int, int, int, int]:
    """A box (left, top, width, height) in an image, fixed by `seed` and the sample's number.

    Its area is uniform between `least` and 1 of the image's, the logarithm of its width / height between those of 3/4
    and 4/3; where ten tries do not fit, the largest box of an allowed shape around the centre.

    Source: C. Szegedy et al., "Going Deeper with Convolutions", arXiv 1409.4842, section 6, as torchvision's
    RandomResizedCrop has it.
    """
    random = np.random.default_rng((seed, sample))
    for _ in range(_TRIES):
        area = random.uniform(least, 1) * width * height
        ratio = math.exp(random.uniform(-math.log(_RATIO), math.log(_RATIO)))
        wide, high = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < wide <= width and 0 < high <= height:
            return int(random.integers(width - wide + 1)), int(random.integers(height - high + 1)), wide, high
    wide, high = min(width, round(height * _RATIO)), min(height, round(width * _RATIO))
    return (width - wide) // 2, (height - high) // 2, wide, high


def resized(pixels: Tensor, boxes: Tensor) -> Tensor:
    """The boxes (B, 4) of images (B, C, H, W) uint8, each resized to the whole image, bilinear.

    A box is at most as large as its image, so that nothing is shrunk and no filter is needed.
    """
    height, width = pixels.shape[2:]
    left, top, wide, high = boxes.to(pixels.device, torch.float32).unbind(1)
    zero = torch.zeros_like(left)
    # from the output's coordinates in [-1, 1] to the input's
    rows = torch.stack([wide / width, zero, (2 * left + wide) / width - 1], dim=1)
    columns = torch.stack([zero, high / height, (2 * top + high) / height - 1], dim=1)
    grid = F.affine_grid(torch.stack([rows, columns], dim=1), list(pixels.shape), align_corners=False)
    moved = F.grid_sample(pixels.float(), grid, mode="bilinear", padding_mode="border", align_corners=False)
    return moved.round().clamp(0, 255).to(torch.uint8)


def cropped(x: Tensor | OnDemand, least: float) -> Tensor | OnDemand:
    """Images of which each reading gives a random crop of at least the part `least` of the area; 1: as they are.

    Those that are decoded on demand are cropped before they are resized, so that small crops stay sharp.
    """
    if least >= 1:
        return x
    return (None if isinstance(x, Tensor) else x.cropped(least)) or CroppedPixels(x, least)


class CroppedPixels(OnDemand):
    """Pixels that have the input's size already, cropped when they are read."""

    def __init__(self, x: Tensor | OnDemand, least: float):
        self._x, self._least = x, least
        self.prefetch = not isinstance(x, Tensor) and x.prefetch

    def __len__(self) -> int:
        return len(self._x)

    def read(self, indices: Tensor, *, seed: int) -> Tensor:
        """Pixels (B, C, H, W) uint8."""
        x = self._x
        pixels = x[indices.to(x.device)] if isinstance(x, Tensor) else x.read(indices, seed=seed)
        height, width = pixels.shape[2:]
        boxes = [random_box(width, height, self._least, seed, index) for index in indices.tolist()]
        return resized(pixels, torch.tensor(boxes).view(-1, 4))
