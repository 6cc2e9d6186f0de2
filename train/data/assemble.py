"""From the parts that a source has to Data: decoded, shaped, split and with a normalisation."""

from collections.abc import Callable

import torch
from torch import Tensor

from ndtool.errors import NdtoolError
from ndtool.train.data.dataset import CLASSIFICATION, RECONSTRUCTION, Data, Normalisation, OnDemand, Split
from ndtool.train.data.images import IN_MEMORY, PixelShape, pixels_of, shape_of
from ndtool.train.data.resize import fitted
from ndtool.train.data.source import Source
from ndtool.train.data.split import hold_out

TEST_PART = 0.15  # of data that come without a test part
TEST_SEED = 0  # never the run's: the test data are the same in every run
NATURAL_SIZE = 24  # pixels from which images are taken for photographs, which may be mirrored
_STATISTICS = 4096  # images decoded for the normalisation, where decoding all takes long
MANY_IMAGES = 5000  # from which decoding is worth a word


def assemble(
    source: Source,
    *,
    input_shape: tuple[int, ...] | None,
    task: str | None,
    normalisation: Normalisation | None,
    validation: float,
    seed: int,
    progress: Callable[[str], None],
) -> Data:
    """Data of a source; see load_data.

    Raises: NdtoolError where the source cannot serve the task, or its samples do not have the input's shape.
    """
    task = task or (RECONSTRUCTION if source.parts["train"].labels is None else CLASSIFICATION)
    if task == CLASSIFICATION:
        _check_classes(source)
    parts = _decoded(source, input_shape, progress)
    parts, notes = _split(parts, source.name, validation, seed)
    shape = _sample_shape(parts["train"])
    pixels = _dtype(parts["train"]) == torch.uint8
    if normalisation is not None:
        _check_normalisation(source.name, normalisation, shape, pixels)
    elif pixels:
        normalisation = measured(parts["train"])
    if task == RECONSTRUCTION:
        parts = {name: Split(x=part.x) for name, part in parts.items()}
    suits = source.augment or ("flip-crop" if min(shape[-2:]) >= NATURAL_SIZE else "crop")
    return Data(
        name=source.name,
        task=task,
        train=parts["train"],
        validation=parts["validation"],
        test=parts["test"],
        classes=source.classes if task == CLASSIFICATION else (),
        input_shape=shape,
        normalisation=normalisation,
        augment=suits if pixels else "none",
        notes=(*source.notes, *notes),
    )


def measured(split: Split) -> Normalisation:
    """Mean and deviation of each channel of a part's pixels / 255, to 4 decimals."""
    if isinstance(split.x, Tensor):
        pixels = split.x
    else:
        chosen = torch.randperm(len(split), generator=torch.Generator().manual_seed(0))[:_STATISTICS]
        pixels = split.x.read(chosen, seed=0)
    levels = torch.arange(256, dtype=torch.float64) / 255
    means, deviations = [], []
    for channel in range(pixels.shape[1]):
        count = torch.bincount(pixels[:, channel].flatten(), minlength=256).double()
        mean = (count @ levels) / count.sum()
        variance = (count @ (levels - mean) ** 2) / count.sum()
        means.append(round(mean.item(), 4))
        deviations.append(round(variance.sqrt().item(), 4) or 1.0)  # a channel that never changes is left alone
    return Normalisation(mean=tuple(means), std=tuple(deviations))


def _check_classes(source: Source) -> None:
    if source.parts["train"].labels is None:
        raise NdtoolError(
            f"{source.name}: there are no labels to classify by: add y, or set the task to reconstruction"
        )
    if len(source.classes) < 2:
        raise NdtoolError(f"{source.name}: there is only one class, {source.classes[0]!r}: classification needs two")
    for name, part in source.parts.items():
        assert part.labels is not None
        count = torch.bincount(part.labels, minlength=len(source.classes))
        if name == "train" and not count.all():
            empty = source.classes[int(torch.argmin(count))]
            raise NdtoolError(
                f"{source.name}: class {empty!r} has no training samples: add some, or leave the class out"
            )


