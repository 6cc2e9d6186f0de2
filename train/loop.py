"""The training loop: from settings to data, model, optimiser, epochs, and at the end the test."""

from collections.abc import Callable
from dataclasses import replace

from torch import Tensor, nn

from ndtool.errors import NdtoolError
from ndtool.files import remove_unfinished, reserve
from ndtool.train import checkpoint as checkpoints
from ndtool.train.config import TrainConfig
from ndtool.train.data import Batches, Data, load_data
from ndtool.train.distributed import SharedError, any_, on_first, stepping
from ndtool.train.interrupt import Interrupt, deferred_interrupt
from ndtool.train.methods import StepMetrics
from ndtool.train.metrics import MetricsWriter, NoMetrics, Progress, Window, metrics_writer
from ndtool.train.optim import lr_at, set_lr
from ndtool.train.outcome import TrainResult, finish, reestimate, result_of, score, score_teacher
from ndtool.train.run import RunFolder
from ndtool.train.step import gradients_of
from ndtool.train.training import Training, wire
from ndtool.train.transfer import open_start

__all__ = ["fit", "load_run_data"]

Report = Callable[[Progress], None]
BAD_STEPS = 5  # in a row, after which a training whose gradients are no numbers stops


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
    a run folder within the run. `data` None loads what the settings name. `progress` is called every `log_every` steps
    and at the end of an epoch. What an earlier run left in the folder is removed once the settings are known to fit;
    with `resume` the training goes on from last.pt instead, on the CPU to weights that are bit-identical to those of an
    uninterrupted one. SIGINT and SIGTERM (or KeyboardInterrupt from `progress`) stop it after the step, saved. A step
    whose loss or gradient is no number is skipped, and counted in the metrics.

    Processes that have joined (`distributed.joined`) call this alike and train together: each takes its share of every
    batch, and the first alone reads checkpoints, writes into the folder and calls `progress`.

    Raises:
        NdtoolError: the settings do not fit the data, the folder cannot be written, there is nothing to resume or it
            was begun with other settings, or the loss is no number at several steps in a row.
    """
    data = data or load_run_data(config)
    if config.trains_teacher and not on_first(lambda: resume and run.last.is_file()):
        interrupted = _train_teacher(config, run, data, resume, progress)
        if interrupted is not None:
            return interrupted
        resume = False
    checkpoint = on_first(lambda: _to_resume(run, config)) if resume else None
    before = checkpoint
    if before is None and config.trains_teacher:
        before = on_first(lambda: checkpoints.load_checkpoint(run.teacher.last, config.of_teacher()))
    start = open_start(config.init) if config.init is not None and checkpoint is None else None
    parts = None if before is None else before.parts  # cut as they were, by whomever
    training = wire(config, run, data, parts=parts, start=start)
    if checkpoint is not None:
        training.restore(checkpoint)
    on_first(lambda: _claim(training, anew=checkpoint is None))
    keep = checkpoint.metrics_bytes if checkpoint is not None else 0
    with stepping(), deferred_interrupt() as interrupt:
        with metrics_writer(training.ranks, run, keep=keep, step=training.step) as writer:
            _train(training, writer, interrupt, progress)
        return result_of(training) if training.epoch < config.epochs else finish(training)


def _to_resume(run: RunFolder, config: TrainConfig) -> checkpoints.Checkpoint | None:
    """Where the run stands; None where it was killed before its first checkpoint and begins anew.

    Raises NdtoolError where there is nothing to resume, or it was begun with other settings.
    """
    if run.last.is_file() or run.student.is_file() or not run.config.is_file():
        return checkpoints.load_checkpoint(run.last, config)
    checkpoints.require_same(run.load_config(), config)
    return None


def _train_teacher(
    config: TrainConfig, run: RunFolder, data: Data, resume: bool, progress: Report | None
) -> TrainResult | None:
    """Train kd's teacher, a run within the run, or go on with it; returns what is left where it was interrupted."""
    if resume:
        on_first(lambda: _to_resume(run, config))
    else:
        wire(config.of_teacher(), run, data)  # what is wrong is noticed before anything is written
        on_first(lambda: run.begin(config))
    trained, begun = on_first(lambda: (run.teacher.result_file.is_file(), run.teacher.config.is_file()))
    if trained:
        return None
    told = None if progress is None else lambda standing: progress(replace(standing, of_teacher=True))
    result = fit(config.of_teacher(), run.teacher, data=data, resume=begun, progress=told)
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


