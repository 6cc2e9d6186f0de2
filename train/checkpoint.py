"""Checkpoints: tensors and plain values only, written whole or not at all."""

import pickle
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ndtool.errors import NdtoolError
from ndtool.files import replacing
from ndtool.train.config import TrainConfig, differences

VERSION = 1  # of the checkpoint's layout


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """All that a training needs to go on as if it had never stopped.

    `epoch`, `step_in_epoch`: the next step to take. `metrics_bytes`: how much of metrics.jsonl belongs to it.
    `best_epoch` (from 1), `best`: the best validation so far, None before the first. `seconds`: spent so far.
    """

    config: str  # TOML
    epoch: int
    step_in_epoch: int
    method: dict[str, Tensor]
    optimizer: dict[str, Any]
    average: dict[str, Any] | None
    random: dict[str, Any]
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
    """Write a checkpoint. Raises NdtoolError where the disk does not take it."""
    content = {field.name: getattr(checkpoint, field.name) for field in fields(checkpoint)}
    try:
        with replacing(path) as temporary:
            torch.save({"version": VERSION, **content}, temporary)
    except (OSError, RuntimeError) as error:  # torch's writer raises RuntimeError when the disk is full
        raise NdtoolError(f"cannot write {path} ({error}): make room, then --resume") from error


def load_checkpoint(path: Path, config: TrainConfig) -> Checkpoint:
    """The checkpoint to resume `config` from. Raises NdtoolError where it is none, or belongs to other settings."""
    checkpoint = Checkpoint(**_load(path))
    if changed := differences(TrainConfig.from_toml(checkpoint.config), config):
        raise NdtoolError(f"cannot resume with other settings ({'; '.join(changed)}): resume with those of the run")
    return checkpoint


def load_best(path: Path) -> Best:
    """What best.pt holds."""
    return Best(**_load(path))


def random_state() -> dict[str, Any]:
    """The state of torch's generators."""
    return {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []}


def set_random_state(state: dict[str, Any]) -> None:
    """Continue torch's generators from `random_state`; those of GPUs as far as there are as many."""
    torch.set_rng_state(state["cpu"])
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])


def _load(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise NdtoolError(f"{path} does not exist, nothing to resume: train anew, with --overwrite")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise NdtoolError(f"{path} is not a readable checkpoint: train without --resume, with --overwrite") from error
    version = content.pop("version", None) if isinstance(content, dict) else None
    if version != VERSION:
        raise NdtoolError(f"{path} has version {version}, this ndtool reads {VERSION}: train with --overwrite")
    return content
