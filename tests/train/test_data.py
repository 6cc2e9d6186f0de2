"""load_data, whatever the data come as."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ndtool.errors import NdtoolError
from ndtool.train.data import DATASETS, Normalisation, OnDemand, calibration_samples, load_data


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("NDTOOL_CACHE", str(folder))
    return folder


def save_image(path: Path, size=(12, 10), mode="RGB", seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).convert(mode).save(path)


def make_folder(root: Path, parts=("train", "test"), classes=("cat", "ant"), count=10, suffix=".png", **image) -> Path:
    for number, (part, name, index) in enumerate(itertools.product(parts, classes, range(count))):
        save_image(root / part / name / f"{index:03d}{suffix}", seed=number, **image)
    return root


def labels(split) -> list[int]:
    return torch.bincount(split.y).tolist()


class TestDigits:
    def test_is_split_alike_in_every_run_and_validation_by_seed(self):
        first, second = load_data("digits", seed=1), load_data("digits", seed=2)
        assert (len(first.train), len(first.validation), len(first.test)) == (1295, 143, 359)
        assert first.input_shape == (1, 8, 8)
        assert first.classes == tuple("0123456789")
        assert torch.equal(first.test.x, second.test.x)
        assert not torch.equal(first.validation.x, second.validation.x)

    def test_parts_share_no_sample(self):
        data = load_data("digits")
        parts = [{bytes(x.numpy().tobytes()) for x in part.x} for part in (data.train, data.validation, data.test)]
        whole = set.union(*parts)
        assert len(whole) == sum(len(part) for part in (data.train, data.validation, data.test))

    def test_pixels_use_the_whole_range_and_are_not_mirrored(self):
        data = load_data("digits")
        assert data.train.x.dtype == torch.uint8
        assert data.train.x.max() == 255
        assert data.augment == "crop"

    def test_can_be_resized(self):
        assert load_data("digits", input_shape=(1, 16, 12)).train.x.shape[1:] == (1, 16, 12)

    def test_one_channel_where_three_are_expected_is_refused(self):
        with pytest.raises(NdtoolError, match="one channel where three are expected"):
            load_data("digits", input_shape=(3, 8, 8))


class TestFolders:
    def test_classes_are_sorted_and_images_are_what_was_saved(self, tmp_path):
        data = load_data(str(make_folder(tmp_path / "pets")))
        assert data.name == "pets"
        assert data.classes == ("ant", "cat")
        assert data.input_shape == (3, 10, 12)
        assert labels(data.train) == [9, 9]
        assert labels(data.validation) == [1, 1]
        assert labels(data.test) == [10, 10]
        first = np.asarray(Image.open(tmp_path / "pets/test/ant/000.png")).transpose(2, 0, 1)
        assert np.array_equal(data.test.x[0].numpy(), first)
        assert data.notes == ()

    @pytest.mark.parametrize("name", ["val", "validation"])
    def test_own_validation_part_is_used(self, tmp_path, name):
        data = load_data(str(make_folder(tmp_path / "d", parts=("train", "test", name), count=4)))
        assert (len(data.train), len(data.validation), len(data.test)) == (8, 8, 8)

    def test_a_validation_part_without_a_test_part_is_the_test(self, tmp_path):
        """As ImageNet is laid out, and its results reported."""
        data = load_data(str(make_folder(tmp_path / "d", parts=("train", "val"), count=10)))
        assert (len(data.train), len(data.validation), len(data.test)) == (18, 2, 20)
        assert "its validation part is the test" in data.notes[0]

    def test_without_parts_a_test_part_is_held_out_and_said(self, tmp_path):
        folder = make_folder(tmp_path / "d", parts=(".",), count=20)
        first, second = load_data(str(folder), seed=1), load_data(str(folder), seed=2)
        assert labels(first.test) == [3, 3]
        assert torch.equal(first.test.x, second.test.x)
        assert "no test part" in first.notes[0]

    def test_a_folder_around_the_parts_is_passed(self, tmp_path):
        make_folder(tmp_path / "outer" / "inner", count=3)
        assert load_data(str(tmp_path / "outer")).classes == ("ant", "cat")

    def test_one_class_folder_is_not_taken_for_a_folder_around(self, tmp_path):
        make_folder(tmp_path / "d", classes=("only",))
        with pytest.raises(NdtoolError, match="only one class, 'only'"):
            load_data(str(tmp_path / "d"))

    def test_input_shape_resizes_and_crops(self, tmp_path):
        folder = make_folder(tmp_path / "d", size=(40, 20), count=3)
        data = load_data(str(folder), input_shape=(3, 10, 10))
        assert data.input_shape == (3, 10, 10)
        middle = Image.open(folder / "test/ant/000.png").resize(
            (10, 10), Image.Resampling.BILINEAR, box=(10, 0, 30, 20)
        )
        assert np.abs(data.test.x[0].numpy().transpose(1, 2, 0).astype(int) - np.asarray(middle)).max() == 0

    def test_sizes_that_differ_ask_for_an_input_shape(self, tmp_path):
        folder = make_folder(tmp_path / "d")
        save_image(folder / "train/cat/odd.png", size=(13, 10))
        with pytest.raises(NdtoolError, match=r"odd.png is 13x10 and train/ant/000.png is 12x10: give the input shape"):
            load_data(str(folder))
        assert load_data(str(folder), input_shape=(3, 10, 12)).input_shape == (3, 10, 12)

    def test_a_test_part_of_another_size_is_refused(self, tmp_path):
        folder = make_folder(tmp_path / "d", parts=("train",))
        make_folder(folder, parts=("test",), size=(8, 8))
        with pytest.raises(NdtoolError, match="give the input shape"):
            load_data(str(folder))

    def test_grey_image_among_colours_is_named(self, tmp_path):
        folder = make_folder(tmp_path / "d")
        save_image(folder / "train/cat/grey.png", mode="L")
        with pytest.raises(NdtoolError, match=r"grey.png: the image has one channel where three are expected"):
            load_data(str(folder))

    def test_first_image_grey_and_others_not_names_the_grey_one(self, tmp_path):
        folder = make_folder(tmp_path / "d")
        save_image(folder / "train/ant/000.png", mode="L")
        with pytest.raises(NdtoolError, match=r"ant/000.png: the image has one channel where three are expected"):
            load_data(str(folder))

    def test_grey_images_for_an_input_of_three_channels_are_refused(self, tmp_path):
        folder = make_folder(tmp_path / "d", mode="L")
        assert load_data(str(folder)).input_shape == (1, 10, 12)
        with pytest.raises(NdtoolError, match="one channel where three are expected"):
            load_data(str(folder), input_shape=(3, 10, 12))

    def test_grey_images_among_colours_take_three_channels_where_the_input_is_given(self, tmp_path):
        folder = make_folder(tmp_path / "d")
        save_image(folder / "train/ant/000.png", mode="L")
        pixels = load_data(str(folder), input_shape=(3, 10, 12)).train.x
        assert any(torch.equal(image[0], image[1]) and torch.equal(image[0], image[2]) for image in pixels)

    def test_colours_become_grey_for_an_input_of_one_channel(self, tmp_path):
        data = load_data(str(make_folder(tmp_path / "d", count=3)), input_shape=(1, 10, 12))
        expected = np.asarray(Image.open(tmp_path / "d/test/ant/000.png").convert("L"))
        assert np.array_equal(data.test.x[0, 0].numpy(), expected)

    @pytest.mark.parametrize(("mode", "suffix"), [("P", ".png"), ("RGBA", ".png"), ("CMYK", ".jpg"), ("RGB", ".bmp")])
    def test_other_modes_become_rgb(self, tmp_path, mode, suffix):
        folder = make_folder(tmp_path / "d", mode=mode, suffix=suffix, count=3)
        assert load_data(str(folder)).input_shape == (3, 10, 12)

    def test_sixteen_bits_keep_their_upper_eight(self, tmp_path):
        folder = make_folder(tmp_path / "d", mode="L", count=3)
        wide = np.full((10, 12), 0x1234, dtype=np.uint16)
        Image.fromarray(wide).save(folder / "test/ant/000.png")
        assert load_data(str(folder)).test.x[0].unique().tolist() == [0x12]

    def test_photograph_lying_on_its_side_is_turned(self, tmp_path):
        folder = make_folder(tmp_path / "d", suffix=".jpg", count=3)
        exif = Image.Exif()
        exif[0x0112] = 6
        for path in folder.rglob("*.jpg"):
            Image.open(path).save(path, exif=exif)
        assert load_data(str(folder)).input_shape == (3, 12, 10)

    @pytest.mark.parametrize("content", [b"", b"no image at all", None])
    def test_corrupt_image_is_named(self, tmp_path, content):
        folder = make_folder(tmp_path / "d", suffix=".jpg")
        bad = folder / "train/cat/004.jpg"
        bad.write_bytes(bad.read_bytes()[:200] if content is None else content)
        with pytest.raises(NdtoolError, match=r"train/cat/004.jpg: the image is corrupt \(.+\): replace or remove it$"):
            load_data(str(folder))

    def test_all_corrupt_images_are_counted(self, tmp_path):
        folder = make_folder(tmp_path / "d")
        for index in (1, 2, 3):
            (folder / f"train/cat/00{index}.png").write_bytes(b"x")
        with pytest.raises(NdtoolError, match=r"001.png.*\(2 more images are wrong\)"):
            load_data(str(folder))

    def test_empty_class_is_named(self, tmp_path):
        folder = make_folder(tmp_path / "d")
        for part in ("train", "test"):
            (folder / part / "dog").mkdir()
        with pytest.raises(NdtoolError, match="class 'dog' has no images"):
            load_data(str(folder))

    @pytest.mark.parametrize(("part", "message"), [("train", "has no class 'dog'"), ("test", "has class 'dog'")])
    def test_classes_that_differ_between_parts_are_named(self, tmp_path, part, message):
        folder = make_folder(tmp_path / "d")
        save_image(folder / part / "dog" / "1.png")
        with pytest.raises(NdtoolError, match=message):
            load_data(str(folder))

    @pytest.mark.parametrize("names", [(), ("train/readme.txt",), ("a.png",)])
    def test_folder_without_images_is_refused(self, tmp_path, names):
        (tmp_path / "d").mkdir()
        for name in names:
            (tmp_path / "d" / name).parent.mkdir(exist_ok=True)
            (tmp_path / "d" / name).write_text("x")
        with pytest.raises(NdtoolError, match="no images in class folders"):
            load_data(str(tmp_path / "d"))

    def test_test_part_alone_is_refused(self, tmp_path):
        with pytest.raises(NdtoolError, match="test/ but no train/"):
            load_data(str(make_folder(tmp_path / "d", parts=("test",))))

    def test_hidden_files_are_not_images(self, tmp_path):
        folder = make_folder(tmp_path / "d", count=3)
        (folder / "train/cat/._000.png").write_bytes(b"resource fork")
        (folder / "train/.cache").mkdir()
        assert len(load_data(str(folder)).test) == 6

    def test_without_labels_any_folders_will_do(self, tmp_path):
        folder = make_folder(tmp_path / "d", classes=("good",), count=5)
        make_folder(folder, parts=("test",), classes=("bad",), count=2)
        data = load_data(str(folder), task="reconstruction")
        assert (data.task, data.classes, len(data.test), data.test.y) == ("reconstruction", (), 7, None)


class TestDecoding:
    def test_happens_once(self, tmp_path, monkeypatch):
        folder = make_folder(tmp_path / "d", count=3)
        first = load_data(str(folder), input_shape=(3, 10, 12))
        monkeypatch.setattr(Image, "open", lambda *_: pytest.fail("decoded again"))
        assert torch.equal(load_data(str(folder), input_shape=(3, 10, 12)).train.x, first.train.x)

    def test_is_repeated_when_an_image_changes(self, tmp_path):
        folder = make_folder(tmp_path / "d", count=3)
        before = load_data(str(folder)).test.x
        save_image(folder / "test/ant/000.png", seed=999)
        after = load_data(str(folder)).test.x
        assert not torch.equal(before[0], after[0])
        assert torch.equal(before[1:], after[1:])

    def test_damaged_cache_is_not_used(self, tmp_path, cache):
        folder = make_folder(tmp_path / "d", count=3)
        before = load_data(str(folder)).test.x
        for path in (cache / "pixels").iterdir():
            path.write_bytes(path.read_bytes()[:100])
        assert torch.equal(load_data(str(folder)).test.x, before)

    def test_what_does_not_fit_is_read_on_demand_with_the_same_pixels(self, tmp_path, monkeypatch):
        folder = make_folder(tmp_path / "d")
        kept = load_data(str(folder))
        monkeypatch.setattr("ndtool.train.data.assemble.IN_MEMORY", 100)
        demanded = load_data(str(folder))
        assert isinstance(demanded.train.x, OnDemand)
        assert demanded.normalisation == kept.normalisation
        assert torch.equal(torch.stack(list(demanded.train.x)), kept.train.x)
        assert torch.equal(demanded.train.y, kept.train.y)
        assert torch.equal(calibration_samples(demanded, 5), calibration_samples(kept, 5))


class TestNpz:
    def save(self, path, **arrays):
        np.savez(path, **arrays)
        return str(path)

    def floats(self, tmp_path, **more):
        x = np.random.default_rng(0).normal(size=(40, 5, 3))
        arrays = {"x_train": x, "y_train": np.arange(40) % 4, "x_test": x[:8], "y_test": np.arange(8) % 4} | more
        return self.save(tmp_path / "d.npz", **{name: value for name, value in arrays.items() if value is not None})

    def test_floats_are_used_as_they_are(self, tmp_path):
        data = load_data(self.floats(tmp_path))
        assert data.input_shape == (5, 3)
        assert data.normalisation is None
        assert data.augment == "none"
        assert data.train.x.dtype == torch.float32
        assert data.classes == ("0", "1", "2", "3")
        assert (len(data.train), len(data.validation), len(data.test)) == (36, 4, 8)

    def test_an_axis_of_channels_is_added_when_asked_for(self, tmp_path):
        assert load_data(self.floats(tmp_path), input_shape=(1, 5, 3)).train.x.shape == (36, 1, 5, 3)
        with pytest.raises(NdtoolError, match="samples have the shape 5x3 and the input 5x4"):
            load_data(self.floats(tmp_path), input_shape=(5, 4))

    def test_channels_last_are_turned_when_asked_for(self, tmp_path):
        x = np.random.default_rng(0).normal(size=(20, 4, 3, 2)).astype(np.float32)
        path = self.save(tmp_path / "d.npz", x_train=x, x_test=x)
        data = load_data(path, input_shape=(2, 4, 3))
        assert torch.equal(data.test.x[3], torch.from_numpy(x[3].transpose(2, 0, 1)))

    @pytest.mark.parametrize(
        ("shape", "expected"),
        [((30, 9, 7), (1, 9, 7)), ((30, 9, 7, 3), (3, 9, 7)), ((30, 3, 9, 7), (3, 9, 7)), ((30, 9, 7, 1), (1, 9, 7))],
    )
    def test_bytes_are_pixels(self, tmp_path, shape, expected):
        x = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        data = load_data(
            self.save(tmp_path / "d.npz", x_train=x, y_train=np.arange(30) % 2, x_test=x, y_test=np.arange(30) % 2)
        )
        assert data.input_shape == expected
        assert data.train.x.dtype == torch.uint8
        assert len(data.normalisation.mean) == expected[0]

    def test_without_y_is_for_reconstruction(self, tmp_path):
        path = self.floats(tmp_path, y_train=None, y_test=None)
        assert load_data(path).task == "reconstruction"
        with pytest.raises(NdtoolError, match="no labels to classify by"):
            load_data(path, task="classification")

    def test_labels_of_one_part_alone_do_not_matter_for_reconstruction(self, tmp_path):
        path = self.floats(tmp_path, y_train=None)
        assert load_data(path, task="reconstruction").test.y is None
        with pytest.raises(NdtoolError, match="no y for the train part"):
            load_data(path)

    def test_without_a_test_part_one_is_held_out(self, tmp_path):
        data = load_data(self.floats(tmp_path, x_test=None, y_test=None))
        assert "no test part" in data.notes[0]
        assert len(data.test) == 8  # 15 % of ten, of each of four classes

    def test_names_of_classes_are_read(self, tmp_path):
        assert load_data(self.floats(tmp_path, classes=["a", "b", "c", "d"])).classes == ("a", "b", "c", "d")

    def test_text_labels_are_sorted(self, tmp_path):
        names = np.array(["dog", "ant"])
        data = load_data(self.floats(tmp_path, y_train=names[np.arange(40) % 2], y_test=names[np.arange(8) % 2]))
        assert data.classes == ("ant", "dog")
        assert data.test.y.tolist() == [1, 0] * 4

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"x_train": None}, "there is no x_train"),
            ({"y_train": np.arange(39)}, "40 samples and 39 labels"),
            ({"y_test": np.full(8, 7)}, "class 7 of the test part is not among the 4"),
            ({"y_train": np.arange(40) % 4 * 2}, "class '1' has no training samples"),
            ({"y_train": np.full(40, -1)}, "class -1"),
            ({"y_train": np.eye(40)}, "give one class number per sample"),
            ({"y_train": np.zeros(40)}, "class 3 of the test part"),
            ({"y_train": np.full(40, 0.5)}, "give class numbers"),
            ({"x_test": np.zeros((8, 5, 4))}, "samples of the test part are 5x4 numbers, of the training part 5x3"),
            ({"x_test": np.zeros((0, 5, 3)), "y_test": np.zeros(0)}, "empty|shape is"),
            ({"x_train": np.full((40, 5, 3), np.nan)}, "not finite"),
            ({"x_train": np.array(["a"] * 40)}, "give numbers"),
            ({"x_train": np.zeros(40)}, r"give \(samples, ...\)"),
            ({"x_train": np.array([None] * 40)}, "not readable as .npz of plain arrays"),
        ],
    )
    def test_what_is_wrong_is_said(self, tmp_path, change, message):
        with pytest.raises(NdtoolError, match=message) as error:
            load_data(self.floats(tmp_path, **change))
        assert "\n" not in str(error.value)

    def test_damaged_file_is_refused(self, tmp_path):
        path = Path(self.floats(tmp_path))
        path.write_bytes(path.read_bytes()[:500])
        with pytest.raises(NdtoolError, match=r"not readable as \.npz"):
            load_data(str(path))


class TestChoices:
    def test_normalisation_is_of_the_training_part(self):
        data = load_data("digits")
        pixels = data.train.x.double() / 255
        assert data.normalisation.mean == (round(pixels.mean().item(), 4),)
        assert data.normalisation.std == (round(pixels.std(correction=0).item(), 4),)

    def test_given_normalisation_is_kept(self):
        given = Normalisation(mean=(0.5,), std=(0.25,))
        assert load_data("digits", normalisation=given).normalisation == given

    @pytest.mark.parametrize(
        ("normalisation", "message"),
        [
            (Normalisation(mean=(0.5,) * 3, std=(0.5,) * 3), "3 means, 3 deviations for 1 channels"),
            (Normalisation(mean=(0.5,), std=(0.0,)), "a deviation of the normalisation is 0.0"),
        ],
    )
    def test_normalisation_that_does_not_fit_is_refused(self, normalisation, message):
        with pytest.raises(NdtoolError, match=message):
            load_data("digits", normalisation=normalisation)

    def test_constant_channel_has_deviation_one(self, tmp_path):
        x = np.full((20, 6, 6), 51, dtype=np.uint8)
        np.savez(tmp_path / "d.npz", x_train=x, x_test=x)
        assert load_data(str(tmp_path / "d.npz")).normalisation == Normalisation(mean=(0.2,), std=(1.0,))

    @pytest.mark.parametrize("validation", [0, 1, -0.1, 2])
    def test_validation_part_must_be_a_part(self, validation):
        with pytest.raises(NdtoolError, match="validation part"):
            load_data("digits", validation=validation)

    def test_unknown_task_is_refused(self):
        with pytest.raises(NdtoolError, match="no task is called 'regression'"):
            load_data("digits", task="regression")

    @pytest.mark.parametrize(
        ("spec", "message"),
        [("digit", "did you mean digits"), ("cifar-1", "did you mean cifar10"), ("/nowhere/at/all", "give a name")],
    )
    def test_unknown_data_suggest_a_name(self, spec, message):
        with pytest.raises(NdtoolError, match=message):
            load_data(spec)

    def test_other_files_are_refused(self, tmp_path):
        (tmp_path / "d.csv").write_text("1,2")
        with pytest.raises(NdtoolError, match="not read from such a file"):
            load_data(str(tmp_path / "d.csv"))

    def test_every_name_is_described(self):
        assert {"digits", "cifar10", "mnist", "flowers102"} <= DATASETS.keys()
        assert all(DATASETS.values())

    def test_what_takes_long_is_told(self, tmp_path, monkeypatch):
        folder = str(make_folder(tmp_path / "d", count=3))
        said: list[str] = []
        load_data(folder, progress=said.append)
        assert said == []
        monkeypatch.setattr("ndtool.train.data.assemble.MANY_IMAGES", 6)
        load_data(folder, progress=said.append)
        assert any("6 images" in line for line in said)


@pytest.mark.slow
def test_cifar10_archive_works_as_it_is(shared):
    data = load_data(str(shared / "data" / "cifar10.tar.xz"))
    assert (len(data.train), len(data.validation), len(data.test)) == (45000, 5000, 10000)
    assert data.input_shape == (3, 32, 32)
    assert data.classes[0] == "airplane"
    assert data.augment == "flip-crop"
    assert labels(data.validation) == [500] * 10
