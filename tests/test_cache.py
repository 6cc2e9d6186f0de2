"""The cache of builds: bounded by age."""

import os
import time

from ndtool import cache


def test_what_is_used_stays_and_what_is_long_unused_goes(tmp_path, monkeypatch):
    monkeypatch.setenv("NDTOOL_CACHE", str(tmp_path))
    old = time.time() - (cache.KEPT_DAYS + 1) * 24 * 3600
    for name in ("sources/old", "sources/new", "zig/old", "archives/old"):
        (tmp_path / name).mkdir(parents=True)
        if name.endswith("old"):
            os.utime(tmp_path / name, (old, old))
    entry = cache.cache_entry("objects", "mine")
    assert entry == tmp_path / "objects" / "mine"
    assert entry.is_dir()
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.glob("*/*")) == [
        "archives/old",
        "objects/mine",
        "sources/new",
    ]


def test_an_entry_that_is_used_becomes_new(tmp_path, monkeypatch):
    monkeypatch.setenv("NDTOOL_CACHE", str(tmp_path))
    entry = cache.cache_entry("sources", "mine")
    os.utime(entry, (0, 0))
    assert time.time() - cache.cache_entry("sources", "mine").stat().st_mtime < 60
