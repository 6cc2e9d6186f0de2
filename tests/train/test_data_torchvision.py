"""torchvision's data sets by name. Nothing is downloaded here: the folder is prepared, or the download fails."""

import pickle
import urllib.error

import numpy as np
import pytest
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
