"""The settings of a training run, and their TOML form."""

import dataclasses
import difflib
import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, dataclass
from typing import Any

import tomli_w

from ndtool.errors import NdtoolError
from ndtool.train.choices import CHOICES
from ndtool.train.data import Normalisation
from ndtool.train.models import ModelSpec

METHOD_SETTINGS: Mapping[str, frozenset[str]] = types.MappingProxyType(  # those that not every method looks at
    {
        "netdistiller": frozenset({"expand", "distill", "distill_weight", "temperature", "surgery"}),
        "inplace": frozenset({"expand", "distill_weight", "temperature"}),
        "netaug": frozenset({"expand", "augment_weight"}),
        "kd": frozenset({"expand", "distill", "distill_weight", "temperature", "teacher"}),
        "vanilla": frozenset(),
    }
)
RANGES: Mapping[str, tuple[float, float]] = types.MappingProxyType(  # inclusive
    {
        "expand": (1, 64),
        "epochs": (1, 1_000_000),
        "batch_size": (2, 1_000_000),
        "micro_batches": (1, 1_000_000),
        "lr": (1e-12, 1e3),
        "momentum": (0.0, 0.9999),
        "weight_decay": (0.0, 1.0),
        "warmup": (0.0, 1.0),
        "label_smoothing": (0.0, 0.99),
        "distill_weight": (0.0, 1e6),
        "augment_weight": (0.0, 1e6),
        "temperature": (1e-3, 1e3),
        "ema": (0.0, 0.99999999),
        "clip": (0.0, 1e12),
        "validation": (0.001, 0.9),
        "bn_samples": (2, 1_000_000_000),
        "log_every": (1, 1_000_000_000),
        "seed": (0, 2**31 - 1),
    }
)
_LEARNING_RATES = {"sgd": 0.1, "adamw": 3e-3}
_NORMALISED = {"sgd": 0.4}
_WEIGHT_DECAYS = {"sgd": 5e-4, "adamw": 0.01}


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Everything that decides a training run. Raises NdtoolError, naming the setting, where a value makes no sense.

    model, data: what is trained on what (`data` as `load_data` takes it). task: None takes the data's own. init: the
    run or file of weights that it begins with, None for fresh ones. expand: r, the teacher's channels per channel of
    the student. batch_size: of all processes together. micro_batches: parts that each batch is cut into, computed one
    after another (less memory) or by several processes, each with batch statistics of its own; None takes as many as
    there are processes. lr, weight_decay: None takes a default (`learning_rate`, `decay`). momentum: of SGD,
    Nesterov's. warmup: fraction of all steps. teacher: of kd, the folder of a finished run; None trains one. distill,
    distill_weight, temperature: the term D, its factor λ, its τ. augment_weight: of netaug, the factor α of the wider
    network's loss. surgery: over what gradients are compared. ema: decay of the moving average of all weights, 0 for
    none. clip: bound on the norm of the merged gradient, 0 for none. amp: bfloat16 autocast in training; None takes it
    on CUDA GPUs that have it. compile: torch.compile the networks. device: "auto" (CUDA where there is one), "cpu",
    "cuda", "cuda:1", "mps". augment: as `batches` takes it. validation: part of the training data that is held out.
    normalisation: None takes the data's own. bn_samples: training samples on which the student's BatchNorm is
    re-estimated before each validation. log_every: steps per line of the metrics.
    """

    model: ModelSpec
    data: str
    task: str | None = None
    init: str | None = None
    method: str = "netdistiller"
    expand: int = 3
    epochs: int = 30
    batch_size: int = 128
    micro_batches: int | None = None
    optimizer: str = "sgd"
    lr: float | None = None
    momentum: float = 0.9
    weight_decay: float | None = None
    warmup: float = 0.05
    label_smoothing: float = 0.0
    teacher: str | None = None
    distill: str = "kl"
    distill_weight: float = 1.0
    temperature: float = 1.0
    augment_weight: float = 1.0
    surgery: str = "tensor"
    ema: float = 0.0
    clip: float = 5.0
    amp: bool | None = None
    compile: bool = False
    seed: int = 0
    device: str = "auto"
    augment: str = "auto"
    validation: float = 0.1
    normalisation: Normalisation | None = None
    bn_samples: int = 2048
    log_every: int = 20

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            value = getattr(self, name)
            if value is not None and value not in choices:
                raise NdtoolError(f"{name} = {value!r} is unknown: choose from {', '.join(choices)}")
        for name, (low, high) in RANGES.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise NdtoolError(f"{name} = {value} is out of range: give a number from {low:g} to {high:g}")

    def learning_rate(self, *, normalised: bool) -> float:
        """The schedule's peak: `lr`, or the optimiser's default.

        `normalised`: the student has BatchNorm and classifies. Without `init` it is then trained with larger steps: the
        size of weights does not matter, and docs/results.md says what it is worth.
        """
        if self.lr is not None:
            return self.lr
        usual = _LEARNING_RATES[self.optimizer]
        return _NORMALISED.get(self.optimizer, usual) if normalised and self.init is None else usual

    @property
    def decay(self) -> float:
        """The weight decay: `weight_decay`, or the optimiser's default."""
        return _WEIGHT_DECAYS[self.optimizer] if self.weight_decay is None else self.weight_decay

    @property
    def trains_teacher(self) -> bool:
        """Whether the run first trains a teacher by itself."""
        return self.method == "kd" and self.teacher is None

    def of_teacher(self) -> "TrainConfig":
        """The settings of that teacher's run: the widened network, alone, on the same data for the same time."""
        model = dataclasses.replace(self.model, expand=self.expand)
        return dataclasses.replace(self, model=model, method="vanilla", teacher=None, init=None)

    def to_dict(self) -> dict[str, Any]:
        """Plain values only, nested as in TOML; settings that are None are left out."""
        return _plain(self)

    def to_toml(self) -> str:
        """The TOML text that `from_toml` reads."""
        return tomli_w.dumps(self.to_dict())

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "TrainConfig":
        """From plain values. Raises NdtoolError on a setting that is unknown, missing or of the wrong type."""
        return _from_plain(cls, values, "")

    @classmethod
    def from_toml(cls, text: str) -> "TrainConfig":
        """From TOML. Raises NdtoolError where the text is no TOML, and as `from_dict`."""
        try:
            return cls.from_dict(tomllib.loads(text))
        except tomllib.TOMLDecodeError as error:
            raise NdtoolError(f"the training settings are not valid TOML: {error}") from error


