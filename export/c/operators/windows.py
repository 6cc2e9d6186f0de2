"""Sliding windows: output sizes, padding, and by how much an output may trail its input in the same memory."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ndtool.export.c.call import Rows
from ndtool.export.c.graph import Op, Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A filter that slides over one axis. Sizes in elements."""

    input: int
    filter: int
    stride: int
    dilation: int
    same: bool  # TFLite's SAME padding, else VALID
    explicit: tuple[int, int] | None = None  # elements outside the image before its first and after its last

    @property
    def reach(self) -> int:
        """The extent of the dilated filter."""
        return (self.filter - 1) * self.dilation + 1

    @property
    def output(self) -> int:
        """Positions of the window; 0 or less if it does not fit."""
        around = sum(self.explicit) if self.explicit else 0
        covered = self.input if self.same else self.input + around - self.reach + 1
        return -(-covered // self.stride)

    @property
    def before(self) -> int:
        """Elements outside the image before its first. Source: TFLite's ComputePadding; an odd one goes behind."""
        if self.explicit:
            return self.explicit[0]
        return max((self.output - 1) * self.stride + self.reach - self.input, 0) // 2 if self.same else 0

    @property
    def has_edges(self) -> bool:
        """Whether any position reaches outside the image."""
        return self.before > 0 or (self.output - 1) * self.stride - self.before + self.reach > self.input

    @property
    def rows(self) -> Rows:
        """The same as rows of an image, where the axis is its height."""
        return Rows(input=self.input, output=self.output, reach=self.reach, stride=self.stride, before=self.before)


def windows(source: Tensor, filter_size: tuple[int, int], options: Mapping[str, Any]) -> tuple[Window, Window]:
    """The windows over height and width of an NHWC tensor.

    The padding is "SAME", "VALID" or, where a PAD was taken over, ((top, bottom), (left, right)).
    """
    padding = options["padding"]
    height, width = (
        Window(
            input=source.shape[axis],
            filter=filter_size[axis - 1],
            stride=options[f"stride_{letter}"],
            dilation=options.get(f"dilation_{letter}_factor", 1),
            same=padding == "SAME",
            explicit=None if isinstance(padding, str) else padding[axis - 1],
        )
        for axis, letter in ((1, "h"), (2, "w"))
    )
    return height, width


def window_options_are_sane(op: Op) -> str | None:
    """strides, dilations and filter sizes must be at least 1, the padding SAME or VALID"""
    names = ("stride_h", "stride_w", "dilation_h_factor", "dilation_w_factor", "filter_height", "filter_width")
    for name in names:
        if not 1 <= op.options.get(name, 1) < 1 << 15:
            return f"{name} is {op.options[name]}"
    return None if op.options["padding"] in ("SAME", "VALID") else f"the padding is {op.options['padding']}"


def trailing_distance(ends: np.ndarray, reads: np.ndarray, *, buffered: bool) -> int:
    """How far below its input an output may begin, for a kernel that walks through both.

    The kernel works in steps; step i reads the input from byte `reads[i]` on and writes the output up to byte
    `ends[i]`. `buffered` means that a step has read all before it writes. Returns the smallest distance, in bytes, at
    which nothing is overwritten that is still to be read.
    """
    last = np.int64(1) << 40  # nothing is read after the last step
    later = np.append(np.minimum.accumulate(reads[::-1])[::-1], last)
    return max(0, int(np.max(ends - (later[1:] if buffered else later[:-1]))))


def window_reads(batches: int, height: Window, width: Window, channels: int) -> np.ndarray:
    """For each output pixel in order, the first byte of the input that its window reads (or an earlier one)."""
    rows = np.maximum(np.arange(height.output) * height.stride - height.before, 0)
    columns = np.maximum(np.arange(width.output) * width.stride - width.before, 0)
    pixels = np.arange(batches)[:, None, None] * height.input * width.input + rows[:, None] * width.input + columns
    return np.asarray(pixels, dtype=np.int64).reshape(-1) * channels


def window_distance(
    source: Tensor, target: Tensor, height: Window, width: Window, *, step: int = 1, buffered: bool = False
) -> int:
    """`trailing_distance` of a kernel that makes `step` pixels at a time in raster order, and the rest one by one."""
    reads = window_reads(source.shape[0], height, width, source.shape[3])
    whole = len(reads) // step * step
    starts = np.concatenate((np.arange(0, whole, step), np.arange(whole, len(reads))))
    ends = np.append(starts[1:], len(reads)) * target.shape[3]
    return trailing_distance(ends, np.minimum.reduceat(reads, starts), buffered=buffered)
