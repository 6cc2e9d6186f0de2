"""The vocabulary of the C compiler's front end: a TFLite graph as plain, frozen data. Imports nothing of ndtool."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tensor:
    """One tensor of the graph; compared by identity."""

    index: int
    name: str
    shape: tuple[int, ...]
    dtype: str  # "int8", "uint8", "int16", "int32", "int64", "float32", "bool"
    scale: tuple[float, ...] = ()  # empty: not quantised; one: per tensor; more: one per slice along `axis`
    zero_point: tuple[int, ...] = ()
    axis: int = 0
    data: np.ndarray | None = None  # the values of a constant, None for what is computed

    @property
    def bytes(self) -> int:
        """Size in memory."""
        return int(np.prod(self.shape, dtype=np.int64)) * (1 if self.dtype == "bool" else np.dtype(self.dtype).itemsize)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Op:
    """One operator, by its TFLite name, e.g. CONV_2D. Options are the schema's, in snake_case, enums by name.

    For example CONV_2D: {"padding": "SAME", "stride_w": 1, "stride_h": 1, "fused_activation_function": "RELU",
    "dilation_w_factor": 1, "dilation_h_factor": 1}.
    """

    index: int
    kind: str
    inputs: tuple[Tensor | None, ...]  # None: an optional input that is absent
    outputs: tuple[Tensor, ...]
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Graph:
    """A whole model: operators in execution order."""

    name: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    ops: tuple[Op, ...]
