import copy
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from rnnfast.models.config import ModelConfig
from rnnfast.models.presets import PRESETS
from rnnfast.models.texts import (
    NGrams,
    RecurrentClassifier,
    WideAndDeep,
    WordVectors,
    WordWeights,
    build_model,
)
from rnnfast.text.pairs import Pairs
from rnnfast.text.reference import Padding
from rnnfast.training.settings import TrainingSettings

SIZE = 30


def config(**changes: object) -> ModelConfig:
    small = {"sequence_length": 9, "embedding_size": 5, "hidden_size": 7, "max_pairs": 50}
    return ModelConfig(**{**small, **changes})


def rows(padding: Padding = "after") -> tuple[Tensor, Tensor]:
    """Four texts of 9, 1, 4 and 6 words, padded to 9."""
    generator = torch.Generator().manual_seed(1)
    lengths = torch.tensor([9, 1, 4, 6])
    ids = torch.ones(4, 9, dtype=torch.int32)
    for i, n in enumerate(lengths.tolist()):
        words = torch.randint(2, SIZE, (n,), generator=generator, dtype=torch.int32)
        ids[i, slice(0, n) if padding == "after" else slice(9 - n, 9)] = words
    return ids, lengths


VARIANTS = [
    {"cell": "rnn", "pooling": "last"},
    {"cell": "gru", "pooling": "last", "bidirectional": True},
    {"cell": "lstm", "num_layers": 2},
    {"cell": "rnn", "pooling": "mean"},
    {"cell": "rnn", "pooling": "max", "nonlinearity": "relu"},
    {"cell": "rnn", "word_weights": True},
    {"cell": "rnn", "word_weights": True, "distinct_words": True},
    {"cell": "rnn", "num_layers": 2, "bidirectional": True},
    {"cell": "rnn", "num_layers": 2, "bidirectional": True, "pooling": "last"},
    {"cell": "cnn", "window": 3},
    {"cell": "mlp"},
    {"cell": "rnn", "wide": True},
    {"cell": "ngrams"},
    {"cell": "ngrams", "ngram_counts": True},
]


def learn_ngrams(model: nn.Module, padding: Padding = "after") -> None:
    """Gives the n-grams of a model, if it has some, pairs and weights."""
    ids, lengths = rows(padding)
    starts = torch.arange(4) * 9 + (9 - lengths if padding == "before" else 0)
    for part in model.modules():
        if isinstance(part, NGrams):
            part.know(Pairs.learn(ids, starts, lengths, words=SIZE, most=part.config.max_pairs))
            part.scale.copy_(torch.linspace(-1, 1, len(part.scale)))
            part.weight.copy_(torch.linspace(0, 1, len(part.weight)))
            part.bias.fill_(0.3)


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
@pytest.mark.parametrize("padding", ["after", "before"])
def test_logits_of_a_row_do_not_depend_on_its_batch(
    variant: dict[str, object], padding: Padding
) -> None:
    model = build_model(config(**variant, padding=padding), SIZE).eval()
    ids, lengths = rows(padding)
    learn_ngrams(model, padding)
    together = model(ids, lengths)
    assert together.shape == (4,)
    for i in range(4):
        alone = model(ids[i : i + 1], lengths[i : i + 1])
        torch.testing.assert_close(alone, together[i : i + 1])


@pytest.mark.parametrize("variant", [v for v in VARIANTS if v["cell"] != "mlp"], ids=str)
def test_padding_says_nothing_wherever_it_is(variant: dict[str, object]) -> None:
    after = build_model(config(**variant), SIZE).eval()
    before = build_model(config(**variant, padding="before"), SIZE).eval()
    learn_ngrams(after, "after")
    learn_ngrams(before, "before")
    torch.testing.assert_close(after(*rows("after")), before(*rows("before")))


