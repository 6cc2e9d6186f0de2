"""By how much an output may trail its input, against a kernel played through byte by byte."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ndtool.export.c.context import Features
from ndtool.export.c.graph import Tensor
from ndtool.export.c.operators.windows import Window, window_distance
from ndtool.tests.export.c.harness import DSP, T, check_kernel, constant, random_int8, single_op


@st.composite
def axes(draw):
    size, filter_size, stride = draw(st.integers(3, 7)), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    explicit = draw(st.none() | st.tuples(st.integers(0, filter_size - 1), st.integers(0, filter_size - 1)))
    return Window(
        input=size, filter=filter_size, stride=stride, dilation=1, same=draw(st.booleans()), explicit=explicit
    )


def is_safe(height: Window, width: Window, channels: tuple[int, int], step: int, distance: int) -> bool:
    """Whether no byte of the input is overwritten before it is read for the last time.

    Byte i of the input is at i, byte i of the output at i - distance; `step` pixels are read, then written.
    """
    pixels = [(y, x) for y in range(height.output) for x in range(width.output)]
    written: set[int] = set()
    while pixels:
        count = step if len(pixels) >= step else 1
        for y, x in pixels[:count]:
            for row in range(y * height.stride - height.before, y * height.stride - height.before + height.filter):
                for column in range(x * width.stride - width.before, x * width.stride - width.before + width.filter):
                    first = (row * width.input + column) * channels[0]
                    inside = 0 <= row < height.input and 0 <= column < width.input
                    if inside and written.intersection(range(first, first + channels[0])):
                        return False
        start = (height.output * width.output - len(pixels)) * channels[1] - distance
        written.update(range(start, start + count * channels[1]))
        del pixels[:count]
    return True


@given(axes(), axes(), st.integers(1, 5), st.integers(1, 5), st.sampled_from([1, 2, 4]))
def test_nothing_is_overwritten_that_is_still_to_be_read(height, width, inputs, outputs, step):
    if min(height.output, width.output) < 1:
        return
    source, target = (
        Tensor(index=0, name="t", shape=shape, dtype="int8")
        for shape in ((1, height.input, width.input, inputs), (1, height.output, width.output, outputs))
    )
    distance = window_distance(source, target, height, width, step=step, buffered=True)
    assert is_safe(height, width, (inputs, outputs), step, distance)


@pytest.mark.parametrize("features", [Features(), DSP], ids=["portable", "dsp"])
@pytest.mark.parametrize("width", range(3, 10))
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_the_last_pixels_are_made_singly_over_what_later_ones_read(features, width, channels):
    rng = np.random.default_rng(width)
    x, y = T(shape=(1, 3, width, 2), scale=0.1, zero_point=5), T(shape=(1, 1, width - 2, channels), scale=1.0)
    filters = constant(rng.integers(-127, 128, (channels, 3, 3, 2)), "int8", scale=0.02)
    content = single_op("CONV_2D", [x, filters, constant([0] * channels)], [y], padding="VALID", strideW=1, strideH=1)
    for _ in range(4):
        check_kernel(content, random_int8(rng, x.shape), features=features)
