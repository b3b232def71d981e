"""Measures a trained model on the rows that it has not seen."""

from pathlib import Path
from statistics import fmean
from time import perf_counter
from typing import Any

import numpy as np

from flows.progress import rows_bar
from flows.steps.prepare.reviews import DUPLICATES
from flows.store.json_files import read_json, write_json
from flows.store.storage import File, Folder
from flows.tables.readers import open_parquet
from rnnfast.evaluation.metrics import binary_metrics
from rnnfast.evaluation.profiles import Profile, tally_scores
from rnnfast.scoring.scorers import CHUNK, Scorer

EXAMPLES = 6  # of right and of wrong scores each, half of either label


def evaluate(parts: Path, run: Path, baseline: Path | None = None) -> Path:
    """Completes the `metrics.json` of a run.

    Args:
        parts: folder that `prepare` has filled.
        run: folder with the trained model.
        baseline: folder of an evaluated n-gram model to set beside it.

    Returns:
        The path of `metrics.json`. Test rows whose text also occurs in the training or validation
        rows are counted, and left out of the figures under "test_without_duplicates".
    """
    scorer = Scorer.load(run)
    folder = Folder.at(parts, "parts")
    test = folder.file("test.parquet")
    validation_labels, validation_scores, _ = _scored(
        scorer, folder.file("validation.parquet"), "validating"
    )
    labels, test_scores, seconds = _scored(scorer, test, "testing")
    fresh = ~np.load(parts / DUPLICATES)
    add_scores(run, validation_scores, test_scores)
    path = run / "metrics.json"
    history = read_json(path)["history"]
    metrics: dict[str, Any] = {
        "test": binary_metrics(labels, test_scores),
        "test_without_duplicates": _measured(labels[fresh], test_scores[fresh]),
        "validation": _measured(validation_labels, validation_scores),
        "history": history,
        "data": read_json(parts / "data.json")["rows"],
        "throughput": {
            "train_tokens_per_second": fmean(epoch["tokens_per_second"] for epoch in history),
            "score_reviews_per_second": len(labels) / seconds,
        },
        "examples": _examples(test, labels, test_scores),
    }
    if baseline is not None:
        metrics["baseline"] = {"ngrams": read_json(baseline / path.name)["test"]}
    write_json(path, metrics)
    return path


def figures_on_test(parts: Path, scorer: Scorer) -> dict[str, Any]:
    """The figures of any model on the test rows of a job, as `evaluate` has them of its own."""
    labels, scores, _ = _scored(scorer, Folder.at(parts, "parts").file("test.parquet"), "comparing")
    return binary_metrics(labels, scores)


def add_scores(run: Path, validation: np.ndarray, test: np.ndarray) -> None:
    """Adds the scores to the profile of the run; one that is only measured beside another has none."""
    profile = Profile.load(run)
    if profile is not None:
        tally_scores(profile.validation, validation)
        tally_scores(profile.test, test)
        profile.save(run)


def _scored(scorer: Scorer, file: File, title: str) -> tuple[np.ndarray, np.ndarray, float]:
    """Labels and scores of the rows of a file, and how many seconds the scores took."""
    started = perf_counter()
    labels, scores = [], []
    with open_parquet(file) as parquet, rows_bar(title, parquet.metadata.num_rows) as advance:
        for batch in parquet.iter_batches(CHUNK, columns=["text", "label"]):
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
