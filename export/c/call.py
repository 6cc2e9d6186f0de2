"""What an operator becomes: one call of a C kernel. The planner, the printer and the profiler read it.

An argument of the call is one of
    Buffer    a tensor in the arena, passed as a pointer to its first element;
    Scratch   bytes that live during this call only, passed as a pointer;
    Part      some of a tensor's or a scratch's bytes, from where they begin: what a strip's calls are given;
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
class Part:
    """A place in a tensor or a scratch: `offset` bytes from its start, and `step` more in each step of a strip."""

    owner: "Tensor | Scratch"
    offset: int = 0
    step: int = 0
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


Argument = Buffer | Scratch | Part | Constant | Struct | int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Overlap:
    """The output may share bytes with `input` if output offset <= input offset - distance (0: exactly in place)."""

    input: Tensor
    distance: int
    exact: bool = False  # only if output offset == input offset - distance


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Which rows of an input a row of the output needs: output row y needs `reach` rows from y * stride - before on.

    Those that lie outside the image need not be there. `input` and `output` are numbers of rows.
    """

    input: int
    output: int
    reach: int
    stride: int
    before: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Call:
    """One kernel call. `kernel` is the C symbol and the stem of its file in kernels/.

    A call that has `rows` can also be made on a band of rows, see strips.py.
    """

    op: Op
    kernel: str
    arguments: tuple[Argument, ...]
    macs: int = 0
    overlaps: tuple[Overlap, ...] = field(default_factory=tuple)
    rows: Rows | None = None

    @property
    def reads(self) -> tuple[Tensor, ...]:
        """The tensors in the arena that the call reads."""
        return tuple(a.tensor for a in self.arguments if isinstance(a, Buffer) and a.tensor not in self.op.outputs)

    @property
    def writes(self) -> tuple[Tensor, ...]:
        """The tensors in the arena that the call writes: those of its operator's outputs that it is given."""
        return tuple(a.tensor for a in self.arguments if isinstance(a, Buffer) and a.tensor in self.op.outputs)

    @property
    def scratches(self) -> tuple[Scratch, ...]:
        """Working memory of this call."""
        return tuple(argument for argument in self.arguments if isinstance(argument, Scratch))

    @property
    def calls(self) -> tuple["Call", ...]:
        """The call itself: what is executed at one time is a call or a strip of several."""
        return (self,)

    @property
    def kernels(self) -> frozenset[str]:
        """The kernel that is called."""
        return frozenset({self.kernel})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Move:
    """Rows that a call's window keeps move to its start, once the call has read it."""

    window: Scratch
    source: int  # bytes into the window
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Band:
    """What a layer of a strip does in the steps from `first` up to, not including, `end`."""

    first: int
    end: int
    call: Call
    move: Move | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Strip:
    """Calls in a chain, made band of rows by band of rows, so that no tensor between them ever exists whole.

    Each band's rows lie in a window of the arena that holds the rows that the next call still needs.
    """

    calls: tuple[Call, ...]  # as they are without the strip
    bands: tuple[tuple[Band, ...], ...]  # of each call
    steps: int
    scratches: tuple[Scratch, ...]  # the windows, and the largest of the calls' own
    overlaps: tuple[Overlap, ...]

    @property
    def reads(self) -> tuple[Tensor, ...]:
        """The tensor in the arena that the first call reads."""
        return self.calls[0].reads

    @property
    def writes(self) -> tuple[Tensor, ...]:
        """The tensor in the arena that the last call writes."""
        return self.calls[-1].writes

    @property
    def kernels(self) -> frozenset[str]:
        """The kernels of the calls, and nd_move, which keeps rows of their windows."""
        return frozenset({call.kernel for call in self.calls} | {"nd_move"})


Slot = Call | Strip  # what is executed at one time of the plan


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


def constants_of(call: Call) -> list[Constant]:
    """The constants of a call, those within structs included."""
    found: list[Constant] = []
    for argument in call.arguments:
        values: Mapping[str, object] = argument.fields if isinstance(argument, Struct) else {"": argument}
        found += [value for value in values.values() if isinstance(value, Constant)]
    return found
