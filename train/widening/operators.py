"""Which operator is widened by which rule: one row per operator. What is not in these tables is refused."""

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from ndtool.train.widening import axes, layers, pointwise
from ndtool.train.widening.context import Rewriter, Solver
from ndtool.train.widening.layout import Layout
from ndtool.train.widening.trace import layer_type


@dataclass(frozen=True)
class Rule:
    """solve: the output's layout from the inputs', and what it asks of their widths. rewrite: the teacher's node."""

    solve: Callable[[Solver, fx.Node], Layout | list[Layout]]
    rewrite: Callable[[Rewriter, fx.Node], fx.Node] = Rewriter.copy


ELEMENTWISE = Rule(pointwise.solve_elementwise)
DROPOUT = Rule(pointwise.solve_elementwise, pointwise.rewrite_dropout)
POOL = {dims: Rule(pointwise.spatial(dims)) for dims in (1, 2, 3)}
INTERPOLATE = Rule(pointwise.solve_interpolate)
SOFTMAX = Rule(pointwise.solve_softmax)
REDUCTION = Rule(pointwise.solve_reduction)
RESHAPE = Rule(axes.solve_reshape, axes.rewrite_reshape)
PERMUTE = Rule(axes.solve_permute)
EXPAND = Rule(axes.solve_expand, axes.rewrite_expand)
CAT = Rule(axes.solve_cat)
SPLIT = Rule(axes.solve_split, axes.rewrite_split)
CHANNEL_SHUFFLE = Rule(axes.solve_channel_shuffle, axes.rewrite_channel_shuffle)
NARROW = Rule(axes.solve_narrow, axes.rewrite_narrow)
GETITEM = Rule(axes.solve_getitem, axes.rewrite_getitem)
PAD = Rule(pointwise.solve_pad, pointwise.rewrite_pad)
CONVOLUTION = Rule(layers.solve_convolution, layers.rewrite_convolution)
TRANSPOSED = Rule(layers.solve_transposed_convolution)
LINEAR = Rule(layers.solve_linear)
BATCH_NORM = Rule(layers.solve_batch_norm)
PRELU = Rule(layers.solve_prelu)


def _refused(reason: str) -> Rule:
    return Rule(pointwise.solve_refusal(reason))


FUNCTIONAL_LAYER = _refused("has its weights outside a layer: use the module (nn.Conv2d, nn.Linear, nn.BatchNorm2d, …)")
MATMUL = _refused("multiplies activations with each other, which has no counterpart for blocks of channels")
NORM = _refused("normalises over the channels that are widened: use BatchNorm")
ATTENTION = _refused("attention cannot be widened yet: use convolutions and linear layers")


def _rows(rule: Rule, names: str, *places: Any) -> dict[Any, Rule]:
    """The rule for each name in each place (a module that has it), or for the bare names of methods."""
    if not places:
        return dict.fromkeys(names.split(), rule)
    return {getattr(place, name): rule for place in places for name in names.split()}


MODULES: Mapping[type[nn.Module] | None, Rule] = MappingProxyType(
    _rows(CONVOLUTION, "Conv1d Conv2d Conv3d", nn)
    | _rows(TRANSPOSED, "ConvTranspose1d ConvTranspose2d ConvTranspose3d", nn)
    | _rows(LINEAR, "Linear", nn)
    | _rows(BATCH_NORM, "BatchNorm1d BatchNorm2d BatchNorm3d", nn)
    | _rows(PRELU, "PReLU", nn)
    | _rows(ELEMENTWISE, "Identity Dropout Dropout1d Dropout2d Dropout3d AlphaDropout", nn)
    | _rows(ELEMENTWISE, "ReLU ReLU6 LeakyReLU ELU SELU CELU GELU SiLU Mish Hardswish Hardsigmoid Hardtanh", nn)
    | _rows(ELEMENTWISE, "Sigmoid LogSigmoid Tanh Softplus Softsign Threshold Hardshrink Softshrink Tanhshrink", nn)
    | _rows(POOL[1], "AvgPool1d MaxPool1d AdaptiveAvgPool1d AdaptiveMaxPool1d", nn)
    | _rows(POOL[2], "AvgPool2d MaxPool2d AdaptiveAvgPool2d AdaptiveMaxPool2d", nn)
    | _rows(POOL[3], "AvgPool3d MaxPool3d AdaptiveAvgPool3d AdaptiveMaxPool3d", nn)
    | _rows(POOL[1], "ZeroPad1d ConstantPad1d ReflectionPad1d ReplicationPad1d CircularPad1d", nn)
    | _rows(POOL[2], "ZeroPad2d ConstantPad2d ReflectionPad2d ReplicationPad2d CircularPad2d", nn)
    | _rows(INTERPOLATE, "Upsample UpsamplingNearest2d UpsamplingBilinear2d", nn)
    | _rows(SOFTMAX, "Softmax LogSoftmax", nn)
    | _rows(RESHAPE, "Flatten Unflatten", nn)
    | _rows(CHANNEL_SHUFFLE, "ChannelShuffle", nn)
    | _rows(NORM, "LayerNorm GroupNorm LocalResponseNorm RMSNorm", nn)
    | _rows(ATTENTION, "MultiheadAttention TransformerEncoderLayer TransformerDecoderLayer", nn)
)

