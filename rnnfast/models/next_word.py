"""The output layer of a language model: which word comes next, without logits of all words in training.

Dimensions: M places, H hidden, E embedding, V vocabulary, C candidates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

# Whose logits are in memory at a time: with 1,024 candidates they stay in the L2 cache.
_PLACES = 256


@dataclass(frozen=True)
class Candidates:
    """The words that true words are compared with: the most frequent ones, and some drawn from the rest.

    Attributes:
        words: (C,) int64, their ids.
        head: how many are the most frequent ones, the ids from 0 on.
        corrections: (C,) float32, what is taken off their logits: the logarithm of how often each is expected.
    """

    words: Tensor
    head: int
    corrections: Tensor

    @classmethod
    def draw(cls, count: int, size: int, seed: int, device: torch.device) -> Candidates:
        """``count`` of ``size`` words: half of them the most frequent, the others log-uniformly by rank."""
        if count >= size:
            return cls(torch.arange(size, device=device), size, torch.zeros(size, device=device))
        head = count // 2
        drawn = np.random.default_rng([seed, 2]).random(count - head)
        rare = torch.from_numpy((head * (size / head) ** drawn).astype(np.int64))
        rare = rare.clamp(max=size - 1).sort().values
        expected = (count - head) * torch.log1p(1 / rare.double()) / np.log(size / head)
        corrections = torch.cat([torch.zeros(head), expected.log().float()])
        words = torch.cat([torch.arange(head), rare])
        return cls(words.to(device), head, corrections.to(device))

    def hits(self, truth: Tensor) -> tuple[Tensor, Tensor]:
        """At which places (M,) a drawn word is the true one, and which candidate that is; as often as it was drawn."""
        rare = self.words[self.head :]
        first, last = (torch.searchsorted(rare, truth, right=right) for right in (False, True))
        counts = last - first
        places = torch.arange(len(truth), device=truth.device).repeat_interleave(counts)
        begin = counts.cumsum(0) - counts
        within = torch.arange(len(places), device=truth.device) - begin[places]
        return places, self.head + first[places] + within


class NextWord(nn.Module):
    """States -> a linear map from H to E -> the product with all word vectors, and a bias each.

    The word vectors are those of the input, after Press and Wolf, "Using the Output Embedding to Improve Language
    Models" (2017).

    Example:
        >>> output, vectors = NextWord(8, 4, 100), torch.randn(100, 4)
        >>> output.logits(torch.randn(3, 8), vectors).shape
        torch.Size([3, 100])
        >>> output(torch.randn(3, 8), vectors, torch.tensor([5, 2, 99]), candidates=16, seed=0).shape
        torch.Size([])
    """

    def __init__(self, hidden_size: int, embedding_size: int, vocabulary_size: int) -> None:
        super().__init__()
        self.projection = nn.Linear(hidden_size, embedding_size)
        if hidden_size == embedding_size:
            nn.init.eye_(self.projection.weight)
        self.bias = nn.Parameter(torch.zeros(vocabulary_size))

    def forward(
        self, states: Tensor, vectors: Tensor, truth: Tensor, candidates: int, seed: int
    ) -> Tensor:
        """The mean loss () of the true words (M,) after states (M, H), among sampled candidates.

        The sum over all words that normalises p is that over the most frequent ones, which are all there, the true
        word, and an estimate of the rest by importance sampling: Bengio and Senecal (2003). Under autocast the products
        are in its type.
        """
        drawn = Candidates.draw(candidates, len(self.bias), seed, states.device)
        features = self.projection(states)
        loss: Tensor = _SampledLoss.apply(  # type: ignore[no-untyped-call]
            features, vectors, self.bias, truth.long(), drawn
        )
        return loss

    def logits(self, states: Tensor, vectors: Tensor) -> Tensor:
        """The logits (M, V) of all words after states (M, H)."""
        result: Tensor = self.projection(states) @ vectors.T + self.bias
        return result


class _SampledLoss(torch.autograd.Function):
    """The mean of log(sum of exp(logits of candidates and truth)) less the logit of the truth.

    Its gradients are formed on the way, a few places at a time, while the logits are still in the cache.
    """

    @staticmethod
    def forward(
        ctx: Any, features: Tensor, vectors: Tensor, bias: Tensor, truth: Tensor, drawn: Candidates
    ) -> Tensor:
        with torch.autocast(features.device.type, enabled=False):
            loss, *gradients = _loss_and_gradients(features, vectors, bias, truth, drawn)
        ctx.save_for_backward(*gradients, torch.cat([truth, drawn.words]))
        ctx.size = len(bias)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        of_features, of_rows, of_offsets, words = ctx.saved_tensors
        rows, offsets = of_rows * upstream, of_offsets * upstream
        of_vectors = rows.new_zeros(ctx.size, rows.shape[1]).index_add_(0, words, rows)
        of_bias = offsets.new_zeros(ctx.size).index_add_(0, words, offsets)
        return of_features * upstream.to(of_features.dtype), of_vectors, of_bias, None, None


def _loss_and_gradients(
    features: Tensor, vectors: Tensor, bias: Tensor, truth: Tensor, drawn: Candidates
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The loss, and its gradients by features (M, E), by the vectors (M + C, E) of truth and candidates, and bias."""
    count, size = features.shape
    own_vectors = vectors[truth]
    own = torch.linalg.vecdot(features.float(), own_vectors) + bias[truth]
    apart = truth >= drawn.head  # not among the most frequent words, whose logits are all there
    offsets = bias[drawn.words] - drawn.corrections
    others = vectors[drawn.words].to(features.dtype)
    by_row, by_column = drawn.hits(truth)
    starts = torch.searchsorted(
        by_row, torch.arange(0, count + _PLACES, _PLACES, device=by_row.device)
    )

    of_features = torch.empty_like(features)
    of_rows = torch.zeros(count + len(others), size, device=features.device)
    of_offsets = torch.zeros(len(of_rows), device=features.device)
    total = torch.zeros((), dtype=torch.float64, device=features.device)
    for chunk, first in enumerate(range(0, count, _PLACES)):
        here = slice(first, min(first + _PLACES, count))
        x, own_x = features[here], own[here]
        logits = torch.addmm(offsets.to(x.dtype), x, others.T)
        hit = slice(int(starts[chunk]), int(starts[chunk + 1]))
        # A drawn word that is the true one counts once, as itself.
        logits[by_row[hit] - first, by_column[hit]] = -torch.inf
        most = torch.maximum(logits.amax(1), own_x.to(x.dtype))[:, None]
        logits.sub_(most).exp_()
        most = most[:, 0].float()
        of_own = (own_x - most).exp() * apart[here]
        sums = logits.sum(1, dtype=torch.float32) + of_own
        total += (most + sums.log() - own_x).sum(dtype=torch.float64)
        shares = 1 / (sums * count)
        # d loss / d own logit: p, where it is not that of a candidate too, less 1.
        slope = of_own * shares - 1 / count
        wide = torch.mm(logits, others).float() * shares[:, None]
        of_features[here] = wide.addcmul_(own_vectors[here], slope[:, None])
        of_rows[here] = x.float() * slope[:, None]
        of_offsets[here] = slope
        scaled = shares[:, None].to(x.dtype)
        of_rows[count:] += torch.mm(logits.T, x * scaled)
        of_offsets[count:] += torch.mm(logits.T, scaled)[:, 0]
    return (total / count).float(), of_features, of_rows, of_offsets
