"""AVERAGE_POOL_2D and MAX_POOL_2D."""

from ndtool.export.c import rules
from ndtool.export.c.call import Buffer, Call, Overlap, Struct
from ndtool.export.c.context import Context
from ndtool.export.c.graph import Op, Tensor
from ndtool.export.c.operators.windows import Window, window_distance, window_options_are_sane, windows
from ndtool.export.c.quantisation import activation_range

KERNELS = {"AVERAGE_POOL_2D": "nd_average_pool", "MAX_POOL_2D": "nd_max_pool"}


def pool(op: Op, context: Context) -> Call:
    """The mean or the largest of each window."""
    source, target = _ends(op)
    height, width = pool_windows(op)
    low, high = activation_range(op.options["fused_activation_function"], target.scale[0], target.zero_point[0])
    params = Struct(
        ctype="nd_pool_params",
        fields={
            "batches": source.shape[0],
            "input_height": height.input,
            "input_width": width.input,
            "channels": source.shape[3],
            "output_height": height.output,
            "output_width": width.output,
            "filter_height": height.filter,
            "filter_width": width.filter,
            "stride_height": height.stride,
            "stride_width": width.stride,
            "pad_top": height.before,
            "pad_left": width.before,
            "activation_min": low,
            "activation_max": high,
        },
    )
    return Call(
        op=op,
        kernel=KERNELS[op.kind],
        arguments=(Buffer(tensor=target), Buffer(tensor=source), params),
        overlaps=(Overlap(input=source, distance=window_distance(source, target, height, width)),),
        rows=height.rows,
    )


def _ends(op: Op) -> tuple[Tensor, Tensor]:
    assert op.inputs[0] is not None
    return op.inputs[0], op.outputs[0]


def pool_windows(op: Op) -> tuple[Window, Window]:
    """The windows over height and width."""
    source, _ = _ends(op)
    return windows(source, (op.options["filter_height"], op.options["filter_width"]), op.options)


def sizes_belong_together(op: Op) -> str | None:
    """input and output must be of rank 4 and belong together in size"""
    source, target = _ends(op)
    if not len(source.shape) == len(target.shape) == 4:
        return f"the ranks are {len(source.shape)} and {len(target.shape)}"
    height, width = pool_windows(op)
    expected = (source.shape[0], height.output, width.output, source.shape[3])
    if target.shape != expected or min(expected) < 1:
        return f"they are {list(source.shape)} and {list(target.shape)}"
    return None


def windows_touch_the_image(op: Op) -> str | None:
    """every window must cover a part of the image"""
    for window in pool_windows(op):
        last = (window.output - 1) * window.stride - window.before
        if window.before >= window.filter or last >= window.input:
            return f"one of {window.filter} does not, with strides of {window.stride} over {window.input}"
    return None


RULES = (
    rules.inputs_are(1),
    rules.has_one_output,
    rules.input_is_int8,
    rules.input_is_computed,
    rules.outputs_are_int8,
    rules.output_quantised_as_input,
    rules.activation_is_known,
    window_options_are_sane,
    sizes_belong_together,
    windows_touch_the_image,
)
