"""Measures a trained model on the rows that it has not seen."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from flows.progress import rows_bar
from flows.steps.prepare.reviews import DUPLICATES
from flows.store.outputs import Record
from flows.store.storage import File, Folder
from flows.tables.readers import open_parquet
from rnnfast.evaluation.metrics import binary_metrics
from rnnfast.evaluation.profiles import Profile, tally_scores
from rnnfast.models.choices import DeviceChoice
from rnnfast.models.texts import WideAndDeep
from rnnfast.scoring.scorers import SCORING_BATCH, Scorer

EXAMPLES = 6  # of right and of wrong scores each, half of either label


def validate(
    parts: Path, run: Path, profile: Profile, device: DeviceChoice = "cpu"
) -> dict[str, Any]:
    """Measures a model on the validation rows, and saves the profile of its rows with their scores.

    Args:
        parts: folder that `prepare` has filled.
        run: folder with the trained model.
        profile: what the rows are like.
        device: where the model computes.

    Returns:
        Of `metrics.json` what is known then: "validation", None where there are rows of one label alone, and how many
        reviews a second were scored.
    """
    file = Folder.at(parts, "parts").file("validation.parquet")
    labels, scores, seconds = _scored(Scorer.load(run, device=device), file, "validating")
    tally_scores(profile.validation, scores)
    profile.save(run)
    rate = {"score_reviews_per_second": len(labels) / seconds}
    return {"validation": _measured(labels, scores), "throughput": rate}


def evaluate(parts: Path, run: Path, profile: Profile, shards: Sequence[Record]) -> dict[str, Any]:
    """Measures a model by the scores of the test rows, and saves the profile of its rows with these.

    Args:
        parts: folder that `prepare` has filled.
        run: folder with the trained model and the scores.
        profile: what the rows are like.
        shards: of the scores.

    Returns:
        Of `metrics.json` what is known then: "test", "examples", and the figures "test_without_duplicates", those of
        test rows whose text is not in the training or validation rows as well.
    """
    test = parts / "test.parquet"
    labels = pq.read_table(test, columns=["label"])["label"].to_numpy()
    ordered = sorted(shards, key=lambda shard: shard.first_row or 0)
    tables = [
        pq.read_table(run / "scores" / f"{shard.key}.parquet", columns=["score"])
        for shard in ordered
    ]
    scores = pa.concat_tables(tables)["score"].to_numpy()
    fresh = ~np.load(parts / DUPLICATES)
    tally_scores(profile.test, scores)
    profile.save(run)
    return {
        "test": binary_metrics(labels, scores),
        "test_without_duplicates": _measured(labels[fresh], scores[fresh]),
        "examples": _examples(Folder.at(parts, "parts").file(test.name), labels, scores),
    }


def measured_beside(parts: Path, run: Path) -> dict[str, Any]:
    """The figures on the test rows of a model that stands beside another one."""
    return figures_on_test(parts, Scorer.load(run))


def baselines(parts: Path, run: Path) -> dict[str, dict[str, Any]]:
    """The figures on the test rows of what stands beside every model, by name.

    "majority" gives each row the label that most training rows have; "ngrams" are those in the model, if there are.
    """
    labels = {
        part: pq.read_table(parts / f"{part}.parquet", columns=["label"])["label"].to_numpy()
        for part in ("train", "test")
    }
    usual = labels["train"].mean() >= 0.5
    accuracy = float((labels["test"] == usual).mean())
    found = {"majority": {"rows": len(labels["test"]), "accuracy": accuracy}}
    scorer = Scorer.load(run)
    if isinstance(scorer.model, WideAndDeep):
        found["ngrams"] = figures_on_test(parts, replace(scorer, model=scorer.model.wide))
    return found


def figures_on_test(parts: Path, scorer: Scorer) -> dict[str, Any]:
    """The figures of any model on the test rows of a job, as `evaluate` has them of its own."""
    labels, scores, _ = _scored(scorer, Folder.at(parts, "parts").file("test.parquet"), "comparing")
    return binary_metrics(labels, scores)


def _scored(scorer: Scorer, file: File, title: str) -> tuple[np.ndarray, np.ndarray, float]:
    """Labels and scores of the rows of a file, and how many seconds the scores took."""
    started = perf_counter()
    labels, scores = [], []
    with open_parquet(file) as parquet, rows_bar(title, parquet.metadata.num_rows) as advance:
        for batch in parquet.iter_batches(SCORING_BATCH, columns=["text", "label"]):
            labels.append(batch["label"].to_numpy())
            scores.append(scorer.score(batch["text"]))
            advance(len(batch), len(batch))
    return np.concatenate(labels), np.concatenate(scores), perf_counter() - started


def _measured(labels: np.ndarray, scores: np.ndarray) -> dict[str, Any] | None:
    """The metrics, or None where only one label is left to measure."""
    return binary_metrics(labels, scores) if len(np.unique(labels)) == 2 else None


def _examples(
    file: File, labels: np.ndarray, scores: np.ndarray
) -> dict[str, list[dict[str, Any]]]:
    """The clearest hits and the clearest misses, half of them of either label."""
    # How far a score is on the right side of one half.
    margins = np.where(labels == 1, scores, 1 - scores) - 0.5
    chosen = {
        kind: [row for label in (0, 1) for row in _farthest(margins, sign, labels == label)]
        for kind, sign in (("right", 1), ("wrong", -1))
    }
    texts = _texts(file, sorted(row for rows in chosen.values() for row in rows))
    return {
        kind: [
            {"text": texts[row], "label": int(labels[row]), "score": float(scores[row])}
            for row in rows
        ]
        for kind, rows in chosen.items()
    }


def _farthest(margins: np.ndarray, sign: int, among: np.ndarray) -> list[int]:
    """The rows of the largest margins of that sign, the largest first.

    Of equal ones the first rows where they are positive, the last ones where they are negative.
    """
    rows = np.flatnonzero(among & (sign * margins > 0))[::sign]
    count = min(EXAMPLES // 2, len(rows))
    sizes = sign * margins[rows]
    if count:
        rows = rows[least := sizes >= np.partition(sizes, -count)[-count]]
        sizes = sizes[least]
    result: list[int] = rows[np.argsort(-sizes, kind="stable")][:count].tolist()
    return result


def _texts(file: File, rows: list[int]) -> dict[int, str]:
    """The texts of a few rows of a file, by their number."""
    found: dict[int, str] = {}
    first = 0
    with open_parquet(file) as parquet:
        for number in range(parquet.num_row_groups):
            end = first + parquet.metadata.row_group(number).num_rows
            inside = [row for row in rows if first <= row < end]
            if inside:
                texts = parquet.read_row_group(number, columns=["text"])["text"]
                found |= {row: texts[row - first].as_py() for row in inside}
            first = end
    return found
