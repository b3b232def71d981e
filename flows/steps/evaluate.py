"""Measures a trained model on the rows that it has not seen."""

import json
from pathlib import Path
from statistics import fmean
from time import perf_counter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from flows.progress import bar
from flows.steps.prepare import in_both
from rnnfast.metrics import binary_metrics
from rnnfast.scoring import CHUNK, Scorer

EXAMPLES = 6  # of right and of wrong scores each, half of either label


def evaluate(parts: Path, run: Path, baseline: Path | None = None) -> Path:
    """Completes the `metrics.json` of a run.

    Args:
        parts: folder with the three parts and `data.json`.
        run: folder with the trained model.
        baseline: folder of an evaluated n-gram model to set beside it.

    Returns:
        The path of `metrics.json`. Test rows whose text also occurs in the training or validation
        rows are counted, and left out of the figures under "test_without_duplicates".
    """
    scorer = Scorer.load(run)
    train, validation, test = (
        pq.read_table(parts / f"{name}.parquet", columns=["text", "label"])
        for name in ("train", "validation", "test")
    )
    validation_scores, _ = _scores(scorer, validation, "validating")
    test_scores, seconds = _scores(scorer, test, "testing")
    labels = test["label"].to_numpy()
    fresh = ~in_both(pa.concat_tables([train, validation]), test).to_numpy()
    path = run / "metrics.json"
    history = read_json(path)["history"]
    metrics: dict[str, Any] = {
        "test": binary_metrics(labels, test_scores),
        "test_without_duplicates": _measured(labels[fresh], test_scores[fresh]),
        "validation": _measured(validation["label"].to_numpy(), validation_scores),
        "history": history,
        "data": read_json(parts / "data.json")["rows"],
        "throughput": {
            "train_tokens_per_second": fmean(epoch["tokens_per_second"] for epoch in history),
            "score_reviews_per_second": test.num_rows / seconds,
        },
        "examples": _examples(test, test_scores),
    }
    if baseline is not None:
        metrics["baseline"] = {"ngrams": read_json(baseline / path.name)["test"]}
    write_json(path, metrics)
    return path


def write_json(path: Path, content: Any) -> None:
    """Writes JSON for people to read."""
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """What is in a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def _scores(scorer: Scorer, table: pa.Table, title: str) -> tuple[np.ndarray, float]:
    """Scores of the rows, and how many seconds they took."""
    started = perf_counter()
    parts = []
    with bar(title, table.num_rows, unit="rows") as advance:
        for start in range(0, table.num_rows, CHUNK):
            texts = table["text"].slice(start, CHUNK)
            parts.append(scorer.score(texts))
            advance(len(texts))
    return np.concatenate(parts), perf_counter() - started


def _measured(labels: np.ndarray, scores: np.ndarray) -> dict[str, Any] | None:
    """The metrics, or None where only one label is left to measure."""
    return binary_metrics(labels, scores) if len(np.unique(labels)) == 2 else None


def _examples(test: pa.Table, scores: np.ndarray) -> dict[str, list[dict[str, Any]]]:
    """The clearest hits and the clearest misses, half of them of either label."""
    labels = test["label"].to_numpy()
    # How far a score is on the right side of one half.
    margins = np.where(labels == 1, scores, 1 - scores) - 0.5
    order = np.argsort(-margins, kind="stable")
    kinds = {"right": order[margins[order] > 0], "wrong": order[::-1][margins[order[::-1]] < 0]}
    return {
        kind: [
            {"text": test["text"][row].as_py(), "label": label, "score": float(scores[row])}
            for label in (0, 1)
            for row in rows[labels[rows] == label][: EXAMPLES // 2].tolist()
        ]
        for kind, rows in kinds.items()
    }
