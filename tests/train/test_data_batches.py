"""Batches: order, augmentation and normalisation, the same again for the same seed and epoch."""

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from ndtool.errors import NdtoolError
from ndtool.train.data import (
    PRESETS,
    Augment,
    Batches,
    Data,
    Normalisation,
    OnDemand,
    Split,
    augmentation,
    batches,
    calibration_samples,
    evaluation_inputs,
)
from ndtool.train.data.augment import change_colours, cut_out, move_pixels
from ndtool.train.data.draws import Draws, Purpose, sample_seeds
from ndtool.train.data.split import hold_out


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draws(count: int, seed: int = 0) -> Draws:
    return Draws(seed, torch.arange(count))


def make_data(count=50, shape=(3, 8, 8), task="classification", **options) -> Data:
    x = torch.randint(0, 256, (count, *shape), generator=generator(), dtype=torch.uint8)
    x[:, 0, 0, 0] = torch.arange(count)  # tells the samples apart
    split = Split(x=x, y=None if task == "reconstruction" else torch.arange(count) % 5)
    defaults = {
        "normalisation": Normalisation(mean=(0.5,) * shape[0], std=(0.25,) * shape[0]),
        "augment": "flip-crop",
    }
    parts = {"train": split, "validation": split, "test": split}
    return Data(name="d", task=task, classes=tuple("abcde"), input_shape=shape, **parts, **(defaults | options))


class Counted(OnDemand):
    """Samples that remember how they were read."""

    def __init__(self, x: torch.Tensor):
        self.x, self.seeds = x, []

    def __len__(self) -> int:
        return len(self.x)

    def read(self, indices: torch.Tensor, *, seed: int) -> torch.Tensor:
        self.seeds.append(seed)
        return self.x[indices]


class TestOrder:
    def test_without_seed_the_order_is_kept_and_nothing_changed(self):
        data = make_data()
        x = torch.cat([x for x, _ in batches(data.train, data, batch_size=16)])
        y = torch.cat([y for _, y in batches(data.train, data, batch_size=16)])
        assert torch.allclose(x, (data.train.x.float() / 255 - 0.5) / 0.25)
        assert torch.equal(y, data.train.y)
        assert y.dtype == torch.int64

    def test_same_seed_and_epoch_repeat_exactly(self):
        data = make_data()
        options = {"batch_size": 16, "shuffle_seed": 7, "epoch": 3, "augment": "flip-crop-cutout"}
        first, second = (list(batches(data.train, data, **options)) for _ in range(2))
        assert all(torch.equal(a, c) and torch.equal(b, d) for (a, b), (c, d) in zip(first, second, strict=True))

    @pytest.mark.parametrize("change", [{"epoch": 4}, {"shuffle_seed": 8}])
    def test_another_epoch_or_seed_differs_but_holds_every_sample_once(self, change):
        data = make_data()
        options = {"batch_size": 16, "shuffle_seed": 7, "epoch": 3}
        first = torch.cat([x for x, _ in batches(data.train, data, **options)])
        second = torch.cat([x for x, _ in batches(data.train, data, **(options | change))])
        assert not torch.equal(first, second)
        assert torch.equal(first[:, 0, 0, 0].sort().values, second[:, 0, 0, 0].sort().values)

    def test_start_goes_on_as_if_never_stopped(self):
        data = make_data()
        options = {"batch_size": 16, "shuffle_seed": 1, "augment": "flip-crop-colour"}
        whole = list(batches(data.train, data, **options))
        rest = list(batches(data.train, data, **options, start=2))
        assert len(rest) == len(whole) - 2
        assert all(torch.equal(a, b) for (a, _), (b, _) in zip(whole[2:], rest, strict=True))

    @pytest.mark.parametrize(("drop_last", "sizes"), [(False, [20, 20, 10]), (True, [20, 20])])
    def test_last_batch(self, drop_last, sizes):
        data = make_data()
        found = Batches(split=data.train, data=data, batch_size=20, drop_last=drop_last)
        assert len(found) == len(sizes)
        assert [len(x) for x, _ in found] == sizes
        assert [len(x) for x, _ in found] == sizes  # again

    def test_labels_follow_their_samples(self):
        data = make_data()
        for x, y in batches(data.train, data, batch_size=7, shuffle_seed=0):
            number = ((x[:, 0, 0, 0] * 0.25 + 0.5) * 255).round().long()
            assert torch.equal(number % 5, y)

    def test_batch_size_must_be_positive(self):
        data = make_data()
        with pytest.raises(NdtoolError, match="batch size is 0"):
            batches(data.train, data, batch_size=0)

    def test_reconstruction_has_its_input_as_target(self):
        data = make_data(task="reconstruction")
        for x, y in batches(data.train, data, batch_size=16, shuffle_seed=0, augment="flip-crop"):
            assert y is x

    def test_floats_are_left_as_they_are(self):
        x = torch.randn(30, 7, generator=generator())
        data = make_data(normalisation=None)
        found = torch.cat([x for x, _ in batches(Split(x=x), data, batch_size=8, augment="flip-crop")])
        assert torch.equal(found, x)


