"""Which words move a score is a fact about the model: without the word it is another."""

from pathlib import Path

import numpy as np
import pytest
import torch

from rnnfast.evaluation.attribution import find_words, word_effects
from rnnfast.models.config import ModelConfig
from rnnfast.models.texts import build_model
from rnnfast.scoring.scorers import Scorer, save_run
from rnnfast.scoring.word_map import word_map
from rnnfast.text.vocabulary import Vocabulary
from rnnfast.training.settings import TrainingSettings

WORDS = ("good", "fine", "bad", "dull", "plot", "film", "the", "a", "was", "it")


def scorer(folder: Path, cell: str = "rnn", **settings: object) -> Scorer:
    """A small model that nobody has trained."""
    config = ModelConfig(
        cell=cell, embedding_size=8, hidden_size=8, sequence_length=20, max_pairs=4, **settings
    )
    vocabulary = Vocabulary(["[UNK]", "pad", *WORDS])
    model = build_model(config, len(vocabulary), seed=3)
    save_run(
        folder,
        model,
        vocabulary,
        config=config,
        training=TrainingSettings(),
        labels=("neg", "pos"),
        data={},
    )
    return Scorer.load(folder)


@pytest.mark.parametrize("cell", ["rnn", "lstm", "cnn", "mlp"])
def test_without_the_most_positive_word_the_score_is_lower(tmp_path: Path, cell: str) -> None:
    model = scorer(tmp_path, cell, embedding_scale=1.0)
    text = "The film was good, it<br /><br />was a fine plot. BAD!"
    words = find_words(text)
    effects = word_effects(text, model.log_odds)
    assert len(effects) == len(words) == 10
    before = model.score([text])[0]
    for place, sign in ((int(np.argmax(effects)), 1), (int(np.argmin(effects)), -1)):
        start, stop = words[place].span()
        after = model.score([text[:start] + text[stop:]])[0]
        assert sign * (before - after) > 0
        odds = np.log([before / (1 - before), after / (1 - after)])
        assert odds[0] - odds[1] == pytest.approx(effects[place], abs=1e-4)


def test_words_are_parted_by_white_space_and_breaks() -> None:
    found = [match.group() for match in find_words("one<br />two <BR>three, a<b br/> <br/>\x00")]
    assert found == ["one", "two", "three,", "a<b", "br/>", "\x00"]
    assert word_effects("<br />", lambda texts: np.zeros(len(texts))) == []


def test_only_so_many_words_are_looked_at() -> None:
    seen: list[int] = []

    def log_odds(texts: list[str]) -> np.ndarray:
        seen.append(len(texts))
        return np.array([len(text) for text in texts], float)

    assert word_effects("a bb ccc dddd", log_odds, limit=2) == [1, 2]
    assert seen == [3]


def test_log_odds_tell_apart_what_rounds_to_one(tmp_path: Path) -> None:
    model = scorer(tmp_path)
    with torch.no_grad():
        model.model.head.bias += 40  # type: ignore[operator, union-attr]
    assert model.score(["good"]) == 1
    odds = model.log_odds(["good", "bad"])
    assert odds[0] != odds[1]
    assert np.all(odds > 30)


def test_the_map_shows_the_words_with_the_clearest_scores(tmp_path: Path) -> None:
    model = scorer(tmp_path, embedding_scale=1.0)
    found = word_map(model)
    assert found is not None
    assert {point["word"] for point in found["words"]} == set(WORDS)
    assert 0 < sum(found["variance"]) <= 1
    for point in found["words"]:
        assert point["score"] == pytest.approx(model.score([point["word"]])[0], abs=1e-4)
    distances = [abs(p["score"] - np.median([q["score"] for q in found["words"]])) for p in found["words"]]  # fmt: skip
    assert distances == pytest.approx(sorted(distances, reverse=True), abs=1e-3)
    # Places are projections: no two are farther apart than the vectors.
    vectors = model.model.embedding.weight.detach().numpy()  # type: ignore[operator, union-attr]
    first, last = found["words"][0], found["words"][-1]
    apart = np.hypot(first["x"] - last["x"], first["y"] - last["y"])
    whole = vectors[model.vocabulary[first["word"]]] - vectors[model.vocabulary[last["word"]]]
    assert 0 < apart <= np.linalg.norm(whole) + 1e-3
    assert word_map(model) == found


def test_a_model_without_word_vectors_has_no_map(tmp_path: Path) -> None:
    assert word_map(scorer(tmp_path, "ngrams")) is None
