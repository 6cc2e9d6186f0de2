"""Archives of class folders, unpacked once into the cache; a member that could reach outside is refused."""

import gzip
import lzma
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from ndtool.errors import NdtoolError
from ndtool.files import cache_dir, replacing, sha256_of

SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".zip")
MAX_MEMBERS = 2_000_000
MAX_BYTES = 128 * 2**30
_BROKEN = (tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, lzma.LZMAError, zlib.error, EOFError, OSError)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The most that an archive may unpack to."""

    members: int = MAX_MEMBERS
    bytes: int = MAX_BYTES


def is_archive(path: Path) -> bool:
    """Whether the name ends as an archive's does."""
    return path.name.lower().endswith(SUFFIXES)


def unpacked(path: Path, limits: Limits | None = None) -> Path:
    """The folder with an archive's files, in the cache; the same archive is unpacked once.

    Raises: NdtoolError naming the member that is a link, a device, encrypted or outside, or what is broken.
    """
    try:
        folder = cache_dir() / "archives" / sha256_of(path)[:32]
    except OSError as error:
        raise NdtoolError(f"{path}: cannot be read: {error.strerror}") from error
    if folder.is_dir():
        return folder
    try:
        with replacing(folder) as temporary, _members(path) as members:
            temporary.mkdir()
            _unpack(members, temporary, path.name, limits or Limits())
    except _BROKEN as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise NdtoolError(f"{path.name}: the archive is damaged or cannot be unpacked: {reason}") from error
    return folder


@dataclass(frozen=True)
class _Member:
    name: str
    size: int
    kind: str  # "file", "folder", or what it is instead
    content: IO[bytes] | None


def _unpack(members: Iterator[_Member], folder: Path, archive: str, limits: Limits) -> None:
    room = min(limits.bytes, shutil.disk_usage(folder).free)
    for count, member in enumerate(members):
        target = folder / _checked(member, archive)
        room -= member.size
        if count >= limits.members or room < 0:
            raise NdtoolError(f"{archive}: it unpacks to more than the disk or the limits hold: unpack it yourself")
        if member.kind == "folder":
            target.mkdir(parents=True, exist_ok=True)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            raise NdtoolError(f"{archive}: {member.name!r} is there twice: pack it again")
        assert member.content is not None
        with target.open("xb") as file:
            _copy(member, file, archive)


def _copy(member: _Member, file: IO[bytes], archive: str) -> None:
    """Copy no more than what the member says it holds."""
    assert member.content is not None
    left = member.size
    while chunk := member.content.read(1 << 20):
        left -= len(chunk)
        if left < 0:
            raise NdtoolError(f"{archive}: {member.name!r} is larger than it says: pack it again")
        file.write(chunk)
    if left:
        raise NdtoolError(f"{archive}: {member.name!r} is cut short: fetch the archive again")


def _checked(member: _Member, archive: str) -> Path:
    """The path of a member below the folder it is unpacked into."""
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or "\\" in member.name or "\0" in member.name:
        raise NdtoolError(f"{archive}: {member.name!r} would lie outside the archive's folder: it is not unpacked")
    if member.kind not in ("file", "folder"):
        raise NdtoolError(f"{archive}: {member.name!r} is {member.kind}: only files and folders are unpacked")
    return Path(*path.parts)


@contextmanager
def _members(path: Path) -> Iterator[Iterator[_Member]]:
    if path.name.lower().endswith(".zip"):
        with zipfile.ZipFile(path) as zip_file:
            yield _zip_members(zip_file)
    else:
        with tarfile.open(path, mode="r:*") as tar_file:
            yield _tar_members(tar_file)


def _tar_members(archive: tarfile.TarFile) -> Iterator[_Member]:
    for info in archive:
        if info.isreg():
            yield _Member(info.name, info.size, "file", archive.extractfile(info))
        else:
            kind = "folder" if info.isdir() else "a link" if info.issym() or info.islnk() else "a device"
            yield _Member(info.name, 0, kind, None)
    require_end(archive)


def require_end(archive: tarfile.TarFile) -> None:
    """Raise tarfile.ReadError where a tar, read to its end, was cut short.

    A file cut in the middle of a header looks to tarfile as if it ended there; the mark of the end tells.
    """
    assert archive.fileobj is not None
    archive.fileobj.seek(archive.offset)
    if archive.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError("its end is missing")


def _zip_members(archive: zipfile.ZipFile) -> Iterator[_Member]:
    for info in archive.infolist():
        mode = info.external_attr >> 16 & 0o170000
        if info.is_dir():
            yield _Member(info.filename, 0, "folder", None)
        elif mode not in (0, 0o100000):
            yield _Member(info.filename, 0, "a link" if mode == 0o120000 else "a device", None)
        elif info.flag_bits & 1:
            yield _Member(info.filename, 0, "encrypted", None)
        else:
            with archive.open(info) as content:
                yield _Member(info.filename, info.file_size, "file", content)
