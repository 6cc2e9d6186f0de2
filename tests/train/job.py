"""What the tests of several processes start under torchrun: trainings, as a JSON list names them, one after another."""

import json
import sys
from pathlib import Path

import torch
from torch import nn

from ndtool.train.config import TrainConfig
from ndtool.train.data import Data, Split
from ndtool.train.distributed import Ranks, any_, average_, current, joined, sum_
from ndtool.train.evaluation import evaluate, reestimate_batchnorm
from ndtool.train.loop import fit, load_run_data
from ndtool.train.run import RunFolder


def train(path: str, config: str, resume: bool, stop: list[int] | None) -> None:
    def progress(standing):
        if [standing.epoch, standing.step] == stop:
            raise KeyboardInterrupt  # in the first process alone

    assert current().first or progress
    settings = TrainConfig.from_toml(config)
    fit(settings, RunFolder(Path(path)), data=load_run_data(settings), resume=resume, progress=progress)


def judged(ranks: Ranks) -> list[float]:
    """Scores, and re-estimated statistics, of batches that do not come out even."""
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(57, 3, generator=generator), torch.randint(3, (57,), generator=generator)
    found = []
    for count, batch_size in ((57, 8), (57, 100), (5, 2)):
        part = Split(x=x[:count], y=y[:count])
        data = Data(
            name="made",
            task="classification",
            train=part,
            validation=part,
            test=part,
            classes=("a", "b", "c"),
            input_shape=(3,),
            normalisation=None,
        )
        model = nn.BatchNorm1d(3)
        reestimate_batchnorm(model, data, samples=count, batch_size=batch_size, ranks=ranks)
        found += [*model.running_mean.tolist(), *model.running_var.tolist(), int(model.num_batches_tracked)]
        score = evaluate(model, part, data, batch_size=batch_size, ranks=ranks)
        found += [score.accuracy, score.loss, score.count]
    return found


def reduced(ranks: Ranks) -> list:
    """What the collective functions make of tensors of several kinds and layouts."""
    kernels = torch.arange(24.0).view(2, 3, 2, 2).contiguous(memory_format=torch.channels_last) * (ranks.rank + 1)
    tensors = [kernels, torch.tensor(float(ranks.rank)), torch.full((3,), ranks.rank, dtype=torch.float64)]
    average_(tensors)
    total = torch.tensor([1, ranks.rank])
    sum_([total])
    return [[t.flatten().tolist() for t in (*tensors, total)], any_(ranks.rank == 1, False)]


def main() -> None:
    folder = Path(sys.argv[1])
    with joined() as ranks:
        for job in json.loads((folder / "jobs.json").read_text()):
            train(**job)
        (folder / f"found.{ranks.rank}.json").write_text(json.dumps([judged(ranks), reduced(ranks)]))


if __name__ == "__main__":
    main()
