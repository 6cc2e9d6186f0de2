"""FULLY_CONNECTED."""

import numpy as np

from ndtool.export.c import rules
from ndtool.export.c.call import Buffer, Call, Choice, Constant, Scratch, Struct, Value
from ndtool.export.c.context import Context
from ndtool.export.c.graph import Op, Tensor
from ndtool.export.c.operators import sums
from ndtool.export.c.operators.fast import channel_words_once
from ndtool.export.c.operators.fully_connected_thumb import thumb_fully_connected
from ndtool.export.c.operators.pairs import paired_fours
from ndtool.export.c.quantisation import Multiplier, activation_range, multiplier_like_double


def fully_connected(op: Op, context: Context) -> Call | Choice:
    """A matrix product; every row of the input by every row of the weights."""
    portable, features = _portable(op), context.features
    if features.dsp and features.unaligned:
        fast = _dsp(op)
    elif features.long_multiply:
        return portable
    else:
        fast = thumb_fully_connected(op, _sizes(op), _scales(op))
    return portable if fast is None else Choice(candidates=(fast, portable))


def _portable(op: Op) -> Call:
    _, _, weights = _tensors(op)
    multipliers = _multipliers(op)
    exact = [multiplier for multiplier in multipliers if multiplier is not None]
    params = _sizes(op) | {
        "channel_step": int(len(multipliers) > 1),
        "weights": Constant(role="weights", values=sums.data_of(weights)),
        "bias": Constant(role="bias", values=sums.folded_bias(op, sums.data_of(weights)).astype(np.int32)),
    }
    if len(exact) == len(multipliers):
        params["multipliers"] = Constant(role="multipliers", values=np.array([m.value for m in exact], np.int32))
        params["shifts"] = Constant(role="shifts", values=np.array([m.shift for m in exact], np.int8))
        return _call(op, "nd_fully_connected", params)
    params["scales"] = Constant(role="scales", values=_scales(op))
    return _call(op, "nd_fully_connected_double", params)


def _dsp(op: Op) -> Call | None:
    """The call of nd_fully_connected_dsp, or None where weights or a multiplier are out of its range."""
    _, target, tensor = _tensors(op)
    weights = sums.data_of(tensor)
    fours = paired_fours(weights)
    multipliers = _multipliers(op, halves_up=True)
    words = channel_words_once(sums.folded_bias(op, weights), multipliers, target.zero_point[0])
    if fours is None or words is None:
        return None
    padded = np.pad(words, ((0, -len(words) % 4), (0, 0)))
    shared = len(multipliers) == 1
    params = _sizes(op) | {
        "weights": Constant(role="weights", values=fours),
        "channels": Constant(role="channels", values=padded[:, 0] if shared else padded),
        "multipliers": Constant(role="multipliers", values=words[0, 1:]) if shared else None,
    }
    inputs = tensor.shape[1]
    return _call(op, "nd_fully_connected_dsp", params, Scratch(bytes=-(-inputs // 4) * 4 if inputs % 4 else 0))


def _call(op: Op, kernel: str, params: dict[str, Value], *scratch: Scratch) -> Call:
    source, target, weights = _tensors(op)
    struct = Struct(ctype="nd_fully_connected_params", fields=params)
    return Call(
        op=op,
        kernel=kernel,
        arguments=(Buffer(tensor=target), Buffer(tensor=source), *scratch, struct),
        macs=source.bytes * weights.shape[0],
    )


def _sizes(op: Op) -> dict[str, Value]:
    source, target, weights = _tensors(op)
    outputs, inputs = weights.shape
    low, high = _range(op)
    return {
        "rows": source.bytes // inputs,
        "inputs": inputs,
        "outputs": outputs,
        "output_zero_point": target.zero_point[0],
        "activation_min": low,
        "activation_max": high,
    }


def _tensors(op: Op) -> tuple[Tensor, Tensor, Tensor]:
    assert op.inputs[0] is not None
    return op.inputs[0], op.outputs[0], sums.filter_of(op)


def _range(op: Op) -> tuple[int, int]:
    target = op.outputs[0]
    return activation_range(op.options["fused_activation_function"], target.scale[0], target.zero_point[0])


def _scales(op: Op) -> np.ndarray:
    """input scale * weight scale / output scale, of each channel or of all. float64."""
    source, target, weights = _tensors(op)
    return np.array([source.scale[0] * scale / target.scale[0] for scale in weights.scale], dtype=np.float64)


def _multipliers(op: Op, *, halves_up: bool = False) -> list[Multiplier | None]:
    """Multipliers, of each channel or one for all, that round as double precision does; None where there is none."""
    weights = sums.data_of(sums.filter_of(op))
    low, high = sums.sum_ranges(sums.folded_bias(op, weights), weights)
    scales = _scales(op)
    if len(scales) == 1:
        low, high = low.min(keepdims=True), high.max(keepdims=True)
    zero_point = op.outputs[0].zero_point[0]
    least, most = (bound - zero_point for bound in _range(op))
    return [
        multiplier_like_double(float(scale), (int(a), int(b)), (least, most), halves_up=halves_up)
        for scale, a, b in zip(scales, low, high, strict=True)
    ]


def options_are_plain(op: Op) -> str | None:
    """weights must be in the default format"""
    return None if op.options["weights_format"] == "DEFAULT" else f"it is {op.options['weights_format']}"


def sizes_belong_together(op: Op) -> str | None:
    """input, weights, bias and output must belong together in size"""
    source, target, weights = _tensors(op)
    if len(weights.shape) != 2:
        return f"the weights are {list(weights.shape)}"
    outputs, inputs = weights.shape
    if not inputs or source.bytes % inputs or target.bytes != source.bytes // inputs * outputs:
        return f"they are {list(source.shape)}, {list(weights.shape)} and {list(target.shape)}"
    return sums.bias_fits(op, outputs)


def weights_are_quantised_by_output(op: Op) -> str | None:
    """weights must be quantised per tensor or per output"""
    _, _, weights = _tensors(op)
    if len(weights.scale) == 1 or weights.axis == 0:
        return None
    return f"{weights.name!r} is quantised along axis {weights.axis}"


def sums_fit(op: Op) -> str | None:
    """every sum of products must fit 32 bits, also when scaled to the output"""
    largest = sums.largest_sum(op, sums.data_of(sums.filter_of(op)))
    scaled = largest * float(_scales(op).max())
    return None if max(largest, scaled) < (1 << 31) - 256 else f"one can reach {max(largest, scaled):.0f}"


RULES = (
    rules.inputs_are(2, 3),
    rules.has_one_output,
    rules.input_is_int8,
    rules.input_is_computed,
    rules.outputs_are_int8,
    rules.activation_is_known,
    options_are_plain,
    sums.weights_are_int8_constants,
    sums.bias_is_an_int32_constant,
    sizes_belong_together,
    weights_are_quantised_by_output,
    sums_fit,
)
