"""What a reader of data hands over: the parts it found, not yet decoded, split or scaled."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from PIL import Image
from torch import Tensor

from ndtool.train.data.dataset import OnDemand


class Images(Protocol):
    """Pictures that are opened one at a time."""

    def __len__(self) -> int:
        """How many there are."""

    def name(self, index: int) -> str:
        """What to call a picture in a message."""

    def open(self, index: int) -> Image.Image:
        """Open a picture; decoding may be left to the first use of its pixels."""

    def fingerprint(self) -> str | None:
        """What changes when any picture changes; None where decoded pictures must not be kept on disk."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """Samples and their classes (N,) int64, None where there are none."""

    samples: Tensor | Images | OnDemand
    labels: Tensor | None

    def __len__(self) -> int:
        return len(self.samples)


@dataclass(frozen=True, kw_only=True)
class Source:
    """A data set as it was found. `parts` has "train", and "validation" and "test" where the source has them."""

    name: str
    parts: Mapping[str, Part]
    classes: tuple[str, ...] = ()
    augment: str | None = None  # the preset that suits it; None: chosen by what the samples are
    notes: tuple[str, ...] = field(default=())
