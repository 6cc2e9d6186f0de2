"""What a study found, drawn: accuracy over epochs, teacher against student, conflicts over depth and time (SVG)."""

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ndtool.files import replacing
from ndtool.train.study.table import Found

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

_STYLE: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": "ndtool", "font.size": 9, "axes.spines.top": False}
_STYLE |= {"axes.spines.right": False, "legend.frameon": False}
Runs = Mapping[str, Sequence[Mapping[str, Any]]]


def draw(found: Found, folder: Path) -> list[Path]:
    """Write the figures that the results allow into `folder`; returns their paths."""
    import matplotlib as mpl

    runs: dict[str, list[Mapping[str, Any]]] = {}
    for job, result in found:
        if not job.is_teacher:
            runs.setdefault(job.variant, []).append(result)
    joint = {name: results for name, results in runs.items() if results[0]["shared"]}
    made = []
    with mpl.rc_context({**_STYLE, "backend": "svg"}):
        figures = (("accuracy", runs, _accuracy), ("teacher", joint, _teacher), ("conflicts", joint, _conflicts))
        for name, of, drawn in figures:
            if of:
                made.append(_save(drawn(of), folder / f"{name}.svg"))
    return made


def _accuracy(runs: Runs) -> "Figure":
    """The student on the validation part: mean over seeds, and the range."""
    figure, axes = _panels(1)
    for name, results in runs.items():
        _band(axes[0], name, _curves(results, lambda epoch: epoch["student"]))
    axes[0].set(xlabel="epoch", ylabel=f"{_unit(runs)} of the student, validation")
    axes[0].legend()
    return figure


def _teacher(runs: Runs) -> "Figure":
    """Student and teacher that are trained together, on the validation part."""
    figure, axes = _panels(len(runs))
    for axis, (name, results) in zip(axes, runs.items(), strict=True):
        _band(axis, "student", _curves(results, lambda epoch: epoch["student"]))
        if "teacher" in results[0]["history"][0]:
            _band(axis, "teacher", _curves(results, lambda epoch: epoch["teacher"]))
        axis.set(xlabel="epoch", title=name)
        axis.legend()
    axes[0].set_ylabel(f"{_unit(runs)}, validation")
    return figure


def _conflicts(runs: Runs) -> "Figure":
    """By shared tensor, from the input on, and epoch: how often the gradients conflict, and their cosine."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(len(runs), 2, figsize=(9, 2.8 * len(runs)), squeeze=False, layout="constrained")
    for row, (name, results) in zip(axes, runs.items(), strict=True):
        kinds = (("conflicts", "part of steps with a conflict", 0, "magma"), ("cosines", "mean cosine", -1, "RdBu"))
        for axis, (key, title, low, colours) in zip(row, kinds, strict=True):
            grid = _curves(results, lambda epoch, key=key: epoch[key])  # type: ignore[misc]
            means = [[statistics.fmean(cell) for cell in zip(*at, strict=True)] for at in zip(*grid, strict=True)]
            box = (-0.5, len(means[0]) - 0.5, len(means) + 0.5, 0.5)  # tensors from 0, epochs from 1, downwards
            drawn = axis.imshow(
                means, aspect="auto", extent=box, vmin=low, vmax=1, cmap=colours, interpolation="nearest"
            )
            axis.set(title=f"{name}\n{title}", xlabel="shared tensor, from the input on", ylabel="epoch")
            _count_whole(axis.yaxis)
            figure.colorbar(drawn, ax=axis)
    return figure


def _panels(count: int) -> "tuple[Figure, list[Axes]]":
    import matplotlib.pyplot as plt

    width = 6.0 if count == 1 else 3.4 * count
    figure, axes = plt.subplots(1, count, figsize=(width, 3.4), squeeze=False, sharey=True, layout="constrained")
    return figure, list(axes[0])


def _curves(results: Iterable[Mapping[str, Any]], value: Callable[[Mapping[str, Any]], Any]) -> list[list[Any]]:
    """A value of each epoch, for each run."""
    return [[_number(value(epoch)) for epoch in result["history"]] for result in results]


def _number(value: Any) -> Any:
    """A score as its accuracy in percent, or its squared error; anything else as it is."""
    if not isinstance(value, Mapping):
        return value
    return 100 * value["accuracy"] if "accuracy" in value else value["mse"]


def _unit(runs: Runs) -> str:
    first = next(iter(runs.values()))[0]["history"][0]["student"]
    return "accuracy in %" if "accuracy" in first else "squared error"


def _band(axis: "Axes", label: str, curves: Sequence[Sequence[float]]) -> None:
    columns = list(zip(*curves, strict=False))
    epochs = range(1, len(columns) + 1)
    (line,) = axis.plot(epochs, [statistics.fmean(column) for column in columns], label=label)
    low, high = [min(column) for column in columns], [max(column) for column in columns]
    axis.fill_between(epochs, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
    _count_whole(axis.xaxis)


def _count_whole(axis: "Axis") -> None:
    """Ticks of an axis of epochs: no fractions, few of them."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(nbins=10, integer=True, min_n_ticks=1))


def _save(figure: "Figure", path: Path) -> Path:
    import matplotlib.pyplot as plt

    with replacing(path) as temporary:
        figure.savefig(temporary, format="svg", metadata={"Date": None})
    plt.close(figure)
    return path
