"""C helpers for the host, compiled by zig on first use and kept in the cache."""

import ctypes
import hashlib
import subprocess
from pathlib import Path

from ndtool.errors import NdtoolError
from ndtool.files import cache_dir, replacing
from ndtool.zig import zig_command, zig_environment, zig_version

_FOLDER = Path(__file__).with_name("native")
COUNTER = (_FOLDER / "counter.c", _FOLDER / "memory.h")


def load(source: Path, *headers: Path) -> ctypes.CDLL:
    """Compile a C file and what it includes into a shared library, unless the cache has it, and load it.

    Raises:
        NdtoolError: no compiler, or it refuses the file.
    """
    texts = [path.read_bytes() for path in (source, *headers)]
    key = hashlib.sha256(b"".join([*texts, zig_version().encode()])).hexdigest()[:24]
    target = cache_dir() / "native" / f"{source.stem}-{key}.so"
    if not target.is_file():
        with replacing(target) as temporary:
            flags = ("-shared", "-O2", "-fPIC", "-fno-sanitize=undefined", "-std=c99")
            command = [*zig_command(), "cc", *flags, "-o", str(temporary), str(source)]
            done = subprocess.run(command, env=zig_environment(), capture_output=True, text=True)
            if done.returncode:
                raise NdtoolError(f"{source.name}: zig cannot compile it for this host: {done.stderr.strip()[:200]}")
    return ctypes.CDLL(str(target))
