"""Looks at the rows before anything is trained on them: what they are like, and whether that breaks a rule."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from flows.steps.prepare.checks import check_readings, check_texts, count_report, report_checks
from flows.steps.prepare.gather import open_readings
from flows.steps.prepare.series import SERIES, SPANS, training_scaler
from rnnfast.evaluation.checks import Check, Limits, as_json, check
from rnnfast.evaluation.drift import Tally
from rnnfast.evaluation.profiles import TEXTS, Profile, tally_readings, tally_texts
from rnnfast.models.config import ModelConfig
from rnnfast.text.vocabulary import Vocabulary
from rnnfast.training.run_folder import SeriesInfo

CHECKS = "checks.json"  # among the parts of a run


def check_reviews_data(
    parts: Path, vocabulary: Path, config: ModelConfig, limits: Limits, gate: bool, run: Path
) -> Path:
    """Writes the profile of the rows, and holds them against the rules.

    Args:
        parts: folder that `prepare` filled.
        vocabulary: file of the vocabulary.
        config: of the model.
        limits: the rules.
        gate: whether a rule that fails ends the job.
        run: folder for the profile.

    Returns:
        The path of the checks.

    Raises:
        GateError: a rule fails, and `gate`.
    """
    words = Vocabulary.load(vocabulary, config.split_by)
    names = {"training": "train", "validation": "validation", "test": "test"}
    tallies = {
        name: _tally(parts / f"{part}.parquet", words, config.sequence_length)
        for name, part in names.items()
    }
    Profile(**tallies).save(run)
    rows = json.loads((parts / "data.json").read_text(encoding="utf-8"))["rows"]
    repeated = rows["duplicates_in_train_and_test"] / rows["test_rows"]
    found = [check(limits, "duplicates", "test rows", repeated)]
    for name, tally in tallies.items():
        positive = tally.share("positive", "rows") or 0.0
        rarest = min(positive, 1 - positive)
        found.append(check(limits, "label_share", f"{name} rows", rarest))
        found += check_texts(limits, tally, f"{name} rows")
    return _written(parts, found, gate)


def check_sensors_data(parts: Path, limits: Limits, gate: bool, run: Path) -> Path:
    """Writes the profile of the readings, and holds them against the rules; as `check_reviews_data`.

    `parts` is a folder that `prepare_series` filled.
    """
    info = SeriesInfo.model_validate_json((parts / SERIES).read_text(encoding="utf-8"))
    report = json.loads((parts / "data.json").read_text(encoding="utf-8"))["rows"]
    readings, scaler = open_readings(parts), training_scaler(parts)
    tallies = []
    with np.load(parts / SPANS) as spans:
        for part in ("train", "validation", "test"):
            tallies.append(tally := Tally())
            # There may be no validation part.
            runs = spans.get(f"{part}_runs", np.empty((0, 2), int))
            tally_readings(tally, readings.values, runs, info.own, (scaler.mean, scaler.scale))
        labels, runs = spans["train_labels"], spans["train_runs"]
    Profile(*tallies).save(run)
    everything = Tally()
    count_report(everything, report)
    everything.counts["steps"] = int((readings.runs[:, 1] - readings.runs[:, 0]).sum())
    found = check_readings(limits, everything, info.own, "the readings")
    for name, histogram in tallies[0].features.items():
        outer = histogram.counts[[0, -1]].sum() / histogram.total
        found.append(check(limits, "outlying", f"{name} in the training readings", float(outer)))
    if info.labels:
        lengths = np.bincount(labels, runs[:, 1] - runs[:, 0], len(info.labels))
        rarest = float(lengths.min() / lengths.sum())
        found.append(check(limits, "label_share", "the training readings", rarest))
    return _written(parts, found, gate)


def _tally(path: Path, words: Vocabulary, sequence_length: int) -> Tally:
    tally = Tally()
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(TEXTS, columns=["text", "label"]):
            tally.include(tally_texts(batch["text"], words, sequence_length))
            tally.counts["positive"] += pc.sum(batch["label"].cast(pa.int64())).as_py()
    return tally


def _written(parts: Path, checks: list[Check], gate: bool) -> Path:
    path = parts / CHECKS
    path.write_text(json.dumps(as_json(checks)), encoding="utf-8")
    report_checks(checks, gate)
    return path
