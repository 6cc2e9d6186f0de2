"""Data that come as arrays: .npz files, and what a user's function returns."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ndtool.errors import NdtoolError, first_line
from ndtool.train.data.source import Part, Source

PARTS: Mapping[str, tuple[str, ...]] = {
    "train": ("train",),
    "validation": ("validation", "valid", "val"),
    "test": ("test",),
}


def read_npz(path: Path, labelled: bool = True) -> Source:
    """x_train, x_test and, for classification, y_train, y_test; x_validation (or x_val) and `classes` may be there too.
    `labelled` False leaves every y unread.

    Raises: NdtoolError where an array is missing, misshapen or holds Python objects.
    """
    arrays = _read_arrays(path)
    parts: dict[str, tuple[Any, Any]] = {}
    for part, spellings in PARTS.items():
        found = next((name for name in spellings if f"x_{name}" in arrays), None)
        if found is not None:
            parts[part] = arrays[f"x_{found}"], arrays.get(f"y_{found}") if labelled else None
    if "train" not in parts:
        raise NdtoolError(f"{path.name}: there is no x_train: save x_train, y_train, x_test and y_test")
    names = arrays.get("classes")
    return from_arrays(path.stem, parts, classes=None if names is None else tuple(str(name) for name in names))


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, TypeError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise NdtoolError(f"{path}: not readable as .npz of plain arrays: {first_line(error)}") from error


def from_arrays(name: str, parts: Mapping[str, tuple[Any, Any]], classes: tuple[str, ...] | None = None) -> Source:
    """A source of in-memory parts, each (x, y); y is None for reconstruction."""
    labelled = {part: y for part, (_, y) in parts.items() if y is not None}
    if labelled and len(labelled) < len(parts):
        without = next(part for part in parts if part not in labelled)
        raise NdtoolError(
            f"{name}: there is no y for the {without} part: give y for every part, or set the task to reconstruction"
        )
    samples = {part: as_samples(x, f"x_{part} of {name}") for part, (x, _) in parts.items()}
    labels, names = _as_labels(labelled, name, classes)
    for part, x in samples.items():
        if not len(x):
            raise NdtoolError(f"{name}: the {part} part is empty: give at least one sample")
        if part in labels and len(labels[part]) != len(x):
            raise NdtoolError(f"{name}: the {part} part has {len(x)} samples and {len(labels[part])} labels")
    return Source(
        name=name,
        parts={part: Part(samples=x, labels=labels.get(part)) for part, x in samples.items()},
        classes=names,
    )


def as_samples(x: Any, what: str) -> Tensor:
    """Pixels, uint8 (N, C, H, W), from uint8 (N, H, W), (N, H, W, C) or (N, C, H, W); anything else as float32.

    Raises: NdtoolError for what is not numbers, has no axis of samples, or is not finite.
    """
    array = x.detach().cpu().numpy() if isinstance(x, Tensor) else np.asarray(x)
    if array.dtype.kind not in "biuf":
        raise NdtoolError(f"{what}: its type is {array.dtype}: give numbers")
    if array.ndim < 2:
        raise NdtoolError(f"{what}: its shape is {array.shape}: give (samples, ...)")
    if array.dtype == np.uint8 and array.ndim in (3, 4):
        return torch.from_numpy(np.require(_channels_first(array), requirements=["C", "W"]))
    floats = array.astype(np.float32)
    if not np.isfinite(floats).all():
        raise NdtoolError(f"{what}: there are values that are not finite: remove the samples that hold them")
    return torch.from_numpy(floats)


def _channels_first(pixels: np.ndarray) -> np.ndarray:
    if pixels.ndim == 3:
        return pixels[:, None]
    return pixels if pixels.shape[1] in (1, 3) else pixels.transpose(0, 3, 1, 2)


def _as_labels(
    labelled: Mapping[str, Any], name: str, classes: tuple[str, ...] | None
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Class numbers (N,) int64 of each part, and the names of the classes, from the training part's labels."""
    if not labelled:
        return {}, ()
    columns = {part: _column(y, f"y_{part} of {name}") for part, y in labelled.items()}
    if columns["train"].dtype.kind in "US":
        classes = classes or tuple(str(value) for value in np.unique(columns["train"]))
        number = {value: index for index, value in enumerate(classes)}
        for part, column in columns.items():
            if strange := sorted({str(value) for value in column} - set(classes)):
                raise NdtoolError(f"{name}: class {strange[0]!r} of the {part} part is not among those of training")
        columns = {part: np.array([number[str(value)] for value in column]) for part, column in columns.items()}
    count = len(classes) if classes else int(columns["train"].max()) + 1
    for part, column in columns.items():
        if column.min() < 0 or column.max() >= count:
            strange_number = int(column.min() if column.min() < 0 else column.max())
            raise NdtoolError(f"{name}: class {strange_number} of the {part} part is not among the {count} of training")
    names = classes or tuple(str(index) for index in range(count))
    return {part: torch.from_numpy(column.astype(np.int64)) for part, column in columns.items()}, names


def _column(y: Any, what: str) -> np.ndarray:
    """Labels as (N,) integers or text."""
    array = y.detach().cpu().numpy() if isinstance(y, Tensor) else np.asarray(y)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1 or not array.size:
        raise NdtoolError(f"{what}: its shape is {array.shape}: give one class number per sample, (samples,)")
    if array.dtype.kind == "f" and np.array_equal(array, np.round(array)):
        array = array.astype(np.int64)
    if array.dtype.kind not in "biuUS":
        raise NdtoolError(f"{what}: its type is {array.dtype}: give class numbers, from 0")
    return array.astype(str) if array.dtype.kind == "S" else array
