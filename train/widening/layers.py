"""Rules of the layers that have weights: what is widened in them, and how a widened copy is made."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from ndtool.train.widening.context import RefusedError, Rewriter, Solver, source, whole
from ndtool.train.widening.layout import Axis, Ids, Layout, block_keys, fixed, reordering

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def images(s: Solver, node: fx.Node, dims: int) -> Layout:
    """The layout of a batch of channels with `dims` spatial axes, which are fixed by this.

    Raises:
        RefusedError: the input has another rank.
    """
    layout = s.layout(source(node))
    if len(layout) != dims + 2:
        raise RefusedError(f"expects a batch (N, C and {dims} more axes), gets {len(layout)} axes")
    for ids in layout[2:]:
        s.groups.fix(ids)
    return layout


def solve_convolution(s: Solver, node: fx.Node) -> Layout:
    """A convolution makes a new group of channels; with groups it keeps their number, each group being widened."""
    conv = s.module(node)
    layout = images(s, node, conv.weight.dim() - 2)
    if conv.groups > 1 and conv.groups == conv.in_channels:
        out = _solve_depthwise(s, conv, layout[1])
    else:
        out = s.output_ids(conv.weight, 0, conv.out_channels)
        by_group = layout[1].reshape(conv.groups, -1)
        for ids in by_group[1:]:
            s.groups.tie(by_group[0], ids)
        s.store(conv.weight, (Axis(out), Axis(by_group[0]), *whole(conv.weight.shape[2:])))
        s.store(conv.bias, (Axis(out),))
    return (layout[0], out, *(fixed(size) for size in s.shape(node)[2:]))


def _solve_depthwise(s: Solver, conv: Any, ids: Ids) -> Ids:
    """Depthwise stays depthwise: the output's channels follow the input's."""
    multiplier = conv.out_channels // conv.in_channels
    s.store(conv.weight, (Axis(ids, multiplier), *whole(conv.weight.shape[1:])))
    s.store(conv.bias, (Axis(ids, multiplier),))
    return np.repeat(ids, multiplier)


def rewrite_convolution(w: Rewriter, node: fx.Node) -> fx.Node:
    """The call itself; after a depthwise convolution with a multiplier the channels are put back into blocks."""
    x = w.copy(node)
    conv = w.solver.module(node)
    multiplier = conv.out_channels // conv.in_channels
    if conv.groups == 1 or conv.groups != conv.in_channels or multiplier == 1:
        return x
    widths = w.widths(w.solver.layout(source(node))[1])
    base = int(widths.max())
    want = block_keys([np.repeat(widths, multiplier)], base)
    # As convolved: of each block, each teacher channel's run of outputs in turn.
    channel, place = divmod(block_keys([widths], base), base)
    have = ((channel[:, None] * multiplier + np.arange(multiplier)) * base + place[:, None]).ravel()
    return w.reorder(x, 1, reordering(have, want))


def solve_transposed_convolution(s: Solver, node: fx.Node) -> Layout:
    """A transposed convolution makes a new group of channels."""
    conv = s.module(node)
    if conv.groups != 1:
        raise RefusedError("a transposed convolution with groups cannot be widened: use groups=1")
    layout = images(s, node, conv.weight.dim() - 2)
    out = s.output_ids(conv.weight, 1, conv.out_channels)
    s.store(conv.weight, (Axis(layout[1]), Axis(out), *whole(conv.weight.shape[2:])))
    s.store(conv.bias, (Axis(out),))
    return (layout[0], out, *(fixed(size) for size in s.shape(node)[2:]))


def solve_linear(s: Solver, node: fx.Node) -> Layout:
    """A linear layer makes a new group of features, in the last axis."""
    linear = s.module(node)
    layout = s.layout(source(node))
    out = s.output_ids(linear.weight, 0, linear.out_features)
    s.store(linear.weight, (Axis(out), Axis(layout[-1])))
    s.store(linear.bias, (Axis(out),))
    return (*layout[:-1], out)


def solve_batch_norm(s: Solver, node: fx.Node) -> Layout:
    """BatchNorm follows its input; student and teacher have their own."""
    norm = s.module(node)
    layout = s.layout(source(node))
    for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
        s.store(tensor, (Axis(layout[1]),), own=True)
    s.store(norm.num_batches_tracked, (), own=True)
    return layout


def solve_prelu(s: Solver, node: fx.Node) -> Layout:
    """PReLU follows its input; its slopes are shared."""
    prelu = s.module(node)
    layout = s.layout(source(node))
    s.store(prelu.weight, (Axis(layout[1]),) if prelu.num_parameters > 1 else whole(prelu.weight.shape))
    return layout


def adapt(module: nn.Module) -> None:
    """Make a layer consistent with its tensors, which were exchanged for wider ones that repeat the student's values.

    Biases, BatchNorm and slopes of PReLU keep these. The weights of convolutions and linear layers are drawn anew,
    since channels that begin alike stay alike: uniformly, with the variance that the student's have, times its fan-in
    over the teacher's. So the teacher begins as the student's author would have initialised it (of Kaiming's, with
    any gain, the variance is in proportion to 1 / fan-in), and one learning rate suits both.
    """
    drawn = isinstance(module, (nn.Linear, *CONVOLUTIONS, *TRANSPOSED))
    inputs = _inputs(module) if drawn else 0
    if isinstance(module, CONVOLUTIONS):
        multiplier = module.out_channels // module.in_channels
        out_channels, in_per_group = module.weight.shape[:2]
        if module.groups > 1 and module.groups == module.in_channels:
            module.groups = out_channels // multiplier
        module.out_channels, module.in_channels = out_channels, in_per_group * module.groups
    elif isinstance(module, TRANSPOSED):
        module.in_channels, module.out_channels = module.weight.shape[:2]
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, BATCH_NORMS):
        sizes = [len(tensor) for tensor in (module.weight, module.running_mean) if isinstance(tensor, Tensor)]
        module.num_features = sizes[0] if sizes else module.num_features
    elif isinstance(module, nn.PReLU):
        module.num_parameters = len(module.weight)
    if drawn:
        _draw(module, inputs / _inputs(module))


def _inputs(module: Any) -> int:
    """The channels that each output of a convolution or linear layer sees."""
    return int(module.in_features if isinstance(module, nn.Linear) else module.in_channels // module.groups)


@torch.no_grad()
def _draw(layer: Any, scale: float) -> None:
    """Draw a layer's weights anew: uniformly around 0, with `scale` times the variance that they have.

    Weights that are all alike, a single one or a scale that begins at 1, have their square for a variance.
    """
    weight: Tensor = layer.weight
    alike = weight.min() == weight.max()
    variance = weight.flatten()[0].square() if alike else weight.var(correction=0)
    weight.uniform_(-1, 1).mul_((3 * scale * variance).sqrt())
