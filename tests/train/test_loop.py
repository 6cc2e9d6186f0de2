import dataclasses
import math
import os
import signal
from pathlib import Path

import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from ndtool.errors import NdtoolError
from ndtool.train import checkpoint as checkpoints
from ndtool.train.config import TrainConfig
from ndtool.train.data import Batches, Data, Split
from ndtool.train.evaluation import evaluate, reestimate_batchnorm
from ndtool.train.interrupt import deferred_interrupt
from ndtool.train.loop import fit, load_run_data
from ndtool.train.methods import METHODS
from ndtool.train.metrics import read_metrics
from ndtool.train.models import ModelSpec, build
from ndtool.train.run import RunFolder, last_run
from ndtool.train.teacher import widen

NETS = Path(__file__).with_name("nets.py")
SHAPE = (1, 6, 6)


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NDTOOL_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def data() -> Data:
    """Stripes that lie across, lie along, or are not there."""
    generator = torch.Generator().manual_seed(0)

    def split(count: int) -> Split:
        y = torch.randint(3, (count,), generator=generator)
        x = torch.randn(count, *SHAPE, generator=generator)
        stripes = torch.tensor([1.0, -1.0] * 3)
        x += (y == 0).float().view(-1, 1, 1, 1) * stripes.view(1, 1, 1, 6)
        x += (y == 1).float().view(-1, 1, 1, 1) * stripes.view(1, 1, 6, 1)
        return Split(x=x, y=y)

    return Data(
        name="stripes",
        task="classification",
        train=split(80),
        validation=split(24),
        test=split(40),
        classes=("across", "along", "none"),
        input_shape=SHAPE,
        normalisation=None,
    )


def config_of(**settings) -> TrainConfig:
    spec = ModelSpec(name=f"{NETS}:convolutional", input_shape=SHAPE, classes=3, arguments={"dropout": 0.2})
    given = {"epochs": 3, "batch_size": 16, "expand": 2, "log_every": 2, "bn_samples": 48, "device": "cpu"} | settings
    return TrainConfig(model=spec, data="stripes", **given)


def weights_of(run: RunFolder) -> dict:
    last = checkpoints.load_checkpoint(run.last, run.load_config())
    average = (last.average or {}).get("average", {})
    flat = {f"method {name}": tensor for name, tensor in last.method.items()}
    flat |= {f"average {name}": tensor for name, tensor in average.items()}
    for key, state in last.optimizer["state"].items():
        flat |= {f"{key} {name}": value for name, value in state.items() if isinstance(value, torch.Tensor)}
    return flat


def without_times(run: RunFolder) -> list[dict]:
    return [{k: v for k, v in line.items() if k != "images_per_second"} for line in read_metrics(run.metrics)]


def stop_at(epoch: int, step: int):
    def progress(standing):
        if (standing.epoch, standing.step) == (epoch, step):
            os.kill(os.getpid(), signal.SIGINT)

    return progress


@pytest.mark.parametrize(
    "settings",
    [
        {"method": "vanilla"},
        {"method": "netdistiller", "ema": 0.9},
        {"method": "netdistiller", "optimizer": "adamw", "epochs": 2},
        {"method": "netaug", "epochs": 2},
        {"method": "kd", "epochs": 2},
    ],
    ids=["vanilla", "netdistiller-ema", "netdistiller-adamw", "netaug", "kd"],
)
@pytest.mark.parametrize(("epoch", "step"), [(2, 2), (1, 5)])
def test_a_resumed_training_ends_with_the_same_bits(settings, epoch, step, data, tmp_path):
    config = config_of(log_every=1, **settings)
    whole = RunFolder.create(tmp_path / "whole", config)
    expected = fit(config, whole, data=data)

    parts = RunFolder.create(tmp_path / "parts", config)
    stopped = fit(config, parts, data=data, progress=stop_at(epoch, step))
    assert stopped.interrupted
    assert stopped.test is None
    assert not parts.student.exists()
    with (parts.metrics).open("a") as file:  # a crash after the checkpoint may have left more
        file.write('{"event": "train", "epoch": 9, "st')
    torch.rand(7)  # other use of the generator in between
    result = fit(config, parts, data=data, resume=True)

    assert not result.interrupted
    mine, theirs = weights_of(parts), weights_of(whole)
    assert mine.keys() == theirs.keys()
    assert [name for name, tensor in mine.items() if not torch.equal(tensor, theirs[name])] == []
    assert parts.student.read_bytes() == whole.student.read_bytes()
    assert (result.test, result.teacher_test, result.best_epoch) == (
        expected.test,
        expected.teacher_test,
        expected.best_epoch,
    )
    assert without_times(parts) == without_times(whole)


