"""Trains a model on the training rows; the validation rows choose the epoch that is kept."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from torch import nn

from flows.datasets.base import read_labels
from flows.errors import InputError
from flows.progress import bar
from flows.steps.prepare_series import SERIES, part_windows, training_scaler
from rnnfast.metrics import conformal_margins
from rnnfast.models import ModelConfig, build_model
from rnnfast.scoring import SeriesInfo, save_run, save_sensors_run
from rnnfast.series import Windows
from rnnfast.text import Vocabulary, vectorize
from rnnfast.training import (
    DivergedError,
    Futures,
    LabelledWindows,
    LoopSettings,
    Progress,
    Reviews,
    Rows,
    TrainingSettings,
    WindowTraining,
    fit,
    forecasts,
)
from rnnfast.window_models import WindowConfig, WindowModel, build_window_model

CALIBRATION = 1 << 24  # readings of the validation part to calibrate intervals on, at the most

logger = logging.getLogger(__name__)


def train(
    parts: Path, vocabulary: Path, config: ModelConfig, settings: TrainingSettings, run: Path
) -> Path:
    """Trains and saves a model.

    Args:
        parts: folder with `train.parquet`, `validation.parquet` and `data.json`.
        vocabulary: file of the vocabulary.
        config: the model.
        settings: the training.
        run: folder to save the model in, and the course of its training as `metrics.json`.

    Returns:
        `run`.

    Raises:
        InputError: the training diverged.
    """
    words = Vocabulary.load(vocabulary)
    rows = _vectorized(parts / "train.parquet", words, config)
    validation = _vectorized(parts / "validation.parquet", words, config)
    model = build_model(config, len(words), settings.seed)
    history = _fit(model, rows, validation, settings, config.cell)
    (run / "metrics.json").write_text(json.dumps({"history": history}), encoding="utf-8")
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


def train_windows(parts: Path, config: WindowConfig, settings: WindowTraining, run: Path) -> Path:
    """Trains a model of windows of readings on what `prepare_series` left in `parts`; as `train`.

    The intervals of forecasts are calibrated on the validation part.
    """
    info = SeriesInfo.model_validate_json((parts / SERIES).read_text(encoding="utf-8"))
    try:
        model = build_window_model(
            config, len(info.channels), info.target_places, len(info.labels), settings.seed
        )
    except ValueError as error:
        raise InputError(f"--set: {error}") from error
    model.set_scaler(training_scaler(parts))
    rows = _window_rows(parts, "train", model, settings, settings.stride)
    assert rows is not None
    validation = _window_rows(parts, "validation", model, settings, 0)
    history = _fit(model, rows, validation, settings, config.cell)
    (run / "metrics.json").write_text(json.dumps({"history": history}), encoding="utf-8")
    if config.task == "forecast" and validation is not None:
        _calibrate(model, validation.windows)
    source = json.loads((parts / "data.json").read_text(encoding="utf-8"))["source"]
    save_sensors_run(run, model, training=settings, series=info, data=source)
    return run


def _window_rows(
    parts: Path, part: str, model: WindowModel, settings: WindowTraining, stride: int
) -> Futures | LabelledWindows | None:
    found = part_windows(parts, part, model.config, stride)
    if found is None:
        return None
    windows, labels, _ = found
    if model.config.task == "classify":
        return LabelledWindows(windows, labels)
    return Futures(windows, model, settings.loss)


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


def _fit(
    model: nn.Module, rows: Rows, validation: Rows | None, settings: LoopSettings, cell: str
) -> list[dict[str, Any]]:
    """Trains, with a bar; returns the history.

    Raises:
        InputError: the training diverged.
    """
    by_steps = any(parameter.requires_grad for parameter in model.parameters())
    total = settings.epochs * len(rows) if by_steps else None
    with bar(f"training {cell}", total, unit="rows") as advance:
        before = 0

        def show(progress: Progress) -> None:
            nonlocal before
            advance(progress.rows_done - before)
            before = progress.rows_done
            if progress.rows_done == progress.epoch * len(rows):
                logger.info("epoch %d: loss %.4f", progress.epoch, progress.loss)

        try:
            return fit(model, rows, validation, settings, show)
        except DivergedError as error:
            raise InputError(f"--learning-rate: {error}") from error


def _vectorized(path: Path, vocabulary: Vocabulary, config: ModelConfig) -> Reviews:
    table = pq.read_table(path, columns=["text", "label"])
    ids, lengths = vectorize(
        table["text"],
        vocabulary,
        config.sequence_length,
        config.padding,
        threads=torch.get_num_threads(),
    )
    return Reviews(ids, lengths, torch.from_numpy(table["label"].to_numpy().copy()))
