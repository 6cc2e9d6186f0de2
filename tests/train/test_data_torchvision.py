"""torchvision's data sets by name. Nothing is downloaded here: the folder is prepared, or the download fails."""

import itertools
import pickle
import urllib.error

import numpy as np
import pytest
import scipy.io
import torch
import torchvision
from PIL import Image

from ndtool.errors import NdtoolError
from ndtool.train.data import load_data
from ndtool.train.data.torchvision_sets import SETS, torchvision_name


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NDTOOL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize("spec", ["cifar10", "CIFAR-10", "cifar_10", "Fashion-MNIST"])
def test_names_are_forgiving(spec):
    assert torchvision_name(spec) in SETS


def test_every_entry_names_a_class_of_torchvision():
    for entry in SETS.values():
        assert isinstance(getattr(torchvision.datasets, entry.class_name), type)
        assert {"train", "test"} <= entry.parts.keys()


def test_without_network_one_line_says_what_to_do(monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", refuse)
    with pytest.raises(
        NdtoolError, match=r"cifar10 could not be downloaded .*no route to host.*: connect to the network"
    ) as error:
        load_data("cifar10")
    assert "\n" not in str(error.value)


def test_what_was_downloaded_is_read(cache, monkeypatch):
    """CIFAR-10's own files, with a few images, made here."""
    cifar = torchvision.datasets.CIFAR10
    folder = cache / "torchvision/cifar10" / cifar.base_folder
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for name, _ in cifar.train_list + cifar.test_list:
        images = random.integers(0, 256, (20, 3072), dtype=np.uint8)
        (folder / name).write_bytes(pickle.dumps({"data": images, "labels": [index % 10 for index in range(20)]}))
    names = [f"class{index}" for index in range(10)]
    (folder / cifar.meta["filename"]).write_bytes(pickle.dumps({"label_names": names}))
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    data = load_data("cifar10")
    assert (data.classes, data.input_shape, data.augment) == (tuple(names), (3, 32, 32), "flip-crop")
    assert (len(data.train), len(data.validation), len(data.test)) == (90, 10, 20)
    expected = torchvision.datasets.CIFAR10(str(cache / "torchvision/cifar10"), train=False)[3][0]
    assert np.array_equal(data.test.x[3].permute(1, 2, 0).numpy(), np.asarray(expected))


def _pictures(folder, names) -> None:
    folder.mkdir(parents=True)
    for index, name in enumerate(names):
        Image.new("RGB", (24 + index % 3, 20), (index * 9 % 256, 80, 90)).save(folder / name)


def test_stanford_cars_are_read_from_files_of_the_users(cache):
    base = cache / "torchvision/stanfordcars/stanford_cars"
    names = [f"{index:05d}.jpg" for index in range(1, 21)]
    annotations = np.array(
        [(name, index % 2 + 1) for index, name in enumerate(names)], [("fname", "O"), ("class", int)]
    )
    for part, place in (("train", "devkit/cars_train_annos.mat"), ("test", "cars_test_annos_withlabels.mat")):
        _pictures(base / f"cars_{part}", names)
        (base / place).parent.mkdir(exist_ok=True)
        scipy.io.savemat(base / place, {"annotations": annotations})
    scipy.io.savemat(base / "devkit/cars_meta.mat", {"class_names": np.array(["Audi", "Fiat"], dtype=object)})
    data = load_data("StanfordCars", input_shape=(3, 16, 16))
    assert data.classes == ("Audi", "Fiat")
    assert (len(data.train), len(data.validation), len(data.test)) == (18, 2, 20)


def test_imagenet_is_read_from_files_of_the_users_and_tested_on_its_validation_part(cache):
    base = cache / "torchvision/imagenet"
    wnids = {"n01440764": ("tench",), "n01443537": ("goldfish", "carp")}
    for part, wnid in itertools.product(("train", "val"), wnids):
        _pictures(base / part / wnid, [f"{index}.JPEG" for index in range(10)])
    torch.save((wnids, []), base / "meta.bin")
    data = load_data("ImageNet", input_shape=(3, 16, 16))
    assert data.classes == ("tench", "goldfish, carp")
    assert (len(data.train), len(data.validation), len(data.test)) == (18, 2, 20)


@pytest.mark.parametrize(("name", "file"), [("imagenet", "ILSVRC2012_img_train.tar"), ("stanfordcars", "cars_train/")])
def test_what_is_not_downloaded_is_said_with_its_files_and_place(cache, name, file):
    with pytest.raises(NdtoolError) as error:
        load_data(name, input_shape=(3, 16, 16))
    assert f"{name} is not downloaded by itself" in str(error.value)
    assert file in str(error.value)
    assert str(cache / "torchvision" / name) in str(error.value)


def test_images_of_different_sizes_need_an_input_shape(monkeypatch):
    class Flowers:
        def __init__(self, root: str, split: str, download: bool):
            self._labels = [0, 1] * 10

        def __len__(self) -> int:
            return 20

        def __getitem__(self, index: int) -> tuple[Image.Image, int]:
            return Image.new("RGB", (20 + index, 20)), self._labels[index]

    monkeypatch.setattr(torchvision.datasets, "Flowers102", Flowers)
    with pytest.raises(NdtoolError, match="flowers102 train image 1 is 21x20 and flowers102 train image 0 is 20x20"):
        load_data("flowers102")
    data = load_data("flowers102", input_shape=(3, 24, 24))
    assert (len(data.train), len(data.validation), len(data.test)) == (20, 20, 20)
