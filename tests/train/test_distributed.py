"""Several processes, real ones under torchrun over gloo, against one that works on the same parts of batches."""

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from ndtool.errors import NdtoolError
from ndtool.train import checkpoint as checkpoints
from ndtool.train.config import TrainConfig
from ndtool.train.distributed import Ranks, agree, any_, average_, current, in_turn, on_first
from ndtool.train.loop import fit
from ndtool.train.metrics import read_metrics
from ndtool.train.models import ModelSpec
from ndtool.train.run import RunFolder
from ndtool.train.training import resolve_device

HERE = Path(__file__).parent
JOB = HERE / "job.py"
SPEC = ModelSpec(
    name=f"{HERE / 'nets.py'}:convolutional", input_shape=(1, 8, 8), classes=10, arguments={"dropout": 0.2}
)
SETTINGS = {
    "vanilla": {"method": "vanilla", "ema": 0.9, "optimizer": "adamw"},
    "netdistiller": {"method": "netdistiller", "surgery": "tensor"},
    "netaug": {"method": "netaug"},
    "kd": {"method": "kd"},
}


def config_of(**settings) -> TrainConfig:
    given = {"epochs": 2, "batch_size": 256, "expand": 2, "log_every": 1, "augment": "flip-crop-cutout", "seed": 3}
    return TrainConfig(model=SPEC, data="digits", device="cpu", **(given | settings))


def torchrun(*words: object, cwd: Path, processes: int = 2) -> subprocess.Popen[str]:
    """Started, with its own cache and one thread per process."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "NDTOOL_CACHE": str(cwd / "cache")}
    return subprocess.Popen(
        [*command, *map(str, words)],
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def state_of(run: RunFolder) -> dict[str, torch.Tensor]:
    """Weights, statistics, their averages, and what the optimiser keeps."""
    last = checkpoints.load_checkpoint(run.last, run.load_config())
    flat = dict(last.method) | {f"average {name}": t for name, t in (last.average or {}).get("average", {}).items()}
    for key, state in last.optimizer["state"].items():
        flat |= {f"{key} {name}": value for name, value in state.items() if isinstance(value, torch.Tensor)}
    return flat


def differing(one: RunFolder, other: RunFolder, tolerance: float = 1e-5) -> list[str]:
    mine, theirs = state_of(one), state_of(other)
    assert mine.keys() == theirs.keys()
    assert any(name.endswith("running_var") for name in mine)
    return [name for name in mine if not torch.allclose(mine[name], theirs[name], rtol=0, atol=tolerance)]


def stopping(epoch: int, step: int):
    def progress(standing):
        if (standing.epoch, standing.step) == (epoch, step):
            raise KeyboardInterrupt

    return progress


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A folder with, per setting, the run of two processes ("two"), one that two processes left in the middle ("left")
    and one that a single process left and two ended ("taken"); each job of the two processes in one start of torchrun.
    """
    folder = tmp_path_factory.mktemp("processes")
    jobs = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NDTOOL_CACHE", str(folder / "cache"))
        for name, settings in SETTINGS.items():
            plain, parted = config_of(**settings), config_of(micro_batches=2, **settings)
            fit(parted, RunFolder(folder / name / "taken"), progress=stopping(1, 4))
            jobs += [
                {"path": str(folder / name / "two"), "config": plain.to_toml(), "resume": False, "stop": None},
                {"path": str(folder / name / "left"), "config": plain.to_toml(), "resume": False, "stop": [2, 2]},
                {"path": str(folder / name / "taken"), "config": parted.to_toml(), "resume": True, "stop": None},
            ]
        (folder / "jobs.json").write_text(json.dumps(jobs))
        process = torchrun(JOB, folder, cwd=folder)
        told = process.communicate(timeout=300)[1]
        assert process.returncode == 0, told
        for name, settings in SETTINGS.items():
            fit(config_of(micro_batches=2, **settings), RunFolder(folder / name / "one"))
            fit(config_of(**settings), RunFolder(folder / name / "left"), resume=True)
    return folder


