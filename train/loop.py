"""The training loop: from settings to data, model, optimiser, epochs, and at the end the test."""

import platform
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from safetensors.torch import save
from torch import nn

from ndtool import __version__
from ndtool.errors import NdtoolError
from ndtool.files import write_atomic
from ndtool.train import checkpoint as checkpoints
from ndtool.train.config import TrainConfig, differences
from ndtool.train.data import Batches, Data, Split, load_data
from ndtool.train.evaluation import Score, evaluate, reestimate_batchnorm
from ndtool.train.interrupt import Interrupt, deferred_interrupt
from ndtool.train.metrics import MetricsWriter, Progress, Window, history, read_metrics
from ndtool.train.optim import lr_at, set_lr
from ndtool.train.run import RunFolder
from ndtool.train.training import Training, wire
from ndtool.train.zoo.count import count

__all__ = ["Progress", "Score", "TrainResult", "evaluate", "fit", "load_run_data"]

Report = Callable[[Progress], None]


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """What a training ended with.

    `interrupted`: it stopped on the user's wish, has saved, and `resume` goes on; it has not been tested then.
    `epochs`: those that are done. `best_epoch`: the one (from 1) that ships, chosen by `validation`. `test` and
    `teacher_test`: of the student and the teacher of that epoch. `seconds`: spent, earlier interrupted runs included.
    """

    run: RunFolder
    interrupted: bool
    epochs: int
    best_epoch: int | None
    validation: Score | None
    test: Score | None
    teacher_test: Score | None
    seconds: float


def fit(
    config: TrainConfig,
    run: RunFolder,
    *,
    data: Data | None = None,
    resume: bool = False,
    progress: Report | None = None,
) -> TrainResult:
    """Train a student and leave it, tested, in the run folder.

    After each epoch the student is extracted, its BatchNorm statistics are re-estimated on training samples, and it is
    validated; best.pt keeps the best as it was validated, bit for bit. The test data are read once, at the end, with
    it; then student.safetensors and result.json are written. kd without a teacher trains one first, in the same way, in
    a run folder within the run. `data` None loads what the settings name. `progress` is
    called every `log_every` steps and at the end of an epoch. What an earlier run left in the folder is removed once
    the settings are known to fit; with `resume` the training goes on from last.pt instead, on the CPU to weights that
    are bit-identical to those of an uninterrupted one. SIGINT (or KeyboardInterrupt from `progress`) stops it after
    the step, saved.

    Raises:
        NdtoolError: the settings do not fit the data, the folder cannot be written, there is nothing to resume or it
            was begun with other settings, or the loss is no number.
    """
    data = data or load_run_data(config)
    begun = resume
    if config.trains_teacher and not (resume and run.last.is_file()):
        interrupted = _train_teacher(config, run, data, resume, progress)
        if interrupted is not None:
            return interrupted
        begun, resume = True, False
    checkpoint = checkpoints.load_checkpoint(run.last, config) if resume else None
    training = wire(config, run, data)
    if not begun:
        run.begin(config)
    _claim(run)
    if checkpoint is not None:
        training.restore(checkpoint)
    keep = checkpoint.metrics_bytes if checkpoint is not None else 0
    with deferred_interrupt() as interrupt, MetricsWriter(run, keep=keep, step=training.step) as writer:
        while training.epoch < config.epochs and not interrupt.requested:
            _train_epoch(training, writer, interrupt, progress)
            if training.step_in_epoch == training.epoch_steps:
                _validate(training, writer)
                training.epoch, training.step_in_epoch = training.epoch + 1, 0
            training.save(writer.size)
    return _result(training) if training.epoch < config.epochs else _finish(training)


def _train_teacher(
    config: TrainConfig, run: RunFolder, data: Data, resume: bool, progress: Report | None
) -> TrainResult | None:
    """Train kd's teacher, a run within the run, or go on with it; returns what is left where it was interrupted."""
    if not resume:
        wire(config.of_teacher(), run, data)  # what is wrong is noticed before anything is written
        run.begin(config)
    elif changed := differences(run.load_config(), config):
        raise NdtoolError(f"cannot resume with other settings ({'; '.join(changed)}): resume with those of the run")
    if run.teacher.result_file.is_file():
        return None
    told = None if progress is None else lambda standing: progress(replace(standing, of_teacher=True))
    result = fit(config.of_teacher(), run.teacher, data=data, resume=run.teacher.last.is_file(), progress=told)
    return replace(result, run=run, epochs=0) if result.interrupted else None


def load_run_data(config: TrainConfig, *, progress: Callable[[str], None] | None = None) -> Data:
    """The data of a run, split and normalised as its training has them. `progress` as `load_data` takes it."""
    return load_data(
        config.data,
        input_shape=config.model.input_shape,
        task=config.task,
        normalisation=config.normalisation,
        validation=config.validation,
        seed=config.seed,
        progress=progress,
    )


def _claim(run: RunFolder) -> None:
    """Notice before training that the folder cannot be written, and make it the last run."""
    try:
        run.checkpoints.mkdir(parents=True, exist_ok=True)
        run.metrics.open("ab").close()
    except OSError as error:
        raise NdtoolError(f"cannot write to {run.path} ({error.strerror}): choose another --out") from error
    try:
        run.remember()
    except OSError as error:
        raise NdtoolError(f"cannot write the cache ({error}): set NDTOOL_CACHE to a folder that can be") from error


