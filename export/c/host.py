"""A C library on this host: compiled by its C compiler, loaded, and run through the functions that users call.

The sources are those that ship, for the features of any target: where they use instructions of the target, the host
gets what stands beside them in plain C.
"""

import ctypes
import hashlib
import shutil
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np

from ndtool.cache import cache_entry
from ndtool.errors import NdtoolError
from ndtool.export.c.context import Features
from ndtool.export.c.library import CLibrary, Port
from ndtool.export.c.packages import write_library
from ndtool.files import replacing
from ndtool.quantize.runtime import TensorInfo
from ndtool.zig import zig_command, zig_environment, zig_version

# Contraction into fused multiply-adds would change float results against LiteRT's.
FLAGS = ("-std=c99", "-O2", "-ffp-contract=off", "-fno-sanitize=undefined")
WORKERS = 4  # files compiled at a time


def stand_ins(features: Features | None) -> tuple[str, ...]:
    """Flags that make kernels go on a host the way that they go on a target with these features."""
    return ("-DND_WORDS=1",) if features and features.dsp else ()


@cache
def host_compiler() -> tuple[str, ...]:
    """How the host's C compiler is called: cc, gcc or clang, whichever is there, or else zig's clang.

    Raises:
        NdtoolError: there is none.
    """
    for name in ("cc", "gcc", "clang"):
        if found := shutil.which(name):
            return (found,)
    try:
        return (*zig_command(), "cc")
    except NdtoolError:
        raise NdtoolError("there is no C compiler: install gcc or clang, or pip install ziglang") from None


@cache
def compiler_version(compiler: tuple[str, ...]) -> str:
    """For example "gcc (Debian 12.2.0-14) 12.2.0"."""
    if len(compiler) > 1:
        return zig_version()
    return _call([*compiler, "--version"]).splitlines()[0].strip()


def load_library(library: CLibrary, flags: tuple[str, ...] = FLAGS) -> "HostLibrary":
    """Compile a library, unless the cache has it by its contents, and load it. `flags` are the compiler's.

    Raises:
        NdtoolError: no compiler, or it refuses the sources.
    """
    compiler = host_compiler()
    content = repr((sorted(library.files.items()), compiler_version(compiler), flags))
    target = cache_entry("host", hashlib.sha256(content.encode()).hexdigest()[:24]) / "library.so"
    if not target.is_file():
        with replacing(target) as temporary:
            folder = temporary.parent / "c"
            write_library(library, folder)
            link(compile_files(library, folder, compiler, flags), temporary, compiler)
    return HostLibrary(library, target)


def compile_files(
    library: CLibrary,
    folder: Path,
    compiler: tuple[str, ...],
    flags: tuple[str, ...] = FLAGS,
    *,
    shared: Path | None = None,
) -> list[Path]:
    """Compile the C files of a library, which lie in `folder`, to position-independent objects.

    `shared` is a folder in which the objects of kernels, which are the same in every library, are kept and found again.

    Raises:
        NdtoolError: the compiler refuses a file (its first message is given).
    """
    headers = [text for file, text in library.files.items() if file.startswith("nd") and file.endswith(".h")]

    def compiled(file: str) -> Path:
        key = hashlib.sha256(repr((library.files[file], compiler, flags, headers)).encode()).hexdigest()[:16]
        target = (shared if shared and file.startswith("nd_") else folder) / f"{file}.{key}.o"
        if not target.is_file():
            with replacing(target) as temporary:
                _call([*compiler, *flags, "-fPIC", "-c", str(folder / file), "-o", str(temporary)])
        return target

    with ThreadPoolExecutor(WORKERS) as pool:
        return list(pool.map(compiled, [file for file in library.files if file.endswith(".c")]))


def link(objects: Sequence[Path], target: Path, compiler: tuple[str, ...], flags: tuple[str, ...] = ()) -> None:
    """Link objects to a shared library. Raises NdtoolError where that fails."""
    _call([*compiler, "-shared", *map(str, objects), *flags, "-o", str(target)])


def _call(command: Sequence[str]) -> str:
    """What a compiler prints. Raises NdtoolError with its first message where it fails."""
    try:
        environment = zig_environment() if "ziglang" in command else None
        done = subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace")
    except OSError as error:
        raise NdtoolError(f"{command[0]}: cannot be run: {error.strerror}") from error
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        first = next((line for line in lines if "error" in line), lines[0] if lines else "no message")
        raise NdtoolError(f"{command[0]}: the C compiler refuses the library: {first}")
    return done.stdout


class HostLibrary:
    """A loaded library with an arena, run like a `TFLiteModel`: `inputs` and `outputs` tell of its ends."""

    def __init__(self, library: CLibrary, path: Path, *, arena: np.ndarray | None = None):
        """`path`: the shared library. `arena`: uint32 of the library's size, aligned to 16 bytes; None makes one."""
        self.library = library
        self.inputs = tuple(_info(port) for port in library.inputs)
        self.outputs = tuple(_info(port) for port in library.outputs)
        self._loaded = ctypes.CDLL(str(path))
        self._arena = _aligned_words(library.arena_bytes // 4) if arena is None else arena
        self._pointer = ctypes.c_void_p(self._arena.ctypes.data)
        self._run = self._function("run")
        self._sources = [self._end("input", "quantize_input", library.inputs, i) for i in range(len(self.inputs))]
        self._results = [self._end("output", "dequantize_output", library.outputs, i) for i in range(len(self.outputs))]

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        """Run once; each input has its tensor's shape and dtype. Returns a copy of every output."""
        for info, (function, place), value in zip(self.inputs, self._sources, inputs, strict=True):
            if value.shape != info.shape or value.dtype != info.dtype:
                raise NdtoolError(
                    f"the input {info.name} wants {list(info.shape)} of {info.dtype}, "
                    f"not {list(value.shape)} of {value.dtype}"
                )
            place[...] = value
            if function is not None:
                function(ctypes.c_void_p(place.ctypes.data), self._pointer)
        self._run(self._pointer)
        outputs = []
        for function, place in self._results:
            if function is not None:
                function(self._pointer, ctypes.c_void_p(place.ctypes.data))
            outputs.append(place.copy())
        return tuple(outputs)

    def _function(self, stem: str, index: int = 0, count: int = 1) -> "ctypes._FuncPointer":
        function = self._loaded[f"{self.library.name}_{stem}" + (f"_{index}" if count > 1 else "")]
        function.restype = None
        return function

    def _end(
        self, stem: str, converter: str, ports: Sequence[Port], index: int
    ) -> tuple["ctypes._FuncPointer | None", np.ndarray]:
        """Of an end: its conversion, if it is float, and where its values are: the caller's buffer, or in the arena."""
        port = ports[index]
        if port.is_float:
            return self._function(converter, index, len(ports)), np.zeros(port.shape, np.float32)
        where = self._function(stem, index, len(ports))
        where.restype = ctypes.c_void_p
        start = where(self._pointer) - self._arena.ctypes.data
        return None, self._arena.view(np.int8)[start : start + port.bytes].reshape(port.shape)


def _aligned_words(count: int) -> np.ndarray:
    room = np.zeros(count + 4, np.uint32)
    skip = -(room.ctypes.data // 4) % 4
    return room[skip : skip + count]


def _info(port: Port) -> TensorInfo:
    quantised = not port.is_float
    return TensorInfo(
        index=0,
        name=port.name,
        shape=port.shape,
        dtype=np.dtype(np.float32 if port.is_float else port.dtype),
        scale=port.scale if quantised else 0.0,
        zero_point=port.zero_point if quantised else 0,
    )
