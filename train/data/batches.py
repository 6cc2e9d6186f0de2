"""Batches for training and evaluation: shuffled, augmented, normalised; the same again for the same seed and epoch."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ndtool.errors import NdtoolError
from ndtool.train.data.augment import Augment, augmentation, change_colours, cut_out, move_pixels
from ndtool.train.data.crops import cropped
from ndtool.train.data.dataset import Data, OnDemand, Split
from ndtool.train.data.draws import Draws, seed_of

_ORDER, _SAMPLE, _AUGMENT = range(3)  # streams of random numbers that do not disturb each other


@dataclass(frozen=True, kw_only=True)
class Batches:
    """One pass over a part of the data; iterating again gives the same batches again.

    Yields (x, y): x (B, ...) float32 as the model takes it, y (B,) int64, or x itself for reconstruction.
    `shuffle_seed` None keeps the order of the part. `augment` is a preset, "auto" for the data's own, or None.
    `start` skips that many batches, as when training goes on in the middle of an epoch; of the others, each
    `stride`-th is given. `share` (r, of) gives the r-th contiguous part of every batch. A sample looks the same
    whatever batch or share it comes in.
    """

    split: Split
    data: Data
    batch_size: int
    shuffle_seed: int | None = None
    epoch: int = 0
    augment: str | Augment | None = None
    drop_last: bool = False
    device: torch.device | str = "cpu"
    start: int = 0
    stride: int = 1
    share: tuple[int, int] = (0, 1)

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise NdtoolError(f"the batch size is {self.batch_size}: give 1 or more")

    def __len__(self) -> int:
        count = len(self.split)
        whole = count // self.batch_size if self.drop_last else -(-count // self.batch_size)
        return max(0, -(-(whole - self.start) // self.stride))

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        augment = augmentation(self.augment, self.data.augment)
        order = self._order()
        steps = range(self.start, self.start + len(self) * self.stride, self.stride)
        indices = [self._part(order[step * self.batch_size : (step + 1) * self.batch_size]) for step in steps]
        for chosen, raw in zip(indices, self._read(indices), strict=True):
            x = prepare(raw.to(self.device), self.data, augment, Draws(self._seed(_AUGMENT), chosen))
            y = x if self.split.y is None else self.split.y[chosen.to(self.split.y.device)].to(self.device)
            yield x, y

    def _samples(self) -> Tensor | OnDemand:
        """The part's samples, or random crops of them."""
        least = 1.0 if self.data.normalisation is None else augmentation(self.augment, self.data.augment).area
        return cropped(self.split.x, least)

    def _order(self) -> Tensor:
        if self.shuffle_seed is None:
            return torch.arange(len(self.split))
        return torch.randperm(len(self.split), generator=torch.Generator().manual_seed(self._seed(_ORDER)))

    def _part(self, batch: Tensor) -> Tensor:
        number, of = self.share
        return batch[number * len(batch) // of : (number + 1) * len(batch) // of]

    def _read(self, indices: list[Tensor]) -> Iterator[Tensor]:
        """The raw samples of each batch; those decoded on demand one batch ahead, on another thread."""
        x, seed = self._samples(), self._seed(_SAMPLE)
        if isinstance(x, Tensor):
            yield from (x[chosen.to(x.device)] for chosen in indices)
        elif not x.prefetch:
            yield from (x.read(chosen, seed=seed) for chosen in indices)
        else:
            yield from _read_ahead(x, indices, seed)

    def _seed(self, stream: int) -> int:
        return seed_of(self.shuffle_seed or 0, self.epoch, stream)


def _read_ahead(x: OnDemand, indices: list[Tensor], seed: int) -> Iterator[Tensor]:
    with ThreadPoolExecutor(max_workers=1) as ahead:
        waiting = None
        for chosen in indices:
            following = ahead.submit(x.read, chosen, seed=seed)
            if waiting is not None:
                yield waiting.result()
            waiting = following
        if waiting is not None:
            yield waiting.result()


def batches(split: Split, data: Data, **options: Any) -> Iterator[tuple[Tensor, Tensor]]:
    """One pass over a part of the data; `options` as Batches takes them."""
    return iter(Batches(split=split, data=data, **options))


def prepare(raw: Tensor, data: Data, augment: Augment, draws: Draws) -> Tensor:
    """Raw samples (B, ...) as the model takes them, float32; only pixels are augmented."""
    if data.normalisation is None:
        return raw.float()
    pixels = change_colours(move_pixels(raw, augment, draws).float(), augment, draws)
    return cut_out(data.normalisation(pixels), augment, draws)


def evaluation_inputs(split: Split, data: Data, count: int | None = None, seed: int = 0) -> Tensor:
    """A random choice of `count` samples of a part (all by default), (N, ...) float32, without augmentation."""
    return torch.cat([x for x, _ in batches(split.sample(count, seed), data, batch_size=256)])


def calibration_samples(data: Data, count: int = 256, seed: int = 0) -> Tensor:
    """Random samples of the training part as evaluation sees them, (count, ...) float32, or as many as there are."""
    return evaluation_inputs(data.train, data, count, seed)
