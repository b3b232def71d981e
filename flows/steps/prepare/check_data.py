"""Looks at the rows before anything is trained on them: what they are like, and whether that breaks a rule."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from flows.steps.prepare.checks import (
    check_classes,
    check_readings,
    check_texts,
    count_report,
    report_checks,
)
from flows.steps.prepare.gather import open_readings
from flows.steps.prepare.reviews import PreparedReviews, names_held
from flows.steps.prepare.series import SPANS, PreparedSeries
from rnnfast.evaluation.checks import Check, Limits, check
from rnnfast.evaluation.drift import Tally
from rnnfast.evaluation.profiles import BLOCKS, TEXTS, Profile, tally_readings, tally_texts
from rnnfast.labels.classes import Classes
from rnnfast.labels.tags import Tags
from rnnfast.labels.target import Target
from rnnfast.models.config import ModelConfig
from rnnfast.text.vocabulary import Vocabulary


def check_reviews_data(
    parts: Path,
    prepared: PreparedReviews,
    vocabulary: Path,
    config: ModelConfig,
    limits: Limits,
    gate: bool,
) -> tuple[list[Check], Profile]:
    """Holds the rows against the rules, and profiles them.

    Args:
        parts: folder that `prepare` filled.
        prepared: what it said of the rows.
        vocabulary: file of the vocabulary.
        config: of the model.
        limits: the rules.
        gate: whether a rule that fails ends the job.

    Returns:
        The checks, and what the rows are like.

    Raises:
        GateError: a rule fails, and `gate`.
    """
    words = Vocabulary.load(vocabulary, config.split_by)
    names = {"training": "train", "validation": "validation", "test": "test"}
    tallies = {
        name: _tally(parts / f"{part}.parquet", words, config.sequence_length)
        for name, part in names.items()
    }
    rows = prepared.rows
    repeated = rows["duplicates_in_train_and_test"] / rows["test_rows"]
    found = [check(limits, "duplicates", "test rows", repeated)]
    target = prepared.target
    if isinstance(target, Tags) or (isinstance(target, Classes) and not target.is_pair):
        found += check_classes(
            limits, target.names, _held(parts / "train.parquet", target).tolist()
        )
    for name, tally in tallies.items():
        if isinstance(target, Classes) and target.is_pair:
            counts = _held(parts / f"{names[name]}.parquet", target)
            rarest = float(counts.min() / max(counts.sum(), 1))
            found.append(check(limits, "label_share", f"{name} rows", rarest))
        found += check_texts(limits, tally, f"{name} rows")
    report_checks(found, gate)
    return found, Profile(tallies["training"], tallies["validation"], tallies["test"])


def check_sensors_data(
    parts: Path, prepared: PreparedSeries, limits: Limits, gate: bool, level: int = 0
) -> tuple[list[Check], Profile]:
    """Holds the readings against the rules, and profiles them; as `check_reviews_data`.

    `parts` is a folder that `prepare_series` filled, which said `prepared` of the readings; `level` is that of
    `rnnfast.evaluation.profiles.level_of`.
    """
    info, scaler, readings = prepared.info, prepared.scaler, open_readings(parts)
    tallies = []
    with np.load(parts / SPANS) as spans:
        for part in ("train", "validation", "test"):
            tallies.append(tally := Tally())
            # There may be no validation part.
            runs = spans.get(f"{part}_runs", np.empty((0, 2), int))
            tally_readings(
                tally, readings.values, runs, info.own, (scaler.mean, scaler.scale), level
            )
        labels, runs = spans["train_labels"], spans["train_runs"]
    blocks = []
    for block in _blocks(readings.times, runs):
        blocks.append(tally := Tally())
        tally_readings(tally, readings.values, block, info.own, (scaler.mean, scaler.scale), level)
    everything = Tally()
    count_report(everything, prepared.rows)
    everything.counts["steps"] = int((readings.runs[:, 1] - readings.runs[:, 0]).sum())
    found = check_readings(limits, everything, info.own, "the readings")
    for name in info.own:
        histogram = tallies[0].features[name]
        outer = histogram.counts[[0, -1]].sum() / histogram.total
        found.append(check(limits, "outlying", f"{name} in the training readings", float(outer)))
    found += _check_labels(limits, prepared.target, labels, runs[:, 1] - runs[:, 0])
    report_checks(found, gate)
    training, validation, test = tallies
    return found, Profile(training, validation, test, tuple(blocks))


def _check_labels(
    limits: Limits, target: Target | None, labels: np.ndarray, lengths: np.ndarray
) -> list[Check]:
    """Checks how many training readings have each label: of runs their truth (R,) or (R, K), and lengths (R,)."""
    if not isinstance(target, Classes | Tags):
        return []
    held = (
        lengths @ labels
        if isinstance(target, Tags)
        else np.bincount(labels, lengths, len(target.names))
    )
    if isinstance(target, Classes) and target.is_pair:
        rarest = float(held.min() / held.sum())
        return [check(limits, "label_share", "the training readings", rarest)]
    return check_classes(limits, target.names, held.astype(int).tolist())


def _blocks(times: np.ndarray, runs: np.ndarray) -> list[np.ndarray]:
    """Of each stretch of time, BLOCKS of about as many rows, what of the runs (R, 2) lies in it."""
    own = np.concatenate([times[start:stop] for start, stop in runs.tolist()])
    cuts = np.quantile(own, np.arange(1, BLOCKS) / BLOCKS, method="nearest")
    inner = [start + np.searchsorted(times[start:stop], cuts) for start, stop in runs.tolist()]
    edges = np.column_stack([runs[:, 0], np.stack(inner), runs[:, 1]])
    parts = [edges[:, block : block + 2] for block in range(BLOCKS)]
    return [part[part[:, 0] < part[:, 1]] for part in parts]


def _tally(path: Path, words: Vocabulary, sequence_length: int) -> Tally:
    tally = Tally()
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(TEXTS, columns=["text"]):
            tally.include(tally_texts(batch["text"], words, sequence_length))
    return tally


def _held(path: Path, target: Target) -> np.ndarray:
    """How many rows of a part have each class or tag (K,)."""
    return names_held(target, target.truth(pq.read_table(path, columns=["label"])["label"]))
