from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from jobs import score_files

from flows.datasets import base
from flows.datasets.base import SCHEMA, write_reviews
from flows.parameters import Execution
from flows.steps.report import reviews as step
from flows.steps.report.reviews import EXAMPLES, evaluate, validate
from flows.tables.columns import Columns
from rnnfast.evaluation.drift import Tally
from rnnfast.evaluation.profiles import Profile
from rnnfast.labels.metrics import binary_metrics
from rnnfast.scoring.scorers import Scorer


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What `prepare` leaves, in row groups of 7 rows; every third test text is in another part too."""
    monkeypatch.setattr(base, "GROUP_ROWS", 7)
    folder = tmp_path / "parts"
    folder.mkdir()
    for name, size in (("validation", 10), ("test", 100)):
        texts = [("good " * (i % 5) + "bad " * (i % 3) + f"{name} {i}") for i in range(size)]
        labels = pa.array([i % 2 for i in range(size)], pa.int8())
        rows = pa.table([texts, texts, labels, pa.nulls(size, pa.string())], schema=SCHEMA)
        write_reviews(rows, ("neg", "pos"), folder / f"{name}.parquet")
    np.save(folder / "duplicates.npy", np.arange(100) % 3 == 0)
    return folder


@pytest.fixture
def run(run_dir: Path) -> Path:
    return run_dir


def measured(parts: Path, run: Path) -> dict[str, Any]:
    """What the steps come to that measure a model, the test rows scored between them."""
    profile = Profile(Tally(), Tally(), Tally())
    validated = validate(parts, run, profile)
    test, scores = str(parts / "test.parquet"), run / "scores"
    execution = Execution(workers=1, shard_rows=30)
    shards = score_files(run, test, Columns(id="id"), scores, execution=execution).records
    assert len(shards) == 4
    metrics = validated | evaluate(parts, run, profile, shards)[0]
    assert profile.reference["score"].total == 10
    assert profile.test.features["score"].total == 100
    return metrics


def test_figures_are_those_of_the_whole_table(
    parts: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step, "SCORING_BATCH", 9)
    metrics = measured(parts, run)
    test = pq.read_table(parts / "test.parquet")
    scores, labels = Scorer.load(run).score(test["text"]), test["label"].to_numpy()
    assert metrics["test"]["confusion_matrix"] == binary_metrics(labels, scores)["confusion_matrix"]
    assert metrics["test"]["log_loss"] == pytest.approx(binary_metrics(labels, scores)["log_loss"])
    fresh = np.arange(100) % 3 != 0
    found = metrics["test_without_duplicates"]
    assert found["rows"] == fresh.sum()
    assert found["auc"] == pytest.approx(binary_metrics(labels[fresh], scores[fresh])["auc"])
    assert metrics["validation"]["rows"] == 10


def test_examples_are_the_clearest_of_either_label(
    parts: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Few values, so that many rows are alike; and of label 1 only two are wrong.
    values = np.random.default_rng(0).integers(0, 5, 100) / np.float32(4)
    values[1::2] = np.maximum(values[1::2], 0.5)
    values[[11, 51]] = 0.25, 0
    texts = pq.read_table(parts / "test.parquet")["text"].to_pylist()
    by_text = dict(zip(texts, values.tolist(), strict=True))
    monkeypatch.setattr(
        Scorer, "score", lambda self, column, seen=None: np.array(
            [by_text.get(text, 0.5) for text in column.to_pylist()], np.float32)
    )  # fmt: skip
    examples = measured(parts, run)["examples"]
    expected = {}
    for kind, sign in (("right", 1), ("wrong", -1)):
        margins = {i: sign * (values[i] - 0.5) * (1 if i % 2 else -1) for i in range(100)}
        # Alike right ones come first as in the file, alike wrong ones last.
        order = sorted(margins, key=lambda i: (-margins[i], sign * i))
        expected[kind] = [
            {"text": texts[i], "called": 1, "label": label, "score": float(values[i])}
            for label in (0, 1)
            for i in [i for i in order if i % 2 == label and margins[i] > 0][: EXAMPLES // 2]
        ]
    assert examples == expected
    assert [len(examples[kind]) for kind in ("right", "wrong")] == [6, 5]
