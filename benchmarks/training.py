"""What a training step costs, by method: python -m ndtool.benchmarks.training [--model M] [--json].

Every method takes steps on the same batch in turn, round after round in one process, so that what else the machine does
hits all alike. A step is what the loop does: gradients, clipping, optimiser. The teacher of kd is not trained here.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ndtool.console import echo_json, table

if TYPE_CHECKING:
    import torch

    from ndtool.train.config import TrainConfig
    from ndtool.train.methods import Method

BOUND = 1.10  # of a netdistiller step, over a vanilla step of the teacher and one of the student


@dataclass(frozen=True, kw_only=True)
class Step:
    """The cost of one step: seconds, medians over the rounds. `gradients` is the method's own part of `whole`."""

    name: str
    whole: float
    gradients: float
    images_per_second: float


@dataclass(frozen=True, kw_only=True)
class Costs:
    """`ratio`: netdistiller over (teacher alone + student alone), the median of the rounds' ratios; `ratios`: each."""

    steps: tuple[Step, ...]
    ratio: float
    ratios: tuple[float, ...]
    batch_seconds: float
    device: str
    threads: int
    bfloat16: bool


class _Contender:
    """A method with its optimiser, taking steps on one batch."""

    def __init__(self, config: TrainConfig, example: torch.Tensor) -> None:
        import torch

        from ndtool.train.methods import METHODS
        from ndtool.train.models import build
        from ndtool.train.optim import make_optimizer

        torch.manual_seed(0)
        student = build(config.model).to(example.device)
        self._clip = config.clip
        self._method: Method = METHODS[config.method](config, "classification", student, example)
        self._parameters = self._method.parameters()
        self._optimizer = make_optimizer(
            "sgd", self._parameters, lr=0.1, weight_decay=config.decay, momentum=config.momentum
        )

    def step(self, x: torch.Tensor, y: torch.Tensor) -> tuple[float, float]:
        """Take one; seconds until the gradients are there, and in all."""
        import torch

        from ndtool.train.methods import step

        def now() -> float:
            if x.is_cuda:
                torch.cuda.synchronize()
            return time.perf_counter()

        start = now()
        step(self._method, x, y)
        middle = now()
        torch.nn.utils.clip_grad_norm_(self._parameters, self._clip)
        self._optimizer.step()
        return middle - start, now() - start


def measure(config: TrainConfig, *, rounds: int = 15, steps: int = 2) -> Costs:
    """Time the steps of all methods, the teacher alone, and the making of a batch."""
    import torch

    from ndtool.train.methods import METHODS, autocasts
    from ndtool.train.training import resolve_device

    device = resolve_device(config.device)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(config.batch_size, *config.model.input_shape, generator=generator).to(device)
    y = torch.randint(config.model.classes or 1, (config.batch_size,), generator=generator).to(device)
    with tempfile.TemporaryDirectory() as folder:
        configs = {name: replace(config, method=name) for name in METHODS}
        configs["kd"] = replace(configs["kd"], teacher=str(_untrained_teacher(config, Path(folder))))
        configs["teacher alone"] = config.of_teacher()
        contenders = {name: _Contender(each, x[:2]) for name, each in configs.items()}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
    for number in range(rounds + 2):
        for name, contender in contenders.items():
            taken = [contender.step(x, y) for _ in range(steps)]
            if number >= 2:  # the first ones choose kernels and fill caches
                times[name].append((min(first for first, _ in taken), min(whole for _, whole in taken)))
    whole = {name: [second for _, second in each] for name, each in times.items()}
    each_round = zip(whole["netdistiller"], whole["teacher alone"], whole["vanilla"], strict=True)
    ratios = tuple(joint / (teacher + student) for joint, teacher, student in each_round)
    return Costs(
        steps=tuple(
            Step(
                name=name,
                whole=statistics.median(whole[name]),
                gradients=statistics.median(first for first, _ in times[name]),
                images_per_second=config.batch_size / statistics.median(whole[name]),
            )
            for name in sorted(contenders, key=lambda name: statistics.median(whole[name]))
        ),
        ratio=statistics.median(ratios),
        ratios=ratios,
        batch_seconds=_batch_seconds(config),
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        threads=torch.get_num_threads(),
        bfloat16=autocasts(config, device),
    )


def _untrained_teacher(config: TrainConfig, folder: Path) -> Path:
    """A run folder of the widened network with fresh weights: as fast as a trained one."""
    from safetensors.torch import save_file

    from ndtool.train.models import build
    from ndtool.train.run import RunFolder

    run = RunFolder.create(folder / "teacher", config.of_teacher())
    weights = build(config.of_teacher().model).state_dict()
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, run.student)
    return run.path


