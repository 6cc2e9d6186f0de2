"""zig, whose package brings a C compiler for every target."""

import os
import subprocess
import sys
from datetime import date
from functools import cache

from ndtool.cache import cache_entry
from ndtool.errors import NdtoolError


def zig_command() -> list[str]:
    """How zig is called.

    Raises:
        NdtoolError: the package ziglang is not installed.
    """
    try:
        import ziglang  # noqa: F401
    except ImportError:
        raise NdtoolError("zig's C compiler is not installed: pip install ziglang") from None
    return [sys.executable, "-m", "ziglang"]


def zig_environment() -> dict[str, str]:
    """The environment of zig's processes: its caches lie in ndtool's."""
    folder = str(cache_entry("zig", f"{date.today():%Y-%m}"))  # zig's own cache only grows: a new one every month
    return {**os.environ, "ZIG_GLOBAL_CACHE_DIR": folder, "ZIG_LOCAL_CACHE_DIR": folder}


@cache
def zig_version() -> str:
    """For example "zig 0.17.1"."""
    done = subprocess.run([*zig_command(), "version"], env=zig_environment(), capture_output=True, text=True)
    return f"zig {done.stdout.strip()}"
