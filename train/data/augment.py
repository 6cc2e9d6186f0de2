"""Augmentation of whole batches of images, each image by random numbers of its own."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

from ndtool.errors import NdtoolError
from ndtool.train.data.draws import Draws, Purpose

AUTO = "auto"  # the preset that the data name


@dataclass(frozen=True, kw_only=True)
class Augment:
    """Random changes of an image, each drawn per image.

    `area`: least part of the area that is kept by a crop of random size and shape, which is then resized (see crops).
    `crop`: largest shift in either direction, as a part of the height or width; what comes in is the mirrored border.
    `flip`: mirror left and right, for half of the images.
    `colour`: largest change of brightness, contrast and saturation, as a factor of 1 - colour to 1 + colour.
    `cutout`: side of a square set to the mean, as a part of the height or width.
    """

    area: float = 1.0
    crop: float = 0.0
    flip: bool = False
    colour: float = 0.0
    cutout: float = 0.0

    def __post_init__(self) -> None:
        for name, value in (("area", self.area), ("crop", self.crop), ("colour", self.colour), ("cutout", self.cutout)):
            if not 0 <= value <= 1:
                raise NdtoolError(f"augmentation: {name} is {value}: give a part between 0 and 1")


PRESETS: Mapping[str, Augment] = MappingProxyType(
    {
        "none": Augment(),
        "crop": Augment(crop=1 / 8),
        "flip-crop": Augment(crop=1 / 8, flip=True),
        "flip-crop-cutout": Augment(crop=1 / 8, flip=True, cutout=1 / 4),
        "flip-crop-colour": Augment(crop=1 / 8, flip=True, colour=0.3),
        "resized-crop": Augment(area=0.08, flip=True),
        "resized-crop-colour": Augment(area=0.08, flip=True, colour=1 / 8),
    }
)


def augmentation(choice: str | Augment | None, default: str = "none") -> Augment:
    """The augmentation that was asked for; None is none, "auto" the preset `default`.

    Raises: NdtoolError for a name that is no preset.
    """
    if isinstance(choice, Augment):
        return choice
    name = "none" if choice is None else default if choice == AUTO else choice
    if name not in PRESETS:
        raise NdtoolError(f"no augmentation is called {name!r}: choose from {', '.join((AUTO, *PRESETS))}")
    return PRESETS[name]


def move_pixels(images: Tensor, augment: Augment, draws: Draws) -> Tensor:
    """Crop and flip images (B, C, H, W) of any dtype; one gather, no padded copy."""
    batch, channels, height, width = images.shape
    if not (augment.crop or augment.flip):
        return images
    rows = torch.arange(height).expand(batch, height) + _shifts(height, augment.crop, draws, Purpose.ROW_SHIFT)
    columns = torch.arange(width).expand(batch, width) + _shifts(width, augment.crop, draws, Purpose.COLUMN_SHIFT)
    if augment.flip:
        mirrored = draws.uniform(Purpose.FLIP)[:, None] < 0.5
        columns = torch.where(mirrored, columns.flip(1), columns)
    pixel = _mirrored(rows, height)[:, :, None] * width + _mirrored(columns, width)[:, None, :]  # (B, H, W)
    pixel = pixel.view(batch, 1, height * width).to(images.device).expand(batch, channels, height * width)
    return images.reshape(batch, channels, -1).gather(2, pixel).view(images.shape)


def change_colours(images: Tensor, augment: Augment, draws: Draws) -> Tensor:
    """Brightness, contrast and (of RGB) saturation of float images (B, C, H, W) in [0, 255]; the range is kept."""
    if not augment.colour:
        return images
    drawn = [draws.uniform(p) for p in (Purpose.BRIGHTNESS, Purpose.CONTRAST, Purpose.SATURATION)]
    factors = 1 + augment.colour * (2 * torch.stack(drawn) - 1)
    brightness, contrast, saturation = factors.float().view(3, -1, 1, 1, 1).to(images.device)
    images = images * brightness
    images = torch.lerp(images.mean(dim=(1, 2, 3), keepdim=True), images, contrast)
    if images.shape[1] == 3:
        images = torch.lerp(images.mean(dim=1, keepdim=True), images, saturation)
    return images.clamp(0, 255)


def cut_out(images: Tensor, augment: Augment, draws: Draws) -> Tensor:
    """Set a square to 0, the mean, in normalised images (B, C, H, W); its centre lies anywhere in the image."""
    if not augment.cutout:
        return images
    inside = [
        (torch.arange(size) - draws.integers(purpose, 0, size)[:, None]).abs() * 2 < augment.cutout * size
        for size, purpose in zip(images.shape[2:], (Purpose.CUTOUT_ROW, Purpose.CUTOUT_COLUMN), strict=True)
    ]
    square = inside[0][:, None, :, None] & inside[1][:, None, None, :]
    return images.masked_fill(square.to(images.device), 0.0)


def _shifts(size: int, part: float, draws: Draws, purpose: Purpose) -> Tensor:
    """A shift per image, (B, 1), in whole pixels; at least one pixel where any was asked for."""
    largest = min(max(1, round(part * size)), size - 1) if part else 0
    return draws.integers(purpose, -largest, largest + 1)[:, None]


def _mirrored(position: Tensor, size: int) -> Tensor:
    """Positions outside [0, size) reflected at the border pixels, as padding with mode "reflect" does."""
    last = size - 1
    return last - (last - position.abs()).abs()
