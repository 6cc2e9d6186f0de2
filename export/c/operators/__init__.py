"""Every operator that the C compiler knows. A row names its lowering and its rules; see context.py and rules.py."""

from collections.abc import Mapping
from types import MappingProxyType

from ndtool.export.c.context import Operator
from ndtool.export.c.operators import (
    convolution,
    elementwise,
    fully_connected,
    mean,
    movement,
    padding,
    pooling,
    reshaping,
    resize,
    slicing,
    softmax,
    tables,
)

OPERATORS: Mapping[str, Operator] = MappingProxyType(
    {
        # Convolutions, fully connected, pooling, mean
        "AVERAGE_POOL_2D": Operator(pooling.pool, pooling.RULES),
        "CONV_2D": Operator(convolution.conv_2d, convolution.CONV_RULES),
        "DEPTHWISE_CONV_2D": Operator(convolution.depthwise_conv_2d, convolution.DEPTHWISE_RULES),
        "FULLY_CONNECTED": Operator(fully_connected.fully_connected, fully_connected.RULES),
        "MAX_POOL_2D": Operator(pooling.pool, pooling.RULES),
        "MEAN": Operator(mean.mean, mean.RULES),
        # Shape only
        "EXPAND_DIMS": Operator(reshaping.alias, reshaping.RULES),
        "RESHAPE": Operator(reshaping.alias, reshaping.RULES),
        "SQUEEZE": Operator(reshaping.alias, reshaping.RULES),
        # Elementwise
        "ADD": Operator(elementwise.lower_add, elementwise.ADD_RULES),
        "MAXIMUM": Operator(elementwise.lower_extremum, elementwise.EXTREMUM_RULES),
        "MINIMUM": Operator(elementwise.lower_extremum, elementwise.EXTREMUM_RULES),
        "MUL": Operator(elementwise.lower_mul, elementwise.MUL_RULES),
        "SUB": Operator(elementwise.lower_add, elementwise.ADD_RULES),
        # Movement of data
        "CONCATENATION": Operator(movement.lower_concatenation, movement.CONCATENATION_RULES),
        "DEPTH_TO_SPACE": Operator(movement.lower_depth_space, movement.DEPTH_SPACE_RULES),
        "PACK": Operator(movement.lower_pack, movement.PACK_RULES),
        "PAD": Operator(padding.lower, padding.PAD_RULES),
        "PADV2": Operator(padding.lower, padding.PADV2_RULES),
        "RESIZE_NEAREST_NEIGHBOR": Operator(resize.lower, resize.RULES),
        "SLICE": Operator(slicing.lower, slicing.SLICE_RULES),
        "SPACE_TO_DEPTH": Operator(movement.lower_depth_space, movement.DEPTH_SPACE_RULES),
        "SPLIT": Operator(movement.lower_split, movement.SPLIT_RULES),
        "SPLIT_V": Operator(movement.lower_split, movement.SPLIT_V_RULES),
        "STRIDED_SLICE": Operator(slicing.lower, slicing.STRIDED_SLICE_RULES),
        "TRANSPOSE": Operator(movement.lower_transpose, movement.TRANSPOSE_RULES),
        "UNPACK": Operator(movement.lower_unpack, movement.UNPACK_RULES),
        # Functions of one value, and of a row
        "ABS": Operator(tables.lower, tables.RULES),
        "ELU": Operator(tables.lower, tables.RULES),
        "EXP": Operator(tables.lower, tables.RULES),
        "GELU": Operator(tables.lower, tables.RULES),
        "HARD_SWISH": Operator(tables.lower, (*tables.RULES, tables.output_scale_is_not_finer)),
        "LEAKY_RELU": Operator(tables.lower, (*tables.RULES, tables.slope_is_ordinary)),
        "LOG": Operator(tables.lower, tables.RULES),
        "LOGISTIC": Operator(tables.lower, tables.RULES),
        "QUANTIZE": Operator(tables.lower, tables.RULES),
        "RELU": Operator(tables.lower, tables.RULES),
        "RELU6": Operator(tables.lower, tables.RULES),
        "RELU_0_TO_1": Operator(tables.lower, tables.RULES),
        "RELU_N1_TO_1": Operator(tables.lower, tables.RULES),
        "SOFTMAX": Operator(softmax.lower, softmax.RULES),
        "TANH": Operator(tables.lower, tables.RULES),
    }
)
