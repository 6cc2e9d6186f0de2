"""What a network costs, counted on one input."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class Cost:
    """`macs`: multiply-accumulates of convolutions and linear layers for one sample. `parameters`: trained numbers."""

    macs: int
    parameters: int


def count(network: nn.Module, input_shape: tuple[int, ...]) -> Cost:
    """Run the network on one zero input of `input_shape` (without batch) and count; the network is left as it was."""
    macs = 0

    def add(module: nn.Module, _: Any, output: Tensor) -> None:
        nonlocal macs
        assert isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear)
        macs += output.numel() * module.weight[0].numel()

    counted = [m for m in network.modules() if isinstance(m, nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear)]
    hooks = [module.register_forward_hook(add) for module in counted]
    was_training = [(module, module.training) for module in network.modules()]
    parameter = next(network.parameters(), torch.zeros(()))
    try:
        network.eval()
        with torch.no_grad():
            network(torch.zeros(1, *input_shape, device=parameter.device, dtype=parameter.dtype))
    finally:
        for hook in hooks:
            hook.remove()
        for module, training in was_training:
            module.training = training
    return Cost(macs=macs, parameters=sum(weight.numel() for weight in network.parameters()))
