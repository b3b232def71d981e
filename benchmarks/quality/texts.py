"""Reviews: IMDB in several sizes and kinds of label, and generated ones, beside peers of scikit-learn."""

import csv
import json
import random
import re
import subprocess
import sys
import tarfile
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import accuracy_score, f1_score
from sklearn.pipeline import make_pipeline

from benchmarks.quality.case import Case, Figures

_REVIEW = re.compile(r"aclImdb/(train|test)/(neg|pos)/(\d+)_(\d+)\.txt")
_TEST_ROWS = 5000  # of generated data
CELLS = ("auto", "rnn", "ngrams")


class Review(NamedTuple):
    """A text, its label, and the stars (1 to 10) behind the label of IMDB."""

    text: str
    label: str
    stars: int


class Parts(NamedTuple):
    """Texts and labels to learn from, and to test on."""

    train: list[tuple[str, str]]
    test: list[tuple[str, str]]


@cache
def imdb(mirror: Path) -> tuple[list[Review], list[Review]]:
    """The training and the test reviews, each in one random order."""
    found: dict[str, list[tuple[str, Review]]] = {"train": [], "test": []}
    with tarfile.open(mirror / "aclImdb_v1.tar.gz", "r|gz") as members:
        for member in members:
            if match := _REVIEW.fullmatch(member.name):
                part, label, _, stars = match.groups()
                text = members.extractfile(member).read().decode()  # type: ignore[union-attr]
                found[part].append((member.name, Review(text, label, int(stars))))
    for rows in found.values():
        rows.sort()
        random.Random(0).shuffle(rows)
    train, test = ([review for _, review in rows] for rows in found.values())
    return train, test


def reviews(mirror: Path, seed: int, rows: int, test_rows: int = 25_000) -> Parts:
    """Other rows of IMDB for each seed."""
    train, test = imdb(mirror)
    drawn = random.Random(seed).sample(train, rows)
    return Parts([(r.text, r.label) for r in drawn], [(r.text, r.label) for r in test[:test_rows]])


def first_sentences(mirror: Path, seed: int, rows: int) -> Parts:
    """Of each review the words to the first full stop, question or exclamation mark."""

    def cut(texts: list[tuple[str, str]]) -> list[tuple[str, str]]:
        return [(re.split(r"(?<=[.!?])\s", text, maxsplit=1)[0], label) for text, label in texts]

    parts = reviews(mirror, seed, rows)
    return Parts(cut(parts.train), cut(parts.test))


def stars(mirror: Path, seed: int, rows: int) -> Parts:
    """The stars of each review, 1 to 4 and 7 to 10, as its label."""
    train, test = imdb(mirror)
    drawn = random.Random(seed).sample(train, rows)
    return Parts(*([(r.text, str(r.stars)) for r in part] for part in (drawn, test)))


def many_classes(mirror: Path, seed: int, rows: int) -> Parts:
    """Which of 40 topics a text is of: each has ten words of its own, of which the text holds two among others."""
    draw = random.Random(seed)
    others = [f"word{number}" for number in range(400)]

    def row() -> tuple[str, str]:
        topic = draw.randrange(40)
        own = [f"topic{topic}x{number}" for number in range(10)]
        words = [*draw.choices(others, k=draw.randint(10, 40)), *draw.choices(own, k=2)]
        # Words of another topic, so that one word says little.
        words.append(f"topic{draw.randrange(40)}x{draw.randrange(10)}")
        draw.shuffle(words)
        return " ".join(words), f"topic {topic}"

    return Parts([row() for _ in range(rows)], [row() for _ in range(_TEST_ROWS)])