DEALT = {"shuffle_seed": 3, "epoch": 2, "augment": Augment(crop=0.3, flip=True, colour=0.5, cutout=0.3)}


class TestDealing:
    def seen(self, **options) -> dict[int, torch.Tensor]:
        """What each sample, by its number, looks like. Numbers are the labels of these data."""
        data = make_data()
        data = dataclasses.replace(data, train=Split(x=data.train.x, y=torch.arange(50)))
        found = {}
        for x, y in batches(data.train, data, **(DEALT | options)):
            found |= dict(zip(y.tolist(), x, strict=True))
        return found

    @pytest.mark.parametrize("options", [{"batch_size": 1}, {"batch_size": 7}, {"batch_size": 16, "start": 1}])
    def test_a_sample_looks_the_same_in_every_batch(self, options):
        whole, found = self.seen(batch_size=50), self.seen(**options)
        assert len(found) >= 34
        assert all(torch.equal(image, whole[number]) for number, image in found.items())

    @pytest.mark.parametrize("of", [2, 3])
    def test_shares_make_up_the_whole_batches_in_order(self, of):
        data = make_data()
        whole = list(batches(data.train, data, batch_size=12, drop_last=True, **DEALT))
        shares = [batches(data.train, data, batch_size=12, drop_last=True, share=(r, of), **DEALT) for r in range(of)]
        for (x, y), *parts in zip(whole, *shares, strict=True):
            assert torch.equal(torch.cat([part[0] for part in parts]), x)
            assert torch.equal(torch.cat([part[1] for part in parts]), y)

    @pytest.mark.parametrize("stride", [2, 3, 9])
    def test_strides_deal_out_whole_batches(self, stride):
        data = make_data()
        whole = list(batches(data.train, data, batch_size=12, **DEALT))
        for start in range(stride):
            mine = Batches(split=data.train, data=data, batch_size=12, start=start, stride=stride, **DEALT)
            assert len(mine) == len(whole[start::stride])
            assert all(torch.equal(a, b) for (a, _), (b, _) in zip(mine, whole[start::stride], strict=True))

    def test_draws_are_uniform_and_independent(self):
        numbers = torch.stack([draws(20_000, seed).uniform(purpose) for purpose in Purpose for seed in (0, 1)])
        assert numbers.min() >= 0
        assert numbers.max() < 1
        assert (numbers.mean(1) - 0.5).abs().max() < 0.01
        assert (numbers.var(1) - 1 / 12).abs().max() < 0.003
        assert (torch.corrcoef(numbers) - torch.eye(len(numbers))).abs().max() < 0.03
        assert torch.corrcoef(torch.stack([numbers[0, 1:], numbers[0, :-1]]))[0, 1].abs() < 0.03
        assert draws(1000).integers(Purpose.FLIP, -2, 3).unique().tolist() == [-2, -1, 0, 1, 2]

    def test_draws_are_the_same_everywhere(self):
        """Numbers of SplitMix64's finaliser, in Python's own integers."""

        def mixed(x: int) -> int:
            x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
            x = (x ^ (x >> 27)) * 0x94D049BB133111EB % 2**64
            return x ^ (x >> 31)

        keys = [mixed((2**63 - 1 + (index + 1) * 0x9E3779B97F4A7C15) % 2**64) for index in (0, 5, 10**9)]
        indices = torch.tensor([0, 5, 10**9])
        assert sample_seeds(2**63 - 1, indices) == [mixed(key) >> 1 for key in keys]
        numbers = Draws(2**63 - 1, indices).uniform(Purpose.FLIP)
        assert numbers.tolist() == [(mixed((key + 3 * 0xD1B54A32D192ED03) % 2**64) >> 11) * 2.0**-53 for key in keys]


