"""From what a user names, a model and data, to the settings of a run."""

import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ndtool.errors import NdtoolError

if TYPE_CHECKING:
    from ndtool.train.config import TrainConfig
    from ndtool.train.data import Data, Normalisation


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
) -> tuple["TrainConfig", "Data"]:
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
    from ndtool.train.config import TrainConfig
    from ndtool.train.data import RECONSTRUCTION, load_data
    from ndtool.train.data.augment import augmentation
    from ndtool.train.models import ModelSpec, build, default_task, require_model
    from ndtool.train.run import RunFolder
    from ndtool.train.training import resolve_device
    from ndtool.train.transfer import load_student, open_start

    start = open_start(init) if init is not None else None
    before = start.model if start is not None else None
    if model is None and before is None:
        raise NdtoolError(f"{init} holds weights only: name the MODEL that they belong to")
    name = absolute_callable(model) if model is not None else before.name  # type: ignore[union-attr] # one is there
    require_model(name)
    shape = parse_shape(input_shape) if input_shape else None
    given = {name: value for name, value in settings.items() if value is not None}
    chosen = parse_arguments(arguments)
    if start is not None and before is not None and before.name == name:
        shape = shape or before.input_shape
        chosen = {**before.arguments, **chosen}
    options = {name: given[name] for name in ("validation", "seed", "normalisation") if name in given}
    loaded = load_data(absolute(data), input_shape=shape, task=task or default_task(name), progress=progress, **options)
    if start is not None and start.scales(loaded) and "normalisation" not in given:
        loaded = replace(loaded, normalisation=start.normalisation)
    outputs = 0 if loaded.task == RECONSTRUCTION else len(loaded.classes)
    if classes is not None and classes < outputs:
        raise NdtoolError(f"--classes {classes} is less than the {outputs} classes of {data}: leave it out")
    outputs = outputs and (classes or outputs)
    spec = ModelSpec(name=name, input_shape=loaded.input_shape, classes=outputs, arguments=chosen)
    if "teacher" in given:
        given["teacher"] = str(RunFolder.open(Path(given["teacher"])).path)
    given["normalisation"] = loaded.normalisation  # recorded, so that other data are scaled alike
    if init is not None:
        given["init"] = absolute(init)
    config = TrainConfig(model=spec, data=absolute(data), task=loaded.task, **given)
    augmentation(config.augment)
    resolve_device(config.device)
    student = build(spec)
    if start is not None:
        load_student(start, student)
    return config, loaded


def parse_shape(text: str) -> tuple[int, ...]:
    """Read "3x32x32". Raises NdtoolError where it is none."""
    parts = text.lower().replace(",", "x").split("x")
    if not all(part.strip().isdigit() and int(part) > 0 for part in parts):
        raise NdtoolError(f"{text!r} is no shape: write channels x height x width, e.g. 3x96x96")
    return tuple(int(part) for part in parts)


def parse_arguments(items: Iterable[str]) -> dict[str, int | float | str | bool]:
    """Read "name=value" items; a value is a number or true or false where it can be. Raises NdtoolError otherwise."""
    arguments: dict[str, int | float | str | bool] = {}
    for item in items:
        name, equals, text = item.partition("=")
        if not equals or not name.isidentifier():
            raise NdtoolError(f"{item!r} is no model argument: write name=value, e.g. width=0.35")
        arguments[name] = parse_value(text)
    return arguments


def parse_value(text: str) -> int | float | str | bool:
    """A number, true or false where the text is one, otherwise the text."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


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


def parse_normalisation(mean: str | None, std: str | None) -> "Normalisation | None":
    """Read "0.485,0.456,0.406" twice; None where both are None. Raises NdtoolError where only one is given."""
    from ndtool.train.data import Normalisation

    if mean is None and std is None:
        return None
    try:
        means, stds = (tuple(float(part) for part in (text or "").split(",")) for text in (mean, std))
    except ValueError:
        means = stds = ()
    if not means or len(means) != len(stds) or min(stds) <= 0:
        raise NdtoolError("--mean and --std belong together: a number per channel each, e.g. --mean 0.5 --std 0.25")
    return Normalisation(mean=means, std=stds)