def _decoded(source: Source, input_shape: tuple[int, ...] | None, progress: Callable[[str], None]) -> dict[str, Split]:
    """Every part's samples as tensors or on demand, of one shape and type."""
    parts: dict[str, Split] = {}
    pixel_shape: PixelShape | None = None
    for name in sorted(source.parts, key=("train", "validation", "test").index):
        part = source.parts[name]
        samples = part.samples
        if isinstance(samples, Tensor | OnDemand):
            x = _reshaped(samples, input_shape, source.name)
        else:
            pixel_shape = pixel_shape or shape_of(samples, input_shape)
            if len(samples) >= MANY_IMAGES:
                progress(f"{source.name}: {name} part, {len(samples)} images, decoded unless they are in the cache")
            x = pixels_of(samples, pixel_shape, IN_MEMORY)
        parts[name] = Split(x=x, y=part.labels)
        reference = parts["train"]
        if _sample_shape(parts[name]) != _sample_shape(reference) or _dtype(parts[name]) != _dtype(reference):
            raise NdtoolError(
                f"{source.name}: samples of the {name} part are {_describe(parts[name])}, of the training part "
                f"{_describe(reference)}: make the parts alike"
            )
    return parts


def _reshaped(x: Tensor | OnDemand, wanted: tuple[int, ...] | None, name: str) -> Tensor | OnDemand:
    """Samples in the wanted shape: pixels are resized, of others an axis of channels may be left out or come last."""
    found = _sample_shape(Split(x=x))
    if wanted is None or found == wanted:
        return x
    if isinstance(x, Tensor):
        if (1, *found) == wanted:
            return x[:, None]
        if len(found) == 3 and (found[2], found[0], found[1]) == wanted:
            return x.permute(0, 3, 1, 2).contiguous()
        if x.dtype == torch.uint8 and len(wanted) == 3:
            return fitted(x, wanted, name)
    raise NdtoolError(f"{name}: samples have the shape {_text(found)} and the input {_text(wanted)}: make them alike")


def _split(
    parts: dict[str, Split], name: str, validation: float, seed: int
) -> tuple[dict[str, Split], tuple[str, ...]]:
    """Hold the missing parts out of the training part."""
    notes: tuple[str, ...] = ()
    if "test" not in parts and "validation" in parts:
        notes = (f"{name} has no test part: its validation part is the test, validation data are held out of training",)
        parts = {"train": parts["train"], "test": parts["validation"]}
    if "test" not in parts:
        notes = (
            f"{name} has no test part: {TEST_PART:.0%} of the training data, always the same, are held out for it",
        )
        parts = _held_out(parts, "test", TEST_PART, TEST_SEED)
    if "validation" not in parts:
        parts = _held_out(parts, "validation", validation, seed)
    for part in ("train", "validation", "test"):
        if not len(parts[part]):
            raise NdtoolError(f"{name}: there are too few samples, none is left for the {part} part: add some")
    return parts, notes


def _held_out(parts: dict[str, Split], name: str, part: float, seed: int) -> dict[str, Split]:
    kept, held = hold_out(parts["train"].y, len(parts["train"]), part, seed)
    return parts | {"train": parts["train"].subset(kept), name: parts["train"].subset(held)}


def _check_normalisation(name: str, normalisation: Normalisation, shape: tuple[int, ...], pixels: bool) -> None:
    if not pixels:
        raise NdtoolError(f"{name}: the samples are no pixels and are used as they are: leave the normalisation out")
    if len(normalisation.mean) != shape[0] or len(normalisation.std) != shape[0]:
        raise NdtoolError(
            f"{name}: the normalisation has {len(normalisation.mean)} means, {len(normalisation.std)} deviations for "
            f"{shape[0]} channels: give one of each per channel"
        )
    if min(normalisation.std) <= 0:
        raise NdtoolError(f"{name}: a deviation of the normalisation is {min(normalisation.std)}: give positive ones")


def _first(split: Split) -> Tensor:
    return split.x[0]


def _sample_shape(split: Split) -> tuple[int, ...]:
    return tuple(_first(split).shape)


def _dtype(split: Split) -> torch.dtype:
    return _first(split).dtype


def _describe(split: Split) -> str:
    return f"{_text(_sample_shape(split))} {'pixels' if _dtype(split) == torch.uint8 else 'numbers'}"


def _text(shape: tuple[int, ...]) -> str:
    return "x".join(str(size) for size in shape)
