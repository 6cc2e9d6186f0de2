"""What firmware is fed: random or given inputs, and where inputs and outputs lie in its memory."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ndtool.benchmarks.elf import FirmwareElf
from ndtool.benchmarks.firmware_sources import ARENA, float_buffer
from ndtool.errors import NdtoolError
from ndtool.export.c.library import CLibrary, Port

Sample = tuple[np.ndarray, ...]  # one array for each input


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomInputs:
    """Uniform over every input's range: all int8 values; of float inputs, the reals that these stand for."""

    count: int = 2
    seed: int = 0

    @property
    def origin(self) -> str:
        """For reports."""
        return f"random, seed {self.seed}"


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenInputs:
    """Samples of the user's. Shapes and dtypes are those of the model's own inputs."""

    samples: tuple[Sample, ...]
    origin: str


Inputs = RandomInputs | GivenInputs


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPort:
    """An input or output in the firmware's memory. `low` and `high` bound random float values."""

    name: str
    address: int
    shape: tuple[int, ...]
    dtype: np.dtype
    low: float = 0.0
    high: float = 0.0

    @property
    def size(self) -> int:
        """Bytes in memory."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    def value(self, content: bytes) -> np.ndarray:
        """Memory as an array."""
        return np.frombuffer(content, dtype=self.dtype).reshape(self.shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Every input and output."""

    inputs: tuple[MemoryPort, ...]
    outputs: tuple[MemoryPort, ...]


def library_ports(library: CLibrary, elf: FirmwareElf) -> Ports:
    """The ports of a firmware built by ndtool: in the arena, or in the caller's buffers where they are float."""
    return Ports(
        inputs=tuple(_port(elf, "input", library.inputs, i) for i in range(len(library.inputs))),
        outputs=tuple(_port(elf, "output", library.outputs, i) for i in range(len(library.outputs))),
    )


def _port(elf: FirmwareElf, kind: str, ports: Sequence[Port], index: int) -> MemoryPort:
    port = ports[index]
    if not port.is_float:
        address = elf.address_of(ARENA, "the harness declares the arena under this name") + port.offset
        return MemoryPort(name=port.name, address=address, shape=port.shape, dtype=np.dtype(port.dtype))
    address = elf.address_of(float_buffer(kind, ports, index), "the harness declares the caller's buffer")
    low, high = (port.scale * (limit - port.zero_point) for limit in (-128, 127))
    return MemoryPort(name=port.name, address=address, shape=port.shape, dtype=np.dtype(np.float32), low=low, high=high)


def elf_ports(elf: FirmwareElf) -> Ports:
    """The ports of a firmware of the user's: what the symbols ndtool_input, ndtool_input_bytes, … say, or none."""
    return Ports(inputs=_told(elf, "ndtool_input"), outputs=_told(elf, "ndtool_output"))


def _told(elf: FirmwareElf, symbol: str) -> tuple[MemoryPort, ...]:
    if symbol not in elf.symbols:
        return ()
    size = elf.address_of(f"{symbol}_bytes", f"{symbol} needs a uint32_t of its size beside it")
    try:
        address, count = (struct.unpack("<I", elf.code(at, 4))[0] for at in (elf.symbols[symbol].address, size))
    except KeyError:
        raise NdtoolError(
            f"{elf.path}: {symbol} and {symbol}_bytes have no value in the file: initialise both as constants"
        ) from None
    return (MemoryPort(name=symbol, address=address, shape=(count,), dtype=np.dtype(np.uint8)),)


def samples_for(inputs: Inputs, ports: Sequence[MemoryPort]) -> tuple[Sample, ...]:
    """The samples to run, one array a port each.

    Raises:
        NdtoolError: given samples do not have the ports' sizes and types.
    """
    if not ports:  # every run would be the same
        return ((),)
    if isinstance(inputs, RandomInputs):
        random = np.random.default_rng(inputs.seed)
        return tuple(tuple(_random(port, random) for port in ports) for _ in range(max(1, inputs.count)))
    for sample in inputs.samples:
        for port, value in zip(ports, sample, strict=False):
            if value.dtype != port.dtype or value.nbytes != port.size:
                raise NdtoolError(
                    f"the input {port.name} wants {list(port.shape)} of {port.dtype}, "
                    f"not {list(value.shape)} of {value.dtype}"
                )
        if len(sample) != len(ports):
            raise NdtoolError(f"{len(ports)} inputs are wanted for a run, not {len(sample)}")
    return inputs.samples


def _random(port: MemoryPort, random: np.random.Generator) -> np.ndarray:
    if port.dtype.kind == "f":
        return random.uniform(port.low, port.high, port.shape).astype(port.dtype)
    limits = np.iinfo(port.dtype)
    return random.integers(limits.min, limits.max, port.shape, dtype=port.dtype, endpoint=True)