def rare_class(mirror: Path, seed: int, rows: int) -> Parts:
    """One positive review in 20."""
    train, test = imdb(mirror)

    def thinned(among: Sequence[Review], count: int) -> list[tuple[str, str]]:
        draw = random.Random(seed)
        kinds = {label: [r for r in among if r.label == label] for label in ("neg", "pos")}
        chosen = [*draw.sample(kinds["neg"], count - count // 20)]
        chosen += draw.sample(kinds["pos"], count // 20)
        draw.shuffle(chosen)
        return [(review.text, review.label) for review in chosen]

    return Parts(thinned(train, rows), thinned(test, 12_500))


def word_order(mirror: Path, seed: int, rows: int) -> Parts:
    """Whether the word that comes last of two, among others that mean nothing, is the one or the other."""
    draw = random.Random(seed)
    others = [f"word{number}" for number in range(200)]

    def row() -> tuple[str, str]:
        words = draw.choices(others, k=draw.randint(10, 40))
        first, second = sorted(draw.sample(range(len(words)), 2))
        pair = draw.sample(("alpha", "omega"), 2)
        words[first], words[second] = pair
        return " ".join(words), f"{pair[1]} last"

    return Parts([row() for _ in range(rows)], [row() for _ in range(_TEST_ROWS)])


def measure(
    read: Callable[[Path, int], Parts], figure: str, mirror: Path, work: Path, seed: int
) -> Figures:
    """Trains ours by the command line and the peer here, on the same rows; `figure` of the test rows of each."""
    parts = read(mirror, seed)
    for name, rows in parts._asdict().items():
        with (work / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("text", "label"))
            writer.writerows(rows)
    task = ("--task", "regress") if figure == "mae" else ()
    found = {cell: _ours(work, cell, seed, task)[figure] for cell in CELLS}
    if figure == "mae":
        return found | _of_numbers(parts)
    labels = [label for _, label in parts.test]
    peers = {
        "majority": _majority(parts),
        "TF-IDF pairs": _tfidf_pairs(parts, penalty=1.0, least=1),
        "TF-IDF pairs, tuned on reviews": _tfidf_pairs(parts, penalty=0.1, least=2),
    }
    return found | {name: _figure(figure, labels, given) for name, given in peers.items()}


def _of_numbers(parts: Parts) -> dict[str, float]:
    """The mean absolute error of the mean, and of ridge regression on TF-IDF of words and pairs."""
    texts, numbers = zip(*parts.train, strict=True)
    known, truth = np.array(numbers, float), np.array([label for _, label in parts.test], float)
    model = make_pipeline(TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), Ridge())
    given = model.fit(texts, known).predict([text for text, _ in parts.test])
    errors = {"mean": truth - known.mean(), "TF-IDF pairs": truth - given}
    return {name: float(np.abs(each).mean()) for name, each in errors.items()}


def _ours(work: Path, cell: str, seed: int, more: Sequence[str] = ()) -> dict[str, float]:
    command = [sys.executable, "-m", "flows", "reviews", "--dataset", str(work / "train.csv")]
    command += [
        "--test-dataset",
        str(work / "test.csv"),
        "--cell",
        cell,
        "--seed",
        str(seed),
        *more,
    ]
    subprocess.run(
        [*command, "--no-gate", "--output", str(work / cell)], check=True, capture_output=True
    )
    result: dict[str, float] = json.loads((work / cell / "metrics.json").read_text())["test"]
    return result


def _majority(parts: Parts) -> list[str]:
    labels = [label for _, label in parts.train]
    return [max(sorted(set(labels)), key=labels.count)] * len(parts.test)


def _tfidf_pairs(parts: Parts, penalty: float, least: int) -> Sequence[str]:
    """What a user of scikit-learn tries first; a word or pair is in so many texts at the `least`."""
    model = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=least),
        LogisticRegression(C=1 / penalty, max_iter=1000),
    )
    texts, labels = zip(*parts.train, strict=True)
    given: Sequence[str] = model.fit(texts, labels).predict([text for text, _ in parts.test])
    return given


def _figure(figure: str, labels: Sequence[str], given: Sequence[str]) -> float:
    if figure == "accuracy":
        return float(accuracy_score(labels, given))
    return float(f1_score(labels, given, pos_label="pos"))


def _case(
    name: str,
    about: str,
    read: Callable[[Path, int], Parts],
    figure: str = "accuracy",
) -> Case:
    return Case(name, about, figure, -1 if figure == "mae" else 1, partial(measure, read, figure))


CASES = (
    *(
        _case(f"imdb-{rows}", f"{rows:,} reviews of movies", partial(reviews, rows=rows))
        for rows in (500, 2000, 8000, 25_000)
    ),
    _case("sentences", "8,000 first sentences", partial(first_sentences, rows=8000)),
    _case("rare", "4,000 reviews, 1 in 20 positive", partial(rare_class, rows=4000), "f1"),
    _case("stars", "8,000 reviews by stars, eight classes", partial(stars, rows=8000)),
    _case("stars-number", "8,000 reviews, stars as a number", partial(stars, rows=8000), "mae"),
    _case("topics", "4,000 texts of 40 topics", partial(many_classes, rows=4000)),
    _case("order", "4,000 texts, which of two words is last", partial(word_order, rows=4000)),
)
