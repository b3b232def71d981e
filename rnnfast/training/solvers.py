"""Models that are not trained by steps: their weights are solved for at once, from all rows in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from rnnfast.labels.base import LinearOptions
from rnnfast.models.texts import NGrams
from rnnfast.models.windows import LinearAutoregression, WindowStatistics
from rnnfast.text.pairs import Pairs
from rnnfast.training.rows import Futures, LabelledWindows, Reviews

if TYPE_CHECKING:
    from rnnfast.training.settings import LoopSettings

_MOST_WINDOWS = 1 << 16  # that a linear model of windows learns from
TOKENS = 1 << 24
"""Of a corpus with more, n-grams learn from a part: rows spread evenly, with so many tokens. That bounds the memory,
24 bytes a token."""


def solve_ngrams(
    model: NGrams, train: Reviews, settings: LoopSettings, tokens: int = TOKENS
) -> None:
    """A linear model of words and pairs, the L2 norm of each text's features set to one.

    A feature counts by two scales at once: the evidence that its rows give (of classes its log-count ratio), which
    knows the labels, and its inverse document frequency, which keeps what they have not shown yet. Each has a mean
    square of one over the features of all texts; the sum of the squares is the square of the scale, as if each text had
    the features of both. Both ask which rows hold a feature, not how often.

    Of rows with more `tokens` a part is read, evenly spread.
    """
    # Needed by this model alone and slow to import.
    from scipy.sparse import csr_matrix
    from sklearn.preprocessing import normalize

    rows = torch.arange(0, len(train), -(-train.units // tokens))
    texts = train.ids, train.offsets[rows], train.lengths(rows)
    pairs = Pairs.learn(*texts, words=model.vocabulary_size, most=model.config.max_pairs)
    offsets, columns, values = pairs.find(*texts)
    truth, target = train.labels[rows].numpy(), train.target
    shape = len(rows), len(pairs)
    held = csr_matrix((np.ones_like(values), columns, offsets), shape=shape)
    sums = np.stack([held.T @ side for side in target.sides(truth).T])
    total = np.bincount(columns, minlength=len(pairs))
    scale = _scale(target.evidence(sums, total), total, len(rows))
    held.data = scale[columns]
    if model.config.ngram_counts:
        held.data *= values
    options = LinearOptions(
        penalty=settings.regularization, seed=settings.seed, balanced=train.weights is not None
    )
    solved = target.solve(normalize(held, copy=False), truth, options)
    model.know(pairs)
    model.scale[: len(pairs)] = torch.from_numpy(scale)
    weight, bias = torch.from_numpy(solved.weight.T), torch.from_numpy(solved.bias)
    model.weight[: len(pairs)] = weight.reshape(model.weight[: len(pairs)].shape)
    model.bias.copy_(bias.reshape(model.bias.shape))


def _scale(evidence: np.ndarray, total: np.ndarray, rows: int) -> np.ndarray:
    """The scale (F,) of each feature, from its evidence (O, F) and the rows that hold it; 0 where none does."""
    rarity = np.log((1 + rows) / (1 + total)) + 1
    squares = [
        each / (np.average(each, weights=total) or 1.0)
        for each in ((evidence**2).mean(0), rarity**2)
    ]
    result: np.ndarray = np.sqrt(squares[0] + squares[1]) * (total > 0)
    return result


def _solve_autoregression(
    model: LinearAutoregression, train: Futures, settings: LoopSettings
) -> None:
    """Least squares of each step ahead on the lags, a channel at a time, by the normal equations.

    The penalty is ``regularization`` on the squares of the weights, beside the sum over windows.
    """
    lags, steps, targets = model.config.lookback, model.config.horizon, len(model.targets)
    gram = torch.zeros(targets, lags + 1, lags + 1, dtype=torch.float64)
    moment = torch.zeros(targets, lags + 1, steps, dtype=torch.float64)
    for numbers in train.windows.batches(4096 // targets + 1):
        taken = model.standardised(train.windows.take(numbers))[..., model.targets]
        past, offset, factor = model.anchored(taken[:, :lags])
        future = (taken[:, lags:] - offset) / factor
        x = F.pad(past, (0, 0, 0, 1), value=1.0).permute(2, 0, 1).double()
        gram += x.transpose(1, 2) @ x
        moment += x.transpose(1, 2) @ future.permute(2, 0, 1).double()
    penalty = torch.full((lags + 1,), settings.regularization, dtype=torch.float64)
    penalty[-1] = 1e-9 * len(train)  # the constant's; above zero where the lags explain it
    solution = torch.linalg.solve(gram + torch.diag(penalty), moment)
    model.weight.copy_(solution[:, :-1])
    model.bias.copy_(solution[:, -1])


def _solve_statistics(
    model: WindowStatistics, train: LabelledWindows, settings: LoopSettings
) -> None:
    """A linear model of the figures of windows, evenly spread where there are many."""
    chosen = torch.arange(0, len(train), -(-len(train) // _MOST_WINDOWS))
    parts = [model.statistics(train.windows.take(some)) for some in chosen.split(4096)]
    figures = torch.cat(parts).double()
    usual, spread = figures.mean(0), figures.std(0, correction=0)
    spread = torch.where(spread > 0, spread, 1.0)
    matrix = ((figures - usual) / spread).numpy()
    options = LinearOptions(
        penalty=settings.regularization, seed=settings.seed, balanced=train.weights is not None
    )
    solved = train.target.solve(matrix, train.truth[chosen].numpy(), options)
    weight, bias = torch.from_numpy(solved.weight.T), torch.from_numpy(solved.bias)
    if (
        weight.shape[1] < model.weight.shape[1]
    ):  # of two classes there is one, which speaks for the second
        weight, bias = F.pad(weight, (1, 0)), F.pad(bias, (1, 0))
    model.usual.copy_(usual)
    model.spread.copy_(spread)
    model.weight.copy_(weight)
    model.bias.copy_(bias)


SOLVERS: dict[type[nn.Module], Callable[[Any, Any, Any], None]] = {
    NGrams: solve_ngrams,
    LinearAutoregression: _solve_autoregression,
    WindowStatistics: _solve_statistics,
}
