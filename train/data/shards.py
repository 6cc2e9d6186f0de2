"""Tar shards in the layout of webdataset: <key>.jpg beside <key>.cls, thousands of samples a file.

Each shard's headers are read once and what they say is kept in the cache, so that any sample is one read at a known
offset: shuffling is exact, the same for the same seed and epoch, and training goes on in the middle of one. (Reading
shards from end to end, as the webdataset package does, shuffles within a buffer only and resumes at a shard.) They are
files on a disk, local or mounted.
"""

import hashlib
import io
import re
import tarfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from PIL import Image

from ndtool.errors import NdtoolError
from ndtool.files import cache_dir, replacing
from ndtool.train.data.archives import require_end
from ndtool.train.data.folders import PART_FOLDERS
from ndtool.train.data.folders import SUFFIXES as PICTURES
from ndtool.train.data.source import Part, Source

_VERSION = 1  # of an index
_MOST_SHARDS = 1_000_000
_THREADS = 16  # that wait for a network's disk; headers are little work
_CLASS_BYTES = 20  # the longest class number


@dataclass(frozen=True, kw_only=True)
class Shard:
    """Where the pictures of a shard lie: `offsets` and `sizes` in bytes, and `labels`, -1 for none; (N,) int64 each."""

    path: Path
    stamp: str  # changes when the file does
    offsets: np.ndarray
    sizes: np.ndarray
    labels: np.ndarray
    names: str  # of the pictures, a line each


class ShardImages:
    """The pictures of shards, in their order."""

    def __init__(self, shards: Sequence[Shard]):
        self._shards = shards
        self._ends = np.cumsum([len(shard.offsets) for shard in shards])

    def __len__(self) -> int:
        return int(self._ends[-1])

    @cached_property
    def labels(self) -> np.ndarray:
        """The classes (N,) int64, -1 for none."""
        return np.concatenate([shard.labels for shard in self._shards])

    def name(self, index: int) -> str:
        """The shard and the picture's name in it."""
        shard, row = self._place(index)
        names = shard.names.split("\n")
        return f"{shard.path.name}: {names[row]}"

    def open(self, index: int) -> Image.Image:
        """Read the picture at its offset."""
        shard, row = self._place(index)
        with shard.path.open("rb") as file:
            file.seek(shard.offsets[row])
            return Image.open(io.BytesIO(file.read(shard.sizes[row])))

    def fingerprint(self) -> str | None:
        """Of every shard's path, size and time of change."""
        return hashlib.sha256("\0".join(shard.stamp for shard in self._shards).encode()).hexdigest()

    def _place(self, index: int) -> tuple[Shard, int]:
        number = int(np.searchsorted(self._ends, index, side="right"))
        return self._shards[number], index - int(self._ends[number - 1] if number else 0)


def is_shards(spec: str) -> bool:
    """Whether DATA is a pattern of shards, such as train-{0000..0146}.tar, or a folder of them."""
    return bool(re.search(r"\{.*\}.*\.tar$", spec)) or bool(_in_folder(Path(spec).expanduser()))


def read_shards(spec: str, progress: Callable[[str], None], labelled: bool = True) -> Source:
    """The parts of shards: of those named train…, val… and test…, else all are for training. Classes are numbers.

    `labelled` False leaves the classes unread.
    Raises: NdtoolError where shards are missing or damaged, or a sample has no class.
    """
    if "://" in spec or spec.startswith("pipe:"):
        raise NdtoolError(f"{spec}: shards are read from a disk: copy them to one, or mount what holds them")
    path = Path(spec).expanduser()
    files = _in_folder(path) or [Path(name).expanduser() for name in expanded(spec)]
    if missing := [file for file in files if not file.is_file()]:
        raise NdtoolError(
            f"{missing[0]} does not exist, and {len(missing) - 1} more of {len(files)} shards: check DATA"
        )
    progress(f"{len(files)} shards, indexed unless that is in the cache")
    with ThreadPoolExecutor(_THREADS) as pool:
        shards = list(pool.map(indexed, files))
    name = path.resolve().name if path.is_dir() else re.sub(r"[-_.]*\{.*", "", path.name) or path.parent.name
    return _source(name, shards, labelled)


def expanded(pattern: str) -> list[str]:
    """The names that a pattern means, as in a shell: {000..146} counts, {a,b} chooses, within each other too.

    Raises: NdtoolError where braces hold neither.
    """
    found = re.search(r"\{([^{}]*)\}", pattern)  # the innermost
    if found is None:
        return [pattern]
    before, after = pattern[: found.start()], pattern[found.end() :]
    names = [name for option in _options(found[1], pattern) for name in expanded(before + option + after)]
    return list(dict.fromkeys(names))


def indexed(path: Path) -> Shard:
    """What a shard holds, from the cache or its headers. Raises NdtoolError where it is no tar or is cut short."""
    try:
        path = path.resolve()
        state = path.stat()
        stamp = f"{_VERSION} {path} {state.st_size} {state.st_mtime_ns}"
        kept = cache_dir() / "shards" / f"{hashlib.sha256(stamp.encode()).hexdigest()[:32]}.npz"
        arrays = _kept(kept)
        if arrays is None:
            arrays = _read_headers(path, state.st_size)
            with replacing(kept) as temporary, temporary.open("wb") as file:
                np.savez(file, allow_pickle=False, **arrays)  # type: ignore[arg-type] # mypy takes arrays for flags
    except (tarfile.TarError, OSError) as error:
        raise NdtoolError(f"{path}: the shard is damaged or cannot be read ({error}): fetch it again") from error
    offsets, sizes, labels = (arrays[name] for name in ("offsets", "sizes", "labels"))
    names = arrays["names"].tobytes().decode("utf-8", "surrogateescape")
    return Shard(path=path, stamp=stamp, offsets=offsets, sizes=sizes, labels=labels, names=names)


