"""Training: data, networks, the weight-sharing teacher, and the loop. What is here is imported when it is used."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ndtool.train.config import TrainConfig
    from ndtool.train.evaluation import Score, evaluate
    from ndtool.train.loop import fit
    from ndtool.train.metrics import Progress
    from ndtool.train.outcome import TrainResult
    from ndtool.train.run import RunFolder

__all__ = ["Progress", "RunFolder", "Score", "TrainConfig", "TrainResult", "evaluate", "fit"]

_HOMES = {
    "Progress": "metrics",
    "RunFolder": "run",
    "Score": "evaluation",
    "TrainConfig": "config",
    "TrainResult": "outcome",
    "evaluate": "evaluation",
    "fit": "loop",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
