"""Models that are not trained by steps: their weights are solved for at once, from all rows in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rnnfast.models.texts import NGrams
from rnnfast.models.windows import LinearAutoregression
from rnnfast.training.rows import Futures, Reviews

if TYPE_CHECKING:
    from rnnfast.training.settings import LoopSettings

CHUNK = 4096  # texts that are padded at a time


def _solve_ngrams(model: NGrams, train: Reviews, settings: LoopSettings) -> None:
    """Logistic regression on log-count ratios of distinct words and pairs.

    Wang and Manning, "Baselines and Bigrams: Simple, Good Sentiment and Topic Classification"
    (2012), with the L2 norm of each text's features set to one.
    """
    # Needed by this model alone and slow to import.
    from scipy.sparse import csr_matrix
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import normalize

    ids, lengths = _padded(train)
    model.learn_pairs(ids, lengths)
    rows, columns = (t.numpy() for t in model.features(ids, lengths))
    labels = train.labels.numpy()
    size = len(model.scale)
    ratio = np.zeros(size)
    for label, sign in ((1, 1), (0, -1)):
        count = 1 + np.bincount(columns[labels[rows] == label], minlength=size)
        ratio += sign * np.log(count / count.sum())
    matrix = normalize(csr_matrix((ratio[columns], (rows, columns)), shape=(len(train), size)))
    regression = LogisticRegression(
        C=1 / settings.regularization,
        solver="liblinear",
        dual=True,
        random_state=settings.seed,
    ).fit(matrix, labels)
    model.scale.copy_(torch.from_numpy(ratio))
    model.weight.copy_(torch.from_numpy(regression.coef_[0]))
    model.bias.fill_(float(regression.intercept_[0]))


def _padded(texts: Reviews) -> tuple[Tensor, Tensor]:
    """Ids (N, L) int32 and lengths (N,) of all rows, L being that of the longest."""
    lengths = texts.offsets.diff()
    ids = torch.empty(len(texts), texts.width or int(lengths.max()), dtype=torch.int32)
    for rows in torch.arange(len(texts)).split(CHUNK):
        ids[rows] = texts.take(rows, ids.shape[1])[0]
    return ids, lengths


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
