"""A compiled model: the C files and what is known of them ahead of time."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Port:
    """An input or output of the library, in the arena.

    Told apart by identity: a model may give one tensor out twice, or give its input out as it is.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float  # 0.0: not quantised
    zero_point: int
    offset: int  # bytes into the arena
    bytes: int
    is_float: bool  # the model's own tensor is float32; (de)quantise functions convert


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One call in the generated run function, wrapped in a C function of its own so that profilers can see it."""

    symbol: str  # C function, e.g. kws_layer_03
    name: str  # of the tensor it writes, as in the model file
    kind: str  # TFLite operator, e.g. CONV_2D (QUANTIZE and DEQUANTIZE at float ends included)
    kernel: str
    output_shape: tuple[int, ...]
    macs: int
    weight_bytes: int
    live_bytes: int  # tensors and scratch alive during the call
    live_tensors: tuple[tuple[str, int], ...]  # (name, bytes), largest first, scratch as "(scratch)"
    alternatives: tuple[tuple[str, float | None], ...] = ()  # kernels it was chosen from, with their measured costs
    steps: int | None = None  # of the strip that it is made in, band by band


@dataclass(frozen=True, slots=True, kw_only=True)
class CLibrary:
    """The C files by name, and the plan behind them. `name` prefixes every C symbol."""

    name: str
    files: Mapping[str, str]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    layers: tuple[Layer, ...]
    arena_bytes: int
    lower_bound_bytes: int  # the largest sum of live tensors over all calls
    weight_bytes: int  # every constant, stored once
    objective: str  # what kernels were chosen for: see objective.py

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one inference."""
        return sum(layer.macs for layer in self.layers)

    @property
    def peak(self) -> Layer:
        """The layer during which most bytes are alive."""
        return max(self.layers, key=lambda layer: layer.live_bytes)
