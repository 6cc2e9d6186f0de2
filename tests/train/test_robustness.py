"""What may go wrong around a training: it is killed, the disk is full, a checkpoint is of something else."""

import errno
import os
import random
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ndtool.errors import NdtoolError
from ndtool.train import checkpoint as checkpoints
from ndtool.train.config import TrainConfig
from ndtool.train.loop import fit
from ndtool.train.metrics import read_metrics
from ndtool.train.models import ModelSpec
from ndtool.train.run import RunFolder

NETS = Path(__file__).with_name("nets.py")
SPEC = ModelSpec(name=f"{NETS}:convolutional", input_shape=(1, 8, 8), classes=10, arguments={"dropout": 0.2})
CONFIG = TrainConfig(
    model=SPEC, data="digits", device="cpu", epochs=4, batch_size=128, expand=2, ema=0.9, log_every=1, bn_samples=64
)


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NDTOOL_CACHE", str(tmp_path / "cache"))


def stop_in(epoch: int):
    def progress(standing):
        if standing.epoch == epoch:
            raise KeyboardInterrupt

    return progress


@pytest.fixture
def stopped(tmp_path) -> RunFolder:
    """A run that was stopped in its second epoch."""
    run = RunFolder(tmp_path / "run")
    fit(CONFIG, run, progress=stop_in(2))
    return run


KILLED_AT = """
import os, signal, sys

run, left = sys.argv[1], int(sys.argv[2])

def count(event, arguments):
    global left
    if event in ("open", "os.rename", "os.mkdir", "os.rmdir", "os.remove") and str(arguments[0]).startswith(run):
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(count)
from ndtool.cli import main
main(sys.argv[3:])
"""


@pytest.mark.slow
def test_whenever_a_training_is_killed_it_goes_on_to_the_same_weights(tmp_path):
    """Killed again and again, at its n-th use of a file in the run folder: also between two, and in the first ones."""
    chosen = random.Random(0)
    whole, run = tmp_path / "whole", tmp_path / "run"
    words = ["train", f"{NETS}:convolutional", "--set", "dropout=0.2", "--data", "digits", "--device", "cpu"]
    words += ["--epochs", "4", "--expand", "2", "--ema", "0.9", "--augment", "flip-crop"]

    def start(at: int, *words: str, out: Path) -> int:
        command = [sys.executable, "-c", KILLED_AT, str(run), str(at), *words, "--out", str(out)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode in (0, -signal.SIGKILL), done.stderr
        return done.returncode

    assert start(0, *words, out=whole) == 0
    codes = []
    for at in (1, 3, 5, *(chosen.randrange(4, 45) for _ in range(7)), 0):
        begun = (run / "config.toml").is_file()
        codes.append(start(at, *(["train", "--resume"] if begun else words), out=run))
        if codes[-1] == 0:
            break
    assert codes.count(-signal.SIGKILL) >= 5
    assert codes[-1] == 0
    assert (run / "student.safetensors").read_bytes() == (whole / "student.safetensors").read_bytes()
    mine, theirs = RunFolder(run), RunFolder(whole)
    states = [checkpoints.load_checkpoint(each.last, each.load_config()).method for each in (mine, theirs)]
    assert all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())
    lines = [
        [
            {key: value for key, value in line.items() if key != "images_per_second"}
            for line in read_metrics(each.metrics)
        ]
        for each in (mine, theirs)
    ]
    assert lines[0] == lines[1]
    assert sorted(path.name for path in mine.checkpoints.iterdir()) == ["best.pt", "last.pt"]  # nothing half-written


def test_a_run_that_was_killed_before_its_first_checkpoint_begins_anew(stopped, tmp_path):
    killed = RunFolder.create(tmp_path / "killed", CONFIG)
    killed.metrics.write_text('{"event": "tr')
    whole = fit(CONFIG, stopped, resume=True)
    assert fit(CONFIG, killed, resume=True).test == whole.test
    other = TrainConfig.from_dict(CONFIG.to_dict() | {"lr": 0.5})
    killed = RunFolder.create(tmp_path / "killed", CONFIG, overwrite=True)
    with pytest.raises(NdtoolError, match="other settings"):
        fit(other, killed, resume=True)


def test_a_disk_without_room_is_noticed_before_training(stopped, tmp_path, monkeypatch):
    earlier = {path: path.read_bytes() for path in stopped.path.rglob("*") if path.is_file()}

    def full(descriptor, offset, length):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    for resume in (False, True):
        with pytest.raises(NdtoolError, match=r"cannot write to .*No space left on device\): make room or"):
            fit(CONFIG, stopped, resume=resume)
    assert {path: path.read_bytes() for path in stopped.path.rglob("*") if path.is_file()} == earlier


def test_a_disk_that_fills_up_loses_no_checkpoint(stopped, tmp_path):
    """The limit on a file's size is the system's own refusal to write on."""
    before = stopped.last.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(standing):
        if standing.step == standing.steps:
            resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, hard))

    try:
        with pytest.raises(
            NdtoolError, match=r"cannot write .*(best|last)\.pt \(File too large\): make room, then --resume"
        ):
            fit(CONFIG, stopped, resume=True, progress=limit)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert stopped.last.read_bytes() == before
    assert sorted(path.name for path in stopped.checkpoints.iterdir()) == ["best.pt", "last.pt"]
    whole = fit(CONFIG, RunFolder(tmp_path / "whole"))
    assert fit(CONFIG, stopped, resume=True).test == whole.test


def test_metrics_that_cannot_be_written_are_told(stopped):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(standing):
        resource.setrlimit(resource.RLIMIT_FSIZE, (stopped.metrics.stat().st_size + 10, hard))

    try:
        with pytest.raises(NdtoolError, match=r"cannot write .*metrics\.jsonl \(File too large\): make room, then"):
            fit(CONFIG, stopped, resume=True, progress=limit)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not fit(CONFIG, stopped, resume=True).interrupted


def changed(path: Path, change) -> None:
    content = torch.load(path, weights_only=True)
    change(content)
    torch.save(content, path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda content: content["method"].update({"student.1.running_mean": torch.zeros(5)}),
            r"is of another model: student\.1\.running_mean has shape \(5,\) there, \(4,\) in the model",
        ),
        (
            lambda content: content["method"].update({"teacher.0.weight": torch.zeros(1)}),  # it could be broadcast
            r"teacher\.0\.weight has shape \(1,\) there, \(8, 1, 3, 3\) in the model",
        ),
        (
            lambda content: content["method"].pop("teacher.3.weight"),
            r"teacher\.3\.weight is only in the model: resume with the model that it was trained with",
        ),
        (lambda content: content["method"].update(more=torch.zeros(1)), "more is only in the checkpoint"),
        (lambda content: content.update(version=1), "has version 1, this ndtool reads 2: train with --overwrite"),
        (lambda content: content.pop("parts"), r"is no checkpoint of this kind \(parts\)"),
    ],
    ids=["shape", "broadcast", "missing", "more", "version", "fields"],
)
def test_a_checkpoint_of_something_else_is_refused_with_the_difference(change, message, stopped):
    changed(stopped.last, change)
    before = stopped.last.read_bytes()
    with pytest.raises(NdtoolError, match=message):
        fit(CONFIG, stopped, resume=True)
    assert stopped.last.read_bytes() == before


def test_a_checkpoint_that_is_cut_short_is_refused(stopped):
    stopped.last.write_bytes(stopped.last.read_bytes()[:-200])
    with pytest.raises(NdtoolError, match=r"last\.pt is not a readable checkpoint"):
        fit(CONFIG, stopped, resume=True)
