"""Trainings that learn again with texts that the model has labelled itself."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import Result

from flows.errors import InputError
from flows.parameters import ReviewsData
from flows.steps.prepare.reviews import prepare
from flows.steps.prepare.unlabelled import TO_COUNT, UNLABELLED, prepare_unlabelled
from flows.steps.train.pseudo_labels import _label
from rnnfast.labels.classes import Classes
from rnnfast.labels.numbers import Numbers

RunCli = Callable[..., Result]
KNOWN, NEW = (("awful", "superb"), ("dull", "brisk"))  # words of either label
FILLER = ["the", "film", "was", "about", "a", "man", "and", "his", "dog", "in", "some", "town"]


def write(path: Path, rows: list[tuple[str, ...]], *names: str) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([names, *rows])
    return path


def text(draw: np.random.Generator, *words: str) -> str:
    return " ".join(draw.permutation([*words, *draw.choice(FILLER, 6)]))


@pytest.fixture
def data(tmp_path: Path) -> ReviewsData:
    """Labelled rows with known words alone, texts with both known and new ones, and test rows with new ones alone."""
    draw = np.random.default_rng(0)
    labelled = [(text(draw, KNOWN[n % 2]), ("neg", "pos")[n % 2]) for n in range(120)]
    unlabelled = [(text(draw, KNOWN[n % 2], NEW[n % 2]),) for n in range(300)]
    tests = [(text(draw, NEW[n % 2]), ("neg", "pos")[n % 2]) for n in range(60)]
    return ReviewsData(
        dataset=str(write(tmp_path / "labelled.csv", labelled, "text", "label")),
        test_dataset=str(write(tmp_path / "tests.csv", tests, "text", "label")),
        # Rows that are labelled already, and one without a text.
        pseudo_labels=str(
            write(
                tmp_path / "texts.csv",
                [*unlabelled, *((row[0],) for row in [*labelled, *tests]), ("",)],
                "text",
            )
        ),
    )


def test_words_of_texts_without_labels_are_learned(
    server: None, run_cli: RunCli, data: ReviewsData, tmp_path: Path
) -> None:
    files = ["reviews", "--dataset", data.dataset, "--test-dataset", data.test_dataset]
    asked = [*files, "--cell", "ngrams", "--no-gate"]
    found = {}
    for name, more in (("first", []), ("again", ["--pseudo-labels", data.pseudo_labels])):
        output = tmp_path / "runs" / name
        result = run_cli(*asked, *more, "--output", output)
        assert result.exit_code == 0, result.output
        found[name] = json.loads((output / "metrics.json").read_text())
    assert found["first"]["test"]["accuracy"] < 0.7
    assert found["again"]["test"]["accuracy"] > 0.95
    figures = found["again"]["pseudo_labels"]
    assert figures["texts"] == 150
    assert figures["kept"] == "again"
    assert figures["loss"] < figures["loss_before"]
    assert "brisk" in (tmp_path / "runs/again/vocabulary.txt").read_text().split()
    assert not [*(tmp_path / "runs/again").rglob(UNLABELLED)]


def test_texts_of_labelled_rows_are_left_out(data: ReviewsData, tmp_path: Path) -> None:
    parts = tmp_path / "parts"
    parts.mkdir()
    prepared = prepare(data, None, tmp_path, parts)
    assert prepare_unlabelled(data, prepared.target, parts) == 300
    own = pq.read_table(parts / UNLABELLED)["text"].to_pylist()
    every = pq.read_table(parts / TO_COUNT / "train.parquet")["text"].to_pylist()
    assert every == pq.read_table(parts / "train.parquet")["text"].to_pylist() + own


class FewTexts:
    """What scores as it was told."""

    target = Classes(names=("neg", "pos"))

    def __init__(self, given: list[float]) -> None:
        self.given = np.array(given, np.float32)

    def score(self, texts: object) -> np.ndarray:
        return self.given


def test_the_surest_texts_of_each_class_are_labelled(data: ReviewsData, tmp_path: Path) -> None:
    parts, folder = tmp_path / "parts", tmp_path / "again"
    parts.mkdir()
    folder.mkdir()
    prepared = prepare(data, None, tmp_path, parts)
    prepare_unlabelled(data, prepared.target, parts)
    pq.write_table(pq.read_table(parts / UNLABELLED).slice(0, 6), parts / UNLABELLED)
    scorer = FewTexts([0.9, 0.6, 0.99, 0.7, 0.45, 0.2])
    assert _label(parts, scorer, 0.5, folder) == 3  # type: ignore[arg-type]
    rows = pq.read_table(folder / "train.parquet").to_pylist()
    people = pq.read_table(parts / "train.parquet").to_pylist()
    assert rows[: len(people)] == people
    texts = pq.read_table(parts / UNLABELLED)["text"].to_pylist()
    assert [(row["id"], row["label"], row["text"]) for row in rows[len(people) :]] == [
        (f"unlabelled-{n}", label, texts[n]) for n, label in ((0, 1), (2, 1), (5, 0))
    ]


def test_what_cannot_be_labelled_is_refused(data: ReviewsData, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--pseudo-labels must be left out with --task regress"):
        prepare_unlabelled(data, Numbers(names=("stars",)), tmp_path)
    parts = tmp_path / "parts"
    parts.mkdir()
    prepared = prepare(data, None, tmp_path, parts)
    same = data.model_copy(update={"pseudo_labels": data.dataset})
    with pytest.raises(InputError, match="found none among 120 rows"):
        prepare_unlabelled(same, prepared.target, parts)
