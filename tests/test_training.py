import copy
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from rnnfast.models.config import ModelConfig
from rnnfast.models.texts import RecurrentClassifier, WideAndDeep, WordWeights, build_model
from rnnfast.text.reference import Padding
from rnnfast.training.loop import DivergedError, Progress, fit
from rnnfast.training.prediction import predict
from rnnfast.training.rows import Reviews
from rnnfast.training.settings import TrainingSettings

SIZE, LENGTH = 20, 12
GOOD, BAD, NOT = 2, 3, 4


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def flat(ids: np.ndarray, lengths: np.ndarray, labels: np.ndarray, **changes: object) -> Reviews:
    """Rows of padded ids (N, L)."""
    inside = np.arange(ids.shape[1]) < lengths[:, None]
    offsets = np.append(0, np.cumsum(lengths))
    parts = (torch.from_numpy(a) for a in (ids[inside], offsets, labels))
    return Reviews(*parts, **changes)  # type: ignore[arg-type]


def padded(rows: Reviews) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids (N, L) and lengths (N,) of all rows."""
    return rows.take(torch.arange(len(rows)))


def reviews(n: int, seed: int, **changes: object) -> Reviews:
    """Texts with "good" or "bad" somewhere, which a "not" before it turns around."""
    generator = np.random.default_rng(seed)
    ids = np.ones((n, LENGTH), np.int32)
    lengths = generator.integers(4, LENGTH + 1, n)
    labels = np.empty(n, np.int64)
    for row, length in enumerate(lengths):
        ids[row, :length] = generator.integers(5, SIZE, length)
        place = generator.integers(1, length)
        good, negated = generator.integers(0, 2, 2)
        ids[row, place] = GOOD if good else BAD
        if negated:
            ids[row, place - 1] = NOT
        labels[row] = good ^ negated
    return flat(ids, lengths, labels, **changes)


TRAIN, VALIDATION, TEST = reviews(1200, 0), reviews(300, 1), reviews(500, 2)
SETTINGS = TrainingSettings(epochs=8, learning_rate=0.02, batch_size=32)


def small(cell: str = "rnn", **changes: object) -> ModelConfig:
    sizes = {"sequence_length": LENGTH, "embedding_size": 16, "hidden_size": 16, "max_pairs": 1000}
    noise = {"dropout": 0.1, "word_dropout": 0.0, "channel_dropout": 0.0}
    return ModelConfig(cell=cell, **{**sizes, **noise, **changes})  # type: ignore[arg-type]


def accuracy(model: torch.nn.Module, rows: Reviews) -> float:
    return float(((predict(model, *padded(rows)) >= 0.5) == rows.labels.numpy()).mean())


@pytest.mark.parametrize(
    ("cell", "changes", "least"),
    [
        ("rnn", {}, 0.95),
        ("rnn", {"pooling": "max", "bidirectional": True}, 0.95),
        ("rnn", {"word_weights": True}, 0.95),
        ("rnn", {"word_weights": True, "distinct_words": True}, 0.95),
        ("cnn", {"window": 3}, 0.95),
        ("ngrams", {}, 0.95),
    ],
)
def test_learns_what_depends_on_word_order(
    cell: str, changes: dict[str, object], least: float
) -> None:
    model = build_model(small(cell, **changes), SIZE)
    history = fit(model, TRAIN, VALIDATION, SETTINGS)
    assert accuracy(model, TEST) >= least
    assert history[-1]["loss"] < 0.3
    assert not model.training


def test_mlp_learns() -> None:
    model = build_model(small("mlp"), SIZE)
    train, validation, test = (replace(rows, width=LENGTH) for rows in (TRAIN, VALIDATION, TEST))
    fit(model, train, validation, SETTINGS)
    assert accuracy(model, test) >= 0.6


@pytest.mark.parametrize(
    ("cell", "word_weights"),
    [(cell, False) for cell in ("rnn", "gru", "lstm", "mlp", "cnn", "ngrams")] + [("rnn", True)],
)
def test_same_seed_same_weights_bit_for_bit(cell: str, word_weights: bool) -> None:
    settings = SETTINGS.model_copy(update={"epochs": 2, "averaging": 0.9})
    states = []
    for global_seed in (1, 2):
        torch.manual_seed(global_seed)
        before = torch.get_rng_state()
        noise = {"word_dropout": 0.1, "channel_dropout": 0.1}
        words = {"word_weights": word_weights, "distinct_words": word_weights}
        model = build_model(small(cell, **words, **noise), SIZE, seed=7)
        width = LENGTH if cell == "mlp" else None
        fit(model, replace(TRAIN, width=width), replace(VALIDATION, width=width), settings)
        assert torch.equal(torch.get_rng_state(), before)
        states.append(model.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_word_weights_start_from_the_training_rows() -> None:
    model = build_model(small(word_weights=True), SIZE)
    expected = copy.deepcopy(model.words)
    assert isinstance(expected, WordWeights)
    expected.start([(TRAIN.take(torch.arange(len(TRAIN)))[0], TRAIN.labels)])
    assert expected.weight[GOOD] > 0 > expected.weight[BAD]
    still = TrainingSettings(epochs=1, learning_rate=1e-12, vector_learning_rate=1e-12)
    fit(model, TRAIN, None, still)
    torch.testing.assert_close(model.words.weight, expected.weight)  # type: ignore[union-attr]


def test_another_seed_other_weights() -> None:
    states = []
    for seed in (1, 2):
        model = build_model(small(), SIZE, seed=0)
        fit(model, TRAIN, None, SETTINGS.model_copy(update={"epochs": 1, "seed": seed}))
        states.append(model.state_dict())
    assert not torch.equal(states[0]["head.weight"], states[1]["head.weight"])


def test_history_and_progress() -> None:
    seen: list[Progress] = []
    model = build_model(small(), SIZE)
    settings = TrainingSettings(epochs=2, batch_size=500)
    history = fit(model, TRAIN, VALIDATION, settings, seen.append)
    assert [entry["epoch"] for entry in history] == [1, 2]
    for entry in history:
        assert set(entry) == {
            "epoch",
            "loss",
            "seconds",
            "tokens_per_second",
            "validation_loss",
            "validation_accuracy",
        }
        assert all(math.isfinite(value) for value in entry.values())
    assert [p.epoch for p in seen] == [1, 1, 1, 2, 2, 2]
    assert sorted(p.rows_done for p in seen) == [p.rows_done for p in seen]
    assert seen[-1].rows_done == seen[-1].rows_total == 2400
    assert seen[-1].loss == pytest.approx(history[-1]["loss"])


def test_without_validation_the_last_weights_stay() -> None:
    history = fit(build_model(small(), SIZE), TRAIN, None, TrainingSettings(epochs=1))
    assert set(history[0]) == {"epoch", "loss", "seconds", "tokens_per_second"}


def test_the_best_epoch_is_kept_and_patience_ends_training() -> None:
    # Labels by chance: the model can only learn them by heart, so validation is chance.
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 2, (len(TRAIN),), generator=generator)
    noise = replace(TRAIN, labels=labels)
    model = build_model(small(dropout=0.0), SIZE)
    settings = TrainingSettings(epochs=50, learning_rate=0.02, schedule="constant", patience=2)
    history = fit(model, noise, VALIDATION, settings)
    losses = [entry["validation_loss"] for entry in history]
    best = losses.index(min(losses))
    assert len(history) == best + 1 + 2 < 50
    assert VALIDATION.measure(model)["loss"] == losses[best]


@pytest.mark.parametrize("steps", [1, 7, 40])
def test_the_average_is_right_after_any_number_of_steps(steps: int) -> None:
    """Of the first steps nothing that is older than a tenth of them counts much, least of all the initial weights."""
    model = build_model(small(), SIZE)
    assert isinstance(model, RecurrentClassifier)
    settings = SETTINGS.model_copy(
        update={"epochs": 1, "batch_size": -(-len(TRAIN) // steps), "schedule": "constant"}
    )
    seen: list[torch.Tensor] = []
    fit(
        model,
        TRAIN,
        None,
        settings,
        lambda _: seen.append(model.head.weight.detach().clone()),
    )
    assert len(seen) == steps
    expected = seen[0]
    for t, weights in enumerate(seen[1:], 1):
        decay = min(0.99, (1 + t) / (10 + t))
        expected = decay * expected + (1 - decay) * weights
    torch.testing.assert_close(model.head.weight.detach(), expected)


def test_wide_and_deep_takes_from_each_part_what_it_knows() -> None:
    model = build_model(small(wide=True), SIZE)
    assert isinstance(model, WideAndDeep)
    fit(model, TRAIN, VALIDATION, SETTINGS)
    alone = build_model(small("ngrams"), SIZE)
    fit(alone, TRAIN, None, SETTINGS)
    for name, tensor in alone.state_dict().items():
        assert torch.equal(model.wide.state_dict()[name], tensor)
    assert accuracy(model, TEST) >= max(accuracy(model.wide, TEST), accuracy(model.deep, TEST))
    # Of random labels neither part knows anything, and of rows that both know by heart nobody is deceived.
    generator = torch.Generator().manual_seed(0)
    chance = [
        replace(rows, labels=torch.randint(0, 2, (len(rows),), generator=generator))
        for rows in (TRAIN, VALIDATION)
    ]
    fit(model, *chance, SETTINGS)
    assert TRAIN.measure(model.wide)["loss"] > 0.6
    assert chance[1].measure(model)["loss"] < 0.75


def test_divergence_is_an_error() -> None:
    model = build_model(small(), SIZE)
    with torch.no_grad():
        model.head.weight.fill_(float("nan"))  # type: ignore[union-attr,operator]
    with pytest.raises(
        DivergedError, match=r"diverged in epoch 1, step 1 of 304, at learning rate"
    ):
        fit(model, TRAIN, None, SETTINGS)


@pytest.mark.parametrize("cell", ["rnn", "ngrams"])
def test_one_label_only_is_an_error(cell: str) -> None:
    ones = replace(TRAIN, labels=torch.ones(len(TRAIN), dtype=torch.int64))
    with pytest.raises(ValueError, match="labels must hold both 0 and 1, got only: 1"):
        fit(build_model(small(cell), SIZE), ones, None, SETTINGS)


def test_predict_keeps_the_order_of_the_rows() -> None:
    model = build_model(small(), SIZE)
    ids, lengths = padded(TEST)
    scores = predict(model, ids, lengths, batch_size=7)
    assert scores.dtype == np.float32
    assert model.training
    model.eval()
    with torch.no_grad():
        expected = model(ids, lengths).sigmoid()
    torch.testing.assert_close(torch.from_numpy(scores), expected)
    assert predict(model, ids[:0], lengths[:0]).shape == (0,)


@pytest.mark.parametrize(
    ("width", "padding", "expected"),
    [
        (None, "after", [[5, 6, 7], [8, 1, 1]]),
        (None, "before", [[5, 6, 7], [1, 1, 8]]),
        (4, "after", [[5, 6, 7, 1], [8, 1, 1, 1]]),
        (4, "before", [[1, 5, 6, 7], [1, 1, 1, 8]]),
    ],
)
def test_a_batch_is_padded(width: int | None, padding: Padding, expected: list[list[int]]) -> None:
    ids, offsets, labels = (torch.tensor(a) for a in ([9, 8, 5, 6, 7], [0, 1, 2, 5], [0, 1, 0]))
    rows = Reviews(ids.int(), offsets, labels, width, padding)
    taken, lengths = rows.take(torch.tensor([2, 1]))
    assert (taken.tolist(), lengths.tolist()) == (expected, [3, 1])
    assert taken.dtype == torch.int32


def test_each_row_is_once_in_an_epoch_among_its_like() -> None:
    shuffle = torch.Generator().manual_seed(0)
    batches = list(TRAIN.batches(32, shuffle))
    assert sorted(torch.cat(batches).tolist()) == list(range(len(TRAIN)))
    assert sorted(map(len, batches)) == [16] + [32] * 37
    spreads = [int(TRAIN.lengths(rows).max() - TRAIN.lengths(rows).min()) for rows in batches]
    assert max(spreads) <= 2
    assert [b.tolist() for b in TRAIN.batches(32, shuffle)] != [b.tolist() for b in batches]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"offsets": TRAIN.offsets[1:]}, r"got: \[\(\d+,\), \(1200,\), \(1200,\)\]"),
        ({"offsets": TRAIN.offsets + 1}, r"offsets must rise from 0 to the \d+ ids"),
        ({"offsets": TRAIN.offsets.flip(0)}, r"offsets must rise from 0 to the \d+ ids"),
        ({"labels": TRAIN.labels + 1}, r"labels must be 0 or 1, got: \[1, 2\]"),
        ({"ids": TRAIN.ids[None]}, r"must be \(S,\), \(N \+ 1,\), \(N,\)"),
        ({"width": 7}, r"width must be that of the longest row at least, 12, got: 7"),
    ],
)
def test_reviews_check_themselves(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(TRAIN, **change)


def test_no_reviews_are_an_error() -> None:
    with pytest.raises(ValueError, match="at least one row, got none"):
        Reviews(TRAIN.ids[:0], TRAIN.offsets[:1], TRAIN.labels[:0])


@pytest.mark.parametrize("change", [{"epochs": 0}, {"learning_rate": 0.0}, {"momentum": 0.9}])
def test_bad_settings(change: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match=next(iter(change))):
        TrainingSettings(**change)  # type: ignore[arg-type]
