"""Crops of random size: inside the image, of the allowed shape, the same for the same seed, sharp when decoded."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ndtool.train.data import Augment, Batches, Data, Normalisation, Split
from ndtool.train.data.crops import CroppedPixels, cropped, random_box, resized
from ndtool.train.data.images import DecodedImages, PixelShape


class Pictures:
    """Pictures in memory."""

    def __init__(self, pictures: list[Image.Image]):
        self.pictures = pictures

    def __len__(self) -> int:
        return len(self.pictures)

    def name(self, index: int) -> str:
        return str(index)

    def open(self, index: int) -> Image.Image:
        return self.pictures[index].copy()

    def fingerprint(self) -> None:
        return None


def gradient(width: int, height: int) -> Image.Image:
    """Red tells the column, green the row."""
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    pixels[..., 0] = (np.arange(width) + 0.5) / width * 255
    pixels[..., 1] = ((np.arange(height) + 0.5) / height * 255)[:, None]
    return Image.fromarray(pixels)


@given(st.integers(1, 600), st.integers(1, 600), st.floats(0.01, 1), st.integers(0, 2**62), st.integers(0, 10**7))
def test_a_box_lies_in_its_image(width, height, least, seed, sample):
    left, top, wide, high = random_box(width, height, least, seed, sample)
    assert 0 <= left <= left + wide <= width
    assert 0 <= top <= top + high <= height
    assert wide > 0
    assert high > 0
    assert random_box(width, height, least, seed, sample) == (left, top, wide, high)


def test_areas_and_shapes_are_spread_over_what_is_allowed():
    boxes = np.array([random_box(400, 300, 0.08, 5, sample) for sample in range(3000)])
    areas = boxes[:, 2] * boxes[:, 3] / (400 * 300)
    ratios = boxes[:, 2] / boxes[:, 3]
    assert areas.min() > 0.075
    assert 0.08 < np.quantile(areas, 0.05) < 0.16
    assert areas.max() > 0.9
    assert ratios.min() > 0.73
    assert ratios.max() < 1.36
    assert 0.95 < np.exp(np.log(ratios).mean()) < 1.1


def test_a_narrow_image_is_cropped_around_its_centre():
    assert random_box(300, 10, 0.9, 0, 0) == (143, 0, 13, 10)


def test_boxes_are_resized_to_the_whole_image():
    pixels = torch.randint(0, 256, (2, 3, 12, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    moved = resized(pixels, torch.tensor([[0, 0, 16, 12], [4, 2, 8, 6]]))
    assert torch.equal(moved[0], pixels[0])
    part = pixels[1:, :, 2:8, 4:12].float()
    expected = F.interpolate(part, size=(12, 16), mode="bilinear", align_corners=False).round()
    inner = (slice(None), slice(None), slice(2, -2), slice(2, -2))  # at the border its neighbours outside are seen
    assert (moved[1:][inner] - expected[inner]).abs().max() <= 1


def test_pixels_and_pictures_are_cropped_alike():
    """The same box of the same image, whether it is decoded on demand or lies in memory."""
    pictures = [gradient(64, 64) for _ in range(8)]
    shape = PixelShape(3, 64, 64)
    decoded = DecodedImages(Pictures(pictures), shape)
    pixels = decoded.read(torch.arange(8), seed=0)
    indices = torch.tensor([5, 0, 3])
    on_demand = cropped(decoded, 0.1).read(indices, seed=9)
    in_memory = cropped(pixels, 0.1).read(indices, seed=9)
    assert isinstance(cropped(pixels, 0.1), CroppedPixels)
    assert (on_demand.int() - in_memory.int()).abs().max() <= 4
    assert not torch.equal(on_demand[0], on_demand[1])
    again = decoded.subset(indices).cropped(0.1).read(torch.tensor([2, 0, 1]), seed=9)
    assert torch.equal(again, on_demand[[2, 0, 1]])  # whatever is read beside it


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_turned_photograph_is_cropped_as_it_stands_upright(tmp_path, orientation):
    upright = gradient(80, 40)
    turns = {1: None, 3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
    stored = upright if turns[orientation] is None else upright.transpose(turns[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "turned.png", exif=exif)
    shape = PixelShape(3, 32, 32)
    turned = DecodedImages(Pictures([Image.open(tmp_path / "turned.png")]), shape, 0.2)
    plain = DecodedImages(Pictures([upright]), shape, 0.2)
    assert torch.equal(turned.read(torch.tensor([0]), seed=4), plain.read(torch.tensor([0]), seed=4))


def test_batches_are_cropped_where_augmentation_says_so():
    x = torch.randint(0, 256, (20, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    split = Split(x=x, y=torch.arange(20) % 2)
    scale = Normalisation(mean=(0.0,) * 3, std=(1 / 255,) * 3)
    data = Data(
        name="d",
        task="classification",
        train=split,
        validation=split,
        test=split,
        classes=("a", "b"),
        input_shape=(3, 16, 16),
        normalisation=scale,
    )
    options = {"split": split, "data": data, "batch_size": 5, "augment": Augment(area=0.3), "shuffle_seed": 1}
    first, second = (torch.cat([x for x, _ in Batches(**options)]) for _ in range(2))
    assert torch.equal(first, second)
    other = torch.cat([x for x, _ in Batches(**options, epoch=1)])
    assert not torch.equal(first.sort(0).values, other.sort(0).values)
    plain = torch.cat([x for x, _ in Batches(**{**options, "augment": None})])
    assert not torch.equal(first, plain)
    floats = torch.randn(6, 3)
    numbers = Split(x=floats, y=torch.arange(6) % 2)
    kept = Batches(**{**options, "split": numbers, "data": Data(**{**vars(data), "normalisation": None})})
    assert torch.equal(torch.cat([x for x, _ in kept]).sort(0).values, floats.sort(0).values)
