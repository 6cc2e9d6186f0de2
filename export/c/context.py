"""What a lowering is given and what it gives."""

from collections.abc import Callable
from dataclasses import dataclass, field

from ndtool.export.c.call import Alias, Buffer, Call, Choice, Constant
from ndtool.export.c.graph import Op, Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """What kernels may use on the target. The default is portable C99."""

    dsp: bool = False  # the DSP extension: SMLAD, SXTB16
    unaligned: bool = False  # unaligned 32-bit loads
    dual_issue: bool = False  # a load beside a multiplication in one cycle
    long_multiply: bool = True  # 32 x 32 to 64 bits at the price of a product of 32 bits


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What lowerings may know beyond their operator."""

    features: Features = field(default_factory=Features)

    def operand(self, tensor: Tensor, role: str = "operand") -> Buffer | Constant:
        """An input as an argument: its place in the arena, or its values where the model file holds them."""
        if tensor.data is None:
            return Buffer(tensor=tensor)
        return Constant(role=role, values=tensor.data)


Lowered = Call | Choice | Alias | tuple[Call, ...]
Lowering = Callable[[Op, Context], Lowered]
"""An operator as kernel calls (several, in order, where one cannot do it, e.g. SPLIT), as a choice of kernels, or as no
code at all.

Only operators that pass every one of their rules are lowered, so a lowering need not check anything. A Buffer whose
tensor is among `op.outputs` is written, every other Buffer is read.
"""

Rule = Callable[[Op], str | None]
"""A constraint on an operator. The docstring's first line is the rule, as docs and errors print it; it gives None, or
what was found instead. Rules run in order and stop at the first finding of an operator: later ones may rely on
earlier ones. Together they must guarantee that the kernel stays within its tensors, whatever the file says."""


@dataclass(frozen=True, slots=True)
class Operator:
    """How one TFLite operator is compiled: what it must satisfy, what it becomes."""

    lower: Lowering
    rules: tuple[Rule, ...]