def _batch_seconds(config: TrainConfig, count: int = 20) -> float:
    """Seconds to cut, crop, flip and normalise one batch of decoded images."""
    import torch

    from ndtool.train.data import Batches, Data, Normalisation, Split

    channels = config.model.input_shape[0]
    samples = torch.randint(0, 256, (config.batch_size * count, *config.model.input_shape), dtype=torch.uint8)
    part = Split(x=samples, y=torch.zeros(len(samples), dtype=torch.int64))
    data = Data(
        name="made",
        task="classification",
        train=part,
        validation=part,
        test=part,
        classes=("a", "b"),
        input_shape=config.model.input_shape,
        normalisation=Normalisation(mean=(0.5,) * channels, std=(0.25,) * channels),
    )
    batches = Batches(split=part, data=data, batch_size=config.batch_size, shuffle_seed=0, augment="flip-crop")
    start = time.perf_counter()
    for _ in batches:
        pass
    return (time.perf_counter() - start) / count


def parts(costs: Costs) -> list[tuple[str, float]]:
    """Where the time of a netdistiller step goes, in seconds, the batch included."""
    by_name = {step.name: step for step in costs.steps}
    joint, teacher, student = by_name["netdistiller"], by_name["teacher alone"], by_name["vanilla"]
    return [
        ("batch: cut, augment, normalise", costs.batch_seconds),
        ("teacher, forward and backward", teacher.gradients),
        ("student, forward and backward", student.gradients),
        ("distillation, surgery, merging", joint.gradients - teacher.gradients - student.gradients),
        ("clipping and optimiser", joint.whole - joint.gradients),
    ]


@click.command()
@click.option("--model", default="mobilenetv2-micro", show_default=True, help="A network of the zoo.")
@click.option("--input-shape", metavar="CxHxW", help="[default: the model's own]")
@click.option("--classes", default=10, show_default=True)
@click.option("--expand", default=3, show_default=True)
@click.option("--batch-size", default=128, show_default=True)
@click.option("--threads", type=int, help="[default: torch's]")
@click.option("--device", default="auto", show_default=True)
@click.option("--amp/--no-amp", default=None, help="bfloat16 autocast.  [default: on CUDA GPUs that have it]")
@click.option("--compile", is_flag=True, help="torch.compile the networks.")
@click.option("--rounds", default=15, show_default=True)
@click.option("--json", "as_json", is_flag=True)
def main(
    model: str, input_shape: str | None, classes: int, threads: int | None, rounds: int, as_json: bool, **settings: int
) -> None:
    """Time the steps and print them; exit 1 where a netdistiller step costs more than it may."""
    import torch

    from ndtool.train.config import TrainConfig
    from ndtool.train.models import ModelSpec, default_input_shape
    from ndtool.train.parse import parse_shape

    if threads:
        torch.set_num_threads(threads)
    shape = parse_shape(input_shape) if input_shape else default_input_shape(model) or (3, 32, 32)
    spec = ModelSpec(name=model, input_shape=shape, classes=classes)
    costs = measure(TrainConfig(model=spec, data="made", **settings), rounds=rounds)  # type: ignore[arg-type]
    if as_json:
        echo_json({**asdict(costs), "bound": BOUND, "parts": dict(parts(costs))})
    else:
        _show(costs, model, settings)
    raise SystemExit(costs.ratio > BOUND)


def _show(costs: Costs, model: str, settings: dict[str, int]) -> None:
    def milliseconds(seconds: float) -> str:
        return f"{1000 * seconds:.1f}"

    title = (
        f"{model}, batch {settings['batch_size']}, r = {settings['expand']}, {costs.device}, {costs.threads} threads"
        + (", bfloat16" if costs.bfloat16 else "")
        + (", compiled" if settings["compile"] else "")
    )
    rows = [(step.name, milliseconds(step.whole), f"{step.images_per_second:.0f}") for step in costs.steps]
    table(title, ("method", "ms a step", "images a second"), rows)
    of_step = parts(costs)
    whole = sum(seconds for _, seconds in of_step)
    rows = [(name, milliseconds(seconds), f"{100 * seconds / whole:.0f} %") for name, seconds in of_step]
    table("a step of netdistiller", ("part", "ms", "share"), rows)
    low, *_, high = sorted(costs.ratios)
    verdict = "within" if costs.ratio <= BOUND else "above"
    click.echo(
        f"netdistiller / (teacher alone + student alone): {costs.ratio:.3f} ({low:.3f} to {high:.3f} over "
        f"{len(costs.ratios)} rounds), {verdict} the bound of {BOUND:.2f}"
    )


if __name__ == "__main__":
    main()
