"""What every source of data becomes: three parts of samples, in memory or decoded on demand, and how to scale them."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.utils.data import Dataset

CLASSIFICATION = "classification"
RECONSTRUCTION = "reconstruction"
TASKS = (CLASSIFICATION, RECONSTRUCTION)


@dataclass(frozen=True, kw_only=True)
class Normalisation:
    """Scaling of pixels, per channel: real = (pixel / 255 - mean) / std."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, pixels: Tensor) -> Tensor:
        """Pixels (B, C, H, W), uint8 or float in [0, 255], to float32 of mean 0 and deviation 1 or nearly so."""
        mean = torch.tensor(self.mean, device=pixels.device).view(1, -1, 1, 1)
        std = torch.tensor(self.std, device=pixels.device).view(1, -1, 1, 1)
        return (pixels.float() / 255 - mean) / std


class OnDemand(Dataset[Tensor]):
    """Samples that do not fit into memory, or differ each time they are read. Indexing gives one, `read` a batch."""

    prefetch = True  # whether `read` may run on another thread

    def __len__(self) -> int:
        raise NotImplementedError

    def __getitem__(self, index: int) -> Tensor:
        return self.read(torch.tensor([index]), seed=0)[0]

    def __iter__(self) -> Iterator[Tensor]:
        return (self[index] for index in range(len(self)))

    def read(self, indices: Tensor, *, seed: int) -> Tensor:
        """The samples at `indices` (B,), as (B, ...) uint8 or float32.

        `seed` fixes what is random in them, in each by itself: what is read beside it makes no difference.
        """
        raise NotImplementedError

    def cropped(self, least: float) -> "OnDemand | None":
        """The same, of which each reading gives a random crop (see crops); None where that is done afterwards."""
        return None

    def subset(self, indices: Tensor) -> "OnDemand":
        """The same samples, at `indices` only and in their order."""
        return _Subset(self, indices)


class _Subset(OnDemand):
    def __init__(self, whole: OnDemand, indices: Tensor):
        self._whole, self._indices = whole, indices
        self.prefetch = whole.prefetch

    def __len__(self) -> int:
        return len(self._indices)

    def read(self, indices: Tensor, *, seed: int) -> Tensor:
        return self._whole.read(self._indices[indices], seed=seed)

    def cropped(self, least: float) -> OnDemand | None:
        whole = self._whole.cropped(least)
        return None if whole is None else _Subset(whole, self._indices)


@dataclass(frozen=True, kw_only=True)
class Split:
    """One part of the data.

    `x` holds the samples: a tensor (N, C, H, W) uint8 for pixels, (N, ...) float32 for anything else, or OnDemand.
    `y` holds the classes, (N,) int64; None for reconstruction, where the target is the input.
    """

    x: Tensor | OnDemand
    y: Tensor | None = None

    def __len__(self) -> int:
        return len(self.x)

    def subset(self, indices: Tensor) -> "Split":
        """The samples at `indices` (M,) int64, in that order."""
        x = self.x[indices] if isinstance(self.x, Tensor) else self.x.subset(indices)
        return Split(x=x, y=None if self.y is None else self.y[indices])

    def sample(self, count: int | None, seed: int = 0) -> "Split":
        """A random choice of `count` samples fixed by `seed`, in their order; all where there are no more, or None.

        Class folders are read class by class: the first samples would be of one class.
        """
        if count is None or count >= len(self):
            return self
        generator = torch.Generator().manual_seed(seed)
        return self.subset(torch.randperm(len(self), generator=generator)[:count].sort().values)

    def to(self, device: torch.device | str) -> "Split":
        """The part with what is in memory moved to `device`, so that batches are cut there."""
        x = self.x.to(device) if isinstance(self.x, Tensor) else self.x
        return replace(self, x=x, y=None if self.y is None else self.y.to(device))


@dataclass(frozen=True, kw_only=True)
class Data:
    """A data set ready for training: validation is held out of the training data, test is for the end."""

    name: str
    task: str  # CLASSIFICATION or RECONSTRUCTION
    train: Split
    validation: Split
    test: Split
    classes: tuple[str, ...]  # names in the order of the model's outputs; empty for reconstruction
    input_shape: tuple[int, ...]  # of one sample; (C, H, W) for images
    normalisation: Normalisation | None  # None: the samples are floats, used as they are
    augment: str = "none"  # the preset of augmentation that suits these data
    notes: tuple[str, ...] = field(default=())  # what was decided about the data without being asked
