"""Trains a model on the training rows; the validation rows choose the epoch that is kept."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from flows.datasets.base import read_labels
from flows.errors import InputError
from flows.parameters import ONE_PROCESS, Processes
from flows.progress import bar
from flows.steps.prepare.download import sha256
from flows.steps.prepare.encode import encode, open_encoded
from flows.steps.prepare.series import PreparedSeries, part_windows, training_digest
from flows.steps.prepare.settings import ReviewsSettings, SensorsSettings
from flows.steps.train.checkpoints import checkpoint_of
from flows.steps.train.job import TRAIN_PART, VALIDATION_PART, ReviewsJob, TrainingJob, WindowsJob
from flows.steps.train.workers import train_together
from rnnfast.evaluation.intervals import conformal_margins
from rnnfast.labels.target import Target, classes_of
from rnnfast.models.config import ModelConfig
from rnnfast.models.precision import find_device
from rnnfast.models.texts import WideAndDeep
from rnnfast.models.wide import WideForecaster
from rnnfast.models.window_model import WindowModel
from rnnfast.scoring.scorers import save_run, save_sensors_run
from rnnfast.series.windows import Windows
from rnnfast.text.vocabulary import Vocabulary
from rnnfast.training.counting import gain_of_counts
from rnnfast.training.loop import DivergedError, Progress, fit, trained_by_steps
from rnnfast.training.prediction import BATCH, forecasts, model_outputs
from rnnfast.training.rows import Futures, Reviews, Rows
from rnnfast.training.run_folder import WEIGHTS
from rnnfast.training.weighing import compared, part_outputs
from rnnfast.training.wide import solve_wide

History = list[dict[str, Any]]

_SURE = 2.0  # standard errors from which on counts are read
CALIBRATION = 1 << 24  # readings of the validation part to calibrate intervals on, at the most

logger = logging.getLogger(__name__)


class Trained(NamedTuple):
    """What is known of a trained model of texts.

    Attributes:
        history: the course of the training, epoch by epoch.
        parts: of a model that has n-grams in it, under "parts", what the rest adds on the validation rows, and which
            model was kept; else empty.
    """

    history: History
    parts: dict[str, Any]


def train(
    parts: Path,
    vocabulary: Path,
    settings: ReviewsSettings,
    source: Mapping[str, Any],
    run: Path,
    cache: Path,
    processes: Processes = ONE_PROCESS,
    target: Target | None = None,
) -> Trained:
    """Trains and saves a model.

    Args:
        parts: folder with `train.parquet` and `validation.parquet`.
        vocabulary: file of the vocabulary.
        settings: of model and training, and what is left to the validation rows: whether the model's n-grams read
            counts, and whether they are kept alone where the rest adds nothing.
        source: where the rows come from, for the record.
        run: folder to save the model in.
        cache: a checkpoint is kept here while the model is trained, and found when this is called
            again after it was killed.
        processes: that train it.
        target: what the labels are; None: the classes whose names the rows carry.

    Returns:
        The course of the training, and what its parts are worth.

    Raises:
        InputError: the training diverged, or cannot be done by these processes.
        WorkerError: the processes failed.
    """
    start = [sha256(settings.init / WEIGHTS)] if settings.init else []
    with encoded(parts, vocabulary, settings.model, target) as found:
        if settings.choose_counts:
            settings = replace(settings, model=_by_counts_or_not(settings, found))
        job = ReviewsJob(
            parts=found.folder,
            data_digest="-".join([found.digest, *start]),
            model=settings.model,
            training=settings.training,
            vocabulary_size=len(found.words),
            target=found.target,
            init=settings.init,
        )
        model, _, validation, history = trained(job, cache, processes)
        assert isinstance(validation, Reviews)
        parts_of_it = finish_reviews(model, settings, validation, found.words, source, run)
    return Trained(history, parts_of_it)


@dataclass(frozen=True)
class EncodedParts:
    """The training and the validation rows as ids.

    Attributes:
        folder: with a folder of each part.
        digest: tells these rows from others.
        words: the vocabulary.
        config: of the model that reads them.
        target: what the labels are.
    """

    folder: Path
    digest: str
    words: Vocabulary
    config: ModelConfig
    target: Target

    def rows(self, part: str) -> Reviews:
        """The rows of a part."""
        return open_encoded(self.folder / part, self.config, self.target)


@contextmanager
def encoded(
    parts: Path, vocabulary: Path, config: ModelConfig, target: Target | None
) -> Iterator[EncodedParts]:
    """The rows that `train` takes, encoded for as long as the block lasts."""
    target = target or classes_of(read_labels(parts / "train.parquet"))
    words = Vocabulary.load(vocabulary, config.split_by)
    with TemporaryDirectory(prefix="ids-", dir=parts) as name:
        folder = Path(name)
        digests = [
            encode(parts / f"{part}.parquet", words, config, folder / part, target)
            for part in (TRAIN_PART, VALIDATION_PART)
        ]
        yield EncodedParts(folder, "-".join(digests), words, config, target)


def _by_counts_or_not(settings: ReviewsSettings, found: EncodedParts) -> ModelConfig:
    """The configuration with counts where n-grams that read them are right more often by more than chance, logged."""
    train, validation = (found.rows(part) for part in (TRAIN_PART, VALIDATION_PART))
    gain = gain_of_counts(train, validation, found.config, len(found.words), settings.training)
    counts = gain > _SURE
    logger.info(
        "n-grams that know how often a text has a word are %s by %.1f standard errors on validation: %s",
        "better" if gain > 0 else "no better",
        abs(gain),
        "counts are read" if counts else "counts are not read",
    )
    return settings.model.model_copy(update={"ngram_counts": counts})


def finish_reviews(
    model: nn.Module,
    settings: ReviewsSettings,
    validation: Reviews,
    words: Vocabulary,
    source: Mapping[str, Any],
    run: Path,
) -> dict[str, Any]:
    """Compares a trained model with its n-grams, calibrates and saves it, as `train` says: `Trained.parts`."""
    config = settings.model
    figures: dict[str, Any] = {}
    if isinstance(model, WideAndDeep):
        figures = _compared(model, config, validation, settings.choose)
        if figures["kept"] != config.cell:
            model, config = model.wide, _of_ngrams(config)
    save_run(
        run,
        model,
        words,
        config=config,
        training=settings.training,
        labels=_calibrated(model, validation),
        data=dict(source) | _started(settings.init),
    )
    return {"parts": figures} if figures else {}


def _started(init: Path | None) -> dict[str, Any]:
    """The language model that a training started from, for the record."""
    return {"init": str(init), "init_sha256": sha256(init / WEIGHTS)} if init else {}


def _calibrated(model: nn.Module, validation: Reviews) -> Target:
    """What the labels are, with what the validation rows say of the model: thresholds, or the width of intervals."""
    given, truth = [], []
    for rows in validation.offsets.diff().argsort(stable=True).split(BATCH):
        given.append(validation.target.given(model_outputs(model, *validation.take(rows))))
        truth.append(validation.labels[rows].numpy())
    return validation.target.calibrated(np.concatenate(truth), np.concatenate(given))


def _compared(
    model: WideAndDeep, config: ModelConfig, validation: Reviews, choose: bool
) -> dict[str, Any]:
    """What the deep part adds, and which cell is kept, which is logged."""
    figures = compared(
        part_outputs(model, validation), validation.labels.numpy(), validation.target
    )
    kept = "ngrams" if choose and figures["gain"] <= 0 else config.cell
    logger.info(
        "validation loss %.4f with %s beside n-grams, %.4f of n-grams alone: %s by %.1f standard errors; kept: %s",
        figures["loss"],
        config.cell,
        figures["wide_loss"],
        "better" if figures["gain"] > 0 else "no better",
        abs(figures["gain"]),
        kept,
    )
    return {**figures, "kept": kept}


def _of_ngrams(config: ModelConfig) -> ModelConfig:
    """The configuration of a model's n-grams alone."""
    shared = {"max_tokens", "min_frequency", "split_by", "sequence_length", "padding", "max_pairs"}
    return ModelConfig(cell="ngrams", **config.model_dump(include=shared | {"ngram_counts"}))


