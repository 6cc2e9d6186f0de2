"""Recipes: settings under which networks of the field are trained, by name, as TOML files of the train flags."""

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ndtool.errors import NdtoolError

_FOLDER = Path(__file__).resolve().parent / "recipes"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A training under a name.

    `settings`: values of `ndtool train`, by flag. Where "model" is missing a trained run brings it (--init), where
    "data" is missing the user names them.
    """

    name: str
    about: str
    settings: Mapping[str, Any]


def recipe_names() -> tuple[str, ...]:
    """The recipes there are, as "imagenet/mcunet", in alphabetical order."""
    return tuple(sorted(path.relative_to(_FOLDER).with_suffix("").as_posix() for path in _FOLDER.glob("*/*.toml")))


def load_recipe(name: str) -> Recipe:
    """A recipe by its name, or from a .toml file of the user's with a [train] section.

    Raises:
        NdtoolError: there is no such recipe (the message has the closest name), or the file is none.
    """
    names = recipe_names()
    path = _FOLDER / f"{name}.toml" if name in names else Path(name)
    if name not in names and path.suffix != ".toml":
        close = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.4)
        hint = f"did you mean {close[0]}?" if close else "ndtool list recipes"
        raise NdtoolError(f"no recipe is called {name!r}: {hint}")
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise NdtoolError(f"{path}: no readable TOML: {error}") from error
    settings = content.get("train")
    if not isinstance(settings, dict):
        raise NdtoolError(f"{path} has no section [train]: put the flags of ndtool train into one")
    return Recipe(name=name, about=str(content.get("about", "")), settings=settings)
