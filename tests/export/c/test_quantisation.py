"""Requantisation in C and its parameters in Python, against exact arithmetic."""

import ctypes
import subprocess
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ndtool.export.c.emit import kernel_source
from ndtool.export.c.quantisation import activation_range, quantise_multiplier
from ndtool.tests.export.c.harness import WARNINGS, host_compiler

SOURCE = """
#include "ndtool_kernels.h"
void twice(int32_t *y, const int32_t *x, int32_t n, int32_t multiplier, int32_t shift);
void once(int32_t *y, const int32_t *x, int32_t n, int32_t multiplier, int32_t shift);
void twice(int32_t *y, const int32_t *x, int32_t n, int32_t multiplier, int32_t shift)
{
    for (int32_t i = 0; i < n; i++)
        y[i] = nd_requantize(x[i], multiplier, shift);
}
void once(int32_t *y, const int32_t *x, int32_t n, int32_t multiplier, int32_t shift)
{
    for (int32_t i = 0; i < n; i++)
        y[i] = nd_requantize_once(x[i], multiplier, shift);
}
"""

INT32_MIN, INT32_MAX = -(1 << 31), (1 << 31) - 1


@pytest.fixture(scope="module", params=["cc", "zig"])
def kernels(request, tmp_path_factory) -> ctypes.CDLL:
    folder: Path = tmp_path_factory.mktemp("requantise")
    (folder / "ndtool_kernels.h").write_text(kernel_source("ndtool_kernels.h"))
    (folder / "both.c").write_text(SOURCE)
    command = [*host_compiler(request.param), *WARNINGS, "-O2", "-fPIC", "-shared", "both.c", "-o", "both.so"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return ctypes.CDLL(str(folder / "both.so"))


def in_c(function: object, values: list[int], multiplier: int, shift: int) -> list[int]:
    x = np.array(values, dtype=np.int32)
    y = np.zeros_like(x)
    pointers = [ctypes.c_void_p(array.ctypes.data) for array in (y, x)]
    function(*pointers, len(x), multiplier, shift)
    return y.tolist()


def twice(x: int, multiplier: int, shift: int) -> int:
    """gemmlowp: saturating rounding doubling high multiplication, then a rounding division by a power of two."""
    x = (x << max(shift, 0)) & 0xFFFFFFFF
    x = x - (1 << 32) if x > INT32_MAX else x
    high = INT32_MAX if x == multiplier == INT32_MIN else (x * multiplier + (1 << 30)) // (1 << 31)
    return round_away(Fraction(high, 1 << max(-shift, 0)))


def round_away(value: Fraction) -> int:
    whole = int(abs(value) + Fraction(1, 2))
    return whole if value >= 0 else -whole


int32s = st.one_of(st.integers(INT32_MIN, INT32_MAX), st.sampled_from([INT32_MIN, INT32_MAX, -1, 0, 1]))
multipliers = st.integers(1 << 30, INT32_MAX)


@given(st.lists(int32s, min_size=50, max_size=200), multipliers, st.integers(-31, 30))
@settings(max_examples=100, deadline=None)
def test_requantisation_rounds_twice_as_gemmlowp_over_all_of_int32(kernels, values, multiplier, shift):
    assert in_c(kernels.twice, values, multiplier, shift) == [twice(x, multiplier, shift) for x in values]


@given(st.lists(int32s, min_size=50, max_size=200), multipliers, st.integers(-31, -1))
@settings(max_examples=100, deadline=None)
def test_requantisation_that_rounds_once_is_exact_over_all_of_int32(kernels, values, multiplier, shift):
    expected = [round_away(Fraction(x * multiplier, 1 << (31 - shift))) for x in values]
    assert in_c(kernels.once, values, multiplier, shift) == expected


@given(st.floats(2.0**-31, 2.0**30, exclude_max=True))
@settings(deadline=None)
def test_a_multiplier_is_the_nearest_of_31_bits(real):
    multiplier = quantise_multiplier(real)
    assert 1 << 30 <= multiplier.value < 1 << 31
    exact = Fraction(real) / Fraction(2) ** (multiplier.shift - 31)
    assert abs(exact - multiplier.value) <= Fraction(1, 2) or multiplier.shift == 30


@pytest.mark.parametrize(
    ("real", "expected"),
    [
        (0.0, (0, 0)),
        (0.5, (1 << 30, 0)),
        (1.0, (1 << 30, 1)),
        (1.0 - 2.0**-40, (1 << 30, 1)),  # rounds up to a power of two
        (2.0**-33, (0, 0)),
        (2.0**-32, (1 << 30, -31)),
        (2.0**31, (INT32_MAX, 30)),
    ],
)
def test_multipliers_at_the_edges(real, expected):
    multiplier = quantise_multiplier(real)
    assert (multiplier.value, multiplier.shift) == expected


@pytest.mark.parametrize(
    ("activation", "scale", "zero_point", "expected"),
    [
        ("NONE", 0.1, 3, (-128, 127)),
        ("RELU", 0.1, 3, (3, 127)),
        ("RELU6", 0.1, 3, (3, 63)),
        ("RELU6", 0.01, 3, (3, 127)),
        ("RELU_N1_TO_1", 0.1, 3, (-7, 13)),
        ("RELU_N1_TO_1", 0.004, -100, (-128, 127)),
    ],
)
def test_activation_ranges(activation, scale, zero_point, expected):
    assert activation_range(activation, scale, zero_point) == expected
