"""The settings of a training that are one of several names. Without PyTorch, so that the command line has them too."""

from collections.abc import Mapping
from types import MappingProxyType

CHOICES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "task": ("classification", "reconstruction"),
        "method": ("netdistiller", "inplace", "netaug", "kd", "vanilla"),
        "optimizer": ("sgd", "adamw"),
        "distill": ("kl", "adaptive-kl", "alpha", "dkd", "tempered"),
        "surgery": ("tensor", "network", "none"),
    }
)