@pytest.mark.parametrize("method", METHODS)
def test_a_training_learns_and_leaves_a_complete_run(method, data, tmp_path):
    config = config_of(method=method, epochs=12, ema=0.5 if method == "vanilla" else 0.0)
    run = RunFolder.create(tmp_path / "run", config)
    standings = []
    result = fit(config, run, data=data, progress=standings.append)
    assert result.test.accuracy > 0.8
    assert (result.teacher_test is None) == (method in ("vanilla", "netaug"))
    assert last_run() == run

    # what was validated and tested is what ships, bit for bit
    student, best = run.load_student(), checkpoints.load_best(run.best)
    assert all(torch.equal(tensor, best.student[name]) for name, tensor in student.state_dict().items())
    assert evaluate(student, data.test, data).accuracy == result.test.accuracy
    assert evaluate(student, data.validation, data).loss == pytest.approx(result.validation.loss, rel=1e-5)

    written = run.result()
    assert written["test"]["student"]["accuracy"] == result.test.accuracy
    assert written["parameters"] == sum(p.numel() for p in student.parameters())
    assert written["macs"] == 36 * 9 * 4 + 9 * 9 * 4 * 8 + 8 * 3
    assert written["seed"] == 0
    accuracies = [line["student"]["accuracy"] for line in written["history"]]
    assert len(accuracies) == 12
    assert accuracies[result.best_epoch - 1] == max(accuracies)
    assert list((run.path / "tensorboard").glob("events*"))

    standings = [standing for standing in standings if not standing.of_teacher]
    assert [(s.epoch, s.step) for s in standings[:3]] == [(1, 2), (1, 4), (1, 5)]
    last = standings[-1]
    assert (last.epoch, last.epochs, last.step, last.steps, last.eta) == (12, 12, 5, 5, 0.0)
    assert last.validation is not None
    assert last.student_accuracy is not None
    assert last.images_per_second > 0
    assert (last.teacher_accuracy is None) == (method == "vanilla")
    for name in ("conflict_rate", "mean_cosine"):
        assert (getattr(last, name) is not None) == (method in ("netdistiller", "inplace"))


def test_metrics_have_a_line_per_report_and_validation(data, tmp_path):
    config = config_of(epochs=1)
    run = RunFolder.create(tmp_path / "run", config)
    fit(config, run, data=data)
    lines = read_metrics(run.metrics)
    assert [(line["event"], line["epoch"], line["step"]) for line in lines] == [
        ("train", 1, 2),
        ("train", 1, 4),
        ("train", 1, 5),
        ("validation", 1, 5),
    ]
    assert lines[0].keys() >= {"lr", "loss", "student_loss", "teacher_loss", "distill_loss", "conflict_rate"}
    assert lines[-1]["student"].keys() == lines[-1]["teacher"].keys() == {"accuracy", "loss", "count"}


def test_the_teacher_is_measured_with_the_statistics_of_its_weights(data, tmp_path):
    """As the student is: running statistics lag behind, and would make the teacher look worse than it is."""
    config = config_of(epochs=1, lr=0.4)
    run = RunFolder.create(tmp_path / "run", config)
    result = fit(config, run, data=data)
    saved = checkpoints.load_best(run.best).method
    teacher = widen(build(config.model), torch.zeros(2, *SHAPE), config.expand).teacher
    teacher.load_state_dict({name.removeprefix("teacher."): t for name, t in saved.items() if "teacher." in name})
    lagging = evaluate(teacher, data.test, data)
    reestimate_batchnorm(teacher, data, samples=config.bn_samples, batch_size=config.batch_size, seed=config.seed)
    assert result.teacher_test.loss == pytest.approx(evaluate(teacher, data.test, data).loss, rel=1e-5)
    assert result.teacher_test.loss < lagging.loss
    (_, _, _, validation) = read_metrics(run.metrics)
    assert validation["teacher"]["loss"] == pytest.approx(evaluate(teacher, data.validation, data).loss, rel=1e-5)


