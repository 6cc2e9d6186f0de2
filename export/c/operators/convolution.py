"""CONV_2D and DEPTHWISE_CONV_2D."""

import numpy as np

from ndtool.export.c import rules
from ndtool.export.c.call import Buffer, Call, Choice, Constant, Overlap, Scratch, Struct
from ndtool.export.c.context import Context
from ndtool.export.c.graph import Op, Tensor
from ndtool.export.c.operators import sums
from ndtool.export.c.operators.conv_dsp import dsp_convolution
from ndtool.export.c.operators.conv_thumb import thumb_convolution
from ndtool.export.c.operators.depthwise_dsp import dsp_depthwise
from ndtool.export.c.operators.depthwise_thumb import thumb_depthwise
from ndtool.export.c.operators.windows import Window, window_distance, window_options_are_sane, windows
from ndtool.export.c.quantisation import Multiplier, activation_range, per_channel_multipliers


def conv_2d(op: Op, context: Context) -> Call | Choice:
    """A convolution, possibly grouped."""
    source, target = _ends(op)
    height, width = _windows(op)
    kernel = conv_kernel(op)
    patch = int(np.prod(sums.filter_of(op).shape[1:]))
    grouped = sums.filter_of(op).shape[3] != source.shape[3]
    buffered = kernel == "nd_conv" and not grouped
    distance = window_distance(source, target, height, width, step=2, buffered=buffered)
    scratch = (Scratch(bytes=2 * patch),) if kernel == "nd_conv" else ()
    params = _params(op, sums.folded_bias(op, sums.data_of(sums.filter_of(op))), depth_multiplier=1)
    portable = Call(
        op=op,
        kernel=kernel,
        arguments=(Buffer(tensor=target), Buffer(tensor=source), *scratch, params),
        macs=int(np.prod(target.shape)) * patch,
        overlaps=(Overlap(input=source, distance=distance),),
        rows=height.rows,
    )
    features = context.features
    if features.dsp and features.unaligned:
        fast = dsp_convolution(op, params, source, _multipliers(op), (height, width), features)
    elif features.long_multiply:
        fast = ()
    else:
        thumb = thumb_convolution(op, params, source, _multipliers(op), (height, width))
        fast = (thumb,) if thumb else ()
    return Choice(candidates=(*fast, portable)) if fast else portable


def conv_kernel(op: Op) -> str:
    """The portable kernel of a convolution."""
    weights, source = sums.filter_of(op), op.inputs[0]
    assert source is not None
    pointwise = weights.shape[1:3] == (1, 1) and weights.shape[3] == source.shape[3]
    unstrided = (op.options["stride_h"], op.options["stride_w"]) == (1, 1)
    return "nd_conv_1x1" if pointwise and unstrided else "nd_conv"


def depthwise_conv_2d(op: Op, context: Context) -> Call | Choice:
    """A depthwise convolution of any channel multiplier."""
    source, target = _ends(op)
    height, width = _windows(op)
    multiplier = target.shape[3] // source.shape[3]
    params = _params(op, sums.bias_of(op, target.shape[3]), depth_multiplier=multiplier)
    portable = Call(
        op=op,
        kernel="nd_depthwise" if multiplier == 1 else "nd_depthwise_multiplier",
        arguments=(Buffer(tensor=target), Buffer(tensor=source), params),
        macs=int(np.prod(target.shape)) * height.filter * width.filter,
        overlaps=(Overlap(input=source, distance=window_distance(source, target, height, width)),),
        rows=height.rows,
    )
    features = context.features
    if features.dsp and features.unaligned:
        fast = dsp_depthwise(op, params, _multipliers(op), (height, width))
    elif features.long_multiply:
        return portable
    else:
        fast = thumb_depthwise(op, params, source, _multipliers(op), (height, width))
    return portable if fast is None else Choice(candidates=(fast, portable))


def _ends(op: Op) -> tuple[Tensor, Tensor]:
    assert op.inputs[0] is not None
    return op.inputs[0], op.outputs[0]


def _windows(op: Op) -> tuple[Window, Window]:
    source, _ = _ends(op)
    weights = sums.filter_of(op)
    return windows(source, (weights.shape[1], weights.shape[2]), op.options)


def _multipliers(op: Op) -> list[Multiplier]:
    source, target = _ends(op)
    return per_channel_multipliers(source.scale[0], sums.filter_of(op).scale, target.scale[0])


