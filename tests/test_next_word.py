"""The output layer of language models: its loss by sampled words, and the gradients that it forms itself."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from rnnfast.models.language import build_language_model
from rnnfast.models.language_config import LanguageConfig
from rnnfast.models.next_word import Candidates, NextWord
from rnnfast.models.precision import computing

CPU = torch.device("cpu")
SIZE, EMBEDDING, HIDDEN = 60, 6, 5


def layer_of(size: int = SIZE) -> tuple[NextWord, Tensor]:
    """The layer and its word vectors, neither small."""
    torch.manual_seed(0)
    layer = NextWord(HIDDEN, EMBEDDING, size)
    with torch.no_grad():
        layer.bias.normal_()
    return layer, torch.randn(size, EMBEDDING, requires_grad=True)


def rows_of(count: int, size: int = SIZE) -> tuple[Tensor, Tensor]:
    states = 2 * torch.randn(count, HIDDEN)
    return states.requires_grad_(), torch.randint(size, (count,), dtype=torch.int32)


def by_definition(
    layer: NextWord, vectors: Tensor, states: Tensor, truth: Tensor, drawn: Candidates
) -> Tensor:
    """The loss from all logits at once, in their own type."""
    truth = truth.long()
    logits = layer.logits(states, vectors)
    own = logits.gather(1, truth[:, None])
    others = logits[:, drawn.words] - drawn.corrections
    rare = torch.arange(len(drawn.words)) >= drawn.head
    others = others.masked_fill(rare & (drawn.words == truth[:, None]), -torch.inf)
    apart = own.masked_fill(truth[:, None] < drawn.head, -torch.inf)
    return (torch.cat([others, apart], 1).logsumexp(1) - own[:, 0]).mean()


def gradients(loss: Tensor, layer: NextWord, *inputs: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(loss, [*inputs, *layer.parameters()]))


# Fewer places than are computed together, as many, and more; the last few words are drawn again and again.
@pytest.mark.parametrize("count", [1, 256, 300, 700])
@pytest.mark.parametrize("candidates", [2, 41, SIZE, 1000])
def test_loss_and_gradients_are_those_of_the_definition(count: int, candidates: int) -> None:
    layer, vectors = layer_of()
    states, truth = rows_of(count)
    drawn = Candidates.draw(candidates, SIZE, 3, CPU)
    loss = layer(states, vectors, truth, candidates, seed=3)
    double, wide = layer_of()
    double, wide = double.double(), wide.detach().double().requires_grad_()
    there = states.detach().double().requires_grad_()
    expected = by_definition(double, wide, there, truth, drawn)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    found = gradients(3 * loss, layer, states, vectors)
    for own, right in zip(found, gradients(3 * expected, double, there, wide), strict=True):
        torch.testing.assert_close(own.double(), right, rtol=1e-4, atol=1e-6)


def test_among_all_words_it_is_the_cross_entropy() -> None:
    layer, vectors = layer_of()
    states, truth = rows_of(9)
    expected = F.cross_entropy(layer.logits(states, vectors), truth.long())
    assert layer(states, vectors, truth, SIZE, seed=0).item() == pytest.approx(expected.item())


@pytest.mark.parametrize("true", [3, 30])
def test_the_sampled_sum_over_all_words_is_right_on_average(true: int) -> None:
    layer, vectors = layer_of()
    states, truth = rows_of(1)
    truth[0] = true
    with torch.no_grad():
        logits = layer.logits(states, vectors)
        losses = torch.stack([layer(states, vectors, truth, 16, seed) for seed in range(4000)])
    own = logits[0, true]
    assert (losses + own).exp().mean() == pytest.approx(logits.exp().sum().item(), rel=0.05)
    assert losses.std() > 0


def test_a_true_word_far_above_all_candidates_does_not_overflow() -> None:
    layer, vectors = layer_of()
    states, truth = rows_of(5)
    truth[:] = SIZE - 1
    with torch.no_grad():
        layer.bias[-1] = 1000
    loss = layer(states, vectors, truth, 8, seed=0)
    assert loss.item() == 0
    assert all(each.isfinite().all() for each in gradients(loss, layer, states, vectors))


def test_in_bfloat16_it_is_close_and_gives_float32() -> None:
    config = LanguageConfig(embedding_size=32, hidden_size=32, candidates=64)
    model = build_language_model(config, 500)
    states, truth = torch.randn(400, 32), torch.randint(500, (400,))
    found = []
    for precision in ("fp32", "bf16"):
        model.zero_grad()
        with computing(model, precision):  # type: ignore[arg-type]
            loss = model.output(states, model.embedding.weight, truth, 64, 0)
        loss.backward()
        found.append((loss, model.embedding.weight.grad))
    (loss, right), (rough, own) = found
    assert rough.dtype == own.dtype == torch.float32
    assert rough.item() == pytest.approx(loss.item(), rel=1e-2)
    assert rough != loss
    assert (own - right).norm() < 0.02 * right.norm()
