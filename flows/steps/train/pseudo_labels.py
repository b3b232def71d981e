"""Trains a classifier again, with texts that it has labelled itself and is sure of.

After Lee, "Pseudo-Label: The Simple and Efficient Semi-Supervised Learning Method for Deep Neural Networks" (2013).
"""

import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from flows.datasets.base import open_reviews, reviews_writer, schema_of
from flows.parameters import ONE_PROCESS, Processes
from flows.progress import rows_bar
from flows.steps.prepare.settings import ReviewsSettings
from flows.steps.prepare.unlabelled import UNLABELLED
from flows.steps.train.train import Trained, train
from flows.wording import counted
from rnnfast.labels.classes import Classes
from rnnfast.models.choices import DeviceChoice
from rnnfast.scoring.scorers import SCORING_BATCH, Scorer
from rnnfast.training.run_folder import CONFIG, VOCABULARY, WEIGHTS
from rnnfast.training.settings import TrainingSettings

_OWN_SHARE = 0.25  # of the rows that is to have labels of people, by repeating them,
_REPEATS = 10  # so often at most

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LearnedAgain:
    """What came of it.

    Attributes:
        trained: the course of the training that was kept; None: the model is still the first one.
        figures: how many texts were labelled, and the validation loss before and after.
    """

    trained: Trained | None
    figures: dict[str, Any]


def rows_again(rows: int, texts: int, sure_share: float) -> int:
    """About how many rows there are to learn from again.

    >>> rows_again(rows=450, texts=10_000, sure_share=0.5)
    6800
    """
    labelled = round(sure_share * texts)
    return labelled + rows * _repeats(rows, labelled)


def with_training(settings: ReviewsSettings, training: TrainingSettings) -> ReviewsSettings:
    """The same settings, trained as more rows ask for, with its own seed."""
    own = training.model_copy(update={"seed": settings.training.seed})
    return replace(settings, training=own)


def learn_again(
    parts: Path,
    vocabulary: Path,
    settings: ReviewsSettings,
    source: Mapping[str, Any],
    run: Path,
    cache: Path,
    sure_share: float,
    processes: Processes = ONE_PROCESS,
    device: DeviceChoice = "cpu",
) -> LearnedAgain:
    """Labels the texts that `prepare_unlabelled` left, and trains with the surest; keeps the model of less loss.

    The loss is that on the validation rows, which people have labelled.

    Args:
        parts: folder with the parts, and the texts without labels.
        vocabulary: file of the vocabulary.
        settings: of the model, as that of the run has them, and of a training with so many rows.
        source: where the rows come from, for the record.
        run: folder with the trained model, which gets the new one where that is better.
        cache: as of `train`.
        sure_share: the share of the texts of each class that is learned from.
        processes: that train it.
        device: where the texts are scored.
    """
    scorer = Scorer.load(run, device=device)
    assert isinstance(scorer.target, Classes)
    with TemporaryDirectory(prefix="again-", dir=parts) as name:
        again = Path(name)
        found = _label(parts, scorer, sure_share, again)
        (again / "validation.parquet").symlink_to(parts / "validation.parquet")
        new = again / "run"
        new.mkdir()
        trained = train(again, vocabulary, settings, source, new, cache, processes, scorer.target)
        losses = [
            _loss(parts / "validation.parquet", each)
            for each in (scorer, Scorer.load(new, device=device))
        ]
        is_better = losses[1] < losses[0]
        if is_better:
            for file in (WEIGHTS, CONFIG, VOCABULARY):
                shutil.copyfile(new / file, run / file)
    logger.info(
        "learned again with %s that the model has labelled: validation loss %.4f, before %.4f; kept: the %s model",
        counted(found, "text"),
        losses[1],
        losses[0],
        "new" if is_better else "first",
    )
    figures = {
        "texts": found,
        "loss_before": losses[0],
        "loss": losses[1],
        "kept": "again" if is_better else "first",
    }
    return LearnedAgain(trained if is_better else None, {"pseudo_labels": figures})


def _label(parts: Path, scorer: Scorer, sure_share: float, folder: Path) -> int:
    """Writes `train.parquet`, the rows to learn from again; returns how many of them the model has labelled."""
    target = scorer.target
    assert isinstance(target, Classes)
    parts_given = []
    with (
        open_reviews(parts / UNLABELLED) as file,
        rows_bar("labelling texts", file.metadata.num_rows) as advance,
    ):
        for batch in file.iter_batches(SCORING_BATCH, columns=["text"]):
            parts_given.append(scorer.score(batch["text"]))
            advance(len(batch), len(batch))
    given = np.concatenate(parts_given)
    called, sure = target.called(given), _by_class(given).max(1)
    chosen = np.zeros(len(called), bool)
    for name in np.unique(called):
        own = np.flatnonzero(called == name)
        count = max(1, round(sure_share * len(own)))
        chosen[own[np.argsort(-sure[own], kind="stable")[:count]]] = True
    labelled, rows = int(chosen.sum()), pq.read_metadata(parts / "train.parquet").num_rows
    with reviews_writer(folder / "train.parquet", target) as write:
        for _ in range(_repeats(rows, labelled)):
            with open_reviews(parts / "train.parquet") as file:
                for batch in file.iter_batches(SCORING_BATCH):
                    write(pa.Table.from_batches([batch]))
        with open_reviews(parts / UNLABELLED) as file:
            first = 0
            for batch in file.iter_batches(SCORING_BATCH, columns=["text"]):
                numbers = np.flatnonzero(chosen[first : first + len(batch)])
                columns = [
                    pa.array([f"unlabelled-{first + n}" for n in numbers], pa.string()),
                    batch["text"].take(pa.array(numbers)),
                    pa.array(called[first + numbers], target.storage),
                    pa.nulls(len(numbers), pa.string()),
                ]
                write(pa.table(columns, schema=schema_of(target)))
                first += len(batch)
    return labelled


def _repeats(rows: int, labelled: int) -> int:
    """How often each row is to be learned from that people have labelled."""
    wanted = _OWN_SHARE / (1 - _OWN_SHARE) * labelled / rows
    return max(1, min(_REPEATS, round(wanted)))


def _by_class(given: np.ndarray) -> np.ndarray:
    """The probability of each class (N, K), also of two, of which the second one's is given."""
    return np.stack([1 - given, given], 1) if given.ndim == 1 else given


def _loss(path: Path, scorer: Scorer) -> float:
    """The mean of -log p of the labels of the rows of a part."""
    total = rows = 0.0
    with open_reviews(path) as file:
        for batch in file.iter_batches(SCORING_BATCH, columns=["text", "label"]):
            given, truth = scorer.score(batch["text"]), scorer.target.truth(batch["label"])
            p = _by_class(given)[np.arange(len(truth)), truth].astype(np.float64)
            total -= np.log(p.clip(min=1e-12)).sum()
            rows += len(truth)
    return float(total / rows)