def _train_epoch(training: Training, writer: MetricsWriter, interrupt: Interrupt, progress: Report | None) -> None:
    """Take the steps that are left of an epoch, or as many as the user lets it."""
    config, method, optimizer = training.config, training.method, training.optimizer
    parameters = method.parameters()
    window = Window()
    for x, y in _batches(training):
        lr = lr_at(training.step, steps=training.total_steps, base=config.learning_rate, warmup=config.warmup)
        set_lr(optimizer, lr)
        metrics = method.step(x, y)
        if config.clip:
            nn.utils.clip_grad_norm_(parameters, config.clip, foreach=True)
        optimizer.step()
        if training.average is not None:
            training.average.update()
        training.step_in_epoch += 1
        window.add(metrics, len(x))
        at_end = training.step_in_epoch == training.epoch_steps
        if not (at_end or interrupt.requested or training.step % config.log_every == 0):
            continue
        by_tensor, means = window.tensors(), window.means(training.step)
        values = {"lr": lr, **means, **by_tensor}
        writer.write("train", epoch=training.epoch + 1, step=training.step, values=values)
        if progress is not None:
            _report(training, means, progress, interrupt)
        if interrupt.requested:
            return


def _batches(training: Training) -> Batches:
    """What is left of the epoch; order and augmentation depend on the seed and the epoch alone."""
    return Batches(
        split=training.data.train,
        data=training.data,
        batch_size=training.batch_size,
        shuffle_seed=training.config.seed,
        epoch=training.epoch,
        augment=training.config.augment,
        drop_last=True,
        device=training.device,
        start=training.step_in_epoch,
    )


def _report(training: Training, means: dict[str, float], progress: Report, interrupt: Interrupt) -> None:
    standing = Progress(
        epoch=training.epoch + 1,
        epochs=training.config.epochs,
        step=training.step_in_epoch,
        steps=training.epoch_steps,
        loss=means["loss"],
        student_accuracy=means.get("student_accuracy"),
        teacher_accuracy=means.get("teacher_accuracy"),
        conflict_rate=means.get("conflict_rate"),
        mean_cosine=means.get("mean_cosine"),
        validation=training.validation,
        images_per_second=means["images_per_second"],
        eta=training.eta,
    )
    try:
        progress(standing)
    except KeyboardInterrupt:
        interrupt.requested = True


def _validate(training: Training, writer: MetricsWriter) -> None:
    """Validate what would ship, and keep it where it is the best so far."""
    config, epoch = training.config, training.epoch + 1
    with training.averaged():
        student, teacher = training.method.student(), training.method.teacher()
        reestimate_batchnorm(
            student,
            training.data,
            samples=config.bn_samples,
            batch_size=training.batch_size,
            seed=config.seed,
            device=training.device,
        )
        score = _score(training, student, training.data.validation)
        values = {"student": score.to_dict()}
        if teacher is not None:
            values["teacher"] = _score(training, teacher, training.data.validation).to_dict()
        training.validation = score
        writer.write("validation", epoch=epoch, step=training.step, values=values)
        if score.better_than(training.best):
            training.best, training.best_epoch = score, epoch
            checkpoints.save(
                training.run.best,
                checkpoints.Best(
                    config=config.to_toml(),
                    epoch=epoch,
                    student=student.state_dict(),
                    method=training.method.state_dict(),
                ),
            )


def _score(training: Training, model: nn.Module, split: Split) -> Score:
    return evaluate(model, split, training.data, batch_size=2 * training.batch_size, device=training.device)


def _finish(training: Training) -> TrainResult:
    """Test the best student and its teacher, and write what ships."""
    best = checkpoints.load_best(training.run.best)
    training.method.load_state_dict(best.method)
    student, teacher = training.method.student(), training.method.teacher()
    student.load_state_dict(best.student)
    test = _score(training, student, training.data.test)
    teacher_test = None if teacher is None else _score(training, teacher, training.data.test)
    weights = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in student.state_dict().items()}
    write_atomic(training.run.student, save(weights))
    result = _result(training, test, teacher_test)
    training.run.write_result(_summary(training, result, student))
    return result


def _result(training: Training, test: Score | None = None, teacher_test: Score | None = None) -> TrainResult:
    return TrainResult(
        run=training.run,
        interrupted=training.epoch < training.config.epochs,
        epochs=training.epoch,
        best_epoch=training.best_epoch,
        validation=training.best,
        test=test,
        teacher_test=teacher_test,
        seconds=training.seconds,
    )


def _summary(training: Training, result: TrainResult, student: nn.Module) -> dict[str, Any]:
    """The content of result.json: accuracies are fractions, `macs` are those of one sample."""
    config, cost = training.config, count(student, training.config.model.input_shape)
    scores = {"student": result.test, "teacher": result.teacher_test}
    return {
        "model": config.model.name,
        "data": training.data.name,
        "task": training.data.task,
        "classes": list(training.data.classes),
        "method": config.method,
        "seed": config.seed,
        "epochs": result.epochs,
        "best_epoch": result.best_epoch,
        "validation": result.validation and result.validation.to_dict(),
        "test": {name: score.to_dict() for name, score in scores.items() if score is not None},
        "history": history(read_metrics(training.run.metrics)),
        "shared": list(training.method.shared()),
        "parameters": cost.parameters,
        "macs": cost.macs,
        "learning_rate": config.learning_rate,
        "weight_decay": config.decay,
        "device": str(training.device),
        "seconds": round(result.seconds, 3),
        "versions": {"ndtool": __version__, "python": platform.python_version(), "torch": torch.__version__},
    }
