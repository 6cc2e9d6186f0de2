"""The zoo: published costs, any input, traceable, with fresh weights that keep the signal's size."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import fx, nn

from ndtool.quantize.runtime import TFLiteModel
from ndtool.train.models import ModelSpec, build
from ndtool.train.zoo import ZOO, count
from ndtool.train.zoo.blocks import kept_strides, rounded
from ndtool.train.zoo.mcunet import BLOCKS

IMAGE_NETWORKS = [name for name, entry in ZOO.items() if len(entry.input_shape) == 3]


def made(name: str, shape=None, classes=10, **arguments) -> nn.Module:
    torch.manual_seed(0)
    entry = ZOO[name]
    outputs = 0 if entry.task == "reconstruction" else classes
    return build(ModelSpec(name=name, input_shape=shape or entry.input_shape, classes=outputs, arguments=arguments))


@pytest.mark.parametrize(
    ("name", "shape", "classes", "arguments", "macs", "parameters"),
    [
        # MLPerf Tiny: MACs of the reference models. Parameters: theirs, less the biases that BatchNorm makes redundant.
        ("resnet8", (3, 32, 32), 10, {}, 12_501_632, 77_946),
        ("dscnn", (1, 49, 10), 12, {}, 2_656_768, 23_180),
        ("mobilenetv1", (3, 96, 96), 2, {}, 7_489_664, 213_586),
        ("autoencoder", (640,), 0, {}, 264_192, 266_896),
        # mcunet-vww1: 11.6 M MACs; mcunet-in3: 81.8 M, 0.74 M parameters; MobileNetV2-Tiny: 23.5 M, 0.75 M parameters.
        ("mcunet", (3, 80, 80), 2, {}, 11_578_816, 432_746),
        ("mcunet-in3", (3, 176, 176), 1000, {}, 81_785_520, 737_408),
        ("mobilenetv2-tiny", (3, 144, 144), 1000, {}, 23_499_152, 750_280),
        ("mobilenetv2-micro", (3, 32, 32), 10, {}, 1_434_432, 53_962),  # ours
        # The papers: 300 M and 3.4 M; 56 M and 2.5 M; MobileNetV1: 569 M and 4.2 M.
        ("mobilenetv2", (3, 224, 224), 1000, {"width": 1.0}, 300_774_272, 3_504_872),
        ("mobilenetv3-small", (3, 224, 224), 1000, {}, 56_510_400, 2_542_856),
        ("mobilenetv1", (3, 224, 224), 1000, {"width": 1.0}, 568_740_352, 4_231_976),
    ],
)
def test_costs_are_the_published_ones(name, shape, classes, arguments, macs, parameters):
    cost = count(made(name, shape, classes, **arguments), shape)
    assert (cost.macs, cost.parameters) == (macs, parameters)


@pytest.mark.parametrize(
    ("name", "file", "classes"),
    [
        ("resnet8", "ic", 10),
        ("dscnn", "kws", 12),
        ("mobilenetv1", "vww", 2),
        ("autoencoder", "ad", 0),
        ("mcunet", "mcunet_vww", 2),
    ],
)
def test_layers_are_those_of_the_published_model(shared: Path, name, file, classes):
    """The shapes of all convolutions and dense layers, in order, are those of the published TFLite file."""
    model = TFLiteModel(shared / "models" / f"{file}.tflite")
    published = []
    details = {detail["index"]: detail for detail in model._interpreter.get_tensor_details()}
    for op in model._interpreter._get_ops_details():
        if op["op_name"] in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
            kernel, output = details[op["inputs"][1]]["shape"], details[op["outputs"][0]]["shape"]
            published.append((math.prod(kernel), math.prod(output)))
    ours = []

    def note(module: nn.Module, _: object, output: torch.Tensor) -> None:
        ours.append((module.weight.numel(), output.numel()))

    network = made(name, classes=classes).eval()
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(note)
    network(torch.zeros(1, *ZOO[name].input_shape))
    assert sorted(ours) == sorted(published)
    assert ours[0] == published[0]
    assert ours[-1] == published[-1]


@pytest.mark.parametrize("name", ZOO)
def test_every_network_is_traceable_and_trains(name):
    shape = (1, 8, 8) if len(ZOO[name].input_shape) == 3 else ZOO[name].input_shape
    network = made(name, shape)
    x = torch.randn(4, *shape)
    traced = fx.symbolic_trace(network)
    network.eval(), traced.eval()
    assert torch.equal(traced(x), network(x))
    network.train()(x).square().mean().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())


@pytest.mark.parametrize("name", IMAGE_NETWORKS)
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (3, 33, 47), (1, 2, 2), (2, 96, 64)])
def test_any_image_size_and_channels_will_do(name, shape):
    assert made(name, shape, classes=7).eval()(torch.zeros(2, *shape)).shape == (2, 7)


@pytest.mark.parametrize(
    "name", ["resnet8", "dscnn", "mobilenetv1", "mobilenetv2", "mobilenetv2-tiny", "mobilenetv3-small"]
)
def test_width_scales_the_cost(name):
    shape = ZOO[name].input_shape
    small, large = (count(made(name, shape, width=width), shape) for width in (0.5, 1.5))
    assert 2 < large.parameters / small.parameters < 9.5
    assert 2 < large.macs / small.macs < 9.5


@pytest.mark.parametrize("shape", [(640,), (3, 8, 8), (5, 4)])
def test_dense_networks_take_any_shape(shape):
    x = torch.randn(3, *shape)
    assert made("autoencoder", shape).eval()(x).shape == x.shape
    assert made("mlp", shape, classes=5, hidden=16, layers=3).eval()(x).shape == (3, 5)


@pytest.mark.parametrize("name", ["resnet8", "mobilenetv1", "mobilenetv2", "mcunet", "dscnn", "mlp"])
def test_fresh_weights_keep_the_size_of_the_signal(name):
    network = made(name).train()
    with torch.no_grad():
        output = network(torch.randn(16, *ZOO[name].input_shape))
    assert 0.05 < output.std() < 20


def test_fresh_weights_are_those_of_the_seed():
    first, second = made("resnet8").state_dict(), made("resnet8").state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_mcunet_blocks_that_keep_their_shape_add_their_input():
    network = made("mcunet")
    blocks = [module for name, module in network.named_children() if name.startswith("block")]
    assert sum(block.adds_input for block in blocks) == 8  # ADDs in the published model
    assert len(blocks) == len(BLOCKS["vww1"])


def test_counting_leaves_the_network_alone():
    network = made("resnet8").train()
    network.stem.eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    count(network, (3, 32, 32))
    assert network.training
    assert not network.stem.training
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert not any(module._forward_hooks for module in network.modules())


@pytest.mark.parametrize("size", range(1, 64))
def test_small_inputs_keep_four_pixels_where_they_have_them(size):
    published = (2, 1, 2, 2, 1, 2, 2)
    kept = kept_strides(size, published)
    assert all(new in (1, old) for new, old in zip(kept, published, strict=True))
    assert math.ceil(size / math.prod(kept)) >= min(size, 4)


def test_published_strides_are_kept_from_64_pixels_on():
    assert kept_strides(64, (2, 2, 2, 2, 2, 2)) == (2, 2, 2, 2, 2, 2)
    assert kept_strides(32, (2, 1, 2, 2, 2, 2)) == (1, 1, 1, 2, 2, 2)


def test_channels_are_rounded_to_eights_but_not_far_down():
    assert [rounded(c) for c in (1, 8.4, 11.2, 11.9, 16, 33.6, 448.0)] == [8, 8, 16, 16, 16, 32, 448]
    scaled = np.arange(1, 2000) * 0.35
    assert all(rounded(c) >= 0.9 * c and rounded(c) % 8 == 0 for c in scaled)
