"""Tar shards: patterns, parts, classes, random access, the index kept in the cache, damage named."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ndtool.errors import NdtoolError
from ndtool.train.data import Batches, OnDemand, images, load_data, shards
from ndtool.train.data.shards import expanded, indexed, is_shards, read_shards
from ndtool.train.setup import absolute, free_folder


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NDTOOL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def picture(number: int) -> Image.Image:
    """The number can be read from the colour."""
    return Image.new("RGB", (12, 10), (number % 256, number // 256, 7))


def number_of(pixels: torch.Tensor) -> torch.Tensor:
    return pixels[:, 0, 0, 0].long() + 256 * pixels[:, 1, 0, 0].long()


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    content = io.BytesIO()
    image.save(content, kind)
    return content.getvalue()


def write(path: Path, members: list[tuple[str, bytes]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def samples(first: int, count: int, classes: int = 4) -> list[tuple[str, bytes]]:
    return [
        member
        for number in range(first, first + count)
        for member in (
            (f"{number:06d}.png", encoded(picture(number))),
            (f"{number:06d}.cls", str(number % classes).encode()),
        )
    ]


def make(root: Path, parts=(("train", 3), ("test", 1)), count=40) -> Path:
    first = 0
    for part, number in parts:
        for shard in range(number):
            write(root / f"{part}-{shard:04d}.tar", samples(first, count))
            first += count
    return root


class TestPatterns:
    def test_ranges_and_choices_are_those_of_a_shell(self):
        assert expanded("a-{08..11}.tar") == ["a-08.tar", "a-09.tar", "a-10.tar", "a-11.tar"]
        assert expanded("{8..10}") == ["8", "9", "10"]
        assert sorted(expanded("{train-{0..1},val-0}.tar")) == ["train-0.tar", "train-1.tar", "val-0.tar"]
        assert expanded("plain.tar") == ["plain.tar"]

    @pytest.mark.parametrize("pattern", ["a-{3..1}.tar", "a-{7}.tar", "a-{0..99999999}.tar", "a-{}.tar"])
    def test_anything_else_in_braces_is_refused(self, pattern):
        with pytest.raises(NdtoolError, match="is no range"):
            expanded(pattern)

    def test_what_is_read_as_shards(self, tmp_path):
        make(tmp_path / "flat")
        write(tmp_path / "parts/train/0.tar", samples(0, 4))
        (tmp_path / "classes/train/cat").mkdir(parents=True)
        write(tmp_path / "classes/backup.tar", samples(0, 4))
        (tmp_path / "classes/cat").mkdir()
        assert is_shards("x/train-{0000..0146}.tar")
        assert is_shards(str(tmp_path / "flat"))
        assert is_shards(str(tmp_path / "parts"))
        assert not is_shards(str(tmp_path / "classes"))
        assert not is_shards("cifar10.tar.xz")
        assert not is_shards("digits")

    def test_a_run_can_be_used_from_anywhere(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        assert absolute("s/train-{00..03}.tar") == f"{tmp_path}/s/train-{{00..03}}.tar"
        assert free_folder("resnet8", "s/train-{00..03}.tar", "vanilla").name == "resnet8-train-vanilla"


class TestReading:
    def test_samples_classes_and_parts_are_those_in_the_shards(self, tmp_path):
        data = load_data(str(make(tmp_path / "pets")))
        assert data.name == "pets"
        assert data.classes == ("0", "1", "2", "3")
        assert (len(data.train), len(data.validation), len(data.test)) == (108, 12, 40)
        for part in (data.train, data.validation, data.test):
            assert torch.equal(number_of(part.x) % 4, part.y)
        assert sorted(number_of(data.test.x).tolist()) == list(range(120, 160))

    def test_a_pattern_and_folders_of_parts_read_the_same(self, tmp_path):
        make(tmp_path / "flat")
        flat = load_data(str(tmp_path / "flat"))
        pattern = load_data(str(tmp_path / "flat" / "{train-{0000..0002},test-0000}.tar"))
        for number in range(3):
            write(tmp_path / f"deep/train/{number}.tar", samples(40 * number, 40))
        write(tmp_path / "deep/test/0.tar", samples(120, 40))
        deep = load_data(str(tmp_path / "deep"))
        for other in (pattern, deep):
            assert torch.equal(other.train.x, flat.train.x)
            assert torch.equal(other.test.y, flat.test.y)

    def test_train_and_val_alone_are_split_as_imagenet_is(self, tmp_path):
        data = load_data(str(make(tmp_path / "in", parts=(("imagenet1k-train", 2), ("imagenet1k-validation", 1)))))
        assert (len(data.train), len(data.validation), len(data.test)) == (72, 8, 40)

    def test_a_key_ends_at_the_first_dot_and_its_class_may_come_first_or_be_elsewhere(self, tmp_path):
        members = [("a/1.cls", b"1\n"), ("b/1.png", encoded(picture(8))), ("a/1.seg.png", encoded(picture(9)))]
        members += [("b/1.cls", b" 0 "), ("b/1.json", b"{}")]
        shard = indexed(write(tmp_path / "train-0.tar", members))
        assert shard.names.splitlines() == ["b/1.png", "a/1.seg.png"]
        assert shard.labels.tolist() == [0, 1]

    def test_for_reconstruction_no_classes_are_needed(self, tmp_path):
        write(tmp_path / "d/train-0.tar", [(f"{n}.png", encoded(picture(n))) for n in range(20)])
        assert load_data(str(tmp_path / "d"), task="reconstruction").train.y is None
        with pytest.raises(NdtoolError, match=r"train-0.tar: 0.png has no class: add a .cls"):
            load_data(str(tmp_path / "d"))


class TestAtScale:
    """More pixels than are kept in memory."""

    @pytest.fixture
    def data(self, tmp_path, monkeypatch):
        monkeypatch.setattr("ndtool.train.data.assemble.IN_MEMORY", 1000)
        return load_data(str(make(tmp_path / "d")))

    def test_pictures_are_read_at_their_offsets_in_any_order(self, data):
        assert isinstance(data.train.x, OnDemand)
        order = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(3))
        read = number_of(data.train.x.read(order, seed=0))
        assert torch.equal(read % 4, data.train.y[order])
        assert len(set(read.tolist())) == len(data.train)

    def test_an_epoch_goes_on_in_its_middle_and_is_the_same_again(self, data):
        options = {"split": data.train, "data": data, "batch_size": 16, "shuffle_seed": 1, "augment": "resized-crop"}
        whole = list(Batches(**options, epoch=2))
        rest = list(Batches(**options, epoch=2, start=3))
        assert len(rest) == len(whole) - 3
        assert all(torch.equal(a, c) and torch.equal(b, d) for (a, b), (c, d) in zip(whole[3:], rest, strict=True))
        assert not torch.equal(torch.cat([y for _, y in whole]), torch.cat([y for _, y in Batches(**options)]))

    def test_headers_are_read_once(self, tmp_path, data, monkeypatch):
        monkeypatch.setattr(shards, "_read_headers", lambda *_: pytest.fail("read again"))
        again = load_data(str(tmp_path / "d"))
        assert torch.equal(again.train.y, data.train.y)

    def test_a_shard_that_changed_is_read_again(self, tmp_path, data):
        write(tmp_path / "d/train-0000.tar", samples(1000, 20))
        again = load_data(str(tmp_path / "d"))
        assert len(again.train) + len(again.validation) == len(data.train) + len(data.validation) - 20

    def test_a_corrupt_picture_is_named(self, tmp_path, monkeypatch):
        monkeypatch.setattr("ndtool.train.data.assemble.IN_MEMORY", 1000)
        members = samples(0, 40)
        members[20] = (members[20][0], members[20][1][:30])
        write(tmp_path / "bad/train-0.tar", members)
        source = read_shards(str(tmp_path / "bad"), lambda _: None)
        decoded = images.DecodedImages(source.parts["train"].samples, images.PixelShape(3, 10, 12))
        with pytest.raises(NdtoolError, match=r"train-0.tar: 000010.png: the image is corrupt"):
            decoded.read(torch.arange(40), seed=0)


class TestDamage:
    @pytest.mark.parametrize("part", [0.5, 0.85, 0.3])
    def test_a_shard_cut_short_is_refused(self, tmp_path, part):
        path = make(tmp_path / "d") / "train-0001.tar"
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
        with pytest.raises(NdtoolError, match=r"train-0001.tar: the shard is damaged .*: fetch it again"):
            load_data(str(tmp_path / "d"))

    def test_a_shard_that_is_no_tar_is_refused(self, tmp_path):
        path = make(tmp_path / "d") / "train-0001.tar"
        path.write_bytes(np.random.default_rng(0).bytes(2000))
        with pytest.raises(NdtoolError, match=r"train-0001.tar: the shard is damaged"):
            load_data(str(tmp_path / "d"))

    @pytest.mark.parametrize("content", [b"cat", b"-1", b"", b"\xff\xfe"])
    def test_a_class_that_is_no_number_is_refused(self, tmp_path, content):
        write(tmp_path / "d/train-0.tar", [("1.png", encoded(picture(1))), ("1.cls", content)])
        with pytest.raises(NdtoolError, match=r"1.cls holds .* and no class number"):
            load_data(str(tmp_path / "d"))

    def test_a_missing_shard_is_named(self, tmp_path):
        make(tmp_path / "d")
        with pytest.raises(NdtoolError, match=r"train-0003.tar does not exist, and 1 more of 5 shards"):
            load_data(str(tmp_path / "d" / "train-{0000..0004}.tar"))

    def test_no_training_shards_are_said(self, tmp_path):
        make(tmp_path / "d", parts=(("val", 1),))
        with pytest.raises(NdtoolError, match="no pictures in shards for training"):
            load_data(str(tmp_path / "d"))

    @pytest.mark.parametrize("spec", ["https://host/train-{0..9}.tar", "pipe:cat {0..9}.tar"])
    def test_shards_elsewhere_are_refused(self, spec):
        with pytest.raises(NdtoolError, match="shards are read from a disk"):
            load_data(spec)
