"""Networks of dense layers: the anomaly detection autoencoder of MLPerf Tiny, and a perceptron."""

import math
from collections import OrderedDict

from torch import nn

from ndtool.errors import NdtoolError
from ndtool.train.zoo.blocks import initialise

AUTOENCODER_INPUT_SHAPE = (640,)
_DEPTH = 4  # hidden layers on each side of the bottleneck


def autoencoder(*, input_shape: tuple[int, ...], classes: int, hidden: int = 128, bottleneck: int = 8) -> nn.Module:
    """Dense layers 4 x `hidden`, `bottleneck`, 4 x `hidden`, each with BatchNorm and ReLU, then the output.

    Source: C. Banbury et al., "MLPerf Tiny Benchmark", arXiv 2106.07597 (640 inputs: 264 192 MACs).
    Raises: NdtoolError where classes are asked for.
    """
    if classes:
        raise NdtoolError("autoencoder: it reconstructs its input and has no classes: set the task to reconstruction")
    size = math.prod(input_shape)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    if len(input_shape) > 1:
        layers["flatten"] = nn.Flatten()
    channels = size
    for index, outputs in enumerate([hidden] * _DEPTH + [bottleneck] + [hidden] * _DEPTH, 1):
        layers[f"dense{index}"] = _dense(channels, outputs)
        channels = outputs
    layers["linear"] = nn.Linear(channels, size)
    if len(input_shape) > 1:
        layers["unflatten"] = nn.Unflatten(1, input_shape)
    return initialise(nn.Sequential(layers))


def mlp(*, input_shape: tuple[int, ...], classes: int, hidden: int = 64, layers: int = 2) -> nn.Module:
    """A perceptron of `layers` hidden layers, each with BatchNorm and ReLU, for inputs of any shape."""
    channels = math.prod(input_shape)
    network: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    for index in range(1, layers + 1):
        network[f"dense{index}"] = _dense(channels, hidden)
        channels = hidden
    network["linear"] = nn.Linear(channels, classes)
    return initialise(nn.Sequential(network))


def _dense(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        OrderedDict(linear=nn.Linear(inputs, outputs, bias=False), bn=nn.BatchNorm1d(outputs), act=nn.ReLU())
    )