def _params(op: Op, bias: np.ndarray, depth_multiplier: int) -> Struct:
    """What the kernels of both operators are given. `bias`: (channels,), as the kernel takes it."""
    source, target = _ends(op)
    height, width = _windows(op)
    filter_tensor = sums.filter_of(op)
    multipliers = _multipliers(op)
    low, high = activation_range(op.options["fused_activation_function"], target.scale[0], target.zero_point[0])
    groups = source.shape[3] // filter_tensor.shape[3] if op.kind == "CONV_2D" else 1
    return Struct(
        ctype="nd_conv_params",
        fields={
            "batches": source.shape[0],
            "input_height": height.input,
            "input_width": width.input,
            "input_channels": source.shape[3],
            "output_height": height.output,
            "output_width": width.output,
            "output_channels": target.shape[3],
            "filter_height": height.filter,
            "filter_width": width.filter,
            "stride_height": height.stride,
            "stride_width": width.stride,
            "dilation_height": height.dilation,
            "dilation_width": width.dilation,
            "pad_top": height.before,
            "pad_left": width.before,
            "groups": groups,
            "depth_multiplier": depth_multiplier,
            "input_zero_point": source.zero_point[0],
            "output_zero_point": target.zero_point[0],
            "activation_min": low,
            "activation_max": high,
            "channel_step": int(len(multipliers) > 1),
            "weights": Constant(role="weights", values=sums.data_of(filter_tensor)),
            "bias": Constant(role="bias", values=bias.astype(np.int32)),
            "multipliers": Constant(role="multipliers", values=np.array([m.value for m in multipliers], np.int32)),
            "shifts": Constant(role="shifts", values=np.array([m.shift for m in multipliers], np.int8)),
        },
    )


def sizes_belong_together(op: Op) -> str | None:
    """input, weights, bias and output must be of rank 4 and belong together in size"""
    source, target = _ends(op)
    weights = sums.filter_of(op)
    if not len(source.shape) == len(target.shape) == len(weights.shape) == 4:
        return f"the ranks are {len(source.shape)}, {len(weights.shape)} and {len(target.shape)}"
    height, width = _windows(op)
    channels = weights.shape[3] if op.kind == "DEPTHWISE_CONV_2D" else weights.shape[0]
    expected = (source.shape[0], height.output, width.output, channels)
    if target.shape != expected or min(expected) < 1:
        return f"the output is {list(target.shape)}, of {list(source.shape)} and {list(weights.shape)}"
    return sums.bias_fits(op, channels)


def sizes_fit_parameters(op: Op) -> str | None:
    """batches, channels and the filter's sizes, strides and dilations must be below 32768"""
    source, target = _ends(op)
    largest = max(source.shape[0], source.shape[3], target.shape[3], *sums.filter_of(op).shape)
    return None if largest < 1 << 15 else f"one is {largest}"


def groups_divide(op: Op) -> str | None:
    """the weights' depth must divide the input's, and the number of groups the output's"""
    source, target = _ends(op)
    depth = sums.filter_of(op).shape[3]
    if source.shape[3] % depth == 0 and target.shape[3] % (source.shape[3] // depth) == 0:
        return None
    return f"they are {depth}, {source.shape[3]} and {target.shape[3]}"


def multiplier_is_whole(op: Op) -> str | None:
    """the number of output channels must be a multiple of that of input channels"""
    source, target = _ends(op)
    if target.shape[3] % source.shape[3] == 0 and sums.filter_of(op).shape[0] == 1:
        return None
    return f"they are {target.shape[3]} and {source.shape[3]}"


def weights_are_quantised_by_output_channel(op: Op) -> str | None:
    """weights must be quantised per tensor or per output channel"""
    weights = sums.filter_of(op)
    axis = 3 if op.kind == "DEPTHWISE_CONV_2D" else 0
    if len(weights.scale) == 1 or weights.axis == axis:
        return None
    return f"{weights.name!r} is quantised along axis {weights.axis}"


def sums_fit(op: Op) -> str | None:
    """every sum of products must fit 32 bits"""
    weights = sums.data_of(sums.filter_of(op))
    if op.kind == "DEPTHWISE_CONV_2D":
        weights = np.moveaxis(weights[0], 2, 0)
    largest = sums.largest_sum(op, weights)
    return None if largest < 1 << 31 else f"one can reach {largest}"


_COMMON = (
    rules.inputs_are(2, 3),
    rules.has_one_output,
    rules.input_is_int8,
    rules.input_is_computed,
    rules.outputs_are_int8,
    rules.activation_is_known,
    sums.weights_are_int8_constants,
    sums.bias_is_an_int32_constant,
    window_options_are_sane,
    sizes_belong_together,
    sizes_fit_parameters,
)
CONV_RULES = (*_COMMON, groups_divide, weights_are_quantised_by_output_channel, sums_fit)
DEPTHWISE_RULES = (*_COMMON, multiplier_is_whole, weights_are_quantised_by_output_channel, sums_fit)
