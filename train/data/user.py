"""Data that a user's function returns: torch Datasets or arrays."""

import math
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

from ndtool.errors import NdtoolError
from ndtool.train.callables import imported, users_code
from ndtool.train.data.arrays import as_samples, from_arrays
from ndtool.train.data.dataset import OnDemand
from ndtool.train.data.draws import sample_seeds
from ndtool.train.data.images import IN_MEMORY
from ndtool.train.data.source import Part, Source

_PROBES = 16  # samples read twice to see whether a data set is random


def read_user(spec: str, labelled: bool = True) -> Source:
    """Call the function; it returns (train, test) or (train, validation, test).

    Each is a Dataset of (sample, class number), an (x, y) pair of arrays, or x alone for reconstruction.
    `labelled` False leaves the class numbers out.
    Raises: NdtoolError where it fails or returns anything else.
    """
    name = spec.rpartition(":")[2]
    with imported(spec) as function:
        if not callable(function):
            raise NdtoolError(f"{spec} is {type(function).__name__} and cannot be called: name a function")
        returned = function()
        if not isinstance(returned, tuple | list) or len(returned) not in (2, 3):
            raise NdtoolError(f"{spec} returned {_kind(returned)}: return (train, test) or (train, validation, test)")
        names = ("train", "test") if len(returned) == 2 else ("train", "validation", "test")
        parts = dict(zip(names, returned, strict=True))
        if all(_is_dataset(part) for part in parts.values()):
            return _from_datasets(spec, name, parts, labelled)
    if any(_is_dataset(part) for part in parts.values()):
        raise NdtoolError(f"{spec} returned Datasets beside arrays: return all parts alike")
    return from_arrays(name, {part: _pair(spec, value, labelled) for part, value in parts.items()})


def _is_dataset(value: Any) -> bool:
    plain = isinstance(value, tuple | list | dict | str | np.ndarray | Tensor)
    return isinstance(value, Dataset) or (hasattr(value, "__getitem__") and not plain)


def _pair(spec: str, value: Any, labelled: bool) -> tuple[Any, Any]:
    if isinstance(value, tuple | list) and len(value) == 2:
        return value[0], value[1] if labelled else None
    if isinstance(value, np.ndarray | Tensor):
        return value, None
    raise NdtoolError(f"{spec} returned {_kind(value)} as a part: give a Dataset, (x, y) arrays, or x alone")


def _from_datasets(spec: str, name: str, datasets: dict[str, Any], labelled: bool) -> Source:
    for part, dataset in datasets.items():
        if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__len__"):
            raise NdtoolError(f"{spec}: the {part} part has no length: return Datasets with __len__ and __getitem__")
        if not len(dataset):
            raise NdtoolError(f"{spec}: the {part} part is empty: give at least one sample")
    classes = tuple(str(value) for value in getattr(datasets["train"], "classes", ()))
    random_parts = [part for part, dataset in datasets.items() if _is_random(dataset)]
    if not random_parts and all(isinstance(_sample(dataset[0]), Image.Image) for dataset in datasets.values()):
        return _from_pictures(name, datasets, classes, labelled)
    parts: dict[str, tuple[Any, Any]] = {}
    on_demand: dict[str, OnDemand] = {}
    for part, dataset in datasets.items():
        small = len(dataset) * as_tensor(_sample(dataset[0])).nbytes <= IN_MEMORY
        if part in random_parts or not small:
            on_demand[part] = UserSamples(dataset, spec)
        parts[part] = _read_all(dataset, spec, keep=part not in on_demand, labelled=labelled)
    source = from_arrays(name, parts, classes or None)
    replaced = {
        part: Part(samples=on_demand.get(part, held.samples), labels=held.labels) for part, held in source.parts.items()
    }
    notes = tuple(f"{name}: the {part} part differs each time it is read, so nothing is added" for part in random_parts)
    return Source(
        name=name,
        parts=replaced,
        classes=source.classes,
        augment="none" if random_parts else None,
        notes=notes,
    )


def _from_pictures(name: str, datasets: dict[str, Any], classes: tuple[str, ...], labelled: bool) -> Source:
    parts = {
        part: (np.zeros((len(dataset), 1)), _labels(dataset) if labelled else None)
        for part, dataset in datasets.items()
    }
    source = from_arrays(name, parts, classes or None)  # checks the labels; the pictures are decoded later
    pictures = {part: UserPictures(dataset, f"{name} {part}") for part, dataset in datasets.items()}
    return Source(
        name=name,
        parts={part: Part(samples=pictures[part], labels=held.labels) for part, held in source.parts.items()},
        classes=source.classes,
    )