def test_pooling_is_that_of_the_true_steps() -> None:
    ids, lengths = rows()
    for pooling in ("last", "mean", "max", "mean+max"):
        model = build_model(config(pooling=pooling), SIZE).eval()
        assert isinstance(model, RecurrentClassifier)
        for i, n in enumerate(lengths.tolist()):
            states = model.rnn(model.embedding(ids[i : i + 1, :n]))[0][0]
            features = {
                "last": states[-1],
                "mean": states.mean(0),
                "max": states.amax(0),
                "mean+max": torch.cat([states.mean(0), states.amax(0)]),
            }[pooling]
            expected = model.head(features)
            torch.testing.assert_close(model(ids, lengths)[i : i + 1], expected)


def test_last_state_of_both_directions() -> None:
    ids, lengths = rows()
    model = build_model(config(pooling="last", bidirectional=True), SIZE).eval()
    assert isinstance(model, RecurrentClassifier)
    states = model.rnn(model.embedding(ids[2:3, :4]))[0][0]
    features = torch.cat([states[-1, :7], states[0, 7:]])
    torch.testing.assert_close(model(ids, lengths)[2:3], model.head(features))


@pytest.mark.parametrize("padding", ["after", "before"])
def test_read_padding_makes_padding_a_word(padding: Padding) -> None:
    changes = {"read_padding": True, "pooling": "last", "padding": padding}
    model = build_model(config(**changes), SIZE).eval()
    assert isinstance(model, RecurrentClassifier)
    assert model.embedding.weight[1].abs().sum() > 0
    ids, lengths = rows(padding)
    reference = nn.RNN(5, 7, batch_first=True)
    reference.load_state_dict(model.rnn.state_dict())
    expected = model.head(reference(model.embedding(ids))[1][-1]).squeeze(1)
    torch.testing.assert_close(model(ids, lengths), expected)


@pytest.mark.parametrize(
    "variant", [v for v in VARIANTS if "wide" not in v and v["cell"] != "ngrams"], ids=str
)
def test_every_parameter_learns_and_the_padding_does_not(variant: dict[str, object]) -> None:
    model = build_model(config(**variant), SIZE).eval()
    model(*rows()).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
    assert isinstance(model.embedding, nn.Embedding)
    assert model.embedding.weight[1].abs().sum() == 0
    assert model.embedding.weight.grad is not None
    assert model.embedding.weight.grad[1].abs().sum() == 0


def test_convolution_shares_its_weights_over_time() -> None:
    model = build_model(config(cell="cnn", window=3), SIZE).eval()
    phrase = [7, 8, 9, 10, 11]
    early = torch.tensor([[1, 1, *phrase, 1, 1]])
    late = torch.tensor([[1, 1, 1, 1, *phrase]])
    full = torch.tensor([9])
    shifted = model(early[:, 1:], full - 1), model(late[:, 3:], full - 3)
    torch.testing.assert_close(*shifted, atol=1e-4, rtol=0)


def test_words_become_unknown_in_training_only() -> None:
    vectors = WordVectors(config(word_dropout=0.25, channel_dropout=0.0), SIZE)
    ids = torch.full((40, 50), 7)
    result = vectors(ids)
    unknown = (result == vectors.weight[0]).all(2)
    assert torch.equal(result[~unknown], vectors.weight[7].expand(int((~unknown).sum()), -1))
    assert 0.2 < unknown.float().mean() < 0.3
    torch.testing.assert_close(vectors.eval()(ids), vectors.weight[ids])


def test_channels_are_dropped_from_a_whole_text_in_training_only() -> None:
    vectors = WordVectors(config(word_dropout=0.0, channel_dropout=0.25, embedding_size=50), SIZE)
    ids = torch.randint(2, SIZE, (40, 9))
    kept = vectors(ids) / vectors.weight[ids]
    torch.testing.assert_close(kept, kept[:, :1].expand(-1, 9, -1))
    torch.testing.assert_close(kept, (kept > 0.5) / 0.75)
    assert 0.2 < (kept[:, 0] == 0).float().mean() < 0.3
    torch.testing.assert_close(vectors.eval()(ids), vectors.weight[ids])