def train_windows(
    parts: Path,
    prepared: PreparedSeries,
    settings: SensorsSettings,
    run: Path,
    cache: Path,
    processes: Processes = ONE_PROCESS,
) -> History:
    """Trains a model of windows of readings on what `prepare_series` left in `parts`; as `train`.

    Intervals, and the thresholds of tags, are calibrated on the validation part.
    """
    job = WindowsJob(
        parts=parts,
        data_digest=training_digest(parts),
        model=settings.model,
        training=settings.training,
        series=prepared.info,
        mean=tuple(prepared.scaler.mean.tolist()),
        scale=tuple(prepared.scaler.scale.tolist()),
        target=prepared.target,
    )
    model, rows, validation, history = trained(job, cache, processes)
    assert isinstance(model, WindowModel)
    if isinstance(model, WideForecaster):
        assert isinstance(rows, Futures)
        assert validation is None or isinstance(validation, Futures)
        solve_wide(model, rows, validation)
        logger.info("%.0f%% of the forecast is of the recurrent part", 100 * float(model.share))
    finish_windows(model, parts, prepared, settings, run)
    return history


def finish_windows(
    model: WindowModel, parts: Path, prepared: PreparedSeries, settings: SensorsSettings, run: Path
) -> None:
    """Calibrates a trained model on the validation windows, if there are some, and saves it."""
    found = part_windows(parts, VALIDATION_PART, model.config)
    target = prepared.target
    if found is not None:
        windows, truth, readings = found
        if target is None:
            _calibrate(model, windows)
        else:
            given = [target.given(each) for _, each in forecasts(model, windows)]
            starts = windows.starts(torch.arange(len(windows))).numpy()
            devices = readings.groups[np.searchsorted(readings.runs[:, 1], starts, "right")]
            target = target.calibrated(truth.numpy(), np.concatenate(given), devices)
    save_sensors_run(
        run,
        model,
        training=settings.training,
        series=prepared.info,
        data=dict(prepared.source),
        target=target,
    )