@pytest.mark.parametrize("name", SETTINGS)
def test_two_processes_end_with_the_weights_of_one_that_takes_the_same_halves(name, finished):
    two, one = RunFolder(finished / name / "two"), RunFolder(finished / name / "one")
    assert differing(two, one) == []
    theirs, mine = two.result(), one.result()
    assert (theirs["processes"], mine["processes"]) == (2, 1)
    assert theirs["best_epoch"] == mine["best_epoch"]
    for part in ("student", *(["teacher"] if "teacher" in mine["test"] else [])):
        assert theirs["test"][part]["count"] == mine["test"][part]["count"] == 359
        assert theirs["test"][part]["accuracy"] == mine["test"][part]["accuracy"]
        assert theirs["test"][part]["loss"] == pytest.approx(mine["test"][part]["loss"], rel=1e-5)


@pytest.mark.parametrize("name", SETTINGS)
def test_the_metrics_are_those_of_all_processes_written_once(name, finished):
    lines = [read_metrics(RunFolder(finished / name / run).metrics) for run in ("two", "one")]
    assert len(lines[0]) == len(lines[1]) == 2 * (5 + 1)
    for two, one in zip(*lines, strict=True):
        assert two.keys() == one.keys()
        for key in two.keys() - {"images_per_second", "event", "student", "teacher", "cosines", "conflicts"}:
            assert two[key] == pytest.approx(one[key], abs=1e-5), key


@pytest.mark.parametrize("run", ["left", "taken"])
@pytest.mark.parametrize("name", SETTINGS)
def test_a_run_goes_on_with_another_number_of_processes(name, run, finished):
    assert differing(RunFolder(finished / name / run), RunFolder(finished / name / "one")) == []


def test_the_parts_are_what_matters(finished, tmp_path, monkeypatch):
    """Whole batches have other statistics than halves: the equality above is not for want of a difference."""
    monkeypatch.setenv("NDTOOL_CACHE", str(tmp_path))
    whole = RunFolder(tmp_path / "whole")
    fit(config_of(**SETTINGS["vanilla"]), whole)
    assert differing(whole, RunFolder(finished / "vanilla" / "one")) != []


def test_scores_and_statistics_are_over_all_samples_once(finished):
    loaded = importlib.util.spec_from_file_location("job", JOB)
    job = importlib.util.module_from_spec(loaded)
    loaded.loader.exec_module(job)
    alone = job.judged(Ranks.single())
    for rank in (0, 1):
        found, (reduced, flags) = json.loads((finished / f"found.{rank}.json").read_text())
        assert found == pytest.approx(alone, rel=1e-6)
        assert flags == [True, False]
        kernels = torch.arange(24.0).view(2, 3, 2, 2).flatten()
        assert reduced == [(1.5 * kernels).tolist(), [0.5], [0.5] * 3, [2, 1]]


def test_a_single_process_does_nothing_with_others():
    tensors = [torch.ones(3)]
    average_(tensors)
    agree()
    assert current() == Ranks.single()
    assert torch.equal(tensors[0], torch.ones(3))
    assert any_(True, False) == (True, False)
    assert on_first(lambda: 5) == in_turn(lambda: 5) == 5


def test_a_batch_that_cannot_be_dealt_out_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("NDTOOL_CACHE", str(tmp_path))
    with pytest.raises(NdtoolError, match="a batch of 256 cannot be cut into 3 equal parts: change --batch-size"):
        fit(config_of(micro_batches=3), RunFolder(tmp_path / "run"))
    with pytest.raises(NdtoolError, match="a batch of 6 leaves less than 2 samples for each of 6 parts"):
        fit(config_of(micro_batches=6, batch_size=6), RunFolder(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_each_process_has_a_device_of_its_own(monkeypatch):
    several = Ranks(rank=3, world=4, local_rank=1, backend="gloo")
    monkeypatch.setattr("ndtool.train.training.current", lambda: several)
    assert resolve_device("cpu") == torch.device("cpu")
    with pytest.raises(NdtoolError, match="'cuda:0' is one for several processes: give cuda or cpu"):
        resolve_device("cuda:0")
    if not torch.cuda.is_available():
        with pytest.raises(NdtoolError, match="device 'cuda:1' is not available"):
            resolve_device("cuda")


NET = """
import os
from pathlib import Path
from torch import nn

Path(f"pid.{os.environ.get('RANK')}").write_text(str(os.getpid()))

def net(input_shape, classes):
    return nn.Sequential(nn.Conv2d(1, 4, 3, 2), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(36, classes))
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "net.py").write_text(NET)
    return tmp_path


def ndtool(place: Path, *words: object) -> subprocess.Popen[str]:
    return torchrun("--no-python", sys.executable, "-c", "from ndtool.cli import main; main()", *words, cwd=place)


def of_ndtool(told: str) -> list[str]:
    """The lines that are not torchrun's own."""
    return [line for line in told.splitlines() if line.startswith(("ndtool", "Traceback"))]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("train net.py:net --data digitz", "ndtool: there are no data 'digitz': did you mean digits?"),
        (
            "train net.py:net --data digits --epochs x",
            "ndtool train: Invalid value for '--epochs': 'x' is not a valid integer.",
        ),
        (
            "train net.py:net --data digits --batch-size 33",
            "ndtool: a batch of 33 cannot be cut into 2 equal parts: change --batch-size",
        ),
    ],
)
def test_what_is_wrong_is_told_once(words, message, place):
    process = ndtool(place, *words.split(), *(["--out", "run"] if "--batch" in words else []))
    told = process.communicate(timeout=120)[1]
    assert [line for line in of_ndtool(told) if not line.startswith("Traceback")] == [message]
    assert re.search(r"exitcode +: 2", told)
    assert not (place / "run").exists()


