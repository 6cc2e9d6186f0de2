"""Kernels for cores without DSP instructions and long multiplies, on the host by their stand-ins in C."""

import numpy as np
import pytest

from ndtool.export.c import compile_tflite
from ndtool.export.c.context import Features
from ndtool.export.c.operators.conv_thumb import interleaved_weights, pairs_are_exact
from ndtool.export.c.operators.depthwise_thumb import strip_rows
from ndtool.export.c.operators.windows import Window
from ndtool.tests.export.c.batches import batched, check_batch
from ndtool.tests.export.c.harness import T, check_kernel, constant, random_int8, single_op
from ndtool.tests.export.c.test_convolution import convolutions, depthwise
from ndtool.tests.export.c.test_fully_connected import layers

THUMB = Features(long_multiply=False)


@batched(convolutions())
def test_convolutions_are_the_references(ops, seed):
    check_batch(ops, seed, features=THUMB)


@batched(depthwise())
def test_depthwise_convolutions_are_the_references(ops, seed):
    check_batch(ops, seed, features=THUMB)


@batched(layers())
def test_fully_connected_layers_are_the_references(ops, seed):
    check_batch(ops, seed, features=THUMB)


def conv(kind: str = "CONV_2D", channels: int = 8, filter_size: int = 3, size: int = 5, **changes: object) -> bytes:
    """A small convolution of `channels` channels, or depthwise, with something changed."""
    rng = np.random.default_rng(0)
    wide = (1, filter_size, filter_size, channels) if kind == "DEPTHWISE_CONV_2D" else None
    shape = wide or (channels, filter_size, filter_size, changes.pop("depth", channels))
    values = changes.pop("values", rng.integers(-127, 128, size=shape, dtype=np.int8))
    x = T(shape=(changes.pop("batches", 1), size, size, channels), scale=0.1, zero_point=-3)
    weights = constant(values, "int8", scale=changes.pop("scale", 0.01), axis=3 if wide else 0)
    y = T(shape=(x.shape[0], size, size, channels), scale=changes.pop("output", 2.0), zero_point=4)
    bias = constant(np.arange(channels) * 100, scale=np.float32(0.001))
    options = {"padding": "SAME", "strideH": 1, "strideW": 1, **({"depthMultiplier": 1} if wide else {})}
    return single_op(kind, [x, weights, bias], [y], **(options | changes))


def kernel_of(content: bytes) -> str:
    return compile_tflite(content, golden=0, features=THUMB).layers[0].kernel


def test_most_layers_are_done_by_thumb_kernels():
    assert kernel_of(conv()) == "nd_conv_thumb"
    assert kernel_of(conv(filter_size=1)) == "nd_conv_thumb"
    assert kernel_of(conv("DEPTHWISE_CONV_2D")) == "nd_depthwise_thumb"


@pytest.mark.parametrize(
    ("changes", "kernel"),
    [
        ({"scale": 20.0}, "nd_conv"),
        ({"depth": 4}, "nd_conv"),
        ({"values": np.full((8, 3, 3, 8), -128, np.int8)}, "nd_conv"),
        ({"kind": "DEPTHWISE_CONV_2D", "scale": 20.0}, "nd_depthwise"),
        ({"kind": "DEPTHWISE_CONV_2D", "filter_size": 8}, "nd_depthwise"),
        ({"kind": "DEPTHWISE_CONV_2D", "size": 1}, "nd_depthwise"),
    ],
    ids=["multiplier", "groups", "pairs of -128", "depthwise multiplier", "wide filter", "too few pixels"],
)
def test_what_they_cannot_do_is_done_by_portable_ones(changes, kernel):
    content = conv(**changes)
    assert kernel_of(content) == kernel
    size = changes.get("size", 5)
    check_kernel(content, random_int8(np.random.default_rng(0), (1, size, size, 8)), features=THUMB)


def test_the_largest_products_of_two_taps_are_exact():
    """-128 beside 127 and -127 beside -128, by inputs of -128 and 127."""
    values = np.tile(np.array([-128, 127, -128, -127, 127, 127, -127, -127], np.int8), (8, 3, 3, 1))
    assert pairs_are_exact(values)
    content = conv(values=values, output=4.0)
    assert kernel_of(content) == "nd_conv_thumb"
    for value in (-128, 127):
        check_kernel(content, np.full((1, 5, 5, 8), value, np.int8), features=THUMB)
    rng = np.random.default_rng(1)
    check_kernel(content, rng.choice(np.array([-128, 127], np.int8), size=(1, 5, 5, 8)), features=THUMB)


def test_weights_of_eight_channels_lie_together():
    weights = np.arange(9 * 3, dtype=np.int8).reshape(9, 3)
    found = interleaved_weights(weights)
    assert found.shape == (2, 4, 8)
    assert found[0, :, 2].tolist() == [6, 7, 8, 0]
    assert found[1, :, 0].tolist() == [24, 25, 26, 0]
    assert not found[1, :, 1:].any()


def test_batches_of_uneven_strips_do_not_overwrite_what_is_still_read():
    for batches in (1, 3):
        content = conv("DEPTHWISE_CONV_2D", batches=batches, size=7, channels=5)
        check_kernel(content, random_int8(np.random.default_rng(0), (batches, 7, 7, 5)), features=THUMB)


def test_strips_take_what_room_there_is():
    height, width = (Window(input=6, filter=3, stride=1, dilation=1, same=True) for _ in range(2))
    assert [strip_rows(height, width, 128, room) for room in (0, 6 * 6 * 128 + 4 * 8 * 128 + 60)] == [1, 2]


@pytest.mark.parametrize(("outputs", "rows"), [((25, 5), 3), ((3, 3), 3), ((48, 48), 1), ((1, 3), None), ((2, 2), 2)])
def test_strips_have_four_pixels_and_little_to_do_twice(outputs, rows):
    height, width = (Window(input=n, filter=3, stride=1, dilation=1, same=True) for n in outputs)
    assert strip_rows(height, width, 64, 0) == rows
