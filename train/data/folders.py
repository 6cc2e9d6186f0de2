"""Class folders: train/<class>/*.jpg and test/<class>/*.jpg, or <class>/*.jpg alone."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image

from ndtool.errors import NdtoolError
from ndtool.train.data.source import Part, Source

PART_FOLDERS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val"),
    "test": ("test", "testing"),
}
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".tif", ".tiff")


@dataclass(frozen=True, slots=True)
class _File:
    path: str  # below the root
    size: int
    modified: int  # nanoseconds


class ImageFiles:
    """Picture files below a root."""

    def __init__(self, root: Path, files: Sequence[_File]):
        self._root, self._files = root, files

    def __len__(self) -> int:
        return len(self._files)

    def name(self, index: int) -> str:
        """The file's path below the root."""
        return self._files[index].path

    def open(self, index: int) -> Image.Image:
        """Open the file."""
        return Image.open(self._root / self._files[index].path)

    def fingerprint(self) -> str | None:
        """Of every file's path, size and time of change."""
        digest = hashlib.sha256(str(self._root.resolve()).encode())
        for file in self._files:
            digest.update(f"\0{file.path}\0{file.size}\0{file.modified}".encode(errors="surrogateescape"))
        return digest.hexdigest()


def read_folder(folder: Path, name: str | None = None, labelled: bool = True) -> Source:
    """The parts of a folder of class folders; classes are in the order of their sorted names.

    `labelled` False takes the images of any folders, without classes.
    Raises: NdtoolError where there are no images, a class has none, or the parts differ in their classes.
    """
    root = _data_root(folder)
    name = name or folder.resolve().name
    found = {part: path for part, names in PART_FOLDERS.items() if (path := _one_of(root, names)) is not None}
    if "train" not in found:
        if found:
            raise NdtoolError(f"{name}: there is {_children(root)[0].name}/ but no train/: add the training images")
        found = {"train": root}
    if not labelled:
        return Source(name=name, parts={part: _read_images(root, path, name) for part, path in found.items()})
    classes = tuple(path.name for path in _children(found["train"]))
    if not classes:
        raise NdtoolError(f"{name}: there are no images in class folders, such as train/cat/1.jpg")
    parts = {part: _read_part(root, path, classes, f"{name}: {part}") for part, path in found.items()}
    return Source(name=name, parts=parts, classes=classes)


def _data_root(folder: Path) -> Path:
    """The folder with the parts or classes: below folders that hold nothing but one other folder of folders."""
    while True:
        children = _children(folder)
        names = {child.name.lower() for child in children}
        parts = {name for names in PART_FOLDERS.values() for name in names}
        if names & parts or len(children) != 1 or not _children(children[0]):
            return folder
        folder = children[0]


def _children(folder: Path) -> list[Path]:
    """Folders in a folder, sorted by name, without hidden ones and what macOS adds to archives."""
    try:
        found = [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith((".", "__MACOSX"))]
    except OSError as error:
        raise NdtoolError(f"{folder}: cannot be read: {error.strerror}") from error
    return sorted(found, key=lambda path: path.name)


def _one_of(root: Path, names: tuple[str, ...]) -> Path | None:
    return next((child for child in _children(root) if child.name.lower() in names), None)


def _read_part(root: Path, folder: Path, classes: tuple[str, ...], what: str) -> Part:
    present = {path.name: path for path in _children(folder)}
    if present.keys() != set(classes):
        strange, missing = sorted(present.keys() - set(classes)), sorted(set(classes) - present.keys())
        difference = f"has no class {missing[0]!r}" if missing else f"has class {strange[0]!r}"
        raise NdtoolError(f"{what}: this part {difference}, unlike the training part: give all parts the same classes")
    files: list[_File] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        images = sorted(_images(root, present[name]), key=lambda file: file.path)
        if not images:
            raise NdtoolError(f"{what}: class {name!r} has no images: add some or remove its folder")
        files += images
        labels += [label] * len(images)
    return Part(samples=ImageFiles(root, files), labels=torch.tensor(labels, dtype=torch.int64))


def _read_images(root: Path, folder: Path, name: str) -> Part:
    images = sorted(_images(root, folder), key=lambda file: file.path)
    if not images:
        raise NdtoolError(f"{name}: there are no images in {folder.name}/: add some")
    return Part(samples=ImageFiles(root, images), labels=None)


def _images(root: Path, folder: Path) -> list[_File]:
    """Picture files in a folder and the folders below it."""
    found = []
    for directory, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in names:
            if not name.startswith(".") and name.lower().endswith(SUFFIXES):
                path = Path(directory, name)
                state = path.stat()
                found.append(_File(path.relative_to(root).as_posix(), state.st_size, state.st_mtime_ns))
    return found
