"""Models by name: the zoo's and the user's own, built for given data, with weights read from tensor-only files."""

import difflib
import inspect
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ndtool.errors import NdtoolError, first_line
from ndtool.train.callables import imported, is_callable_spec, users_code
from ndtool.train.data import CLASSIFICATION
from ndtool.train.teacher import widen
from ndtool.train.zoo import ZOO, Entry

MODELS: Mapping[str, Entry] = ZOO
_WRAPPERS = ("state_dict", "model_state_dict", "model")  # under which checkpoints keep the weights
_NAMED = 3  # weights named in a message


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """A model to build.

    `name`: of the zoo, "file.py:callable" or "package.module:callable". `input_shape`: of one sample, without batch.
    `classes`: outputs; 0 for reconstruction; None, for the user's own, as many as it has by itself.
    `arguments`: others that the model takes, such as {"width": 0.35}. `expand`: how many times as many hidden channels
    it gets, by `train.teacher.widen`: the teacher of kd is the student's model so widened.
    """

    name: str
    input_shape: tuple[int, ...]
    classes: int | None
    arguments: Mapping[str, int | float | str | bool] = field(default_factory=dict)
    expand: int = 1


def build(spec: ModelSpec) -> nn.Module:
    """The model with fresh weights, in training mode; random numbers are torch's global ones.

    Raises: NdtoolError for an unknown name or argument, or where the model does not fit the input and the outputs.
    """
    if spec.name in MODELS:
        model = _from_zoo(spec, MODELS[spec.name])
    elif is_callable_spec(spec.name):
        model = _from_user(spec)
    else:
        raise _unknown(spec.name)
    if spec.classes is not None:
        _check_output(model, spec)
    if spec.expand > 1:
        return widen(model, torch.zeros(1, *spec.input_shape), spec.expand).teacher
    return model


def require_model(name: str) -> None:
    """Raise NdtoolError where no model is called so, or the user's file or module does not have it."""
    if is_callable_spec(name):
        with imported(name):
            return
    if name not in MODELS:
        raise _unknown(name)


def _unknown(name: str) -> NdtoolError:
    path = Path(name)
    if path.suffix == ".py":
        return NdtoolError(f"{name} names no model in the file: write {path.name}:callable, e.g. {path.name}:Net")
    if path.is_file() and path.suffix in (".pt", ".pth", ".safetensors"):
        return NdtoolError(f"{name} holds weights only: give the model as file.py:callable and this as --weights")
    if path.exists() or path.suffix or len(path.parts) > 1:
        missing = "is no model" if path.exists() else "does not exist"
        return NdtoolError(f"{name} {missing}: give a name (`ndtool list models`), file.py:callable or module:callable")
    near = difflib.get_close_matches(name, MODELS, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"choose from {', '.join(MODELS)}"
    return NdtoolError(f"no model is called {name!r}: {hint}")


def default_input_shape(name: str) -> tuple[int, ...] | None:
    """The input that a model of the zoo was published for; None for any other."""
    return MODELS[name].input_shape if name in MODELS else None


def default_task(name: str) -> str | None:
    """The task of a model of the zoo that has only one and it is not classification; None where the data decide."""
    task = MODELS[name].task if name in MODELS else None
    return None if task == CLASSIFICATION else task


def load_weights(model: nn.Module, path: Path) -> None:
    """Read a model's weights from .safetensors, or from what torch.save wrote of tensors only, also in a wrapper.

    Raises: NdtoolError where the file is unreadable, holds more than tensors, or does not fit; differences are named.
    """
    path = Path(path)
    weights = _without_prefix(read_weights(path), model)
    own = model.state_dict()
    optional = {name for name in own if name.endswith("num_batches_tracked")}
    missing = [name for name in own if name not in weights and name not in optional]
    unexpected = [name for name in weights if name not in own]
    shapes = [
        f"{name} is {tuple(weights[name].shape)} and the model's {tuple(tensor.shape)}"
        for name, tensor in own.items()
        if name in weights and weights[name].shape != tensor.shape
    ]
    found = (("missing", missing), ("not in the model", unexpected), ("of another shape", shapes))
    differences = [f"{what}: {_few(names)}" for what, names in found if names]
    if differences:
        raise NdtoolError(f"{path} does not fit the model: {'; '.join(differences)}")
    model.load_state_dict({name: tensor for name, tensor in own.items() if name in optional} | weights)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Weights by name from .safetensors, or from what torch.save wrote of tensors only, also in a wrapper.

    Raises: NdtoolError where the file is missing, unreadable, or holds more than tensors.
    """
    if not path.is_file():
        raise NdtoolError(f"{path} does not exist: give a .safetensors, .pt or .pth file of weights")
    return _tensors_of(_load(path), path)


def _from_zoo(spec: ModelSpec, entry: Entry) -> nn.Module:
    rank = len(entry.input_shape)
    if rank == 3 and (len(spec.input_shape) != 3 or min(spec.input_shape) < 1):
        shape = "x".join(str(size) for size in spec.input_shape)
        remedy = f"give the input shape 1x{shape}, or use mlp" if len(spec.input_shape) == 2 else "use mlp"
        raise NdtoolError(f"{spec.name}: its input is channels x height x width and the data's is {shape}: {remedy}")
    known = _arguments_of(entry.builder, leave_out=("input_shape", "classes"))
    _check_arguments(spec, known)
    for name, value in spec.arguments.items():
        default = known[name].default
        if isinstance(value, bool) or not isinstance(
            value, int | float if isinstance(default, float) else type(default)
        ):
            raise NdtoolError(f"{spec.name}: {name} is {value!r}: give a value like {default!r}")
        if isinstance(value, int | float) and value <= 0:
            raise NdtoolError(f"{spec.name}: {name} is {value!r}: give a value above 0")
    if spec.classes is None:
        raise NdtoolError(f"{spec.name}: how many classes it has is not known: give --classes")
    if not spec.classes and entry.task == CLASSIFICATION:
        raise NdtoolError(f"{spec.name}: it classifies, and there are no classes: for reconstruction use autoencoder")
    return entry.builder(input_shape=spec.input_shape, classes=spec.classes, **spec.arguments)


def _from_user(spec: ModelSpec) -> nn.Module:
    with imported(spec.name) as found:
        if isinstance(found, nn.Module):
            if spec.arguments:
                raise NdtoolError(f"{spec.name} is a model already and takes no arguments: leave them out")
            return deepcopy(found)
        if not callable(found):
            raise NdtoolError(
                f"{spec.name} is {type(found).__name__}: name a function or class that makes an nn.Module"
            )
        model = _call(found, spec)
        if not isinstance(model, nn.Module):
            raise NdtoolError(f"{spec.name} returned {type(model).__name__}: return an nn.Module")
    return model


def _call(function: Callable[..., Any], spec: ModelSpec) -> Any:
    """Call with those of our arguments that the signature names, and with the user's."""
    offered = {
        "input_shape": spec.input_shape,
        "in_channels": spec.input_shape[0],
        **({} if spec.classes is None else {"classes": spec.classes, "num_classes": spec.classes}),
    }
    known = _arguments_of(function)
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values())
    if not takes_any:
        _check_arguments(spec, known)
    chosen = {name: value for name, value in offered.items() if name in known} | dict(spec.arguments)
    needed = [name for name, parameter in known.items() if _is_needed(parameter) and name not in chosen]
    if needed:
        raise NdtoolError(f"{spec.name} needs {' and '.join(needed)}: give it as an argument of the model")
    if takes_any and spec.classes is not None and not {"classes", "num_classes"} & chosen.keys():
        try:
            return function(**chosen, num_classes=spec.classes)  # as torchvision's models take it
        except TypeError as error:
            if "num_classes" not in str(error):
                raise
    return function(**chosen)