def test_an_interrupt_from_the_progress_saves_too(data, tmp_path):
    def progress(standing):
        if standing.step == 4:
            raise KeyboardInterrupt

    config = config_of()
    run = RunFolder.create(tmp_path / "run", config)
    result = fit(config, run, data=data, progress=progress)
    assert (result.interrupted, result.epochs) == (True, 0)
    last = checkpoints.load_checkpoint(run.last, config)
    assert (last.epoch, last.step_in_epoch) == (0, 4)
    assert torch.load(run.last, weights_only=True)["version"] == checkpoints.VERSION


def test_a_second_interrupt_is_not_deferred():
    before = signal.getsignal(signal.SIGINT)
    with deferred_interrupt() as interrupt:
        os.kill(os.getpid(), signal.SIGINT)
        assert interrupt.requested
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_other_settings_are_not_resumed(data, tmp_path):
    config = config_of(epochs=1)
    run = RunFolder(tmp_path / "run")
    with pytest.raises(NdtoolError, match="nothing to resume"):
        fit(config, run, data=data, resume=True)
    fit(config, run, data=data)
    wider = dataclasses.replace(config.model, arguments={"width": 8})
    other = dataclasses.replace(config, model=wider, lr=0.5)
    with pytest.raises(
        NdtoolError, match=r"other settings \(lr: default -> 0.5; .*model.arguments.width: default -> 8"
    ):
        fit(other, run, data=data, resume=True)


def test_a_checkpoint_of_another_version_or_none_is_refused(data, tmp_path):
    config = config_of(epochs=1)
    run = RunFolder.create(tmp_path / "run", config)
    torch.save({"version": 99}, run.last)
    with pytest.raises(NdtoolError, match="has version 99, this ndtool reads 2"):
        fit(config, run, data=data, resume=True)
    run.last.write_bytes(b"no checkpoint")
    with pytest.raises(NdtoolError, match="not a readable checkpoint"):
        fit(config, run, data=data, resume=True)


def test_a_finished_training_resumes_to_its_end(data, tmp_path):
    config = config_of(epochs=1)
    run = RunFolder.create(tmp_path / "run", config)
    first = fit(config, run, data=data)
    run.student.unlink()
    again = fit(config, run, data=data, resume=True)
    assert again.test == first.test
    assert run.student.exists()


def test_a_loss_that_is_no_number_stops_the_training_and_names_the_steps(data, tmp_path):
    config = config_of(method="vanilla", lr=1e3, clip=0.0, warmup=0.0, epochs=50, momentum=0.99, log_every=3)
    config = dataclasses.replace(config, model=ModelSpec(name=f"{NETS}:cubic", input_shape=SHAPE, classes=3))
    run = RunFolder.create(tmp_path / "run", config)
    with pytest.raises(NdtoolError, match=r"no number at the steps \d+ to \d+: lower --lr or set --clip") as caught:
        fit(config, run, data=data)
    first, last = map(int, str(caught.value).split("steps ")[1].split(":")[0].split(" to "))
    assert last - first == 4
    taken = [line for line in read_metrics(run.metrics) if "loss" in line]
    assert max((line["step"] for line in taken), default=0) <= first + 1
    assert all(math.isfinite(line["loss"]) for line in taken)
    assert not run.student.exists()


def numbers_of(run: RunFolder) -> list[torch.Tensor]:
    return [tensor for tensor in weights_of(run).values() if tensor.is_floating_point()]


@pytest.mark.parametrize("method", ["vanilla", "netdistiller"])
def test_a_step_without_numbers_is_skipped_and_counted(method, data, tmp_path):
    """One sample is infinite: the steps that meet it change nothing, not even running statistics."""
    x = data.train.x.clone()
    x[7] = float("inf")
    spoilt = dataclasses.replace(data, train=Split(x=x, y=data.train.y))
    config = config_of(method=method, epochs=2, log_every=1, ema=0.9, bn_samples=2)
    order = torch.cat(
        [y for _, y in Batches(split=Split(x=x, y=torch.arange(80)), data=data, batch_size=16, shuffle_seed=0)]
    )
    standings = []
    run = RunFolder.create(tmp_path / "run", config)
    fit(config, run, data=spoilt, progress=standings.append)
    lines = [line for line in read_metrics(run.metrics) if line["event"] == "train"]
    bad = [line for line in lines if "skipped" in line]
    assert [line["skipped"] for line in bad] == [1, 1]
    assert bad[0]["step"] == order.tolist().index(7) // 16 + 1
    assert all(math.isfinite(line["loss"]) for line in lines if line not in bad)
    assert len(standings) == 8
    assert all(tensor.isfinite().all() for tensor in numbers_of(run))


