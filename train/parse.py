"""What a user types, read: shapes, arguments of a model, values, normalisation."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ndtool.errors import NdtoolError

if TYPE_CHECKING:
    from ndtool.train.data import Normalisation


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
