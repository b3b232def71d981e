"""How good the scores of a binary classifier are. Plain numbers, ready for JSON."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn import metrics

BINS = 10


def binary_metrics(
    labels: np.ndarray, scores: np.ndarray, threshold: float = 0.5
) -> dict[str, Any]:
    """Measure probabilities against what is true.

    Args:
        labels: (N,) of 0 and 1, both present.
        scores: (N,) probabilities of label 1.
        threshold: a score from here on counts as label 1.

    Returns:
        ``rows``, ``threshold``, ``accuracy``, ``auc``, ``f1`` (of label 1), ``log_loss`` (nats),
        ``brier`` (mean squared error), ``confusion_matrix`` as [[tn, fp], [fn, tp]], and
        ``calibration``: over ten bins of equal width, ``bin_edges`` (11), ``mean_score`` and
        ``fraction_positive`` (None where a bin is empty), ``count``, and the
        ``expected_calibration_error``, the mean of |fraction - score| weighted by count
        (Naeini et al., "Obtaining Well Calibrated Probabilities Using Bayesian Binning", 2015).

    Raises ValueError for sizes that differ, a label that is neither 0 nor 1, one class only, and a
    score or threshold that is no probability.
    """
    labels, scores = _checked(labels, scores)
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold must be from 0 to 1, got: {threshold}")
    predicted = scores >= threshold
    return {
        "rows": len(labels),
        "threshold": float(threshold),
        "accuracy": float(metrics.accuracy_score(labels, predicted)),
        "auc": float(metrics.roc_auc_score(labels, scores)),
        "f1": float(metrics.f1_score(labels, predicted, zero_division=0.0)),
        "log_loss": float(metrics.log_loss(labels, scores)),
        "brier": float(metrics.brier_score_loss(labels, scores)),
        "confusion_matrix": metrics.confusion_matrix(labels, predicted).tolist(),
        "calibration": _calibration(labels, scores),
    }


def _checked(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    labels, scores = np.asarray(labels), np.asarray(scores, np.float64)
    if labels.ndim != 1 or labels.shape != scores.shape:
        raise ValueError(
            f"labels and scores must be (N,) alike, got: {labels.shape} and {scores.shape}"
        )
    if not np.isin(labels, (0, 1)).all():
        wrong = labels[~np.isin(labels, (0, 1))][0]
        raise ValueError(f"labels must be 0 or 1, got: {wrong}")
    if len(np.unique(labels)) < 2:
        raise ValueError(f"labels must hold both 0 and 1, got: {np.unique(labels).tolist()}")
    valid = (scores >= 0) & (scores <= 1)
    if not valid.all():
        raise ValueError(f"scores must be from 0 to 1, got: {scores[~valid][0]}")
    return labels.astype(np.int64), scores


def _calibration(labels: np.ndarray, scores: np.ndarray) -> dict[str, Any]:
    edges = np.linspace(0, 1, BINS + 1)
    bins = np.minimum((scores * BINS).astype(np.int64), BINS - 1)
    count = np.bincount(bins, minlength=BINS)
    score_sum = np.bincount(bins, scores, BINS)
    positives = np.bincount(bins, labels, BINS)
    error = np.abs(positives - score_sum).sum() / len(labels)

    def means(sums: np.ndarray) -> list[float | None]:
        return [float(s / n) if n else None for s, n in zip(sums, count, strict=True)]

    return {
        "bin_edges": edges.tolist(),
        "mean_score": means(score_sum),
        "fraction_positive": means(positives),
        "count": count.tolist(),
        "expected_calibration_error": float(error),
    }