class TestOnDemand:
    def test_gives_what_memory_gives(self):
        data = make_data()
        demanded = Split(x=Counted(data.train.x), y=data.train.y)
        options = {"batch_size": 16, "shuffle_seed": 2, "augment": "flip-crop"}
        for (a, b), (c, d) in zip(
            batches(data.train, data, **options), batches(demanded, data, **options), strict=True
        ):
            assert torch.equal(a, c)
            assert torch.equal(b, d)

    @pytest.mark.parametrize("prefetch", [True, False])
    def test_every_epoch_has_its_own_seed(self, prefetch):
        data = make_data()
        x = Counted(data.train.x)
        x.prefetch = prefetch
        for epoch in (0, 1):
            list(batches(Split(x=x, y=data.train.y), data, batch_size=16, epoch=epoch))
        assert len(x.seeds) == 8
        assert len(set(x.seeds[:4])) == len(set(x.seeds[4:])) == 1
        assert x.seeds[0] != x.seeds[4]

    def test_errors_of_reading_arrive(self):
        class Broken(Counted):
            def read(self, indices: torch.Tensor, *, seed: int) -> torch.Tensor:
                raise NdtoolError("d.jpg: the image is corrupt")

        data = make_data()
        with pytest.raises(NdtoolError, match="corrupt"):
            next(batches(Split(x=Broken(data.train.x)), data, batch_size=4))

    def test_subsets_of_subsets(self):
        x = Counted(torch.arange(20.0).view(20, 1))
        part = Split(x=x, y=torch.arange(20)).subset(torch.tensor([4, 9, 2, 7])).subset(torch.tensor([3, 1]))
        assert part.x[0].tolist() == [7.0]
        assert [sample.item() for sample in part.x] == [7.0, 9.0]
        assert part.y.tolist() == [7, 9]