def _calibrate(model: WindowModel, windows: Windows) -> None:
    """Sets the margins of the intervals by validation windows, spread evenly where there are many."""
    readings = len(windows) * model.config.horizon * len(model.targets)
    step = windows.step * -(-readings // CALIBRATION)
    chosen = Windows(windows.values, windows.runs, windows.size, step)
    truths, lows, highs = [], [], []
    for numbers, forecast in forecasts(model, chosen):
        future = chosen.take(numbers)[:, model.config.lookback :]
        low, high = model.interval(forecast)
        truths.append(model.standardised(future)[..., model.targets].numpy())
        lows.append(low.numpy())
        highs.append(high.numpy())
    ends = np.concatenate(lows), np.concatenate(highs)
    margins = conformal_margins(np.concatenate(truths), *ends, model.config.coverage)
    model.margins.copy_(torch.from_numpy(margins))


def trained(
    job: TrainingJob, cache: Path, processes: Processes
) -> tuple[nn.Module, Rows, Rows | None, History]:
    """The trained model, its rows to train and to validate on, and the course of the training.

    Raises:
        InputError: the training diverged, or cannot be done by these processes.
        WorkerError: the processes failed.
    """
    model, rows, validation = job.begin()
    settings, cell = job.training, job.model.cell
    by_steps = trained_by_steps(model)
    total = settings.epochs * len(rows) if by_steps else None
    with bar(f"training {cell}", total, unit="rows") as advance:
        before = 0

        def show(progress: Progress) -> None:
            nonlocal before
            advance(progress.rows_done - before)
            before = progress.rows_done
            if progress.rows_done == progress.epoch * len(rows):
                logger.info("epoch %d: loss %.4f", progress.epoch, progress.loss)

        if not by_steps:
            history = fit(model, rows, validation, settings, show)
        else:
            try:
                with checkpoint_of(job.key, cache) as checkpoint:
                    if processes.count > 1:
                        history = train_together(model, job, checkpoint, processes, show)
                    else:
                        device = find_device(processes.device)
                        history = fit(
                            model, rows, validation, settings, show, checkpoint, device=device
                        )
            except DivergedError as error:
                raise InputError(f"--learning-rate: {error}") from error
    return model, rows, validation, history
