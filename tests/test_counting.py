"""Data whose labels follow from how often a word is there: n-grams that count know them, others cannot."""

from typing import Any

import numpy as np
import pytest
import torch

from rnnfast.labels import Classes, Numbers, Tags
from rnnfast.labels.target import Target
from rnnfast.models.config import ModelConfig
from rnnfast.models.texts import WideAndDeep, build_model
from rnnfast.training.counting import gain_of_counts
from rnnfast.training.loop import fit
from rnnfast.training.rows import Reviews
from rnnfast.training.settings import TrainingSettings

SIZE, FIRST, SECOND = 30, 2, 3
KINDS: dict[str, Target] = {
    "pair": Classes(names=("first", "second")),
    "classes": Classes(names=("neither", "first", "second")),
    "tags": Tags(names=("first", "second")),
    "numbers": Numbers(names=("difference",)),
}
SETTINGS = TrainingSettings(epochs=1, seed=5)


def texts(rows: int, seed: int, kind: Target, *, counts_matter: bool = True) -> Reviews:
    """Each text holds two words, one of them more often in all labels but "neither", and others that say nothing.

    Where counts do not matter the label is which of two words is there.
    """
    draw = np.random.default_rng(seed)
    ids: list[torch.Tensor] = []
    labels: list[Any] = []
    for _ in range(rows):
        side = (
            int(draw.integers(0, 3)) - 1 if "neither" in kind.names else (-1, 1)[draw.integers(2)]
        )
        often = (4, 1) if side < 0 else (1, 4) if side > 0 else (2, 2)
        words = [*[FIRST] * often[0], *[SECOND] * often[1]]
        if not counts_matter:
            words = [4 + side, *draw.choice([6, 7], int(draw.integers(0, 6)))]
        words += [*draw.integers(8, SIZE, int(draw.integers(2, 12)))]
        # Between two words is an unknown one, so that no pair says that a word is there twice.
        ids.append(
            torch.from_numpy(np.stack([draw.permutation(words), 0 * np.array(words)], 1))
            .flatten()
            .int()
        )
        if isinstance(kind, Tags):
            labels.append([int(side < 0), int(side > 0)])
        elif isinstance(kind, Numbers):
            labels.append(side * 2.0)
        else:
            labels.append({-1: 1, 0: 0, 1: 2}[side] if "neither" in kind.names else int(side > 0))
    offsets = torch.tensor([0, *np.cumsum([len(each) for each in ids])])
    truth = np.array(labels)
    return Reviews(torch.cat(ids), offsets, torch.from_numpy(truth), target=kind.known(truth))


def wrong(model: torch.nn.Module, rows: Reviews) -> float:
    """The mean error of a model over rows, as their target has it."""
    with torch.no_grad():
        outputs = model(*rows.take(torch.arange(len(rows))))
    return float(rows.target.errors(rows.labels.numpy(), rows.target.given(outputs)).mean())


@pytest.mark.parametrize("name", KINDS)
def test_ngrams_that_count_learn_what_others_cannot(name: str) -> None:
    train, test = (texts(rows, seed, KINDS[name]) for seed, rows in ((0, 600), (1, 300)))
    errors = {}
    for counts in (False, True):
        config = ModelConfig(cell="ngrams", max_pairs=1, ngram_counts=counts)
        model = build_model(config, SIZE, outputs=train.target.outputs)
        fit(model, train, None, SETTINGS)
        errors[counts] = wrong(model, test)
    floor = test.target.floor(train.labels.numpy(), len(test))
    chance = test.target.errors(test.labels.numpy(), floor).mean()
    assert errors[False] > 0.85 * chance
    assert errors[True] < 0.35 * chance


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("counts_matter", [True, False])
def test_the_gain_says_whether_counts_matter(name: str, counts_matter: bool) -> None:
    train, validation = (
        texts(rows, seed, KINDS[name], counts_matter=counts_matter)
        for seed, rows in ((0, 600), (1, 200))
    )
    config = ModelConfig(cell="ngrams", max_pairs=1)
    gain = gain_of_counts(train, validation, config, SIZE, SETTINGS)
    assert (gain > 2) is counts_matter
    other = SETTINGS.model_copy(update={"seed": 9})
    assert gain_of_counts(train, validation, config, SIZE, other) == gain


def test_no_difference_is_no_gain() -> None:
    """Nothing is there twice: both models are one."""
    draw = np.random.default_rng(0)
    rows = [draw.permutation(np.arange(2, SIZE))[:6] for _ in range(200)]
    ids = torch.from_numpy(np.concatenate(rows)).int()
    labels = torch.tensor([int(2 in row) for row in rows])
    same = Reviews(ids, torch.arange(201) * 6, labels)
    config = ModelConfig(cell="ngrams", max_pairs=1)
    assert gain_of_counts(same, same, config, SIZE, SETTINGS) == 0.0


def test_the_wide_part_counts_and_a_ngram_model_is_the_same_by_itself() -> None:
    train, validation = (texts(rows, seed, KINDS["pair"]) for seed, rows in ((0, 600), (1, 200)))
    sizes = {"embedding_size": 4, "hidden_size": 4, "max_pairs": 1, "ngram_counts": True}
    model = build_model(ModelConfig.model_validate(sizes | {"wide": True}), SIZE)
    assert isinstance(model, WideAndDeep)
    fit(model, train, validation, SETTINGS)
    alone = build_model(ModelConfig(cell="ngrams", max_pairs=1, ngram_counts=True), SIZE)
    fit(alone, train, None, SETTINGS)
    rows = validation.take(torch.arange(200))
    with torch.no_grad():
        assert torch.equal(model.wide(*rows), alone(*rows))
    assert wrong(model, validation) < 0.05


def test_counts_are_of_ngrams_alone() -> None:
    with pytest.raises(ValueError, match="ngram_counts must be false for cell 'cnn' alone"):
        ModelConfig(cell="cnn", ngram_counts=True)
    assert ModelConfig(cell="gru", wide=True, ngram_counts=True).ngram_counts
