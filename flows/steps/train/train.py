"""Trains a model on the training rows; the validation rows choose the epoch that is kept."""

import json
import logging
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import nn

from flows.datasets.base import read_labels
from flows.errors import InputError
from flows.parameters import ALONE, Processes
from flows.progress import bar
from flows.steps.prepare.encode import encode
from flows.steps.prepare.series import SERIES, training_digest
from flows.steps.train.checkpoints import checkpoint_of
from flows.steps.train.job import TRAIN, VALIDATION, Job, ReviewsJob, WindowsJob
from flows.steps.train.workers import train_together
from rnnfast.evaluation.metrics import conformal_margins
from rnnfast.models.config import ModelConfig
from rnnfast.models.window_config import WindowConfig
from rnnfast.models.windows import WindowModel
from rnnfast.scoring.scorers import save_run, save_sensors_run
from rnnfast.series.windows import Windows
from rnnfast.text.vocabulary import Vocabulary
from rnnfast.training.loop import DivergedError, Progress, fit, trained_by_steps
from rnnfast.training.prediction import forecasts
from rnnfast.training.rows import Futures, Rows
from rnnfast.training.run_folder import SeriesInfo
from rnnfast.training.settings import TrainingSettings, WindowTraining

CALIBRATION = 1 << 24  # readings of the validation part to calibrate intervals on, at the most

logger = logging.getLogger(__name__)


def train(
    parts: Path,
    vocabulary: Path,
    config: ModelConfig,
    settings: TrainingSettings,
    run: Path,
    cache: Path,
    processes: Processes = ALONE,
) -> Path:
    """Trains and saves a model.

    Args:
        parts: folder with `train.parquet`, `validation.parquet` and `data.json`.
        vocabulary: file of the vocabulary.
        config: the model.
        settings: the training.
        run: folder to save the model in, and the course of its training as `metrics.json`.
        cache: a checkpoint is kept here while the model is trained, and found when this is called
            again after it was killed.
        processes: that train it.

    Returns:
        `run`.

    Raises:
        InputError: the training diverged, or cannot be done by these processes.
        WorkerError: the processes failed.
    """
    words = Vocabulary.load(vocabulary, config.split_by)
    with TemporaryDirectory(prefix="ids-", dir=parts) as name:
        ids = Path(name)
        digests = [
            encode(parts / f"{part}.parquet", words, config, ids / part)
            for part in (TRAIN, VALIDATION)
        ]
        job = ReviewsJob(
            parts=ids,
            data_digest="-".join(digests),
            model=config,
            training=settings,
            vocabulary_size=len(words),
        )
        model, _ = _trained(job, run, cache, processes)
    save_run(
        run,
        model,
        words,
        config=config,
        training=settings,
        labels=read_labels(parts / "train.parquet"),
        data=json.loads((parts / "data.json").read_text(encoding="utf-8"))["source"],
    )
    return run


def train_windows(
    parts: Path,
    config: WindowConfig,
    settings: WindowTraining,
    run: Path,
    cache: Path,
    processes: Processes = ALONE,
) -> Path:
    """Trains a model of windows of readings on what `prepare_series` left in `parts`; as `train`.

    The intervals of forecasts are calibrated on the validation part.
    """
    digest = training_digest(parts)
    job = WindowsJob(parts=parts, data_digest=digest, model=config, training=settings)
    model, validation = _trained(job, run, cache, processes)
    assert isinstance(model, WindowModel)
    if isinstance(validation, Futures):
        _calibrate(model, validation.windows)
    info = SeriesInfo.model_validate_json((parts / SERIES).read_text(encoding="utf-8"))
    source = json.loads((parts / "data.json").read_text(encoding="utf-8"))["source"]
    save_sensors_run(run, model, training=settings, series=info, data=source)
    return run


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


def _trained(
    job: Job, run: Path, cache: Path, processes: Processes
) -> tuple[nn.Module, Rows | None]:
    """The trained model and the validation rows; the history goes to `metrics.json` of the run."""
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
                        history = fit(model, rows, validation, settings, show, checkpoint)
            except DivergedError as error:
                raise InputError(f"--learning-rate: {error}") from error
    (run / "metrics.json").write_text(json.dumps({"history": history}), encoding="utf-8")
    return model, validation
