"""Models that are not trained by steps: their weights are solved for at once, from all rows in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from rnnfast.models.texts import NGrams
from rnnfast.models.windows import LinearAutoregression
from rnnfast.text.pairs import Pairs
from rnnfast.training.rows import Futures, Reviews

if TYPE_CHECKING:
    from rnnfast.training.settings import LoopSettings

TOKENS = 1 << 24
"""Of a corpus with more, n-grams learn from a part: rows spread evenly, with so many tokens. That bounds the memory,
24 bytes a token."""


def _solve_ngrams(model: NGrams, train: Reviews, settings: LoopSettings) -> None:
    """Logistic regression on distinct words and pairs, the L2 norm of each text's features set to one.

    A feature counts by two scales at once: its log-count ratio (Wang and Manning, "Baselines and Bigrams: Simple, Good
    Sentiment and Topic Classification", 2012), which knows the labels, and its inverse document frequency, which keeps
    what they have not shown yet. Each has a mean square of one over the features of all texts; the sum of the squares
    is the square of the scale, as if each text had the features of both.
    """
    # Needed by this model alone and slow to import.
    from scipy.sparse import csr_matrix
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import normalize

    rows = torch.arange(0, len(train), -(-train.units // TOKENS))
    texts = train.ids, train.offsets[rows], train.lengths(rows)
    pairs = Pairs.learn(*texts, words=model.vocabulary_size, most=model.config.max_pairs)
    offsets, columns = pairs.find(*texts)
    labels = train.labels[rows].numpy()
    scale = _scale(offsets, columns, labels, len(pairs))
    shape = len(rows), len(pairs)
    matrix = normalize(csr_matrix((scale[columns], columns, offsets), shape=shape), copy=False)
    regression = LogisticRegression(
        C=1 / settings.regularization, solver="liblinear", dual=True, random_state=settings.seed
    ).fit(matrix, labels)
    model.know(pairs)
    model.scale[: len(pairs)] = torch.from_numpy(scale)
    model.weight[: len(pairs)] = torch.from_numpy(regression.coef_[0])
    model.bias.fill_(float(regression.intercept_[0]))


def _scale(offsets: np.ndarray, columns: np.ndarray, labels: np.ndarray, size: int) -> np.ndarray:
    """The scale (F,) of each feature, from the features of all texts; 0 where no text has it."""
    by_column = labels.repeat(np.diff(offsets))
    held = [np.bincount(columns[by_column == label], minlength=size) for label in (0, 1)]
    ratio = np.log((1 + held[1]) / (1 + held[1]).sum()) - np.log(
        (1 + held[0]) / (1 + held[0]).sum()
    )
    total = held[0] + held[1]
    rarity = np.log((1 + len(labels)) / (1 + total)) + 1
    squares = sum(each**2 / np.average(each**2, weights=total) for each in (ratio, rarity))
    result: np.ndarray = np.sqrt(squares) * (total > 0)
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


SOLVERS: dict[type[nn.Module], Callable[[Any, Any, Any], None]] = {
    NGrams: _solve_ngrams,
    LinearAutoregression: _solve_autoregression,
}
