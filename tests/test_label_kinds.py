"""Kinds of labels: what they lose, give, and are measured by."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from sklearn import metrics
from torch.nn import functional as F

from rnnfast.evaluation.choice import beaten_by
from rnnfast.labels import Classes, Numbers, Tags
from rnnfast.labels.base import LabelKind, LinearOptions, log_count_ratios
from rnnfast.models.config import ModelConfig
from rnnfast.models.folded import FoldedClassifier
from rnnfast.models.texts import build_model
from rnnfast.scoring.scorers import Scorer, save_run
from rnnfast.text.vocabulary import Vocabulary
from rnnfast.training.run_folder import ReviewsRun, parse_config
from rnnfast.training.settings import TrainingSettings

DRAW = np.random.default_rng(0)
STARS = Classes(names=("1", "2", "10"))
PAIR = Classes(names=("neg", "pos"))
TOPICS = Tags(names=("late", "broken", "rude"))
PRICE = Numbers(names=("price",), mean=10.0, scale=4.0)


def of_rows(kind: LabelKind, rows: int = 300) -> tuple[np.ndarray, torch.Tensor]:
    """Truth and outputs that have something to do with each other."""
    if isinstance(kind, Numbers):
        truth = DRAW.normal(10, 4, rows)
        return truth, torch.from_numpy((truth - 10) / 4 + DRAW.normal(0, 0.5, rows))
    if isinstance(kind, Tags):
        held = DRAW.random((rows, 3)) < (0.5, 0.2, 0.1)
        return held.astype(np.int8), torch.from_numpy(
            3 * held - 1.5 + DRAW.normal(0, 1.5, (rows, 3))
        )
    places = DRAW.integers(0, len(kind.names), rows)
    noise = DRAW.normal(0, 1, (rows, len(kind.names)))
    logits = torch.from_numpy(2 * np.eye(len(kind.names))[places] + noise)
    return places, logits[:, 1] - logits[:, 0] if kind.is_pair else logits


def test_figures_of_classes_are_those_of_scikit_learn() -> None:
    truth, outputs = of_rows(STARS)
    given = STARS.given(outputs)
    found, called = STARS.figures(truth, given), given.argmax(1)
    assert given.sum(1) == pytest.approx(1)
    assert found["accuracy"] == metrics.accuracy_score(truth, called)
    assert found["macro_f1"] == pytest.approx(metrics.f1_score(truth, called, average="macro"))
    assert found["log_loss"] == pytest.approx(metrics.log_loss(truth, given), rel=1e-4)
    assert found["top_2"] == metrics.top_k_accuracy_score(truth, given, k=2)
    assert "top_3" not in found
    assert [each["f1"] for each in found["by_class"].values()] == pytest.approx(
        metrics.f1_score(truth, called, average=None)
    )
    assert json.loads(json.dumps(found)) == found


def test_figures_of_tags_are_those_of_scikit_learn() -> None:
    truth, outputs = of_rows(TOPICS)
    kind = TOPICS.calibrated(truth, TOPICS.given(outputs))
    given = kind.given(outputs)
    found, called = kind.figures(truth, given), given >= kind.cuts
    for name in ("micro", "macro"):
        expected = metrics.f1_score(truth, called, average=name)
        assert found[f"{name}_f1"] == pytest.approx(expected)
    assert found["subset_accuracy"] == metrics.accuracy_score(truth, called)
    assert found["hamming_loss"] == pytest.approx(metrics.hamming_loss(truth, called))
    # Chosen thresholds are worth it where they were chosen, above all for what is rare.
    assert found["macro_f1"] > TOPICS.figures(truth, given)["macro_f1"]


def test_figures_and_intervals_of_numbers() -> None:
    truth, outputs = of_rows(PRICE, 4000)
    kind = PRICE.calibrated(truth[:1000], PRICE.given(outputs[:1000]))
    given = kind.given(outputs[1000:])
    found = kind.figures(truth[1000:], given)
    assert found["mae"] == pytest.approx(metrics.mean_absolute_error(truth[1000:], given))
    assert found["r2"] == pytest.approx(metrics.r2_score(truth[1000:], given))
    assert found["rank_correlation"] > 0.8
    assert found["coverage"] == pytest.approx(0.9, abs=0.02)
    number, low, high = (each.to_numpy() for each in kind.columns(given))
    assert ((low <= truth[1000:]) & (truth[1000:] <= high)).mean() == pytest.approx(
        found["coverage"]
    )
    assert (high - number) == pytest.approx(kind.margin, rel=1e-3)


def test_intervals_of_numbers_cover_devices_that_were_not_calibrated_on() -> None:
    rng = np.random.default_rng(0)
    inside = {"devices": [], "rows": []}  # type: dict[str, list[float]]
    for _ in range(300):
        errors = rng.normal(size=(11, 1)) + 0.3 * rng.normal(size=(11, 40))
        known, new = errors[:10].ravel(), np.abs(errors[10])
        devices = np.repeat(np.arange(10), 40)
        for name, groups in (("devices", devices), ("rows", None)):
            margin = PRICE.calibrated(known, 0 * known, groups).margin
            assert margin is not None
            inside[name].append(float((new <= margin).mean()))
    assert np.mean(inside["rows"]) < 0.88 < 0.9 <= np.mean(inside["devices"])
    one = PRICE.calibrated(known, 0 * known, np.zeros(len(known)))
    assert one == PRICE.calibrated(known, 0 * known)


@pytest.mark.parametrize("kind", [PAIR, STARS, TOPICS, PRICE], ids=lambda kind: kind.task)
def test_losses_scores_and_floors(kind: LabelKind) -> None:
    truth, outputs = of_rows(kind)
    known = torch.from_numpy(truth)
    expected = {
        PAIR: lambda: F.binary_cross_entropy_with_logits(outputs, known.double()),
        STARS: lambda: F.cross_entropy(outputs, known),
        TOPICS: lambda: F.binary_cross_entropy_with_logits(outputs, known.double()),
        PRICE: lambda: F.mse_loss(4 * outputs + 10, known) / 16,
    }[kind]()
    assert kind.loss(outputs, known).item() == pytest.approx(expected.item())
    given = kind.given(outputs)
    fields = kind.fields()
    table = pa.table(kind.columns(given), schema=pa.schema(fields))
    assert kind.read(table) == pytest.approx(given)
    floor = kind.floor(truth, len(truth))
    assert kind.errors(truth, given).mean() < kind.errors(truth, floor).mean()
    assert kind.floor_figures(truth, truth)["rows"] == len(truth)


@pytest.mark.parametrize("kind", [PAIR, STARS, TOPICS], ids=["pair", "classes", "tags"])
def test_classes_of_the_same_weight_have_the_same_say(kind: LabelKind) -> None:
    truth, outputs = of_rows(kind)
    weights = torch.from_numpy(kind.weights(truth))  # type: ignore[arg-type]
    equal = torch.zeros_like(outputs).requires_grad_()
    kind.loss(equal, torch.from_numpy(truth), weights).backward()
    # At outputs that say nothing all pull alike: the gradient is zero in every output.
    assert equal.grad is not None
    assert equal.grad.sum(0).abs().max() < 1e-9


@pytest.mark.parametrize(
    "kind", [PAIR, STARS, TOPICS, PRICE], ids=["pair", "classes", "tags", "numbers"]
)
def test_a_linear_model_learns(kind: LabelKind) -> None:
    truth, outputs = of_rows(kind)
    features = outputs.numpy().reshape(len(truth), -1)
    linear = kind.solve(features, truth, LinearOptions(penalty=1e-3))
    assert linear.weight.shape == (kind.outputs, features.shape[1])
    said = torch.from_numpy(features @ linear.weight.T + linear.bias)
    given = kind.given(said[:, 0] if kind.outputs == 1 else said)
    floor = kind.floor(truth, len(truth))
    assert kind.errors(truth, given).mean() < 0.8 * kind.errors(truth, floor).mean()


@pytest.mark.parametrize("kind", [STARS, TOPICS, PRICE], ids=["classes", "tags", "numbers"])
def test_a_run_of_any_kind_scores_again(kind: LabelKind, tmp_path: Path) -> None:
    words = Vocabulary.build(["good bad film plot a the"], max_tokens=20)
    config = ModelConfig(hidden_size=8, embedding_size=4, wide=True, max_pairs=5, sequence_length=9)
    model = build_model(config, len(words), seed=1, outputs=kind.outputs)
    save_run(
        tmp_path, model, words, config=config, training=TrainingSettings(), labels=kind, data={}
    )  # type: ignore[arg-type]
    scorer = Scorer.load(tmp_path)
    assert scorer.target == kind
    assert parse_config(tmp_path, ReviewsRun).labels == kind.names
    given = scorer.score(["a good film", "the bad plot"])
    assert given.shape == ((2, 3) if kind.outputs == 3 else (2,))
    # The folded model and the plain one say the same; each text by itself, too.
    from rnnfast.text.vocabulary import vectorize

    texts = vectorize(["a good film", "the bad plot"], words, 9)
    with torch.no_grad():
        assert kind.given(model.eval()(*texts)) == pytest.approx(given, abs=1e-5)
    assert FoldedClassifier(model.deep)(*texts).shape == given.shape  # type: ignore[union-attr]
    assert np.array_equal(scorer.score(["the bad plot"])[0], given[1])


def test_two_classes_keep_the_digest_of_earlier_versions(tmp_path: Path) -> None:
    words = Vocabulary.build(["good bad"], max_tokens=5)
    config = ModelConfig(hidden_size=2, embedding_size=2)
    model = build_model(config, len(words))
    save_run(
        tmp_path,
        model,
        words,
        config=config,
        training=TrainingSettings(),
        labels=("n", "p"),
        data={},
    )
    new = Scorer.load(tmp_path)
    content = json.loads((tmp_path / "config.json").read_text())
    assert "target" not in content
    del content["training"]["class_weights"]
    (tmp_path / "config.json").write_text(json.dumps(content))
    old = Scorer.load(tmp_path)
    assert (old.digest, old.target) == (new.digest, Classes(names=("n", "p")))


def test_a_model_is_beaten_by_more_than_chance_alone() -> None:
    errors = DRAW.normal(1, 0.3, 400)
    same = errors + DRAW.normal(0, 0.3, 400)
    assert beaten_by("rnn", errors, {"same": same, "worse": errors + 1}) == {}
    found = beaten_by("rnn", errors, {"better": errors - 0.2, "best": errors - 0.5})
    assert found["by"] == "best"
    assert found["excess"] == pytest.approx(1, rel=0.2)


def test_a_precision_is_judged_by_accuracy_micro_f1_or_squared_error() -> None:
    classes, tags = Classes(names=("a", "b", "c")), Tags(names=("late", "broken"))
    numbers = Numbers(names=("days",), mean=1.0, scale=2.0)
    given = np.array([[0.8, 0.1, 0.1], [0.1, 0.2, 0.7]], np.float32)
    assert classes.summary(np.array([0, 1]), given) == 0.5
    given = np.array([[0.9, 0.8], [0.9, 0.2]], np.float32)
    assert tags.summary(np.array([[1, 0], [1, 1]]), given) == pytest.approx(4 / 6)
    assert numbers.summary(np.array([1.0, 3.0]), np.array([1.0, 5.0], np.float32)) == 0.5
    assert [each.is_error for each in (classes, tags, numbers)] == [False, False, True]


def test_a_word_as_frequent_in_each_of_many_classes_says_nothing() -> None:
    # Of 40 classes with 100 texts each: a word in 8 of each, a word in 20 of the first and 10 elsewhere, and 100,000
    # that one text each holds.
    kinds, rare = 40, 100_000
    sums = np.zeros((kinds, 2 + rare))
    sums[:, 0], sums[0, 1], sums[1:11, 1] = 8, 20, 1
    sums[np.arange(rare) % kinds, 2 + np.arange(rare)] = 1
    evidence = log_count_ratios(sums, sums.sum(0))
    usual, telling, single = (evidence**2).mean(0)[:3]
    assert usual < 1e-3
    assert evidence[0, 1] > 3
    assert telling > 5 * single


def test_a_linear_model_learns_three_hundred_classes() -> None:
    """Each class has few rows, and so a gradient that is small from the start."""
    draw = np.random.default_rng(0)
    many = Classes(names=tuple(str(number) for number in range(300)))

    def rows(count: int) -> tuple[np.ndarray, np.ndarray]:
        truth = draw.permutation(np.arange(count) % 300)
        words = np.zeros((count, 1000))
        # Two of three words of its own, and one of another class, among others.
        for row, place in enumerate(truth):
            words[row, 3 * place + draw.permutation(3)[:2]] = 1
            words[row, draw.integers(0, 900)] = 1
            words[row, 900 + draw.permutation(100)[:20]] = 1
        return words / np.linalg.norm(words, axis=1, keepdims=True), truth

    (train, truth), (test, known) = rows(3000), rows(1000)
    linear = many.solve(train, truth, LinearOptions(penalty=0.1))
    called = (test @ linear.weight.T + linear.bias).argmax(1)
    # The solution has 0.72; a solver that stops at a gradient of 1e-3 has 0.004.
    assert (called == known).mean() > 0.7