@pytest.mark.parametrize("padding", ["after", "before"])
@pytest.mark.parametrize("distinct", [False, True])
def test_word_weights_add_their_sum_over_the_root_of_their_number(
    padding: Padding, distinct: bool
) -> None:
    changes = {"word_weights": True, "distinct_words": distinct, "padding": padding}
    model = build_model(config(**changes), SIZE).eval()
    assert isinstance(model, RecurrentClassifier)
    assert model.words is not None
    ids, lengths = rows(padding)
    without = model(ids, lengths)
    with torch.no_grad():
        model.words.weight[2:] = torch.linspace(-1, 2, SIZE - 2)[:, None]
        model.words.weight[1] = 100  # not read
    for i, n in enumerate(lengths.tolist()):
        words = ids[i, -n:] if padding == "before" else ids[i, :n]
        if distinct:
            words = words.unique()
        added = model.words.weight[words].sum() / len(words) ** 0.5
        torch.testing.assert_close(model(ids, lengths)[i], without[i] + added)


def test_word_weights_become_that_of_unknown_in_training_only() -> None:
    weights = WordWeights(config(word_dropout=0.25), SIZE)
    torch.nn.init.ones_(weights.weight[7:8])
    ids, lengths = torch.full((40, 64), 7), torch.tensor([64] * 39 + [1])
    added = weights(ids, lengths) * lengths.sqrt()
    assert 0.7 < added[:39].mean() / 64 < 0.8
    assert added[39] in (0, 1)
    torch.testing.assert_close(weights.eval()(ids, lengths), lengths.sqrt())


def test_word_weights_start_at_half_of_the_log_count_ratios() -> None:
    # Word 2 is in both texts of label 1, twice in one; 3 in one of each label; 4 in one of label 0.
    parts = [
        (torch.tensor([[2, 2, 3], [2, 1, 1]], dtype=torch.int32), torch.tensor([1, 1])),
        (torch.tensor([[1, 3, 4], [0, 0, 1]], dtype=torch.int32), torch.tensor([0, 0])),
    ]
    weights = WordWeights(config(), 6)
    weights.start((ids, labels.to(torch.int8)) for ids, labels in parts)
    # Of five words in rows three are in those of label 1: with one more of each label, 4 / 7.
    share = 4 / 7
    one = np.array([2, 1, 0, 0]) + 2 * share
    zero = np.array([0, 1, 1, 0]) + 2 * (1 - share)
    expected = np.log(one / zero) - np.log(share / (1 - share))
    assert expected[3] == pytest.approx(0)  # no text has word 5
    assert weights.weight[:, 0].tolist() == pytest.approx([0, 0, *expected / 2])


@pytest.mark.parametrize("cell", ["rnn", "mlp", "cnn"])
def test_the_seed_decides_the_weights_and_nothing_else(cell: str) -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first = build_model(config(cell=cell), SIZE, seed=3).state_dict()
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(6)
    second = build_model(config(cell=cell), SIZE, seed=3).state_dict()
    other = build_model(config(cell=cell), SIZE, seed=4).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


# The n-grams.


def test_the_logit_of_ngrams_follows_its_formula() -> None:
    model = NGrams(config(), SIZE)
    learn_ngrams(model)
    ids, lengths = rows()
    known = model.pairs.tolist()
    scale, weight = model.scale.numpy(), model.weight.numpy()
    for row, logit in enumerate(model(ids, lengths).tolist()):
        words = ids[row, : lengths[row]].tolist()
        pairs = {a * SIZE + b for a, b in pairwise(words)}
        held = [*set(words), *(SIZE + known.index(pair) for pair in pairs)]
        length = np.linalg.norm(scale[held])
        assert logit == pytest.approx(weight[held] @ scale[held] / length + 0.3, rel=1e-4)


