"""By how much a convolution's output may trail its input in the same memory."""

import numpy as np
import pytest

from ndtool.export.c.context import Features
from ndtool.tests.export.c.harness import DSP, T, check_kernel, constant, random_int8, single_op


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
