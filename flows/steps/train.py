"""Trains a model on the training rows; the validation rows choose the epoch that is kept."""

import json
import logging
from pathlib import Path

import pyarrow.parquet as pq
import torch

from flows.datasets.base import read_labels
from flows.errors import InputError
from flows.progress import bar
from rnnfast.models import ModelConfig, build_model
from rnnfast.scoring import save_run
from rnnfast.text import Vocabulary, vectorize
from rnnfast.training import DivergedError, Progress, Reviews, TrainingSettings, fit

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
    total = None if config.cell == "ngrams" else settings.epochs * len(rows)
    with bar(f"training {config.cell}", total, unit="rows") as advance:
        before = 0

        def show(progress: Progress) -> None:
            nonlocal before
            advance(progress.rows_done - before)
            before = progress.rows_done
            if progress.rows_done == progress.epoch * len(rows):
                logger.info("epoch %d: loss %.4f", progress.epoch, progress.loss)

        try:
            history = fit(model, rows, validation, settings, show)
        except DivergedError as error:
            raise InputError(f"--learning-rate: {error}") from error
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


def _vectorized(path: Path, vocabulary: Vocabulary, config: ModelConfig) -> Reviews:
    table = pq.read_table(path, columns=["text", "label"])
    texts = (text.as_py() for text in table["text"])
    ids, lengths = vectorize(texts, vocabulary, config.sequence_length, config.padding)
    return Reviews(ids, lengths, torch.from_numpy(table["label"].to_numpy().copy()))