def test_the_logit_of_ngrams_by_counts_follows_its_formula() -> None:
    model = NGrams(config(cell="ngrams", ngram_counts=True), SIZE)
    learn_ngrams(model)
    # Three pairs that are known, a word four times and a pair three times, an unknown word, padding.
    first, second = divmod(model.pairs[0].item(), SIZE)
    words = [first, second, first, second, 0, first, second, first]
    ids, known = torch.tensor([[*words, 1]]), model.pairs.tolist()
    pairs = [a * SIZE + b for a, b in pairwise(words) if a * SIZE + b in known]
    counted = Counter([w for w in words if w > 1] + [SIZE + known.index(each) for each in pairs])
    assert sorted(counted.values())[-2:] == [3, 4]
    held, value = [*counted], 1 + np.log([*counted.values()])
    features = model.scale.numpy()[held] * value
    expected = model.weight.numpy()[held] @ features / np.linalg.norm(features) + 0.3
    assert model(ids, torch.tensor([8])).item() == pytest.approx(expected, rel=1e-4)


def test_ngrams_follow_their_buffers_and_are_copied_with_them() -> None:
    model = NGrams(config(), SIZE)
    ids, lengths = rows()
    assert model(ids, lengths).tolist() == [0.0] * 4
    learn_ngrams(model)
    learned = model(ids, lengths)
    assert learned.ne(0.3).all()
    other = NGrams(config(), SIZE)
    other(ids, lengths)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(ids, lengths), learned)
    assert torch.equal(copy.deepcopy(model)(ids, lengths), learned)


def test_ngrams_of_a_text_without_a_known_word() -> None:
    model = NGrams(config(), SIZE)
    model.bias.fill_(0.7)
    logits = model(torch.tensor([[0, 1], [0, 0]]), torch.tensor([1, 2]))
    assert logits.tolist() == pytest.approx([0.7, 0.7])


def test_wide_and_deep_is_the_weighted_sum_of_its_parts() -> None:
    model = build_model(config(wide=True), SIZE).eval()
    assert isinstance(model, WideAndDeep)
    learn_ngrams(model)
    model.shares.copy_(torch.tensor([2.0, 0.5, -1.0]))
    expected = 2 * model.wide(*rows()) + 0.5 * model.deep(*rows()) - 1
    torch.testing.assert_close(model(*rows()), expected)


# Settings.


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cell": "transformer"}, "cell"),
        ({"hidden_size": 0}, "greater than or equal to 1"),
        ({"window": 4}, "window must be odd, got: 4"),
        ({"dropout": 1.0}, "less than 1"),
        ({"hiden_size": 8}, "hiden_size"),
        ({"cell": "cnn", "read_padding": True}, "read_padding must be false for cell 'cnn'"),
        ({"cell": "mlp", "word_weights": True}, "word_weights must be false for cell 'mlp'"),
        ({"cell": "ngrams", "wide": True}, "wide must be false for cell 'ngrams'"),
    ],
)
def test_bad_settings(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        config(**changes)


def test_bad_vocabulary_size() -> None:
    with pytest.raises(ValueError, match="vocabulary_size must be at least 3, got: 2"):
        build_model(config(), 2)


@pytest.mark.parametrize(
    ("preset", "cell"), [(preset, cell) for preset in PRESETS for cell in PRESETS[preset]]
)
def test_presets_are_valid(preset: str, cell: str) -> None:
    settings = PRESETS[preset][cell]  # type: ignore[index]
    model = ModelConfig(cell=cell, **settings["model"])  # type: ignore[arg-type]
    TrainingSettings(**settings["training"])
    build_model(model, 20)


def test_the_lecture_preset_is_what_is_taught() -> None:
    settings = PRESETS["lecture"]["rnn"]
    model, training = ModelConfig(**settings["model"]), TrainingSettings(**settings["training"])
    assert (model.max_tokens, model.sequence_length, model.embedding_size) == (20_000, 500, 128)
    assert (model.nonlinearity, model.num_layers, model.hidden_size) == ("tanh", 2, 64)
    assert (model.pooling, model.padding, model.read_padding) == ("last", "before", True)
    assert (training.learning_rate, training.epochs, training.schedule) == (0.01, 20, "constant")