FUNCTIONS: Mapping[Any, Rule] = MappingProxyType(
    _rows(ELEMENTWISE, "add sub mul truediv neg pow iadd isub imul itruediv", operator)
    | _rows(ELEMENTWISE, "add sub mul div neg pow square sqrt rsqrt abs exp log clamp maximum minimum clone", torch)
    | _rows(ELEMENTWISE, "relu relu_ sigmoid tanh selu celu", torch, F)
    | _rows(ELEMENTWISE, "relu6 leaky_relu leaky_relu_ elu elu_ gelu silu mish hardswish hardsigmoid hardtanh", F)
    | _rows(ELEMENTWISE, "hardtanh_ softplus softsign logsigmoid threshold", F)
    | dict.fromkeys(pointwise.DROPOUTS, DROPOUT)
    | _rows(POOL[1], "avg_pool1d max_pool1d adaptive_avg_pool1d adaptive_max_pool1d", F)
    | _rows(POOL[2], "avg_pool2d max_pool2d adaptive_avg_pool2d adaptive_max_pool2d", F)
    | _rows(INTERPOLATE, "interpolate upsample", F)
    | _rows(REDUCTION, "mean sum amax amin", torch)
    | _rows(SOFTMAX, "softmax log_softmax", torch, F)
    | _rows(RESHAPE, "flatten reshape squeeze unsqueeze unflatten", torch)
    | _rows(PERMUTE, "permute transpose movedim swapaxes t", torch)
    | _rows(CAT, "cat concat concatenate", torch)
    | _rows(SPLIT, "chunk split", torch)
    | _rows(CHANNEL_SHUFFLE, "channel_shuffle native_channel_shuffle", torch)
    | _rows(NARROW, "narrow", torch)
    | _rows(GETITEM, "getitem", operator)
    | _rows(PAD, "pad", F)
    | _rows(FUNCTIONAL_LAYER, "conv1d conv2d conv3d conv_transpose1d conv_transpose2d linear bilinear", F)
    | _rows(FUNCTIONAL_LAYER, "batch_norm prelu embedding", F)
    | _rows(NORM, "layer_norm group_norm normalize local_response_norm", F)
    | _rows(MATMUL, "matmul bmm mm einsum addmm", torch)
    | _rows(MATMUL, "matmul", operator)
    | _rows(ATTENTION, "scaled_dot_product_attention", F)
)

METHODS: Mapping[Any, Rule] = MappingProxyType(
    _rows(ELEMENTWISE, "add add_ sub sub_ mul mul_ div div_ neg pow square sqrt rsqrt abs exp log maximum minimum")
    | _rows(ELEMENTWISE, "clamp clamp_ clamp_min clamp_max relu relu_ sigmoid sigmoid_ tanh tanh_")
    | _rows(ELEMENTWISE, "contiguous clone detach float")
    | _rows(REDUCTION, "mean sum amax amin")
    | _rows(SOFTMAX, "softmax log_softmax")
    | _rows(RESHAPE, "view reshape flatten squeeze unsqueeze unflatten view_as reshape_as")
    | _rows(PERMUTE, "permute transpose movedim swapaxes t")
    | _rows(EXPAND, "expand expand_as")
    | _rows(SPLIT, "chunk split")
    | _rows(NARROW, "narrow")
    | _rows(MATMUL, "matmul bmm mm")
)

# Numbers may only be made from shapes, by these; the reshapes that use them are given the teacher's shapes.
NUMBERS = frozenset(
    {"size", "dim", getattr, operator.getitem, operator.add, operator.sub, operator.mul}
    | {operator.floordiv, operator.truediv, operator.mod, operator.neg}
)


def rule_of(s: Solver, node: fx.Node) -> Rule | None:
    """The row of a node's operator; None for an unknown one."""
    if node.op == "call_module":
        return MODULES.get(layer_type(s.module(node)))
    return (METHODS if node.op == "call_method" else FUNCTIONS).get(node.target)
