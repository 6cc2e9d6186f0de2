"""PyTorch operators rewritten, exactly, into ones that TFLite has in int8.

litert-torch lowers the exponential linear units and the soft-plus through a choice between two branches, of which one
overflows or has a range far beyond the result's; in int8 that loses everything. The forms here keep every intermediate
value in a small range. Its table also lacks pooling to a fixed size by maxima.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

aten = torch.ops.aten


def elu(x: Tensor, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> Tensor:
    """ELU: scale * (max(x, 0) + alpha * (exp(min(s * x, 0)) - 1)), s = input_scale."""
    return scale * (torch.relu(x) + alpha * (torch.exp(torch.clamp(input_scale * x, max=0.0)) - 1.0))


def softplus(x: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """Soft-plus: log(1 + exp(b * x)) / b = max(x, 0) + log(1 + exp(-|b * x|)) / b. The threshold is not needed."""
    return torch.relu(x) + torch.log(1.0 + torch.exp(-torch.abs(beta * x))) / beta


def mish(x: Tensor) -> Tensor:
    """Mish: x * tanh(softplus(x))."""
    return x * torch.tanh(softplus(x))


def celu(x: Tensor, alpha: float = 1.0) -> Tensor:
    """CELU: ELU whose slope is continuous."""
    return elu(x, alpha, 1.0, 1.0 / alpha)


def selu(x: Tensor) -> Tensor:
    """SELU. Source: Klambauer et al. 2017, the constants of its section 2."""
    return elu(x, 1.6732632423543772, 1.0507009873554805)


def adaptive_max_pool2d(x: Tensor, output_size: list[int]) -> Any:
    """Max-pooling to a size that divides the input's; returns (values, indices)."""
    window = [size // wanted for size, wanted in zip(x.shape[-2:], output_size, strict=True)]
    if any(size % wanted for size, wanted in zip(x.shape[-2:], output_size, strict=True)):
        return NotImplemented
    return aten.max_pool2d_with_indices.default(x, window, window)


def amax(x: Tensor, dim: list[int] = [], keepdim: bool = False) -> Any:  # noqa: B006 - the operator's own signature
    """The maximum over both axes of images, as a pool."""
    if x.ndim != 4 or sorted(axis % 4 for axis in dim) != [2, 3]:
        return NotImplemented
    pooled = aten.max_pool2d_with_indices.default(x, list(x.shape[-2:]), list(x.shape[-2:]))[0]
    return pooled if keepdim else pooled.reshape(pooled.shape[:2])


def mean(x: Tensor, dim: list[int] | None, keepdim: bool = False, *, dtype: torch.dtype | None = None) -> Any:
    """The mean of single values, as of pooling an image of one pixel, which litert-torch would make a SUM."""
    axes = {axis % x.ndim for axis in dim or range(x.ndim)}
    if dtype is not None or any(x.shape[axis] != 1 for axis in axes):
        return NotImplemented
    return x if keepdim else x.reshape([size for axis, size in enumerate(x.shape) if axis not in axes])


REWRITES: Mapping[Any, Callable[..., Any]] = MappingProxyType(
    {
        aten.elu.default: elu,
        aten.celu.default: celu,
        aten.selu.default: selu,
        aten.softplus.default: softplus,
        aten.mish.default: mish,
        aten.adaptive_max_pool2d.default: adaptive_max_pool2d,
        aten.amax.default: amax,
        aten.mean.dim: mean,
    }
)


@contextlib.contextmanager
def rewrites() -> Iterator[None]:
    """litert-torch's decompositions with ours inside the block."""
    from litert_torch.fx_infra import decomp

    before = decomp.pre_convert_decomp(), decomp.pre_lower_decomp()
    decomp.update_pre_convert_decomp(REWRITES)
    try:
        yield
    finally:
        for table, saved in zip((decomp._pre_convert_decomp, decomp._pre_lower_decomp), before, strict=True):
            table.clear()
            table.update(saved)
