"""FULLY_CONNECTED for cores without DSP instructions and long multiplies: nd_fully_connected_thumb."""

from collections.abc import Mapping

import numpy as np

from ndtool.export.c.call import Buffer, Call, Constant, Struct, Value
from ndtool.export.c.graph import Op
from ndtool.export.c.operators import narrow, sums

OUTPUTS = 4  # at a time


def thumb_fully_connected(op: Op, sizes: Mapping[str, Value], scales: np.ndarray) -> Call | None:
    """The call of nd_fully_connected_thumb, or None where it cannot do the layer.

    Args:
        op: the layer.
        sizes: the parameters that every kernel takes.
        scales: real multipliers, of each output or one for all. float64.
    """
    assert op.inputs[0] is not None
    source, target, weights = op.inputs[0], op.outputs[0], sums.data_of(sums.filter_of(op))
    bias = sums.folded_bias(op, weights)
    layer = narrow.layer_of(op)
    scalings = narrow.double_precision(scales.tolist(), layer.zero_point)
    found = _numbers(bias, weights, scalings, layer)
    if found is None:
        return None
    starts, words = found
    params = Struct(
        ctype="nd_fully_connected_params",
        fields={
            **sizes,
            "weights": Constant(role="weights", values=_filled(weights)),
            "bias": Constant(role="bias", values=_filled(starts)),
            "multipliers": Constant(role="multipliers", values=words if len(words) == 1 else _filled(words)),
            "channel_step": int(len(words) > 1),
        },
    )
    return Call(
        op=op,
        kernel="nd_fully_connected_thumb",
        arguments=(Buffer(tensor=target), Buffer(tensor=source), params),
        macs=target.bytes * weights.shape[1],
    )


def _numbers(
    bias: np.ndarray, weights: np.ndarray, scalings: list[narrow.Scaling], layer: narrow.Layer
) -> tuple[np.ndarray, np.ndarray] | None:
    """Starts of the sums, (outputs,), and words, of each output or one for all. int32."""
    if len(scalings) == 1 and (found := narrow.narrow_shared(bias, weights, scalings[0], layer)) is not None:
        return found[0], found[1].view(np.int32)
    words = narrow.narrow(bias, weights, scalings, layer)
    return None if words is None else (words.view(np.int32)[:, 0] >> 5, words.view(np.int32))


def _filled(rows: np.ndarray) -> np.ndarray:
    return np.pad(rows, ((0, -len(rows) % OUTPUTS), *((0, 0),) * (rows.ndim - 1)))
