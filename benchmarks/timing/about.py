"""What a timing model says of itself: the error that its class has earned against silicon."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ndtool.benchmarks.targets import Target

ACCURACY = Path(__file__).parents[1] / "validation" / "accuracy.json"  # written by `benchmarks.validation --update`


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What a model is and how far it can be trusted.

    `error`: nine of ten programs of its class were closer to silicon than this, relative; None: there were none.
    """

    name: str
    description: str
    validated: bool  # programs ran on this very board
    error: float | None
    trust: str  # "Cortex-M7 validated on 26 programs"


def about(target: Target, *, simulated: bool) -> About:
    """The class of a target: its board has points, only its core has, or neither."""
    core = target.core.name
    title = core.replace("cortex-m", "Cortex-M").replace("plus", "+")
    earned = _accuracy().get(core)
    has_memory = simulated and target.has_waits
    described = "issue, dependencies, branches and memory" if has_memory else "issue, dependencies and branches"
    name = f"{target.name} 2" if has_memory else f"{core} pipeline 2"
    if not earned:
        return About(name=name, description=described, validated=False, error=None, trust=f"{title} not validated")
    programs = f"{title} validated on {earned['points']} programs"
    on_board = earned["boards"].get(target.name, 0) if has_memory else 0
    if on_board:
        trust = f"{programs}, {on_board} of them on this board"
        return About(name=name, description=described, validated=True, error=earned["error"], trust=trust)
    what = "this board's memory is not" if target.is_board else "no board: memory that answers at once"
    error = earned["error_without_memory"]
    return About(name=name, description=described, validated=False, error=error, trust=f"{programs}, {what}")


@cache
def _accuracy() -> Mapping[str, Any]:
    return json.loads(ACCURACY.read_text(encoding="utf-8")) if ACCURACY.is_file() else {}
