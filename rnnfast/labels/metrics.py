"""How good classes, numbers and tags are that were given to rows. Plain numbers, ready for JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

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
        ``expected_calibration_error``, the mean distance of fraction and score weighted by count
        (Naeini et al., "Obtaining Well Calibrated Probabilities Using Bayesian Binning", 2015).

    Raises ValueError for sizes that differ, a label that is neither 0 nor 1, one class only, and a
    score or threshold that is no probability.
    """
    from sklearn import metrics  # takes a second

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
        "calibration": calibration(labels, scores),
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


def calibration(labels: np.ndarray, scores: np.ndarray) -> dict[str, Any]:
    """How probabilities (N,) go with what came true, labels (N,) of 0 and 1: see `binary_metrics`."""
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


def label_metrics(labels: np.ndarray, predicted: np.ndarray, count: int) -> dict[str, Any]:
    """Measure the labels that a classifier gave against those that are true.

    Args:
        labels: (N,) of 0 to count - 1.
        predicted: (N,) likewise.
        count: how many labels there are.

    Returns ``rows``, ``accuracy``, ``macro_f1`` (the mean F1 of the labels that occur or were given)
    and ``confusion_matrix``, rows by true label.

    Raises ValueError for no row, sizes that differ or labels outside.
    """
    from sklearn import metrics  # takes a second

    labels, predicted = np.asarray(labels), np.asarray(predicted)
    if labels.shape != predicted.shape or labels.ndim != 1 or len(labels) == 0:
        raise ValueError(
            f"labels and predicted must be (N,) alike, not empty, got: {labels.shape} and "
            f"{predicted.shape}"
        )
    for each in (labels, predicted):
        if each.min() < 0 or each.max() >= count:
            raise ValueError(
                f"labels must be from 0 to {count - 1}, got: {each.min()}, {each.max()}"
            )
    return {
        "rows": len(labels),
        "accuracy": float(metrics.accuracy_score(labels, predicted)),
        "macro_f1": float(metrics.f1_score(labels, predicted, average="macro", zero_division=0.0)),
        "confusion_matrix": metrics.confusion_matrix(
            labels, predicted, labels=range(count)
        ).tolist(),
    }


