"""What convolutions and fully connected layers share: weights, biases and their sums."""

import numpy as np

from ndtool.export.c.graph import Op, Tensor


def filter_of(op: Op) -> Tensor:
    """The weights."""
    weights = op.inputs[1]
    assert weights is not None
    return weights


def data_of(tensor: Tensor) -> np.ndarray:
    """The values of a constant."""
    assert tensor.data is not None
    return tensor.data


def bias_of(op: Op, channels: int) -> np.ndarray:
    """The bias, zeros where it is absent. (channels,) int64."""
    bias = op.inputs[2] if len(op.inputs) > 2 else None
    return np.zeros(channels, np.int64) if bias is None else data_of(bias).reshape(-1).astype(np.int64)


def folded_bias(op: Op, weights: np.ndarray) -> np.ndarray:
    """bias - input zero point * sum of the channel's weights. `weights`: (channels, ...). (channels,) int64."""
    assert op.inputs[0] is not None
    sums = weights.reshape(len(weights), -1).astype(np.int64).sum(axis=1)
    return bias_of(op, len(weights)) - op.inputs[0].zero_point[0] * sums


def sum_ranges(bias: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The smallest and the largest sum of each channel over all int8 inputs. Both (channels,) int64."""
    flat = weights.reshape(len(weights), -1).astype(np.int64)
    positive, negative = np.maximum(flat, 0).sum(axis=1), np.minimum(flat, 0).sum(axis=1)
    return bias + 127 * negative - 128 * positive, bias + 127 * positive - 128 * negative


def weights_are_int8_constants(op: Op) -> str | None:
    """weights must be int8 constants, quantised symmetrically"""
    weights = filter_of(op)
    if weights.dtype != "int8" or not weights.scale:
        return f"{weights.name!r} is {weights.dtype}" + ("" if weights.scale else ", not quantised")
    if weights.data is None:
        return f"{weights.name!r} is computed"
    return f"the zero point of {weights.name!r} is not 0" if any(weights.zero_point) else None


def bias_is_an_int32_constant(op: Op) -> str | None:
    """the bias, if any, must be an int32 constant"""
    bias = op.inputs[2] if len(op.inputs) > 2 else None
    if bias is None or (bias.dtype == "int32" and bias.data is not None):
        return None
    return f"{bias.name!r} is {bias.dtype}" + ("" if bias.data is not None else ", computed")


def bias_fits(op: Op, channels: int) -> str | None:
    """What is wrong with the size of the bias, if there is one."""
    bias = op.inputs[2] if len(op.inputs) > 2 else None
    if bias is None or data_of(bias).size == channels:
        return None
    return f"the bias {bias.name!r} has {data_of(bias).size} values for {channels} channels"


def largest_sum(op: Op, weights: np.ndarray) -> int:
    """No partial sum of a channel, in any order, with or without the zero point folded into the bias, is larger.

    `weights`: (channels, ...).
    """
    magnitudes = np.abs(weights.reshape(len(weights), -1).astype(np.int64)).sum(axis=1)
    folded = np.abs(folded_bias(op, weights)) + 128 * magnitudes
    plain = np.abs(bias_of(op, len(weights))) + 255 * magnitudes
    return int(np.max(np.maximum(folded, plain), initial=0))