@pytest.mark.slow
def test_an_error_of_one_process_ends_all(place):
    """One of them has another net.py, as a machine may where files are not shared."""
    (place / "net.py").write_text(NET + '\nif os.environ.get("RANK") == "1":\n    raise ValueError("other file")\n')
    process = ndtool(place, "train", "net.py:net", "--data", "digits", "--out", "run")
    told = process.communicate(timeout=120)[1]
    (line,) = [line for line in of_ndtool(told) if not line.startswith("Traceback")]
    assert "other file" in line
    assert line.endswith("(process 1)")
    assert not (place / "run" / "config.toml").exists()


def begun(place: Path) -> subprocess.Popen[str]:
    """A long training on two processes, past its first epoch."""
    words = ("train", "net.py:net", "--data", "digits", "--method", "vanilla", "--batch-size", 32, "--epochs", 400)
    process = ndtool(place, *words, "--out", "run")
    until = time.monotonic() + 120
    while not (place / "run" / "checkpoints" / "last.pt").exists():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < until
        time.sleep(0.05)
    return process


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_process_that_dies_ends_the_training_and_leaves_the_checkpoint(victim, place, monkeypatch):
    process = begun(place)
    os.kill(int((place / f"pid.{victim}").read_text()), signal.SIGKILL)
    told = process.communicate(timeout=60)[1]
    assert process.returncode != 0
    lines = [line for line in of_ndtool(told) if not line.startswith("Traceback")]
    expected = r"ndtool: another process of the training has ended .*: go on from the last checkpoint with --resume"
    assert len(lines) == (victim == 1)  # the first tells it, where it lives
    assert all(re.fullmatch(expected, line) for line in lines)
    run = RunFolder.open(place / "run")
    last = checkpoints.load_checkpoint(run.last, run.load_config())
    assert last.epoch >= 1
    assert all(tensor.isfinite().all() for tensor in last.method.values())
    monkeypatch.setenv("NDTOOL_CACHE", str(place / "cache"))
    monkeypatch.chdir(place)

    def progress(standing):
        if standing.epoch == last.epoch + 2:
            raise KeyboardInterrupt

    assert fit(run.load_config(), run, resume=True, progress=progress).epochs == last.epoch + 1


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_all_after_the_same_step_saved(number, place, monkeypatch):
    process = begun(place)
    process.send_signal(number)
    told = process.communicate(timeout=90)[1]
    assert process.returncode != 0
    assert told.count(f"saved; go on with: ndtool train {place / 'run'} --resume") == 1
    run = RunFolder.open(place / "run")
    config = run.load_config()
    last = checkpoints.load_checkpoint(run.last, config)
    assert (last.epoch, last.step_in_epoch) > (1, 0)
    # one process that takes the same halves comes by the same weights
    monkeypatch.setenv("NDTOOL_CACHE", str(place / "cache"))
    monkeypatch.chdir(place)
    alone = RunFolder(place / "alone")
    parted = TrainConfig.from_dict({**config.to_dict(), "micro_batches": 2, "log_every": 1})
    fit(parted, alone, progress=stopping(last.epoch + 1, last.step_in_epoch) if last.step_in_epoch else None)
    assert differing(run, alone, 1e-4) == []