def _kept(path: Path) -> dict[str, np.ndarray] | None:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in ("offsets", "sizes", "labels", "names")}
    except (OSError, ValueError, EOFError, KeyError):
        return None


def _read_headers(path: Path, size: int) -> dict[str, np.ndarray]:
    """One row per picture; its class is the .cls of the same key, before or after it."""
    rows: list[tuple[str, int, int, str]] = []
    classes: dict[str, int] = {}
    with tarfile.open(path, mode="r:") as archive:
        for member in archive:
            key, _, suffix = _parted(member.name)
            if not member.isreg() or member.issparse():
                continue
            if member.offset_data + member.size > size:
                raise tarfile.ReadError(f"{member.name} is cut short")
            if suffix.endswith(PICTURES):
                rows.append((key, member.offset_data, member.size, member.name))
            elif suffix == ".cls":
                classes[key] = _class_number(archive, member)
            archive.members.clear()  # type: ignore[attr-defined] # tarfile keeps all that it has seen
        require_end(archive)
    return {
        "offsets": np.array([row[1] for row in rows], dtype=np.int64),
        "sizes": np.array([row[2] for row in rows], dtype=np.int64),
        "labels": np.array([classes.get(row[0], -1) for row in rows], dtype=np.int64),
        "names": np.frombuffer("\n".join(row[3] for row in rows).encode("utf-8", "surrogateescape"), dtype=np.uint8),
    }


def _parted(name: str) -> tuple[str, str, str]:
    """Key and suffix of a member: they part at the first dot of the file's name, as webdataset has it."""
    path = PurePosixPath(name)
    stem, dot, suffix = path.name.partition(".")
    return str(path.with_name(stem)) if stem else name, dot, f".{suffix.lower()}"


def _class_number(archive: tarfile.TarFile, member: tarfile.TarInfo) -> int:
    content = archive.extractfile(member)
    text = content.read(_CLASS_BYTES).decode("ascii", "replace").strip() if content else ""
    if not text.isdecimal():
        raise tarfile.ReadError(f"{member.name} holds {text!r} and no class number")
    return int(text)


def _source(name: str, shards: Sequence[Shard], labelled: bool) -> Source:
    by_part: dict[str, list[Shard]] = {}
    for shard in shards:
        if len(shard.offsets):
            by_part.setdefault(_part(shard.path), []).append(shard)
    if "train" not in by_part:
        raise NdtoolError(f"{name}: there are no pictures in shards for training: name them train-0000.tar, …")
    images = {part: ShardImages(held) for part, held in by_part.items()}
    if not labelled:
        return Source(name=name, parts={part: Part(samples=held, labels=None) for part, held in images.items()})
    for held in images.values():
        if (held.labels < 0).any():
            without = held.name(int(np.argmin(held.labels)))
            raise NdtoolError(f"{without} has no class: add a .cls beside it, or set the task to reconstruction")
    count = 1 + max(int(held.labels.max()) for held in images.values())
    return Source(
        name=name,
        parts={part: Part(samples=held, labels=torch.from_numpy(held.labels)) for part, held in images.items()},
        classes=tuple(str(number) for number in range(count)),
    )


def _part(path: Path) -> str:
    """What a shard is for, by a word in its name, else by its folder's."""
    for words in (re.split(r"[^a-z]+", path.stem.lower()), [path.parent.name.lower()]):
        for part, names in PART_FOLDERS.items():
            if set(names) & set(words):
                return part
    return "train"


def _in_folder(folder: Path) -> list[Path]:
    """Shards in a folder that holds nothing deeper, or in its folders of parts."""
    if not folder.is_dir():
        return []
    parts = {name for names in PART_FOLDERS.values() for name in names}
    inside = [path for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith(".")]
    if all(path.name.lower() in parts for path in inside):
        return [file for place in (folder, *inside) for file in _tars(place)]
    return []


def _tars(folder: Path) -> Iterator[Path]:
    files = sorted(folder.iterdir())
    if folder.name.startswith(".") or not any(file.suffix == ".tar" for file in files):
        return
    yield from (file for file in files if file.suffix == ".tar" and file.is_file())


def _options(text: str, pattern: str) -> list[str]:
    counted = re.fullmatch(r"(\d+)\.\.(\d+)", text)
    if counted is None:
        if "," not in text:
            raise NdtoolError(f"{pattern}: {{{text}}} is no range: write {{0000..0146}} or {{train,val}}")
        return text.split(",")
    first, last = (int(number) for number in counted.groups())
    if not 0 <= last - first < _MOST_SHARDS:
        raise NdtoolError(f"{pattern}: {{{text}}} is no range of shards: write the lower number first")
    width = len(counted[1]) if counted[1].startswith("0") else 0
    return [f"{number:0{width}d}" for number in range(first, last + 1)]
