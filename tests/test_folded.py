"""A folded classifier says what the model says, and folds nothing that it does not know."""

import pytest
import torch
from torch import nn

from rnnfast.models import folded
from rnnfast.models.config import ModelConfig
from rnnfast.models.folded import FoldedClassifier, why_not
from rnnfast.models.texts import RecurrentClassifier, build_model

VARIANTS = [
    {"cell": "rnn"},
    {"cell": "rnn", "nonlinearity": "relu", "pooling": "last"},
    {"cell": "gru", "padding": "before", "pooling": "mean"},
    {"cell": "lstm", "bidirectional": True},
    {"cell": "gru", "bidirectional": True, "pooling": "last", "padding": "before"},
    {"cell": "rnn", "bidirectional": True, "pooling": "max"},
    {"cell": "rnn", "word_weights": True},
    {"cell": "rnn", "word_weights": True, "distinct_words": True, "padding": "before"},
    {"cell": "gru", "word_weights": True, "bidirectional": True, "padding": "before"},
]


def model_of(**changes: object) -> nn.Module:
    config = ModelConfig.model_validate({"embedding_size": 6, "hidden_size": 9} | changes)
    model = build_model(config, 20).eval()
    if config.word_weights:
        nn.init.normal_(model.words.weight)  # type: ignore[union-attr,arg-type]
    return model


def rows(count: int, tokens: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.randint(0, 20, (count, tokens), dtype=torch.int32)
    return ids, torch.randint(1, tokens + 1, (count,))


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_says_what_the_model_says(variant: dict[str, object]) -> None:
    model = model_of(**variant).double()
    assert why_not(model) is None
    ids, lengths = rows(40)
    expected = model(ids, lengths)
    logits = FoldedClassifier(model)(ids, lengths)
    torch.testing.assert_close(logits, expected.detach(), rtol=1e-12, atol=1e-12)
    assert not logits.requires_grad


def test_the_logit_of_a_row_is_the_same_bit_for_bit_whatever_other_rows_there_are() -> None:
    model = FoldedClassifier(model_of(bidirectional=True))
    ids, lengths = rows(300)
    expected = model(ids, lengths)
    for some in (slice(7), slice(250, 251), slice(3, 200)):
        assert torch.equal(model(ids[some], lengths[some]), expected[some])


def test_keeps_the_weights_that_it_was_made_of() -> None:
    model = model_of()
    ids, lengths = rows(5)
    made = FoldedClassifier(model)
    before = made(ids, lengths)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(0.5)
    assert torch.equal(made(ids, lengths), before)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"cell": "mlp"}, "model must be a RecurrentClassifier, got: ConcatenatedMLP"),
        ({"num_layers": 2}, "num_layers must be 1, got: 2"),
        ({"read_padding": True}, "read_padding must be false, got: true"),
    ],
)
def test_what_cannot_be_folded(changes: dict[str, object], reason: str) -> None:
    model = model_of(**changes)
    assert why_not(model) == reason
    with pytest.raises(ValueError, match=reason):
        FoldedClassifier(model)  # type: ignore[arg-type]


def test_a_weight_that_nobody_told_it_of_is_not_left_out() -> None:
    model = model_of()
    model.more = nn.Linear(6, 1)
    assert "got: more.bias" in (why_not(model) or "")


def test_half_precision_is_not_folded() -> None:
    assert "got: torch.bfloat16 on cpu" in (why_not(model_of().bfloat16()) or "")


def test_a_table_that_is_too_large_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folded, "LARGEST_TABLE", 20 * 9 * 4 - 1)
    model = model_of()
    assert isinstance(model, RecurrentClassifier)
    assert why_not(model) == "the table must be of 719 bytes at most, got: 720"
