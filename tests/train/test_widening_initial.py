"""What the teacher begins with: the student's initialisation, whoever wrote it, carried over to wider layers."""

import pytest
import torch
from torch import nn

from ndtool.train.models import ModelSpec, build
from ndtool.train.teacher import widen


def made(kind: type[nn.Module], *sizes: int, **options) -> nn.Module:
    torch.manual_seed(0)
    return kind(*sizes, **options)


LAYERS = {
    "convolution": (lambda: made(nn.Conv2d, 16, 32, 3), (16, 8, 8)),
    "grouped": (lambda: made(nn.Conv2d, 16, 32, 3, groups=4), (16, 8, 8)),
    "depthwise": (lambda: made(nn.Conv2d, 64, 64, 5, groups=64), (64, 8, 8)),
    "transposed": (lambda: made(nn.ConvTranspose2d, 16, 32, 3), (16, 8, 8)),
    "linear": (lambda: made(nn.Linear, 64, 48), (64,)),
}


def teacher_of(layer: nn.Module, shape: tuple[int, ...]) -> nn.Module:
    """The layer's counterpart in a teacher 3 times as wide, where input and output of the layer are hidden channels."""
    first = nn.Linear(*shape, *shape) if len(shape) == 1 else nn.Conv2d(shape[0], shape[0], 1)
    tail = [] if len(shape) == 1 else [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    outputs = getattr(layer, "out_channels", None) or layer.out_features
    student = nn.Sequential(first, layer, *tail, nn.Linear(outputs, 2))
    return widen(student, torch.zeros(2, *shape), 3).teacher.get_submodule("1")


@pytest.mark.parametrize("gain", [0.1, 3.0])
@pytest.mark.parametrize("name", LAYERS)
def test_weights_are_drawn_like_the_students_for_their_fan_in(name: str, gain: float) -> None:
    make, shape = LAYERS[name]
    layer = make()
    nn.init.kaiming_normal_(layer.weight, a=gain)
    before = layer.weight.detach().clone()
    wide = teacher_of(layer, shape).weight
    grown = 1 if name == "depthwise" else 3
    assert wide.numel() == before.numel() * 3 * grown
    assert wide.var().item() == pytest.approx(before.var().item() / grown, rel=0.1)
    assert abs(wide.mean().item()) < 0.1 * wide.std().item()
    assert len(wide.unique()) > 0.95 * wide.numel()  # no two channels begin alike
    assert torch.equal(layer.weight, before)


def test_what_the_student_sets_to_a_constant_the_teacher_has_too() -> None:
    layer = nn.Conv2d(8, 8, 3)
    nn.init.zeros_(layer.weight)
    nn.init.constant_(layer.bias, -4.0)
    wide = teacher_of(layer, (8, 8, 8))
    assert not wide.weight.any()
    assert torch.equal(wide.bias, torch.full((24,), -4.0))
    norm = nn.BatchNorm2d(8)
    nn.init.zeros_(norm.weight)
    student = nn.Sequential(nn.Conv2d(3, 8, 3), norm, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))
    assert not widen(student, torch.zeros(2, 3, 8, 8), 2).teacher.get_submodule("1").weight.any()


def test_weights_that_are_all_alike_are_not_lost() -> None:
    scale = nn.Conv2d(8, 8, 1, groups=8, bias=False)
    nn.init.constant_(scale.weight, 0.1)
    assert teacher_of(scale, (8, 8, 8)).weight.square().mean().sqrt().item() == pytest.approx(0.1, rel=0.3)


def test_student_and_teacher_of_a_network_begin_at_one_scale() -> None:
    """The activations before each BatchNorm vary as much in the teacher: one learning rate suits both."""
    torch.manual_seed(0)
    student = build(ModelSpec(name="resnet8", input_shape=(3, 32, 32), classes=10))
    images = torch.randn(8, 3, 32, 32)
    teacher = widen(student, images, 4).teacher
    ours, theirs = (_scales(network, images) for network in (student, teacher))
    for name, scale in ours.items():
        assert theirs[name] == pytest.approx(scale, rel=0.4), name


def _scales(network: nn.Module, images: torch.Tensor) -> dict[str, float]:
    """The standard deviation of what enters each BatchNorm."""
    seen: dict[str, float] = {}
    norms = [(name, module) for name, module in network.named_modules() if isinstance(module, nn.BatchNorm2d)]
    hooks = [
        module.register_forward_hook(lambda _, inputs, __, name=name: seen.update({name: inputs[0].std().item()}))
        for name, module in norms
    ]
    with torch.no_grad():
        network.train()(images)
    for hook in hooks:
        hook.remove()
    return seen
