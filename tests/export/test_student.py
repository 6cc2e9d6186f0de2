import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ndtool.errors import NdtoolError
from ndtool.export.student import outputs_of, ready_to_export

NORMS = nn.modules.batchnorm._BatchNorm


def trained(model: nn.Module, *shape: int) -> nn.Module:
    """With statistics of BatchNorm, and affine parameters, that differ from the initial ones."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, NORMS):
            nn.init.uniform_(module.weight, 0.5, 2.0)
            nn.init.normal_(module.bias)
    for _ in range(10):
        model(torch.randn(8, *shape) * 2 + 1)
    return model


def norms_in(model: nn.Module) -> int:
    return sum(isinstance(module, NORMS) for module in model.modules())


def check_equal(model: nn.Module, ready: nn.Module, *shape: int) -> None:
    x = torch.randn(4, *shape)
    torch.testing.assert_close(outputs_of(ready, x), outputs_of(model.eval(), x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["mobile", "dense", "wave"])
def test_folding_keeps_the_output_and_removes_every_batchnorm(name: str, exported: Callable[[str], Any]) -> None:
    case = exported(name)
    ready = ready_to_export(case.module, case.example)
    assert norms_in(case.module) > 0
    assert norms_in(ready) == 0
    check_equal(case.module, ready, *case.example.shape[1:])


def test_transposed_grouped_and_biased_convolutions_fold() -> None:
    model = nn.Sequential(
        nn.ConvTranspose2d(4, 8, 3, 2, bias=False),
        nn.BatchNorm2d(8),
        nn.Conv2d(8, 8, 3, groups=4),
        nn.BatchNorm2d(8),
    )
    ready = ready_to_export(trained(model, 4, 6, 6), torch.randn(1, 4, 6, 6))
    assert norms_in(ready) == 0
    check_equal(model, ready, 4, 6, 6)


class Branching(nn.Module):
    """The convolution's output is used before its BatchNorm too."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return self.norm(y) + y


class Shared(nn.Module):
    """One convolution, two BatchNorms."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.first, self.second = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.conv(self.first(self.conv(x))))


class Borrowed(nn.Module):
    """The convolution's weights are read by another operation, behind torch.fx's notion of a call."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(self.norm(self.conv(x)), self.conv.weight)


class Grouped(nn.Module):
    """A grouped transposed convolution, which torch cannot fuse."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.ConvTranspose2d(3, 6, 3, groups=3), nn.BatchNorm2d(6)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x))


class Before(nn.Module):
    """BatchNorm before the convolution, as in DenseNet."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.conv = nn.BatchNorm2d(3), nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.relu(self.norm(x)))


@pytest.mark.parametrize("kind", [Branching, Shared, Borrowed, Grouped, Before])
def test_what_cannot_be_folded_is_left_alone(kind: type[nn.Module]) -> None:
    model = trained(kind(), 3, 5, 5)
    ready = ready_to_export(model, torch.randn(1, 3, 5, 5))
    assert norms_in(ready) == norms_in(model)
    check_equal(model, ready, 3, 5, 5)


def test_the_given_model_is_not_changed() -> None:
    model = trained(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)), 3, 5, 5).train()
    before = copy.deepcopy(model.state_dict())
    ready = ready_to_export(model, torch.randn(1, 3, 5, 5))
    assert model.training
    assert not ready.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(parameter.requires_grad for parameter in ready.parameters())


def test_an_input_of_the_wrong_shape_is_one_line() -> None:
    with pytest.raises(NdtoolError, match=r"cannot take an input of \(1, 4, 5, 5\)") as caught:
        ready_to_export(nn.Conv2d(3, 4, 1), torch.randn(1, 4, 5, 5))
    assert "\n" not in str(caught.value)


class Named(nn.Module):
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"out": x}


def test_outputs_that_are_no_tensors_are_refused() -> None:
    with pytest.raises(NdtoolError, match="returns dict"):
        ready_to_export(Named(), torch.randn(1, 3))
