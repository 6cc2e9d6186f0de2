"""QUANTIZE at a float input: the quotient rounded as the reference rounds it, however it is computed."""

import ctypes
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ndtool.benchmarks.inputs import GivenInputs
from ndtool.export.c.emit import HEADER, kernel_source
from ndtool.quantize.runtime import quantise
from ndtool.tests.export.c.batches import scales, zero_points
from ndtool.tests.export.c.harness import WARNINGS, O, T, check_on_core, host_compiler, model


@pytest.fixture(scope="module")
def kernel(tmp_path_factory) -> ctypes.CDLL:
    """nd_quantize of the host."""
    folder: Path = tmp_path_factory.mktemp("quantize")
    for file in (HEADER, "nd_quantize.c"):
        (folder / file).write_text(kernel_source(file))
    target = folder / "nd_quantize.so"
    command = [*host_compiler(), "-O2", *WARNINGS, "-fPIC", "-shared", str(folder / "nd_quantize.c"), "-o", str(target)]
    subprocess.run(command, check=True)
    return ctypes.CDLL(str(target))


def quantised(kernel: ctypes.CDLL, x: np.ndarray, scale: float, zero_point: int) -> np.ndarray:
    """What nd_quantize gives, (n,) int8."""
    result = np.zeros(x.shape, np.int8)
    pointers = [array.ctypes.data_as(ctypes.c_void_p) for array in (result, x)]
    kernel.nd_quantize(*pointers, x.size, ctypes.c_float(scale), zero_point)
    return result


def expected(x: np.ndarray, scale: float, zero_point: int) -> np.ndarray:
    """round(x / scale) in float32, halves away from zero."""
    with np.errstate(over="ignore"):
        ratio = x / np.float32(scale)
    ratio = np.clip(ratio, -1000, 1000)
    whole = np.trunc(ratio)
    steps = whole + np.where(np.abs(ratio - whole) >= 0.5, np.sign(ratio), 0)
    return np.clip(steps + zero_point, -128, 127).astype(np.int8)


def near_halves(scale: float) -> np.ndarray:
    """Around every half step of the range, some floats below and above, and what they are in steps of 2^-16 too."""
    halves = (np.arange(-300, 300) + 0.5).astype(np.float32)
    around = np.float32(halves * np.float32(scale)).view(np.int32)[:, None] + np.arange(-12, 13, dtype=np.int32)
    wider = ((halves[:, None] + np.arange(-20, 21) / 65536) * scale).astype(np.float32)
    return np.concatenate((around.view(np.float32).reshape(-1), wider.reshape(-1)))


@settings(deadline=None)
@given(scales(1e-12, 1e12), zero_points, st.integers(0, 2**32 - 1))
def test_it_is_the_rounded_quotient(kernel, scale, zero_point, seed):
    rng = np.random.default_rng(seed)
    random = np.concatenate(
        (rng.uniform(-300, 300, 500) * scale, rng.standard_normal(100) * 10.0 ** rng.integers(-40, 38))
    )
    x = np.concatenate((near_halves(scale), random.astype(np.float32)))
    np.testing.assert_array_equal(quantised(kernel, x, scale, zero_point), expected(x, scale, zero_point))


def test_what_is_no_number_is_the_zero_point_and_what_is_too_large_saturates(kernel):
    x = np.array([np.nan, np.inf, -np.inf, 3e38, -3e38, 1e-45, -0.0], np.float32)
    np.testing.assert_array_equal(quantised(kernel, x, 0.5, -7), [-7, 127, -128, 127, -128, -7, -7])
    np.testing.assert_array_equal(quantised(kernel, x, 1e-12, 100), [100, 127, -128, 127, -128, 100, 100])


@pytest.mark.parametrize("core", ["cortex-m7", "cortex-m4", "cortex-m33", "cortex-m3", "cortex-m0plus"])
def test_it_is_on_emulated_cores(core):
    scale, zero_point = 0.0371, -5
    x = near_halves(scale)
    x = x[np.abs(x) < 250 * scale]
    source, y = T(shape=(1, x.size), dtype="float32"), T(shape=(1, x.size), scale=scale, zero_point=zero_point)
    z = T(shape=(1, x.size), scale=scale, zero_point=zero_point + 1)
    content = model([O("QUANTIZE", [source], [y]), O("QUANTIZE", [y], [z])])
    check_on_core(content, core, GivenInputs(samples=((x[None],),), origin="near halves"))
    np.testing.assert_array_equal(expected(x, scale, zero_point), quantise(x, scale, zero_point).reshape(-1))