def class_metrics(labels: np.ndarray, given: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
    """Measure probabilities of classes against what is true.

    Args:
        labels: (N,) of 0 to K - 1.
        given: (N, K) probabilities.
        names: of the classes.

    Returns what `label_metrics` does, and ``log_loss`` (nats), ``top_2``, ``top_3`` and ``top_5`` where there are more
    classes than that (the share of rows whose class is among so many of the likeliest), ``calibration`` of the
    probability of the class that is called, as of `binary_metrics`, and ``by_class`` with ``rows``, ``precision``,
    ``recall``, ``f1`` and ``calibration_error`` of each.
    """
    called = given.argmax(1)
    figures = label_metrics(labels, called, len(names))
    own = np.take_along_axis(given, labels[:, None].astype(np.int64), 1)[:, 0].astype(np.float64)
    figures["log_loss"] = float(-np.log(np.clip(own, 1e-7, 1)).mean())
    rank = (given > own[:, None].astype(given.dtype)).sum(1)
    for count in (2, 3, 5):
        if count < len(names):
            figures[f"top_{count}"] = float((rank < count).mean())
    figures["calibration"] = calibration(called == labels, given.max(1).astype(np.float64))
    matrix = np.array(figures["confusion_matrix"])
    figures["by_class"] = {
        name: _of_one(matrix[place, place], matrix[place].sum(), matrix[:, place].sum())
        | {"calibration_error": _error(labels == place, given[:, place])}
        for place, name in enumerate(names)
    }
    return figures


def _error(truth: np.ndarray, given: np.ndarray) -> float:
    result: float = calibration(truth, given.astype(np.float64))["expected_calibration_error"]
    return result


def _of_one(right: int, rows: int, called: int) -> dict[str, Any]:
    """Precision, recall and F1 of a class or tag; None where they are not defined."""
    return {
        "rows": int(rows),
        "precision": float(right / called) if called else None,
        "recall": float(right / rows) if rows else None,
        "f1": float(2 * right / (rows + called)) if rows + called else None,
    }


def number_metrics(
    truth: np.ndarray, given: np.ndarray, usual: float, margin: float | None = None
) -> dict[str, Any]:
    """Measure numbers against what is true.

    Args:
        truth: (N,).
        given: (N,).
        usual: what is given without a model, the mean of the training rows.
        margin: half the width of an interval.

    Returns ``rows``, ``mae``, ``rmse``, ``mse``, ``bias`` (mean of given - truth), ``r2``, ``rank_correlation``
    (Spearman's; 0 where all are given the same), ``skill`` (1 - squared error / that of `usual`), and with a margin
    ``coverage`` and ``width`` of the intervals.
    """
    from scipy.stats import spearmanr  # takes a second

    truth, given = truth.astype(np.float64), given.astype(np.float64)
    if truth.ndim != 1 or truth.shape != given.shape or len(truth) == 0:
        raise ValueError(
            f"truth and given must be (N,) alike, not empty, got: {truth.shape} and {given.shape}"
        )
    error = given - truth
    mse = float((error**2).mean())
    varies = len(truth) > 1 and np.ptp(truth) > 0 and np.ptp(given) > 0
    figures: dict[str, Any] = {
        "rows": len(truth),
        "mae": float(np.abs(error).mean()),
        "rmse": float(np.sqrt(mse)),
        "mse": mse,
        "bias": float(error.mean()),
        "r2": share_less(mse, float(truth.var())),
        "rank_correlation": float(spearmanr(truth, given).statistic) if varies else 0.0,
        "skill": share_less(mse, float(((truth - usual) ** 2).mean())),
    }
    if margin is not None:
        figures |= {"coverage": float((np.abs(error) <= margin).mean()), "width": 2 * margin}
    return figures


def tag_metrics(
    truth: np.ndarray, given: np.ndarray, names: Sequence[str], thresholds: np.ndarray
) -> dict[str, Any]:
    """Measure probabilities of tags against what is true.

    Args:
        truth: (N, K) of 0 and 1.
        given: (N, K) probabilities.
        names: of the tags.
        thresholds: (K,) from which on a row has a tag.

    Returns ``rows``, ``micro_f1`` (of all tags of all rows together), ``macro_f1`` (the mean over the tags that occur
    or were given), ``subset_accuracy`` (the share of rows whose tags are all right), ``hamming_loss`` (the share of all
    tags that are wrong), ``log_loss`` (nats, the mean over rows and tags) and ``by_class``, as of `class_metrics`.

    Raises ValueError for sizes that differ, or no row.
    """
    if truth.shape != given.shape or truth.ndim != 2 or len(truth) == 0:
        raise ValueError(
            f"truth and given must be (N, K) alike, not empty, got: {truth.shape} and {given.shape}"
        )
    called = given >= thresholds
    held = truth.astype(bool)
    right, rows, calls = (called & held).sum(0), held.sum(0), called.sum(0)
    own = np.clip(np.where(held, given, 1 - given).astype(np.float64), 1e-7, 1)
    by_class = {
        name: _of_one(right[k], rows[k], calls[k])
        | {"threshold": float(thresholds[k]), "calibration_error": _error(held[:, k], given[:, k])}
        for k, name in enumerate(names)
    }
    known = [each["f1"] for each in by_class.values() if each["f1"] is not None]
    return {
        "rows": len(truth),
        "micro_f1": float(2 * right.sum() / max(rows.sum() + calls.sum(), 1)),
        "macro_f1": float(np.mean(known)) if known else 0.0,
        "subset_accuracy": float((called == held).all(1).mean()),
        "hamming_loss": float((called != held).mean()),
        "log_loss": float(-np.log(own).mean()),
        "by_class": by_class,
    }


def key_figure(test: Mapping[str, Any]) -> tuple[str, int]:
    """The figure of test rows that people look at first, and 1 where more of it is better, else -1.

    That is the accuracy of classes, the micro F1 of tags, the mean absolute error of numbers, else the mean squared
    error of forecasts.
    """
    if "accuracy" in test:
        return "accuracy", 1
    if "micro_f1" in test:
        return "micro_f1", 1
    return ("mae", -1) if "rank_correlation" in test else ("mse", -1)


def share_less(error: float, reference: float) -> float | None:
    """1 - error / reference; None where there is nothing to compare with."""
    return float(1 - error / reference) if reference > 0 else None
