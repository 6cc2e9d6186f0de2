"""Pictures turned into pixels: decoded once and kept where they fit, read when they are needed where they do not."""

import hashlib
import os
import struct
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps
from torch import Tensor

from ndtool.errors import NdtoolError
from ndtool.files import cache_dir, replacing
from ndtool.train.data.crops import random_box
from ndtool.train.data.dataset import OnDemand
from ndtool.train.data.source import Images

IN_MEMORY = 2**30  # bytes of pixels up to which a part is decoded once and kept
_VERSION = 1  # of the way pictures become pixels; part of the name under which they are kept on disk
_CHUNK = 64  # images that a thread decodes at a time, at most
_PROBES = 16  # images looked at for whether any has colour
_GREY = frozenset(("1", "L", "LA", "La", "I", "F", "I;16", "I;16B", "I;16L", "I;16N"))
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)


@dataclass(frozen=True)
class PixelShape:
    """What every picture becomes: (channels, height, width). `resize` fits pictures of another size into it."""

    channels: int
    height: int
    width: int
    resize: bool = True
    reference: str | None = None  # the picture that the shape was taken from, where nobody gave one

    @property
    def sizes(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        return self.channels, self.height, self.width


def shape_of(images: Images, given: tuple[int, ...] | None) -> PixelShape:
    """The given (channels, height, width), or the first picture's.

    Raises: NdtoolError where the given shape is no image's.
    """
    if given is not None:
        if len(given) != 3 or given[0] not in (1, 3) or min(given) < 1:
            raise NdtoolError(
                f"input shape {_text(given)}: the data are images: give 1 or 3 channels, height and width"
            )
        return PixelShape(*given)
    first = _opened(images, 0)
    width, height = ImageOps.exif_transpose(first).size
    return PixelShape(channels_of(first), height, width, resize=False, reference=images.name(0))


def channels_of(image: Image.Image) -> int:
    """1 for grey, 3 for anything with colour (palettes and transparent ones included)."""
    return 1 if image.mode in _GREY else 3


def pixels_of(images: Images, shape: PixelShape, limit: int) -> Tensor | OnDemand:
    """All pictures as uint8 (N, C, H, W): in memory and kept in the cache up to `limit` bytes, else read on demand.

    Grey pictures among coloured ones take three channels where those were asked for.

    Raises: NdtoolError naming the first picture that is corrupt or of the wrong shape, or where all are grey.
    """
    if len(images) * shape.channels * shape.height * shape.width > limit:
        _require_colour(images, shape)
        return DecodedImages(images, shape)
    fingerprint = images.fingerprint()
    if fingerprint is None:
        _require_colour(images, shape)
        return torch.from_numpy(_decode_all(images, shape))
    key = hashlib.sha256(f"{_VERSION} {fingerprint} {shape.sizes} {shape.resize}".encode()).hexdigest()[:32]
    path = cache_dir() / "pixels" / f"{key}.npy"
    kept = _kept(path, (len(images), *shape.sizes))
    if kept is None:
        _require_colour(images, shape)
        kept = _decode_all(images, shape)
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.save(file, kept)
    return torch.from_numpy(kept)


@dataclass(frozen=True, slots=True)
class Crop:
    """A random crop of every picture, see crops: at least the part `least` of its area, fixed by `seed` and index."""

    least: float
    seed: int

    def box(self, image: Image.Image, index: int) -> tuple[float, float, float, float]:
        """Left, top, right, bottom in the picture as it stands upright, as parts of its width and height."""
        turned = image.getexif().get(ExifTags.Base.Orientation, 1) >= 5  # by 90 degrees
        width, height = reversed(image.size) if turned else image.size
        left, top, wide, high = random_box(width, height, self.least, self.seed, index)
        return left / width, top / height, (left + wide) / width, (top + high) / height


class DecodedImages(OnDemand):
    """Pictures decoded each time they are read, by several threads; of each a random crop where `least` is below 1."""

    def __init__(self, images: Images, shape: PixelShape, least: float = 1.0):
        self._images, self._shape, self._least = images, shape, least

    def __len__(self) -> int:
        return len(self._images)

    def read(self, indices: Tensor, *, seed: int) -> Tensor:
        """Pixels (B, C, H, W) uint8; nothing in them is random but the crop."""
        pixels = np.empty((len(indices), *self._shape.sizes), dtype=np.uint8)
        crop = None if self._least >= 1 else Crop(self._least, seed)
        _decode_into(pixels, self._images, indices.tolist(), self._shape, crop)
        return torch.from_numpy(pixels)

    def cropped(self, least: float) -> "DecodedImages":
        """The same pictures, cropped before they are resized."""
        return DecodedImages(self._images, self._shape, least)


def _kept(path: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    try:
        pixels = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return pixels if pixels.shape == shape and pixels.dtype == np.uint8 else None


def _decode_all(images: Images, shape: PixelShape) -> np.ndarray:
    pixels = np.empty((len(images), *shape.sizes), dtype=np.uint8)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")  # odd metadata; the pixels are right
        _decode_into(pixels, images, list(range(len(images))), shape)
    return pixels


def _decode_into(
    pixels: np.ndarray, images: Images, indices: list[int], shape: PixelShape, crop: Crop | None = None
) -> None:
    """Decode the pictures at `indices` into `pixels` (len(indices), C, H, W); every bad one is found before failing."""
    threads = min(usable_cores(), 16)
    size = min(_CHUNK, -(-len(indices) // (2 * threads)) or 1)  # a batch is for all threads

    def decode_chunk(start: int) -> list[str]:
        bad = []
        for row in range(start, min(start + size, len(indices))):
            try:
                pixels[row] = _decode(images, indices[row], shape, crop)
            except NdtoolError as error:
                bad.append(str(error))
        return bad

    # Pillow decodes without holding Python's lock, so that threads are enough.
    with ThreadPoolExecutor(max_workers=threads) as pool:
        bad = [message for chunk in pool.map(decode_chunk, range(0, len(indices), size)) for message in chunk]
    if bad:
        raise NdtoolError(bad[0] if len(bad) == 1 else f"{bad[0]} ({len(bad) - 1} more images are wrong)")


def _opened(images: Images, index: int) -> Image.Image:
    try:
        return images.open(index)
    except _BROKEN as error:
        raise _corrupt(images, index, error) from error


def _corrupt(images: Images, index: int, error: Exception) -> NdtoolError:
    reason = "it is no image" if isinstance(error, Image.UnidentifiedImageError) else str(error).splitlines()[:1]
    reason = reason if isinstance(reason, str) else (reason or [type(error).__name__])[0]
    return NdtoolError(f"{images.name(index)}: the image is corrupt ({reason}): replace or remove it")


def _decode(images: Images, index: int, shape: PixelShape, crop: Crop | None) -> np.ndarray:
    """One picture as (C, H, W) uint8."""
    box = None
    with _opened(images, index) as image:
        _check_channels(images, index, image, shape)
        try:
            if crop is not None:
                box = crop.box(image, index)
                image.draft(_mode(shape), _enough(shape, min(box[2] - box[0], box[3] - box[1])))
            elif shape.resize:
                image.draft(_mode(shape), _enough(shape))
            upright = _in_mode(ImageOps.exif_transpose(image), shape.channels)
        except _BROKEN as error:
            raise _corrupt(images, index, error) from error
    if box is not None:
        left, top, right, bottom = (part * size for part, size in zip(box, upright.size * 2, strict=True))
        upright = upright.resize((shape.width, shape.height), Image.Resampling.BILINEAR, box=(left, top, right, bottom))
    if upright.size != (shape.width, shape.height):
        if not shape.resize:
            raise NdtoolError(
                f"{images.name(index)} is {upright.width}x{upright.height} and {shape.reference} is "
                f"{shape.width}x{shape.height}: give the input shape, to which all images are then resized"
            )
        upright = ImageOps.fit(upright, (shape.width, shape.height), Image.Resampling.BILINEAR)
    array = np.asarray(upright, dtype=np.uint8)
    return array[None] if shape.channels == 1 else array.transpose(2, 0, 1)


def _mode(shape: PixelShape) -> str:
    return "RGB" if shape.channels == 3 else "L"


def _enough(shape: PixelShape, part: float = 1.0) -> tuple[int, int]:
    """The size down to which a JPEG may be shrunk while it is decoded, where `part` of a side becomes the input's."""
    side = round(2 * max(shape.width, shape.height) / part)
    return side, side


def usable_cores() -> int:
    """The processor's cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _require_colour(images: Images, shape: PixelShape) -> None:
    """Refuse three channels for pictures that are all grey, as far as a few of them tell."""
    if shape.channels == 3 and shape.reference is None:
        for index in range(0, len(images), -(-len(images) // _PROBES)):
            with _opened(images, index) as image:
                if channels_of(image) == 3:
                    return
        raise _grey(images, 0)


def _check_channels(images: Images, index: int, image: Image.Image, shape: PixelShape) -> None:
    found = channels_of(image)
    if found == 1 and shape.channels == 3 and shape.reference is not None:
        raise _grey(images, index)
    if found == 3 and shape.channels == 1 and shape.reference is not None:
        raise NdtoolError(
            f"{shape.reference}: the image has one channel where three are expected, as in {images.name(index)}: "
            "convert it to RGB, or give an input shape of one channel"
        )


def _grey(images: Images, index: int) -> NdtoolError:
    return NdtoolError(
        f"{images.name(index)}: the image has one channel where three are expected: convert it to RGB, or train "
        "with an input of one channel"
    )


def _in_mode(image: Image.Image, channels: int) -> Image.Image:
    """The picture in mode L or RGB; of 16 bits the upper 8 count."""
    if image.mode.startswith("I"):
        image = Image.fromarray(np.clip(np.asarray(image).astype(np.int64) >> 8, 0, 255).astype(np.uint8))
    if "transparency" in image.info:
        image = image.convert("RGBA")
    return image if image.mode == ("L", "RGB")[channels == 3] else image.convert("L" if channels == 1 else "RGB")


def _text(shape: tuple[int, ...]) -> str:
    return "x".join(str(size) for size in shape)