def as_tensor(sample: Any) -> Tensor:
    """One sample as a tensor: pixels (C, H, W) uint8, or float32."""
    return as_samples(np.asarray(sample)[None], "a sample")[0]


class UserPictures:
    """A Dataset whose samples are Pillow images."""

    def __init__(self, dataset: Any, title: str):
        self._dataset, self._title = dataset, title
        self._lock = threading.Lock()  # a user's data set need not expect threads

    def __len__(self) -> int:
        return len(self._dataset)

    def name(self, index: int) -> str:
        """The part and the number of the picture."""
        return f"{self._title} image {index}"

    def open(self, index: int) -> Image.Image:
        """The picture at a number."""
        with self._lock, users_code(self.name(index)):
            image = _sample(self._dataset[index])
            image.load()
        return image

    def fingerprint(self) -> str | None:
        """None: nothing tells whether the user's pictures have changed."""
        return None


class UserSamples(OnDemand):
    """A Dataset read sample by sample; what is random in it is fixed by the seed."""

    prefetch = False  # the seeds of random numbers belong to the whole process

    def __init__(self, dataset: Any, spec: str):
        self._dataset, self._spec = dataset, spec

    def __len__(self) -> int:
        return len(self._dataset)

    def read(self, indices: Tensor, *, seed: int) -> Tensor:
        """The samples, (B, ...), as uint8 pixels or float32."""
        with users_code(self._spec):
            numbered = zip(indices.tolist(), sample_seeds(seed, indices), strict=True)
            return torch.stack([self._read_one(index, own) for index, own in numbered])

    def _read_one(self, index: int, seed: int) -> Tensor:
        with seeded(seed):
            return as_tensor(_sample(self._dataset[index]))


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Fix the random numbers of torch, numpy and Python within the context, and put them back afterwards."""
    python, legacy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(legacy)


def _is_random(dataset: Any) -> bool:
    """Whether any of a few samples differs when read again, with other random numbers."""
    for index in range(min(len(dataset), _PROBES)):
        with seeded(index):
            first = as_tensor(_sample(dataset[index]))
        with seeded(index + _PROBES):
            again = as_tensor(_sample(dataset[index]))
        if first.shape != again.shape or not torch.equal(first, again):
            return True
    return False


def _read_all(dataset: Any, spec: str, keep: bool, labelled: bool) -> tuple[Any, Any]:
    """(x, y) of a data set; where x is not to be kept, a placeholder of its length."""
    placeholder = np.zeros((len(dataset), 1))
    if not keep and not (labelled and _given_labels(dataset) is None):
        return placeholder, _given_labels(dataset) if labelled else None
    samples, labels = [], []
    for index in range(len(dataset)):
        item = dataset[index]
        labels.append(_label(item))
        if keep:
            samples.append(as_tensor(_sample(item)))
    shapes = {tuple(sample.shape) for sample in samples}
    if len(shapes) > 1:
        one, other = sorted(shapes)[:2]
        raise NdtoolError(f"{spec}: samples have different shapes, {one} and {other}: make them alike")
    return torch.stack(samples) if keep else placeholder, _all_or_none(labels) if labelled else None


def _labels(dataset: Any) -> Any:
    given = _given_labels(dataset)
    return given if given is not None else _all_or_none([_label(dataset[index]) for index in range(len(dataset))])


def _given_labels(dataset: Any) -> Any:
    targets = getattr(dataset, "targets", None)
    return targets if targets is not None and len(targets) == len(dataset) else None


def _all_or_none(labels: list[Any]) -> np.ndarray | None:
    return None if all(label is None for label in labels) else np.asarray(labels)


def _sample(item: Any) -> Any:
    return item[0] if isinstance(item, tuple | list) else item


def _label(item: Any) -> Any:
    """The class number; None for an item that is a sample alone, or has its target as a tensor of its own."""
    if not isinstance(item, tuple | list) or len(item) < 2:
        return None
    label = item[1]
    if isinstance(label, Tensor | np.ndarray):
        return label.item() if math.prod(label.shape) == 1 else None
    return label


def _kind(value: Any) -> str:
    return f"{len(value)} values" if isinstance(value, tuple | list) else f"one {type(value).__name__}"
