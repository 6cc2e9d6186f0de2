"""What an operator becomes: one call of a C kernel. The planner, the printer and the profiler read it.

An argument of the call is one of
    Buffer    a tensor in the arena, passed as a pointer to its first element;
    Scratch   bytes that live during this call only, passed as a pointer;
    Constant  an array of the weights file, passed as a pointer;
    Struct    a constant struct, passed as a pointer; its fields are numbers, tuples of numbers or Constants;
    int       a number, passed as it is.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ndtool.export.c.graph import Op, Tensor


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Buffer:
    """A tensor in the arena."""

    tensor: Tensor


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scratch:
    """Working memory of one call, 4-byte aligned."""

    bytes: int
    ctype: str = "int8_t"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Constant:
    """A read-only array. The dtype of `values` (int8, int16, int32, uint8, uint32, float32) is its C type.

    Equal contents are stored once, whatever their roles.
    """

    role: str  # "weights", "bias", "multipliers", "shifts", "table": names the C array
    values: np.ndarray


Value = int | float | tuple[int, ...] | Constant | None  # of a struct's field; None prints NULL


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Struct:
    """A constant parameter struct of a kernel, declared in kernels/ndtool_kernels.h.

    A field's name is a C designator without its dot ("shift", "broadcast.size"); a tuple initialises an array.
    """

    ctype: str  # "nd_conv_params"
    fields: Mapping[str, Value]


Argument = Buffer | Scratch | Constant | Struct | int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Overlap:
    """The output may share bytes with `input` if output offset <= input offset - distance (0: exactly in place)."""

    input: Tensor
    distance: int
    exact: bool = False  # only if output offset == input offset - distance


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Call:
    """One kernel call. `kernel` is the C symbol and the stem of its file in kernels/."""

    op: Op
    kernel: str
    arguments: tuple[Argument, ...]
    macs: int = 0
    overlaps: tuple[Overlap, ...] = field(default_factory=tuple)

    @property
    def reads(self) -> tuple[Tensor, ...]:
        """The tensors in the arena that the call reads."""
        return tuple(a.tensor for a in self.arguments if isinstance(a, Buffer) and a.tensor not in self.op.outputs)

    @property
    def writes(self) -> tuple[Tensor, ...]:
        """The tensors in the arena that the call writes: those of its operator's outputs that it is given."""
        return tuple(a.tensor for a in self.arguments if isinstance(a, Buffer) and a.tensor in self.op.outputs)

    @property
    def scratch_bytes(self) -> int:
        """Working memory of this call, in bytes."""
        return sum(argument.bytes for argument in self.arguments if isinstance(argument, Scratch))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Alias:
    """No call at all: the output is the input's bytes under another shape (RESHAPE, SQUEEZE, EXPAND_DIMS)."""

    op: Op
    input: Tensor
    output: Tensor


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Choice:
    """Calls that write the same bytes, by different kernels. Without a measurement the first is taken."""

    candidates: tuple[Call, ...]
