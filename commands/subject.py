"""What a command works on: a run, the last one where none is named, a file or a model, and the data."""

from typing import TYPE_CHECKING, Any

import click

from ndtool.errors import NdtoolError

if TYPE_CHECKING:
    from ndtool.train.data import Data
    from ndtool.train.run import RunFolder


def last_run() -> "RunFolder":
    """The last run. Raises NdtoolError where there is none."""
    from ndtool.console import note
    from ndtool.train.run import last_run as find

    run = find()
    if run is None:
        raise NdtoolError("there is no last run: name a run folder, or train one with ndtool train MODEL --data DATA")
    note(f"using the last run: {run.path}")
    return run


def open_source(source: str | None, *, input_shape: str | None, mean: str | None, std: str | None, **how: Any) -> Any:
    """The source and data of export and eval; without a name, the last run."""
    from ndtool.console import note
    from ndtool.export.source import open_with_data
    from ndtool.train.parse import parse_normalisation, parse_shape

    return open_with_data(
        last_run() if source is None else source,
        input_shape=parse_shape(input_shape) if input_shape else None,
        normalisation=parse_normalisation(mean, std),
        progress=note,
        **how,
    )


def data_of(subject: Any, data: str | None) -> "Data | None":
    """The data that go with a subject: those that are named, or a run's own, scaled as in its training."""
    from ndtool.console import note
    from ndtool.export.source import open_with_data

    if data is None and subject.run is None:
        return None
    if subject.model is None:
        raise NdtoolError(f"{subject.name} is a firmware, its inputs are bytes: leave out --data")
    return open_with_data(subject.run or subject.model, data=data, progress=note)[1]


def require_data(model: str | None, data: str | None, init: str | None) -> str:
    """The data. Raises UsageError where it is not said what is trained on what."""
    subject = model or init
    if data is None and subject is None:
        raise click.UsageError("name a MODEL and --data DATA, e.g. ndtool train resnet8 --data digits")
    if data is None:
        raise click.UsageError(f"there are no data for {subject}: add --data DATA (ndtool list data)")
    if subject is None:
        raise click.UsageError(f"there is no model for {data}: name a MODEL, or begin with a trained run, --init RUN")
    return data
