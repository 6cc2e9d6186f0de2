"""From what a user names, a model and data, to the settings of a run."""

import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ndtool.errors import NdtoolError
from ndtool.train.config import TrainConfig
from ndtool.train.data import RECONSTRUCTION, Data, load_data
from ndtool.train.data.augment import augmentation
from ndtool.train.models import ModelSpec, build, default_task, require_model
from ndtool.train.parse import parse_arguments, parse_shape
from ndtool.train.run import RunFolder
from ndtool.train.training import resolve_device
from ndtool.train.transfer import Start, load_student, open_start


def prepare(
    model: str | None,
    data: str,
    *,
    init: str | None = None,
    arguments: Iterable[str] = (),
    input_shape: str | None = None,
    classes: int | None = None,
    task: str | None = None,
    progress: Callable[[str], None] | None = None,
    **settings: Any,
) -> tuple[TrainConfig, Data]:
    """The settings of a run and its data, loaded once. What is wrong is noticed here, before anything is written.

    Args:
        model: a MODEL; None takes that of the run `init`. data: a DATA.
        init: a trained run or a file of weights to begin with. A run also gives what is left out of the model: its
            arguments and its input shape; and the normalisation, which is what its weights expect.
        arguments: of the model, as "name=value".
        input_shape: as "3x32x32"; images are resized to it. None takes the data's own.
        classes: outputs of the model; None takes the data's classes.
        task: None takes the data's own, or the model's where it only reconstructs.
        progress: told, in words, what takes long with the data.
        settings: fields of TrainConfig; those that are None keep their defaults.

    Raises:
        NdtoolError: the model, the data or a setting is unknown or does not fit the others.
    """
    start = open_start(init) if init is not None else None
    name = _model_name(model, start)
    shape = parse_shape(input_shape) if input_shape else None
    given = {name: value for name, value in settings.items() if value is not None}
    chosen = parse_arguments(arguments)
    if start is not None and start.model is not None and start.model.name == name:
        shape = shape or start.model.input_shape
        chosen = {**start.model.arguments, **chosen}
    options = {name: given[name] for name in ("validation", "seed", "normalisation") if name in given}
    loaded = load_data(absolute(data), input_shape=shape, task=task or default_task(name), progress=progress, **options)
    if start is not None and start.scales(loaded) and "normalisation" not in given:
        loaded = replace(loaded, normalisation=start.normalisation)
    outputs = _outputs(classes, loaded)
    spec = ModelSpec(name=name, input_shape=loaded.input_shape, classes=outputs, arguments=chosen)
    if "teacher" in given:
        given["teacher"] = str(RunFolder.open(Path(given["teacher"])).path)
    given["normalisation"] = loaded.normalisation  # recorded, so that other data are scaled alike
    if init is not None:
        given["init"] = absolute(init)
    config = TrainConfig(model=spec, data=absolute(data), task=loaded.task, **given)
    _require_possible(config, start)
    return config, loaded


def _model_name(model: str | None, start: Start | None) -> str:
    """The MODEL that is named, else that of the run to begin with. Raises NdtoolError where there is none."""
    if model is not None:
        name = absolute_callable(model)
    elif start is None:
        raise NdtoolError("nothing to train: name a MODEL, or a run whose model it is")
    elif start.model is None:
        raise NdtoolError(f"{start.source} holds weights only: name the MODEL that they belong to")
    else:
        name = start.model.name
    require_model(name)
    return name


def _outputs(classes: int | None, data: Data) -> int:
    """Outputs of the model: as many as were asked for, else the data's classes; 0 for reconstruction."""
    if data.task == RECONSTRUCTION:
        return 0
    own = len(data.classes)
    if classes is not None and classes < own:
        raise NdtoolError(f"--classes {classes} is less than the {own} classes of {data.name}: leave it out")
    return classes or own


def _require_possible(config: TrainConfig, start: Start | None) -> None:
    """Raise NdtoolError where augmentation, device, model or the weights to begin with are not to be had."""
    augmentation(config.augment)
    resolve_device(config.device)
    student = build(config.model)
    if start is not None:
        load_student(start, student)


def absolute(name: str) -> str:
    """A path, a pattern of shards, or the path part of file.py:callable, made absolute: a run is used from anywhere."""
    name = absolute_callable(name)
    return str(Path(name).absolute()) if Path(name).exists() or "{" in name else name


def absolute_callable(name: str) -> str:
    """The path part of file.py:callable made absolute; a MODEL is no other file, whatever lies in the folder."""
    path, colon, attribute = name.rpartition(":")
    return f"{Path(path).absolute()}:{attribute}" if colon and path.endswith(".py") else name


def free_folder(model: str, data: str, method: str) -> Path:
    """A folder under runs/ that is not there yet, named after what is trained."""

    def stem(name: str) -> str:
        path, _, attribute = name.rpartition(":")
        return attribute if path else re.split(r"[-_]*[{.]", Path(name).name)[0] or "data"

    base = Path("runs") / f"{stem(model)}-{stem(data)}-{method}"
    number = 1
    while (candidate := base if number == 1 else base.with_name(f"{base.name}-{number}")).exists():
        number += 1
    return candidate
