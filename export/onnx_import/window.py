"""The sliding window that convolutions and pools share: kernel, strides, dilations and explicit padding."""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import fx

from ndtool.export.onnx_import.emit import Call
from ndtool.export.onnx_import.problems import UnsupportedError


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """One entry per spatial axis. `begin` and `end` are the elements of padding before and after."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    begin: tuple[int, ...]
    end: tuple[int, ...]

    @property
    def symmetric(self) -> bool:
        """Whether a convolution of PyTorch can pad so."""
        return self.begin == self.end

    @property
    def fits_torch(self) -> bool:
        """Whether a pool of PyTorch can pad so: by half the kernel at most."""
        return self.symmetric and all(2 * p <= k for p, k in zip(self.begin, self.kernel, strict=True))

    def reach(self, axis: int) -> int:
        """The elements that the dilated kernel spans."""
        return (self.kernel[axis] - 1) * self.dilations[axis] + 1


def spatial_axes(op: Call, x: fx.Node) -> int:
    """The number of spatial axes, 1 or 2."""
    axes = len(op.shape(x)) - 2
    if axes not in (1, 2):
        raise UnsupportedError(f"it works on {axes} spatial axes", "only 1 and 2 are supported")
    return axes


def window(op: Call, kernel: tuple[int, ...], size: tuple[int, ...]) -> Window:
    """The node's window over an input of spatial `size`, with auto_pad resolved.

    Source: ONNX operators Conv and MaxPool; SAME pads so that there are ceil(size / stride) windows.
    """
    ones = (1,) * len(kernel)
    strides = tuple(op.attribute("strides", ones))
    dilations = tuple(op.attribute("dilations", ones))
    mode = op.attribute("auto_pad", "NOTSET")
    if mode in ("NOTSET", "VALID"):
        pads = tuple(op.attribute("pads", (0,) * 2 * len(kernel))) if mode == "NOTSET" else (0,) * 2 * len(kernel)
        begin, end = pads[: len(kernel)], pads[len(kernel) :]
    else:
        totals = [
            max((-(-n // s) - 1) * s + (k - 1) * d + 1 - n, 0)
            for n, s, k, d in zip(size, strides, kernel, dilations, strict=True)
        ]
        smaller, larger = tuple(t // 2 for t in totals), tuple(t - t // 2 for t in totals)
        begin, end = (smaller, larger) if mode == "SAME_UPPER" else (larger, smaller)
    return Window(kernel=kernel, strides=strides, dilations=dilations, begin=begin, end=end)


def padded(op: Call, x: fx.Node, begin: tuple[int, ...], end: tuple[int, ...], value: float = 0.0) -> fx.Node:
    """`x` with its spatial axes padded by a constant."""
    if not any(begin) and not any(end):
        return x
    # torch lists the last axis first
    pads = [side for axis in reversed(range(len(begin))) for side in (begin[axis], end[axis])]
    return op.call(F.pad, x, pads, "constant", value, part="pad")
