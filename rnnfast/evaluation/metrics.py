"""How good forecasters are. Plain numbers, ready for JSON. Those of labels are in `rnnfast.labels.metrics`."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnfast.labels.metrics import share_less


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
            "skill": [share_less(m, p) for m, p in zip(
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
            "r2": share_less(mse, variance),
            "skill": share_less(mse, mean["persistence"].mean()),
        }
        if self._intervals:
            figures["coverage"] = float(mean["inside"].mean())
            figures["width"] = float(mean["width"].mean())
        return figures
