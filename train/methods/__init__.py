"""The methods of training, behind one interface: the loop knows no other."""

from collections.abc import Mapping
from types import MappingProxyType

from ndtool.train.methods.alone import Distillation, Vanilla
from ndtool.train.methods.base import Method, StepMetrics, autocasts, step
from ndtool.train.methods.joint import InPlace, NetDistiller
from ndtool.train.methods.netaug import NetAug

__all__ = [
    "METHODS",
    "Distillation",
    "InPlace",
    "Method",
    "NetAug",
    "NetDistiller",
    "StepMetrics",
    "Vanilla",
    "autocasts",
    "step",
]

METHODS: Mapping[str, type[Method]] = MappingProxyType(
    {"netdistiller": NetDistiller, "inplace": InPlace, "netaug": NetAug, "kd": Distillation, "vanilla": Vanilla}
)