class TestAugment:
    @settings(deadline=None, max_examples=30)
    @given(
        height=st.integers(1, 12),
        width=st.integers(1, 12),
        channels=st.integers(1, 3),
        crop=st.floats(0, 1),
        flip=st.booleans(),
        seed=st.integers(0, 2**32),
    )
    def test_every_image_is_a_crop_of_its_mirrored_border(self, height, width, channels, crop, flip, seed):
        images = torch.arange(2 * channels * height * width).view(2, channels, height, width)
        moved = move_pixels(images, Augment(crop=crop, flip=flip), draws(2, seed))
        assert moved.shape == images.shape
        for image, result in zip(images, moved, strict=True):
            borders = (min(max(1, round(crop * width)), width - 1), min(max(1, round(crop * height)), height - 1))
            x, y = borders if crop else (0, 0)
            padded = F.pad(image[None].double(), (x, x, y, y), mode="reflect")[0].long()
            crops = [
                padded[:, top : top + height, left : left + width]
                for top in range(2 * y + 1)
                for left in range(2 * x + 1)
            ]
            assert any(torch.equal(result, c) or (flip and torch.equal(result, c.flip(2))) for c in crops)

    def test_half_of_the_images_are_mirrored(self):
        images = torch.arange(8).expand(2000, 1, 1, 8)
        moved = move_pixels(images, Augment(flip=True), draws(2000))
        mirrored = (moved[:, 0, 0, 0] == 7).sum().item()
        assert 900 < mirrored < 1100

    def test_shifts_reach_both_ends(self):
        images = torch.arange(32).expand(500, 1, 1, 32)
        moved = move_pixels(images, Augment(crop=1 / 8), draws(500))
        assert set(moved[:, 0, 0, 16].tolist()) == set(range(12, 21))

    def test_cutout_sets_a_square_to_the_mean(self):
        images = torch.ones(400, 2, 16, 16)
        cut = cut_out(images, Augment(cutout=0.25), draws(400))
        assert (cut[:, 0] == cut[:, 1]).all()
        holes = (cut[:, 0] == 0).sum(dim=(1, 2))
        assert holes.max() in (9, 16)
        assert holes.min() >= 1

    def test_colours_stay_in_range_and_grey_stays_grey(self):
        images = torch.rand(50, 3, 4, 4, generator=generator()) * 255
        changed = change_colours(images, Augment(colour=0.9), draws(50))
        assert changed.min() >= 0
        assert changed.max() <= 255
        assert not torch.equal(changed, images)
        grey = images[:, :1].expand(-1, 3, -1, -1)
        changed = change_colours(grey, Augment(colour=0.5), draws(50))
        assert torch.allclose(changed[:, 0], changed[:, 2], atol=1e-3)
        assert change_colours(images[:, :1], Augment(colour=0.5), draws(50)).shape == (50, 1, 4, 4)

    def test_presets(self):
        assert augmentation(None) == augmentation("none") == Augment()
        assert augmentation("auto", "crop") == PRESETS["crop"]
        assert not PRESETS["crop"].flip
        with pytest.raises(NdtoolError, match="no augmentation is called 'flips': choose from auto, none"):
            augmentation("flips")
        with pytest.raises(NdtoolError, match="crop is 4: give a part between 0 and 1"):
            Augment(crop=4)


class TestCalibration:
    def test_samples_are_training_images_without_augmentation(self):
        data = make_data()
        samples = calibration_samples(data, 20, seed=1)
        assert samples.shape == (20, 3, 8, 8)
        assert torch.equal(samples, calibration_samples(data, 20, seed=1))
        assert not torch.equal(samples, calibration_samples(data, 20, seed=2))
        numbers = ((samples[:, 0, 0, 0] * 0.25 + 0.5) * 255).round().long()
        assert len(numbers.unique()) == 20
        assert torch.allclose(samples, data.normalisation(data.train.x[numbers]))

    def test_there_are_no_more_than_there_are(self):
        data = make_data(count=9)
        assert len(calibration_samples(data, 100)) == 9
        assert len(evaluation_inputs(data.test, data)) == 9
        assert len(evaluation_inputs(data.test, data, 4)) == 4


class TestHoldOut:
    @settings(deadline=None, max_examples=50)
    @given(
        labels=st.lists(st.integers(0, 4), min_size=1, max_size=200),
        part=st.floats(0.01, 0.99),
        seed=st.integers(0, 2**31),
    )
    def test_takes_the_same_part_of_every_class(self, labels, part, seed):
        y = torch.tensor(labels)
        kept, held = hold_out(y, len(labels), part, seed)
        assert sorted([*kept.tolist(), *held.tolist()]) == list(range(len(labels)))
        for label in set(labels):
            count = labels.count(label)
            taken = (y[held] == label).sum().item()
            assert abs(taken - part * count) <= 1
            assert 1 <= taken < count or count == 1
        again = hold_out(y, len(labels), part, seed)
        assert torch.equal(again[1], held)

    def test_without_labels(self):
        kept, held = hold_out(None, 40, 0.25, 0)
        assert (len(kept), len(held)) == (30, 10)
        assert not np.array_equal(held, hold_out(None, 40, 0.25, 1)[1])
