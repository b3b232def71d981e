"""How good classifiers and forecasters are. Plain numbers, ready for JSON."""

from __future__ import annotations

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
        ``expected_calibration_error``, the mean of |fraction - score| weighted by count
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


class ForecastErrors:
    """Sums of errors over windows, a batch at a time, so that no forecast has to be kept.

    Dimensions: N windows of a batch, H steps ahead, D targets.
    """

    def __init__(self, horizon: int, targets: tuple[str, ...]) -> None:
        self.targets, self.rows = targets, 0
        shape = (horizon, len(targets))
        names = ("error", "absolute", "squared", "truth", "truth_squared", "persistence")
        self._sums = {name: np.zeros(shape) for name in (*names, "inside", "width")}
        self._intervals = False

    def update(
        self,
        truth: np.ndarray,
        forecast: np.ndarray,
        last: np.ndarray,
        interval: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> None:
        """Add a batch.

        Args:
            truth: (N, H, D).
            forecast: (N, H, D).
            last: (N, D), the readings that each forecast was made at, of which persistence makes its
                own.
            interval: lower and upper ends (N, H, D).
        """
        error = forecast.astype(np.float64) - truth
        self.rows += len(truth)
        for name, values in (
            ("error", error),
            ("absolute", np.abs(error)),
            ("squared", error**2),
            ("truth", truth),
            ("truth_squared", truth.astype(np.float64) ** 2),
            ("persistence", (truth.astype(np.float64) - last[:, None]) ** 2),
        ):
            self._sums[name] += values.sum(0, dtype=np.float64)
        if interval is not None:
            low, high = interval
            self._intervals = True
            self._sums["inside"] += ((low <= truth) & (truth <= high)).sum(0)
            self._sums["width"] += (high - low).sum(0, dtype=np.float64)

    def result(self) -> dict[str, Any]:
        """The figures.

        Returns ``rows`` (windows), ``mse``, ``mae``, ``rmse``, ``bias`` (mean of forecast - truth),
        ``r2`` (1 - squared error / squared distance from the mean of the truth, over all targets),
        ``skill`` (1 - mse / mse of persistence), with intervals their ``coverage`` and mean
        ``width``; ``by_horizon`` with ``mse``, ``mae`` and ``skill`` of each step, and ``by_channel``
        with those figures of each target.

        Raises ValueError where no batch was added.
        """
        if self.rows == 0:
            raise ValueError("update must be called before result, it was not")
        mean = {name: total / self.rows for name, total in self._sums.items()}
        by_horizon = {
            "mse": mean["squared"].mean(1).tolist(),
            "mae": mean["absolute"].mean(1).tolist(),
            "skill": [_ratio(m, p) for m, p in zip(
                mean["squared"].mean(1), mean["persistence"].mean(1), strict=True)],
        }  # fmt: skip
        by_channel = {
            name: self._figures({key: values[:, [place]] for key, values in mean.items()})
            for place, name in enumerate(self.targets)
        }
        figures = self._figures(mean)
        return {
            "rows": self.rows, **figures, "by_horizon": by_horizon, "by_channel": by_channel
        }  # fmt: skip

    def _figures(self, mean: dict[str, np.ndarray]) -> dict[str, Any]:
        # The truth's variance of each target about its own mean, over windows and steps.
        variance = (mean["truth_squared"].mean(0) - mean["truth"].mean(0) ** 2).mean()
        mse = float(mean["squared"].mean())
        figures = {
            "mse": mse,
            "mae": float(mean["absolute"].mean()),
            "rmse": float(np.sqrt(mse)),
            "bias": float(mean["error"].mean()),
            "r2": _ratio(mse, variance),
            "skill": _ratio(mse, mean["persistence"].mean()),
        }
        if self._intervals:
            figures["coverage"] = float(mean["inside"].mean())
            figures["width"] = float(mean["width"].mean())
        return figures


def _ratio(error: float, reference: float) -> float | None:
    """1 - error / reference; None where there is nothing to compare with."""
    return float(1 - error / reference) if reference > 0 else None
