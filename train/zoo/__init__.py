"""The tiny networks, by name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from torch import nn

from ndtool.train.zoo import dense, dscnn, mcunet, mobilenetv1, mobilenetv2, mobilenetv3, resnet8
from ndtool.train.zoo.count import Cost, count

__all__ = ["ZOO", "Cost", "Entry", "count"]


@dataclass(frozen=True)
class Entry:
    """A network: what builds it, the input it was published for, and a line about it."""

    builder: Callable[..., nn.Module]
    input_shape: tuple[int, ...]
    about: str
    task: str = "classification"


ZOO: Mapping[str, Entry] = MappingProxyType(
    {
        "resnet8": Entry(resnet8.resnet8, resnet8.INPUT_SHAPE, "MLPerf Tiny image classification"),
        "dscnn": Entry(dscnn.dscnn, dscnn.INPUT_SHAPE, "MLPerf Tiny keyword spotting"),
        "mobilenetv1": Entry(mobilenetv1.mobilenetv1, mobilenetv1.INPUT_SHAPE, "MLPerf Tiny visual wake words"),
        "mobilenetv2": Entry(mobilenetv2.mobilenetv2, mobilenetv2.INPUT_SHAPE, "inverted residuals"),
        "mobilenetv2-tiny": Entry(
            mobilenetv2.mobilenetv2_tiny, mobilenetv2.TINY_INPUT_SHAPE, "NetAug's MobileNetV2-Tiny, a smaller head"
        ),
        "mobilenetv2-micro": Entry(
            mobilenetv2.mobilenetv2_micro, mobilenetv2.MICRO_INPUT_SHAPE, "the same blocks for images of 32 pixels"
        ),
        "mobilenetv3-small": Entry(
            mobilenetv3.mobilenetv3_small, mobilenetv3.INPUT_SHAPE, "squeeze-excite and hard-swish"
        ),
        "mcunet": Entry(mcunet.mcunet, mcunet.INPUT_SHAPE, "MCUNet vww1, found by search for 80 pixels"),
        "mcunet-in3": Entry(mcunet.mcunet_in3, mcunet.IN3_INPUT_SHAPE, "MCUNet in3, found by search for ImageNet"),
        "autoencoder": Entry(
            dense.autoencoder, dense.AUTOENCODER_INPUT_SHAPE, "MLPerf Tiny anomaly detection", "reconstruction"
        ),
        "mlp": Entry(dense.mlp, (64,), "dense layers, for inputs of any shape"),
    }
)
