"""Data sets that torchvision knows by name, downloaded into the cache when they are asked for, where that can be."""

import contextlib
import io
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import torch
from PIL import Image

from ndtool.errors import NdtoolError
from ndtool.files import cache_dir
from ndtool.train.data.source import Part, Source


@dataclass(frozen=True, kw_only=True)
class _Entry:
    """A class of torchvision.datasets and what selects each part."""

    class_name: str
    parts: Mapping[str, Mapping[str, Any]]
    augment: str | None = None
    classes: tuple[str, ...] = field(default=())  # where the data set does not name them
    by_hand: str | None = None  # what the user has to fetch, where torchvision does not


def _by_train(class_name: str, **options: Any) -> _Entry:
    return _Entry(class_name=class_name, parts={"train": {"train": True}, "test": {"train": False}}, **options)


def _by_split(class_name: str, *names: str, **options: Any) -> _Entry:
    parts = dict(zip(("train", "test", "validation"), names or ("train", "test"), strict=False))
    return _Entry(class_name=class_name, parts={part: {"split": name} for part, name in parts.items()}, **options)


_DIGITS = tuple("0123456789")
SETS: Mapping[str, _Entry] = MappingProxyType(
    {
        "cifar10": _by_train("CIFAR10"),
        "cifar100": _by_train("CIFAR100"),
        "mnist": _by_train("MNIST", augment="crop", classes=_DIGITS),
        "kmnist": _by_train("KMNIST", augment="crop"),
        "fashionmnist": _by_train("FashionMNIST", augment="flip-crop"),
        "svhn": _by_split("SVHN", augment="crop", classes=_DIGITS),
        "stl10": _by_split("STL10"),
        "gtsrb": _by_split("GTSRB", augment="crop", classes=tuple(f"{index:02d}" for index in range(43))),
        "dtd": _by_split("DTD", "train", "test", "val"),
        "flowers102": _by_split("Flowers102", "train", "test", "val"),
        "food101": _by_split("Food101"),
        "oxfordiiitpet": _by_split("OxfordIIITPet", "trainval", "test"),
        "stanfordcars": _by_split(
            "StanfordCars",
            by_hand="stanford_cars/ with cars_train/, cars_test/, devkit/ and cars_test_annos_withlabels.mat",
        ),
        "imagenet": _by_split(
            "ImageNet",
            "train",
            "val",
            by_hand="ILSVRC2012_devkit_t12.tar.gz, ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar",
        ),
        "imagenette": _Entry(
            class_name="Imagenette",
            parts={part: {"split": name, "size": "160px"} for part, name in (("train", "train"), ("test", "val"))},
        ),
    }
)


def torchvision_name(spec: str) -> str | None:
    """The name under which SETS knows a data set: "CIFAR-10" is cifar10; None for any other."""
    name = re.sub(r"[-_ ]", "", spec.lower())
    return name if name in SETS else None


def read_torchvision(name: str) -> Source:
    """A data set by its name in SETS; what is missing is downloaded.

    Raises: NdtoolError where that fails.
    """
    entry = SETS[name]
    found = {part: _open(name, entry, options) for part, options in entry.parts.items()}
    labels = {part: torch.as_tensor(_labels(dataset), dtype=torch.int64) for part, dataset in found.items()}
    count = 1 + max(int(part.max()) for part in labels.values())
    classes = entry.classes or tuple(_class_name(value) for value in getattr(found["train"], "classes", ()))
    return Source(
        name=name,
        parts={
            part: Part(samples=TorchvisionImages(dataset, f"{name} {part}"), labels=labels[part])
            for part, dataset in found.items()
        },
        classes=classes if len(classes) == count else tuple(str(index) for index in range(count)),
        augment=entry.augment,
    )


class TorchvisionImages:
    """The pictures of a torchvision data set."""

    def __init__(self, dataset: Any, title: str):
        self._dataset, self._title = dataset, title

    def __len__(self) -> int:
        return len(self._dataset)

    def name(self, index: int) -> str:
        """The data set, its part and the number of the picture."""
        return f"{self._title} image {index}"

    def open(self, index: int) -> Image.Image:
        """The picture at a number."""
        return self._dataset[index][0]

    def fingerprint(self) -> str | None:
        """Published data sets do not change: their name and size."""
        return f"torchvision {self._title} {len(self)}"


def _open(name: str, entry: _Entry, options: Mapping[str, Any]) -> Any:
    import torchvision

    root = cache_dir() / "torchvision" / name
    root.mkdir(parents=True, exist_ok=True)
    download = {"download": True} if entry.by_hand is None else {}
    said = io.StringIO()  # torchvision prints; a library of ours does not
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the age of the published files
            return getattr(torchvision.datasets, entry.class_name)(root=str(root), **download, **options)
    except (OSError, RuntimeError, ValueError, EOFError, ImportError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(".: ")
        if entry.by_hand is not None:
            raise NdtoolError(
                f"{name} is not downloaded by itself ({reason}): put {entry.by_hand} into {root}, or give a folder of "
                "class folders"
            ) from error
        raise NdtoolError(
            f"{name} could not be downloaded ({reason}): connect to the network, or give a folder or archive of images"
        ) from error


def _labels(dataset: Any) -> Any:
    """Class numbers, which torchvision's data sets keep under one of these names, so that no image need be decoded."""
    for attribute in ("targets", "labels", "_labels"):
        if (labels := getattr(dataset, attribute, None)) is not None:
            return labels
    samples = getattr(dataset, "_samples", None)
    return [label for _, label in samples] if samples else [dataset[index][1] for index in range(len(dataset))]


def _class_name(value: Any) -> str:
    return ", ".join(value) if isinstance(value, tuple) else str(value)