def differences(old: TrainConfig, new: TrainConfig) -> list[str]:
    """What differs, one "name: old -> new" each; where and in what form it runs does not count, nor logging."""
    before, after = _flat(old.to_dict()), _flat(new.to_dict())
    names = sorted((before.keys() | after.keys()) - {"device", "compile", "log_every"})
    return [
        f"{name}: {before.get(name, 'default')} -> {after.get(name, 'default')}"
        for name in names
        if before.get(name) != after.get(name)
    ]


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return {name: _plain(v) for name, v in fields.items() if v is not None}
    if isinstance(value, Mapping):
        return {str(name): _plain(v) for name, v in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    return value


def _from_plain(cls: type, values: Mapping[str, Any], prefix: str) -> Any:
    """A dataclass from plain values, its fields' types checked."""
    hints = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls)}
    for name in values:
        if name not in fields:
            close = difflib.get_close_matches(name, fields, n=1)
            hint = f"did you mean {prefix}{close[0]}?" if close else f"known are {', '.join(fields)}"
            raise NdtoolError(f"unknown training setting {prefix}{name}: {hint}")
    for name, field in fields.items():
        if name not in values and field.default is MISSING and field.default_factory is MISSING:
            raise NdtoolError(f"training setting {prefix}{name} is missing: add it")
    return cls(**{name: _typed(hints[name], value, f"{prefix}{name}") for name, value in values.items()})


def _typed(hint: Any, value: Any, name: str) -> Any:
    """`value` as the type `hint` says; an int serves as a float, a list as a tuple. Raises NdtoolError otherwise."""
    origin, options = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        kinds = [option for option in options if option is not type(None)]
        exact = [kind for kind in kinds if type(value) is kind]  # bool is an int, but not meant as one
        return _typed((exact or kinds)[0], value, name)
    if dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
        return _from_plain(typing.cast(type, hint), value, f"{name}.")
    if origin is tuple and isinstance(value, list | tuple):
        return tuple(_typed(options[0], item, name) for item in value)
    if origin is not None and issubclass(origin, Mapping) and isinstance(value, Mapping):
        return {key: _typed(options[1], item, f"{name}.{key}") for key, item in value.items()}
    if hint is float and type(value) is int:
        return float(value)
    if isinstance(hint, type) and type(value) is hint:
        return value
    expected = hint.__name__ if isinstance(hint, type) else str(hint)
    raise NdtoolError(f"training setting {name} = {value!r} is of the wrong type: give a value of type {expected}")
