"""Archives of class folders: unpacked once, and nothing outside the cache is ever written."""

import io
import tarfile
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from ndtool.errors import NdtoolError
from ndtool.train.data import load_data
from ndtool.train.data.archives import Limits, unpacked

NAMES = [f"{part}/{name}/{index}.png" for part in ("train", "test") for name in ("a", "b") for index in range(4)]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("NDTOOL_CACHE", str(folder))
    return folder


def png(level: int = 0) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), (level, 0, 0)).save(buffer, "png")
    return buffer.getvalue()


def make_tar(path: Path, mode: str = "w", members=()) -> Path:
    with tarfile.open(path, mode) as archive:
        for number, name in enumerate(NAMES):
            info = tarfile.TarInfo(f"data/{name}")
            info.size = len(png(number))
            archive.addfile(info, io.BytesIO(png(number)))
        for info, content in members:
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def make_zip(path: Path, members=()) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, name in enumerate(NAMES):
            archive.writestr(name, png(number))
        for info, content in members:
            archive.writestr(info, content)
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize(
    ("name", "mode"),
    [("d.tar", "w"), ("d.tar.gz", "w:gz"), ("d.tgz", "w:gz"), ("d.tar.xz", "w:xz"), ("d.tar.bz2", "w:bz2")],
)
def test_tar_is_read(tmp_path, name, mode):
    data = load_data(str(make_tar(tmp_path / name, mode)))
    assert (data.name, data.classes, len(data.train), len(data.test)) == ("d", ("a", "b"), 6, 8)


def test_zip_is_read(tmp_path):
    data = load_data(str(make_zip(tmp_path / "d.zip")))
    assert (data.name, data.classes, len(data.train), len(data.test)) == ("d", ("a", "b"), 6, 8)


def test_is_unpacked_once_by_content(tmp_path, cache):
    first = unpacked(make_tar(tmp_path / "one.tar"))
    (first / "mark").touch()
    (tmp_path / "two.tar").write_bytes((tmp_path / "one.tar").read_bytes())
    assert (unpacked(tmp_path / "two.tar") / "mark").exists()
    assert [path.name for path in (cache / "archives").iterdir()] == [first.name]


OUTSIDE = ["/tmp/x.png", "../x.png", "data/../../x.png", "a\\..\\x.png"]


@pytest.mark.parametrize("name", OUTSIDE)
def test_tar_member_outside_is_refused(tmp_path, cache, name):
    with pytest.raises(NdtoolError, match="outside the archive's folder"):
        unpacked(make_tar(tmp_path / "d.tar", members=[(member(name), b"x")]))
    assert list((cache / "archives").iterdir()) == []
    assert not (tmp_path / "x.png").exists()


@pytest.mark.parametrize("name", OUTSIDE)
def test_zip_member_outside_is_refused(tmp_path, name):
    with pytest.raises(NdtoolError, match="outside the archive's folder"):
        unpacked(make_zip(tmp_path / "d.zip", [(zipfile.ZipInfo(name), b"x")]))


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (tarfile.SYMTYPE, "a link"),
        (tarfile.LNKTYPE, "a link"),
        (tarfile.CHRTYPE, "a device"),
        (tarfile.FIFOTYPE, "a device"),
    ],
)
def test_links_and_devices_are_refused(tmp_path, kind, said):
    archive = make_tar(tmp_path / "d.tar", members=[(member("train/a/x", kind, "/etc/passwd"), b"")])
    with pytest.raises(NdtoolError, match=f"'train/a/x' is {said}: only files and folders"):
        unpacked(archive)


def test_link_in_a_zip_is_refused(tmp_path):
    info = zipfile.ZipInfo("train/a/x")
    info.external_attr = 0o120777 << 16
    with pytest.raises(NdtoolError, match="is a link"):
        unpacked(make_zip(tmp_path / "d.zip", [(info, b"/etc/passwd")]))


def test_member_that_is_there_twice_is_refused(tmp_path):
    with pytest.raises(NdtoolError, match="there twice"):
        unpacked(make_tar(tmp_path / "d.tar", members=[(member("data/train/a/0.png"), b"x")]))


@pytest.mark.parametrize("limits", [Limits(members=5), Limits(bytes=300)])
def test_more_than_the_limits_is_refused(tmp_path, cache, limits):
    with pytest.raises(NdtoolError, match="more than the disk or the limits"):
        unpacked(make_zip(tmp_path / "d.zip"), limits)
    assert list((cache / "archives").iterdir()) == []


@pytest.mark.parametrize(("name", "mode"), [("d.tar", "w"), ("d.tar.gz", "w:gz"), ("d.tar.xz", "w:xz")])
@pytest.mark.parametrize("part", [0.0, 0.2, 0.5, 0.7])
def test_truncated_tar_is_refused(tmp_path, name, mode, part):
    path = make_tar(tmp_path / name, mode, [(member("data/train/a/large.png"), bytes(range(256)) * 100)])
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])
    with pytest.raises(NdtoolError, match="damaged"):
        unpacked(path)


@pytest.mark.parametrize("content", [b"", b"PK\3\4 but no more", b"x" * 2000])
@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz", ".tar.xz"])
def test_what_is_no_archive_is_refused(tmp_path, suffix, content):
    path = tmp_path / f"d{suffix}"
    path.write_bytes(content)
    with pytest.raises(NdtoolError, match="damaged or cannot be unpacked"):
        unpacked(path)


def test_changed_byte_in_a_zip_is_found(tmp_path):
    path = make_zip(tmp_path / "d.zip", [("train/a/large.png", bytes(1000))])
    content = bytearray(path.read_bytes())
    content[content.index(b"train/a/0.png") + 30] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(NdtoolError, match="damaged"):
        unpacked(path)


def test_files_of_other_systems_are_passed_over(tmp_path):
    archive = make_zip(
        tmp_path / "d.zip", [("__MACOSX/train/a/._0.png", b"x"), (".DS_Store", b"x"), ("README.md", b"x")]
    )
    assert load_data(str(archive)).classes == ("a", "b")