def test_weights_that_are_no_numbers_replace_no_checkpoint(data, tmp_path):
    """A step that overflows although its gradient is finite is noticed before anything is saved."""
    config = config_of(method="vanilla", epochs=3)
    run = RunFolder.create(tmp_path / "run", config)
    fit(config, run, data=data, progress=stop_at(1, 5))
    before, best = run.last.read_bytes(), run.best.read_bytes()

    steps = []

    def overflow_at_the_last(optimizer, *_):
        steps.append(optimizer)
        if len(steps) == 5:
            optimizer.param_groups[0]["params"][0].data.fill_(float("inf"))

    hook = register_optimizer_step_post_hook(overflow_at_the_last)
    try:
        with pytest.raises(NdtoolError, match="the weights are no numbers any more after step 10: lower --lr"):
            fit(config, run, data=data, resume=True)
    finally:
        hook.remove()
    assert (run.last.read_bytes(), run.best.read_bytes()) == (before, best)
    assert not fit(config, run, data=data, resume=True).interrupted


def test_a_folder_that_cannot_be_written_is_noticed_before_training(data, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(NdtoolError, match="cannot write to"):
        fit(config_of(), RunFolder(tmp_path / "file" / "run"), data=data)


def test_settings_that_do_not_fit_leave_an_earlier_run_as_it_is(data, tmp_path):
    config = config_of()
    run = RunFolder.create(tmp_path / "run", config)
    run.student.write_text("earlier")
    wrong = dataclasses.replace(config, device="cuda:99")
    with pytest.raises(NdtoolError):
        fit(wrong, run, data=data)
    assert run.student.read_text() == "earlier"
    assert run.load_config() == config


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"input_shape": (1, 8, 8)}, "takes 1x8x8, stripes has 1x6x6"),
        ({"classes": 2}, "has 2 outputs: stripes has 3 classes"),
    ],
)
def test_a_model_for_other_data_is_refused(spec, message, data, tmp_path):
    config = config_of()
    config = dataclasses.replace(config, model=dataclasses.replace(config.model, **spec))
    with pytest.raises(NdtoolError, match=message):
        fit(config, RunFolder.create(tmp_path / "run", config), data=data)


def test_a_device_that_is_not_there_is_named(data, tmp_path):
    config = config_of(device="cuda:99")
    with pytest.raises(NdtoolError, match="device 'cuda:99' is not available"):
        fit(config, RunFolder.create(tmp_path / "run", config), data=data)


@pytest.mark.parametrize("method", ["vanilla", "netdistiller"])
def test_an_autoencoder_is_trained_without_labels(method, tmp_path):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(256, 2, generator=generator) @ torch.randn(2, 8, generator=generator)
    parts = [Split(x=part) for part in x.split([160, 32, 64])]
    data = Data(
        name="plane",
        task="reconstruction",
        train=parts[0],
        validation=parts[1],
        test=parts[2],
        classes=(),
        input_shape=(8,),
        normalisation=None,
    )
    spec = ModelSpec(name=f"{NETS}:autoencoder", input_shape=(8,), classes=0)
    config = TrainConfig(model=spec, data="plane", method=method, epochs=30, batch_size=32, device="cpu")
    run = RunFolder.create(tmp_path / "run", config)
    result = fit(config, run, data=data)
    assert result.test.accuracy is None
    assert result.test.mse < 0.3 * x.var().item()
    assert run.result()["test"]["student"]["mse"] == result.test.mse
    assert evaluate(run.load_student(), data.test, data).mse == pytest.approx(result.test.mse, rel=1e-5)


def test_more_samples_in_a_batch_than_there_are_are_taken_at_once(data, tmp_path):
    config = config_of(batch_size=1000, epochs=1)
    run = RunFolder.create(tmp_path / "run", config)
    fit(config, run, data=data)
    assert [line["step"] for line in read_metrics(run.metrics)] == [1, 1]


@pytest.mark.parametrize("method", ["vanilla", "netdistiller"])
def test_digits_are_learned_with_the_defaults(method, tmp_path):
    spec = ModelSpec(
        name=f"{NETS}:convolutional", input_shape=(1, 8, 8), classes=10, arguments={"width": 8, "depth": 3}
    )
    config = TrainConfig(model=spec, data="digits", method=method, device="cpu", epochs=25)
    result = fit(config, RunFolder.create(tmp_path / "run", config))
    assert result.test.accuracy > 0.95
    assert result.test.count == len(load_run_data(config).test)