def _claim(training: Training, *, anew: bool) -> None:
    """Notice before training that the folder cannot be written or has no room, and make it the last run."""
    run = training.run
    try:
        run.path.mkdir(parents=True, exist_ok=True)
        remove_unfinished(run.path)
        reserve(run.path, [training.checkpoint_bytes] * (4 if anew else 2))  # last.pt and best.pt, old and new
        if anew and not training.config.trains_teacher:  # with a teacher it has begun with that
            run.begin(training.config)
        run.checkpoints.mkdir(parents=True, exist_ok=True)
        run.metrics.open("ab").close()
        remove_unfinished(run.checkpoints)
    except OSError as error:
        raise NdtoolError(
            f"cannot write to {run.path} ({error.strerror}): make room or choose another --out"
        ) from error
    try:
        run.remember()
    except OSError as error:
        raise NdtoolError(f"cannot write the cache ({error}): set NDTOOL_CACHE to a folder that can be") from error


def _train(
    training: Training, writer: MetricsWriter | NoMetrics, interrupt: Interrupt, progress: Report | None
) -> None:
    """Take the epochs that are left, or as many steps as the user lets it; all processes stop after the same step."""
    (stop,) = any_(interrupt.requested)
    while training.epoch < training.config.epochs and not stop:
        stop = _train_epoch(training, writer, interrupt, progress)
        training.synchronise()
        training.require_numbers()
        if training.step_in_epoch == training.epoch_steps:
            _validate(training, writer)
            training.epoch, training.step_in_epoch = training.epoch + 1, 0
        if training.ranks.first:
            training.save(writer.size)
        (stop,) = any_(stop or interrupt.requested)


def _train_epoch(
    training: Training, writer: MetricsWriter | NoMetrics, interrupt: Interrupt, progress: Report | None
) -> bool:
    """Take the steps that are left of an epoch, or as many as the user lets it; returns whether to stop."""
    config = training.config
    window = Window()
    for x, y in _batches(training):
        lr = lr_at(training.step, steps=training.total_steps, base=training.learning_rate, warmup=config.warmup)
        set_lr(training.optimizer, lr)
        metrics, stop = _step(training, x, y, interrupt)
        if metrics is None:
            window.skip(training.batch_size)
        else:
            window.add(metrics, training.batch_size)
        at_end = training.step_in_epoch == training.epoch_steps
        if not (at_end or stop or training.step % config.log_every == 0):
            continue
        by_tensor, means = window.tensors(), window.means()
        values = {"lr": lr, **means, **by_tensor}
        writer.write("train", epoch=training.epoch + 1, step=training.step, values=values)
        if progress is not None and training.ranks.first and "loss" in means:
            _report(training, means, progress, interrupt)
        (stop,) = any_(stop or interrupt.requested)
        if stop:
            return True
    return False


def _step(training: Training, x: Tensor, y: Tensor, interrupt: Interrupt) -> tuple[StepMetrics | None, bool]:
    """Take a step; its metrics, and whether to stop, as all processes agree.

    No metrics where the loss or the gradient is no number: then nothing was changed.

    Raises NdtoolError after BAD_STEPS of these in a row.
    """
    ranks, parameters = training.ranks, training.method.parameters()
    metrics = gradients_of(
        training.method,
        x,
        y,
        statistics=training.statistics,
        parts=training.parts // ranks.world,
        seed=training.config.seed,
        step=training.step,
        ranks=ranks,
    )
    norm = nn.utils.clip_grad_norm_(parameters, training.config.clip or float("inf"))
    usable = bool((norm + metrics.loss).isfinite())  # which waits for the device: the price of not stepping astray
    stop, unusable = any_(interrupt.requested, not usable)
    training.step_in_epoch += 1
    training.skipped = training.skipped + 1 if unusable else 0
    if training.skipped == BAD_STEPS:
        steps = f"{training.step - BAD_STEPS + 1} to {training.step}"
        raise SharedError(f"the loss or its gradient is no number at the steps {steps}: lower --lr or set --clip")
    if unusable:
        training.statistics.go_back()
        return None, stop
    training.optimizer.step()
    if training.average is not None:
        training.average.update()
    return metrics, stop


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
        share=(training.ranks.rank, training.ranks.world),
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
        skipped=int(means.get("skipped", 0)),
    )
    try:
        progress(standing)
    except KeyboardInterrupt:
        interrupt.requested = True


def _validate(training: Training, writer: MetricsWriter | NoMetrics) -> None:
    """Validate what would ship, and keep it where it is the best so far."""
    config, epoch = training.config, training.epoch + 1
    with training.averaged():
        student = training.method.student()
        reestimate(training, student)
        reached = score(training, student, training.data.validation)
        values = {"student": reached.to_dict()}
        if (teacher := score_teacher(training, training.data.validation)) is not None:
            values["teacher"] = teacher.to_dict()
        training.validation = reached
        writer.write("validation", epoch=epoch, step=training.step, values=values)
        if not reached.better_than(training.best):
            return
        training.best, training.best_epoch = reached, epoch
        if training.ranks.first:
            checkpoints.save(
                training.run.best,
                checkpoints.Best(
                    config=config.to_toml(),
                    epoch=epoch,
                    student=student.state_dict(),
                    method=training.method.state_dict(),
                ),
            )