def _is_needed(parameter: inspect.Parameter) -> bool:
    return parameter.default is parameter.empty and parameter.kind not in (
        parameter.VAR_KEYWORD,
        parameter.VAR_POSITIONAL,
    )


def _arguments_of(function: Callable[..., Any], leave_out: tuple[str, ...] = ()) -> dict[str, inspect.Parameter]:
    return {name: value for name, value in inspect.signature(function).parameters.items() if name not in leave_out}


def _check_arguments(spec: ModelSpec, known: Mapping[str, inspect.Parameter]) -> None:
    for name in spec.arguments:
        if name not in known:
            takes = f"it takes {', '.join(known)}" if known else "it takes none"
            raise NdtoolError(f"{spec.name}: it has no argument {name!r}: {takes}")


def _check_output(model: nn.Module, spec: ModelSpec) -> None:
    """Run the model once, as evaluation does, and see that its output is what the task needs."""
    training = {module: module.training for module in model.modules()}
    model.eval()
    with users_code(f"{spec.name}, run on an input of {spec.input_shape},"), torch.no_grad():
        output = model(torch.zeros(1, *spec.input_shape))
    for module, was in training.items():
        module.training = was
    if not isinstance(output, Tensor):
        raise NdtoolError(f"{spec.name}: its output is {type(output).__name__}: return one tensor")
    wanted = (1, spec.classes) if spec.classes else (1, *spec.input_shape)
    if tuple(output.shape) != wanted:
        raise NdtoolError(f"{spec.name}: its output is {tuple(output.shape)} and the data need {wanted}")


def _load(path: Path) -> Any:
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise NdtoolError(f"{path}: not readable as safetensors: {first_line(error)}") from error
    try:
        return torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:  # any file may be given, and fails in any way
        raise NdtoolError(
            f"{path} cannot be loaded as tensors only: save model.state_dict() with torch.save, or as .safetensors"
        ) from error


def _tensors_of(loaded: Any, path: Path) -> dict[str, Tensor]:
    """The weights in what was loaded, taken out of a checkpoint's wrapper."""
    for key in _WRAPPERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
    if not isinstance(loaded, Mapping) or not loaded or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise NdtoolError(f"{path}: there are no weights by name in it: save model.state_dict()")
    return dict(loaded)


def _without_prefix(weights: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Weights saved from a model in DataParallel have a prefix on every name."""
    prefix = "module."
    if all(name.startswith(prefix) for name in weights) and not hasattr(model, "module"):
        return {name.removeprefix(prefix): tensor for name, tensor in weights.items()}
    return weights


def _few(names: list[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
