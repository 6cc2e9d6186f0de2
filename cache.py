"""What is kept in the cache between measurements: found again by its name, removed when it has long been unused."""

import os
import shutil
import time
from functools import cache
from pathlib import Path

from ndtool.files import cache_dir

KEPT_DAYS = 30
_FOLDERS = ("sources", "objects", "host", "prices", "untrained", "zig")  # whose entries are dated by their last use


def cache_entry(folder: str, name: str) -> Path:
    """A folder in the cache, made if need be and marked as used; what nobody has used for long is removed first."""
    _remove_unused(cache_dir())
    path = cache_dir() / folder / name
    path.mkdir(parents=True, exist_ok=True)
    os.utime(path)
    return path


@cache  # once a process
def _remove_unused(root: Path) -> None:
    oldest = time.time() - KEPT_DAYS * 24 * 3600
    for folder in _FOLDERS:
        for path in (root / folder).glob("*"):
            try:
                if path.stat().st_mtime < oldest:
                    shutil.rmtree(path, ignore_errors=True)
            except OSError:  # another process was faster
                continue
