"""How much the parts of a model count: weighed on rows that none of them has seen.

Dimensions: N rows.
"""

from __future__ import annotations

import numpy as np
import torch

from rnnfast.models.precision import device_of, moved
from rnnfast.models.texts import WideAndDeep
from rnnfast.training.prediction import BATCH
from rnnfast.training.rows import Reviews
from rnnfast.training.workers import ALONE, Workers

FOLDS = 5


def weigh(model: WideAndDeep, validation: Reviews, workers: Workers = ALONE) -> None:
    """Set the shares of the parts by logistic regression on the validation rows.

    Each part's logits are divided by their root mean square before, so that the penalty, which matters where there are
    few rows, draws the parts to equal shares. A part whose share would be below 0 has none.
    """
    shares = _shares(part_logits(model, validation, workers), validation.labels.numpy())
    model.shares.copy_(torch.from_numpy(shares))


def compared(parts: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """What the deep part adds to the wide one, by cross-validation.

    Args:
        parts: (N, 2), logits of the wide and of the deep part.
        labels: (N,) of 0 and 1.

    Returns ``wide_loss`` and ``loss`` of both together in nats, ``wide_accuracy`` and ``accuracy``; and ``gain``, by
    how many of its standard errors both together have the lower loss. Of each fifth of the rows they are those of the
    shares that the others give; where a label has too few rows for that, of shares that all rows give.
    """
    folds = np.arange(len(labels)) % FOLDS
    if min(np.bincount(labels, minlength=2)) < 2 * FOLDS:
        folds[:] = 0
    wide, both = np.empty(len(labels)), np.empty(len(labels))
    for fold in np.unique(folds):
        inside = folds == fold
        rest = ~inside if folds.any() else inside
        # Both are weighed alike, so that a better calibration is no gain.
        wide[inside] = _apply(_shares(parts[rest, :1], labels[rest]), parts[inside, :1])
        both[inside] = _apply(_shares(parts[rest], labels[rest]), parts[inside])
    losses = [np.logaddexp(0, np.where(labels == 1, -each, each)) for each in (wide, both)]
    gains = losses[0] - losses[1]
    # Where the deep part has no share, the two differ by rounding alone.
    same = np.allclose(wide, both, rtol=1e-3, atol=1e-3)
    error = gains.std() / np.sqrt(len(gains))
    return {
        "wide_loss": float(losses[0].mean()),
        "loss": float(losses[1].mean()),
        "wide_accuracy": float(((wide >= 0) == labels).mean()),
        "accuracy": float(((both >= 0) == labels).mean()),
        "gain": 0.0 if same else float(gains.mean() / error),
    }


def part_logits(model: WideAndDeep, rows: Reviews, workers: Workers = ALONE) -> np.ndarray:
    """The logits (N, 2) of both parts; several workers share the rows."""
    result = torch.zeros(len(rows), 2, dtype=torch.float64)
    order = rows.offsets.diff().argsort(stable=True).split(BATCH)
    model.eval()
    with torch.inference_mode():
        for some in order[workers.rank :: workers.count]:
            ids, lengths = rows.take(some)
            deep = model.deep(moved(ids, device_of(model.deep)), lengths).cpu()
            result[some] = torch.stack([model.wide(ids, lengths), deep], 1).double()
    return np.array(workers.add_up(*result.flatten().tolist())).reshape(-1, 2)


def _shares(parts: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Weights of the logits (N, P) of some parts, none below 0, and what is added: (P + 1,)."""
    from sklearn.linear_model import LogisticRegression  # takes a second

    sizes = np.sqrt((parts**2).mean(0)).clip(min=1e-12)
    kept = np.ones(parts.shape[1], bool)
    result = np.zeros(parts.shape[1] + 1)
    if labels.min() == labels.max():
        result[:-1] = 1 / parts.shape[1]
        return result
    while kept.any():
        fitted = LogisticRegression(C=1).fit((parts / sizes)[:, kept], labels)
        result[:-1][kept], result[-1] = fitted.coef_[0] / sizes[kept], fitted.intercept_[0]
        if result[:-1].min() >= 0:
            break
        kept &= result[:-1] > 0
        result[:] = 0
    return result


def _apply(shares: np.ndarray, parts: np.ndarray) -> np.ndarray:
    result: np.ndarray = parts @ shares[:-1] + shares[-1]
    return result
