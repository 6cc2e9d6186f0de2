"""Checkpoints: tensors and plain values only, written whole or not at all."""

import io
import os
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ndtool.errors import NdtoolError
from ndtool.files import replacing
from ndtool.train.config import TrainConfig, differences

VERSION = 2  # of the checkpoint's layout


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """All that a training needs to go on as if it had never stopped.

    `epoch`, `step_in_epoch`: the next step to take. `parts`: what each batch is cut into. `metrics_bytes`: how much of
    metrics.jsonl belongs to it. `best_epoch` (from 1), `best`: the best validation so far, None before the first.
    `seconds`: spent so far.
    """

    config: str  # TOML
    epoch: int
    step_in_epoch: int
    parts: int
    method: dict[str, Tensor]
    optimizer: dict[str, Any]
    average: dict[str, Any] | None
    best_epoch: int | None
    best: dict[str, Any] | None
    metrics_bytes: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Best:
    """The weights of the best validation: the student as it ships, and the method's state it was taken from."""

    config: str  # TOML
    epoch: int
    student: dict[str, Tensor]
    method: dict[str, Tensor]


def save(path: Path, checkpoint: Checkpoint | Best) -> None:
    """Write a checkpoint; the one before stays until this one is on the disk. Raises NdtoolError where it is full."""
    content = {field.name: getattr(checkpoint, field.name) for field in fields(checkpoint)}
    buffer = io.BytesIO()  # torch, writing by itself, would not say what is wrong with the disk
    torch.save({"version": VERSION, **content}, buffer)
    try:
        with replacing(path) as temporary, temporary.open("wb") as file:
            file.write(buffer.getbuffer())
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise NdtoolError(f"cannot write {path} ({error.strerror}): make room, then --resume") from error


def load_checkpoint(path: Path, config: TrainConfig) -> Checkpoint:
    """The checkpoint to resume `config` from. Raises NdtoolError where it is none, or belongs to other settings."""
    checkpoint = Checkpoint(**_load(path, Checkpoint))
    require_same(TrainConfig.from_toml(checkpoint.config), config)
    return checkpoint


def require_same(begun: TrainConfig, config: TrainConfig) -> None:
    """Raise NdtoolError where a training that was begun is to go on with other settings, naming them."""
    if changed := differences(begun, config):
        raise NdtoolError(f"cannot resume with other settings ({'; '.join(changed)}): resume with those of the run")


def load_best(path: Path) -> Best:
    """What best.pt holds."""
    return Best(**_load(path, Best))


def require_alike(path: Path, found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """Raise NdtoolError where a checkpoint's tensors are not those of the model, naming the first that differs."""
    for name in (*wanted, *found):
        there, here = found.get(name), wanted.get(name)
        if there is None or here is None:
            raise NdtoolError(
                f"{path} is of another model: {name} is only in the {'model' if there is None else 'checkpoint'}: "
                "resume with the model that it was trained with"
            )
        if there.shape != here.shape:
            raise NdtoolError(
                f"{path} is of another model: {name} has shape {tuple(there.shape)} there, {tuple(here.shape)} in the "
                "model: resume with the model that it was trained with"
            )


def _load(path: Path, kind: type[Checkpoint] | type[Best]) -> dict[str, Any]:
    if not path.is_file():
        raise NdtoolError(f"{path} does not exist, nothing to resume: train anew, with --overwrite")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise NdtoolError(f"{path} is not a readable checkpoint: train without --resume, with --overwrite") from error
    version = content.pop("version", None) if isinstance(content, dict) else None
    if version != VERSION:
        raise NdtoolError(f"{path} has version {version}, this ndtool reads {VERSION}: train with --overwrite")
    if differing := content.keys() ^ {field.name for field in fields(kind)}:
        raise NdtoolError(f"{path} is no checkpoint of this kind ({min(differing)}): train with --overwrite")
    return content
