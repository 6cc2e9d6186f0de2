"""Files as every stage handles them: written whole or not at all, cached in one place."""

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; what is written there (a file or a folder) takes its name on success.

    On an exception the temporary is removed and `path` is left as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    room = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        temporary = room / path.name
        yield temporary
        if temporary.is_dir() and path.is_dir():
            path.rename(room / "replaced")
        temporary.replace(path)
    finally:
        shutil.rmtree(room, ignore_errors=True)


def unfinished(folder: Path) -> list[Path]:
    """What `replacing` and `reserve` left in a folder when their process was killed."""
    return [room for room in folder.glob(".*.*") if room.is_dir() and re.fullmatch(r"\..+\.[a-z0-9_]{8}", room.name)]


def remove_unfinished(folder: Path) -> None:
    """Remove what is `unfinished`."""
    for room in unfinished(folder):
        shutil.rmtree(room, ignore_errors=True)


def reserve(folder: Path, sizes: Iterable[int]) -> None:
    """Have the disk set aside files of these sizes in bytes for a moment. Raises OSError where it cannot.

    Where the system has no way to ask (macOS), nothing is done.
    """
    if not hasattr(os, "posix_fallocate"):
        return
    with tempfile.TemporaryDirectory(prefix=".room.", dir=folder) as room:
        for number, size in enumerate(sizes):
            with (Path(room) / str(number)).open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, size)


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write a whole file under a temporary name, then rename it."""
    with replacing(path) as temporary:
        if isinstance(content, str):
            temporary.write_text(content, encoding="utf-8")
        else:
            temporary.write_bytes(content)


def cache_dir() -> Path:
    """Where unpacked data and compiled helpers are kept: $NDTOOL_CACHE, or ndtool in the user's cache folder."""
    if chosen := os.environ.get("NDTOOL_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ndtool"


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
