"""The module that ships: on the CPU, in evaluation mode, its BatchNorms folded into the layers before them."""

import copy
import re
from collections import Counter
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from ndtool.errors import NdtoolError

TOLERANCE = 1e-4  # of the largest output: folding only rounds differently
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def ready_to_export(model: nn.Module, example: Tensor) -> nn.Module:
    """A copy of the model on the CPU, in evaluation mode and float32, without the BatchNorms that can be folded.

    Args:
        model: left as it is.
        example: (1, ...) float32, as the model takes it.

    Where folding changes the output of the example by more than rounding, as when a layer's weights are used in two
    places, the copy keeps its BatchNorms.

    Raises:
        NdtoolError: the model cannot be run on the example.
    """
    plain = _plain(copy.deepcopy(model).cpu().float().eval())
    expected = outputs_of(plain, example)
    folded = copy.deepcopy(plain)
    for layer, norm in _pairs(folded):
        _fold(folded, layer, norm)
    scale = max((float(output.abs().max()) for output in expected if output.numel()), default=0.0)
    difference = max_difference(expected, outputs_of(folded, example))
    return folded if difference <= TOLERANCE * max(scale, 1.0) else plain


@torch.inference_mode()
def outputs_of(model: nn.Module, x: Tensor) -> tuple[Tensor, ...]:
    """The outputs of one run. Raises NdtoolError where the model fails, or returns anything but tensors."""
    try:
        output = model(x)
    except Exception as error:
        what = f"{type(error).__name__}: {first_line(error)}"
        raise NdtoolError(
            f"the model cannot take an input of {tuple(x.shape)} ({what}): check --input-shape"
        ) from error
    outputs = (output,) if isinstance(output, Tensor) else output
    if not isinstance(outputs, tuple | list) or not all(isinstance(value, Tensor) for value in outputs):
        raise NdtoolError(f"the model returns {type(output).__name__}: make it return a tensor or a tuple of tensors")
    return tuple(outputs)


def first_line(error: BaseException) -> str:
    """The first line of what an exception, or the one that caused it, says; without colours and of bearable length."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    return next((line.strip() for line in text.splitlines() if line.strip()), type(error).__name__)[:200]


def max_difference(a: tuple[Tensor, ...], b: tuple[Tensor, ...]) -> float:
    """The largest absolute difference between two tuples of outputs; NaN where either has one."""
    differences = [(x.double() - y.double()).abs().max() for x, y in zip(a, b, strict=True) if x.numel()]
    return float(torch.stack(differences).max()) if differences else 0.0


def _plain(model: nn.Module) -> nn.Module:
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    return model


def _pairs(model: nn.Module) -> list[tuple[str, str]]:
    """Paths of (convolution or linear layer, BatchNorm) where the norm reads that layer's output and nothing else does.

    Empty where torch.fx cannot trace the model: the exporters then fold what they find themselves.
    """
    try:
        graph = fx.symbolic_trace(model).graph
    except Exception:  # noqa: BLE001 - tracing runs the user's forward on proxies: it may raise anything
        return []
    calls = Counter(str(node.target) for node in graph.nodes if node.op == "call_module")
    pairs = []
    for node in graph.nodes:
        source = node.args[0] if node.args else None
        if node.op != "call_module" or not isinstance(source, fx.Node) or source.op != "call_module":
            continue
        layer, norm = str(source.target), str(node.target)
        called_once = calls[layer] == calls[norm] == 1 and len(source.users) == 1
        if called_once and _foldable(model.get_submodule(layer), model.get_submodule(norm)):
            pairs.append((layer, norm))
    return pairs


def _foldable(layer: nn.Module, norm: nn.Module) -> bool:
    if type(norm) not in _NORMS or norm.running_mean is None:  # type: ignore[union-attr]
        return False
    if type(layer) in _TRANSPOSED:
        return bool(layer.groups == 1)  # torch fuses grouped ones wrongly
    return type(layer) in _CONVOLUTIONS or (type(layer) is nn.Linear and type(norm) is nn.BatchNorm1d)


def _fold(model: nn.Module, layer: str, norm: str) -> None:
    """Put the fused layer in the layer's place and nothing in the norm's; the user's forward stays as it is."""
    first: Any = model.get_submodule(layer)
    second: Any = model.get_submodule(norm)
    if isinstance(first, nn.Linear):
        fused: nn.Module = fuse_linear_bn_eval(first, second)
    else:
        fused = fuse_conv_bn_eval(first, second, transpose=isinstance(first, _TRANSPOSED))
    model.set_submodule(layer, _plain(fused))
    model.set_submodule(norm, nn.Identity())
