from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ndtool.errors import NdtoolError
from ndtool.train.teacher import widen


class Net(nn.Module):
    """A network from its modules, its forward and the shape of its input."""

    def __init__(self, forward: Callable, shape: tuple[int, ...] = (3, 8, 8), **modules: nn.Module | nn.Parameter):
        super().__init__()
        for name, module in modules.items():
            setattr(self, name, module)
        self._run, self.shape = forward, shape

    def forward(self, x):
        return self._run(self, x)


def conv(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU())


def _head(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 5))


def _chain(n, x):
    return n.head(n.b(n.a(x)))


REFUSED = {
    "layer norm": (Net(_chain, a=conv(3, 4), b=nn.LayerNorm(8), head=_head(4)), "'b' (LayerNorm) normalises over"),
    "functional convolution": (
        Net(lambda n, x: F.conv2d(n.a(x), n.w), a=conv(3, 4), w=nn.Parameter(torch.ones(2, 4, 1, 1))),
        "'conv2d' (conv2d) has its weights outside a layer: use the module",
    ),
    "matmul": (Net(lambda n, x: n.a(x) @ x, a=conv(3, 3)), "'matmul' (matmul) multiplies activations"),
    "attention": (
        Net(lambda n, x: n.b(x, x, x)[0], (4, 8), b=nn.MultiheadAttention(8, 2)),
        "'b' (MultiheadAttention) attention cannot be widened",
    ),
    "unknown operator": (
        Net(lambda n, x: torch.cumsum(n.a(x), 1), a=conv(3, 4)),
        "(cumsum) is an operator that ndtool",
    ),
    "unknown method": (Net(lambda n, x: n.a(x).roll(1, 1), a=conv(3, 4)), "'roll' (roll) is an operator that ndtool"),
    "control flow": (Net(lambda n, x: n.a(x) if x.sum() > 0 else x, a=conv(3, 3)), "cannot be traced by torch.fx"),
    "number from data": (Net(lambda n, x: n.a(x) * x.max().item(), a=conv(3, 4)), "'item' (item) makes a number"),
    "mixed batch": (Net(lambda n, x: n.a(x).reshape(4, -1), a=conv(3, 4)), "(reshape) reshapes the batch"),
    "part of the batch": (Net(lambda n, x: n.a(x)[:1], a=conv(3, 4)), "(getitem) takes a part of the batch"),
    "mean over the batch": (Net(lambda n, x: n.a(x).mean(), a=conv(3, 4)), "(mean) reduces over the batch"),
    "indices of a pool": (
        Net(lambda n, x: n.b(n.a(x))[0], a=conv(3, 4), b=nn.MaxPool2d(2, return_indices=True)),
        "'b' (MaxPool2d) gives several tensors",
    ),
    "wrong input": (Net(_chain, a=conv(5, 4), b=conv(4, 4), head=_head(4)), "the network fails on an input of shape"),
    "nothing hidden": (Net(lambda n, x: n.a(x.flatten(1)), a=nn.Linear(192, 3)), "has no hidden channels"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_networks_that_cannot_be_widened_are_refused_with_the_node_and_the_reason(name: str) -> None:
    net, reason = REFUSED[name]
    with pytest.raises(NdtoolError) as caught:
        widen(net, torch.randn(1, *net.shape))
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_all_findings_are_named_at_once() -> None:
    block = Net(lambda n, x: torch.cumsum(n.a(x), 1), a=conv(4, 4))
    net = Net(_chain, a=conv(3, 4), b=block, head=nn.Sequential(nn.GroupNorm(2, 4), *_head(4)))
    with pytest.raises(NdtoolError, match=r"'cumsum' \(cumsum in module 'b'\).*; 'head.0' \(GroupNorm\)"):
        widen(net, torch.randn(1, 3, 8, 8))


def test_networks_of_several_inputs_are_refused() -> None:
    class Two(nn.Module):
        def forward(self, x, y):
            return x + y

    with pytest.raises(NdtoolError, match="takes the inputs"):
        widen(Two(), torch.randn(1, 3))


@pytest.mark.parametrize("expand", [0, -1, 1.5, True])
def test_expand_must_be_a_whole_number(expand: object) -> None:
    student, x = Net(_chain, a=conv(3, 4), b=conv(4, 4), head=_head(4)), torch.randn(1, 3, 8, 8)
    with pytest.raises(NdtoolError, match="whole number"):
        widen(student, x, expand)  # type: ignore[arg-type]
