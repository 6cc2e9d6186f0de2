"""What a study trains: its variants, and for each of them a run for every seed."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ndtool.errors import NdtoolError
from ndtool.train.config import METHOD_SETTINGS, TrainConfig

TEACHER = "teacher"  # the variant that is the widened network alone: kd's teacher
_GIVEN = ("model", "data", "task", "method", "seed", "teacher", "validation", "normalisation", "device")


@dataclass(frozen=True)
class Variant:
    """One line of a study: a name, and the settings but for the seed."""

    name: str
    config: TrainConfig


@dataclass(frozen=True)
class Job:
    """One training of a study. `teacher`: the job whose network it distils, which comes first."""

    variant: str
    config: TrainConfig
    teacher: "Job | None" = None

    @property
    def is_teacher(self) -> bool:
        """Whether this trains the widened network alone, for others to be distilled from."""
        return self.config.model.expand > 1

    @property
    def name(self) -> str:
        """A name that is a file's, too."""
        return f"{self.variant.replace(' ', ',')}.seed-{self.config.seed}"


def plan_variants(
    base: TrainConfig, methods: Sequence[str], vary: Mapping[str, Sequence[object]] | None = None
) -> list[Variant]:
    """The methods with the settings of `base`, and each with one setting at a time changed, where it looks at it.

    `vary`: the values of a setting, each tried with all other settings as they are; "expand" of all methods, or
    "kd.expand" of one. Raises NdtoolError where a setting cannot be varied or a value makes no sense.
    """
    methods = list(dict.fromkeys(methods))
    variants = [Variant(method, replace(base, method=method)) for method in methods]
    varied = [(*_setting(key, methods), values) for key, values in (vary or {}).items()]
    for method in methods:
        for only, name, values in varied:
            if only not in ("", method) or _is_inert(name, method):
                continue
            for value in values:
                config = _with(replace(base, method=method), name, value)
                if all(config != known.config for known in variants):
                    variants.append(Variant(f"{method} {name}={value}", config))
    return variants


def plan_jobs(variants: Iterable[Variant], seeds: int) -> list[Job]:
    """All trainings, seed by seed, so that a study that is not finished is as even as can be; teachers first."""
    jobs: dict[str, Job] = {}
    for seed in range(seeds):
        for variant in variants:
            config, teacher = replace(variant.config, seed=seed), None
            if config.trains_teacher:
                expand = "" if config.expand == TrainConfig.expand else f" expand={config.expand}"
                teacher = Job(f"{TEACHER}{expand}", without_inert(config.of_teacher()))
                teacher = jobs.setdefault(teacher.name, teacher)
            job = Job(variant.name, config, teacher)
            jobs.setdefault(job.name, job)
    return list(jobs.values())


def baseline_of(jobs: Sequence[Job], chosen: str | None = None) -> str:
    """The variant that differences are to: the chosen one, else vanilla where it is trained, else the first.

    Raises NdtoolError where what was chosen is not trained.
    """
    variants = list(dict.fromkeys(job.variant for job in jobs))
    if chosen is not None and chosen not in variants:
        raise NdtoolError(f"--against {chosen}: this is not compared: choose from {', '.join(variants)}")
    students = [job.variant for job in jobs if not job.is_teacher]
    return chosen or ("vanilla" if "vanilla" in students else students[0])


def _setting(key: str, methods: Sequence[str]) -> tuple[str, str]:
    """The method, "" for all, and the setting of "kd.expand". Raises NdtoolError where they do not go together."""
    only, _, name = key.rpartition(".")
    if only and only not in methods:
        raise NdtoolError(f"--vary {key}: {only} is not compared: choose from {', '.join(methods)}")
    if only and _is_inert(name, only):
        raise NdtoolError(f"--vary {key}: {only} does not look at {name}: leave it out")
    return only, name


def _is_inert(name: str, method: str) -> bool:
    """Whether a method does not look at a setting."""
    return any(name in names for names in METHOD_SETTINGS.values()) and name not in METHOD_SETTINGS[method]


def without_inert(config: TrainConfig) -> TrainConfig:
    """The defaults in place of settings that the method does not look at, so that equal trainings are equal."""
    defaults: dict[str, Any] = {field.name: field.default for field in dataclasses.fields(config)}
    return replace(config, **{name: defaults[name] for name in defaults if _is_inert(name, config.method)})


def _with(config: TrainConfig, name: str, value: object) -> TrainConfig:
    settings = {field.name for field in dataclasses.fields(config)} - set(_GIVEN)
    if name not in settings:
        raise NdtoolError(f"--vary {name}: this cannot be varied: choose from {', '.join(sorted(settings))}")
    return TrainConfig.from_dict(config.to_dict() | {name: value})
