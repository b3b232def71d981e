"""Intervals of forecasts that keep to the share they are asked to cover when the errors change.

Dimensions: N windows, H steps ahead, D targets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

if TYPE_CHECKING:
    from rnnfast.models.window_model import WindowModel

GAIN = 2.0  # of the width's logarithm over as many misses as a step has to wait for the truth
DELAY = 10  # windows that are added to that wait
_LEAST = 1e-6  # standard deviations: half a width that can be multiplied


def conformal_margins(
    truth: np.ndarray, low: np.ndarray, high: np.ndarray, coverage: float
) -> np.ndarray:
    """By how much both ends of intervals have to move outwards to cover a share of the truth.

    Conformalised quantile regression (Romano et al., 2019), for each step and target by itself; where
    both ends are the forecast, it is split conformal prediction.

    Args:
        truth: (N, H, D) of rows that were not trained on.
        low: (N, H, D) lower ends.
        high: (N, H, D) upper ends.
        coverage: share of the truth that is to be inside.

    Returns (H, D); negative where the intervals are too wide.
    """
    scores = np.maximum(low - truth, truth - high)
    level = min(1.0, coverage * (1 + 1 / len(truth)))
    result: np.ndarray = np.quantile(scores, level, axis=0, method="higher")
    return result


class MarginTracker:
    """The widths of intervals that follow the errors of one series: adaptive conformal inference.

    After Gibbs and Candes, "Adaptive Conformal Inference Under Distribution Shift" (2021), on the width itself as in
    Angelopoulos et al., "Conformal PID Control for Time Series Prediction" (2023): each truth that was missed widens
    the interval of that step and target, each that was inside narrows it, so that over many windows the share inside
    comes to ``coverage`` whatever the errors do. Windows overlap and the truth of a step comes as many windows later,
    so a step further ahead moves less at a time. Nothing is known of a truth before its time.

    Example:
        >>> tracker = MarginTracker(np.ones((1, 1)), coverage=0.9)
        >>> truth = np.full((200, 1, 1), 3.0)  # the errors are three times what they were
        >>> low, high = tracker.update(0 * truth, 0 * truth, truth)
        >>> bool(high[0] == 1), bool(high[-1] > 2.5)
        (True, True)
    """

    def __init__(self, margins: np.ndarray, coverage: float, stride: int = 1) -> None:
        """Starts from calibrated margins.

        Args:
            margins: (H, D) by which both ends move outwards, as `conformal_margins` gives them.
            coverage: share of the truth that is to be inside.
            stride: readings from one window to the next.
        """
        self._margins, self._miss = margins, 1 - coverage
        self._steps = np.arange(len(margins))
        self._wait = self._steps // stride + 1  # windows until the truth of a step is known
        self._gain = (GAIN / (self._wait + DELAY))[:, None]
        # Of the last windows whether each truth was missed; NaN while it is not known, which moves nothing.
        self._missed = np.full((int(self._wait.max()), *margins.shape), np.nan)
        self._log = np.zeros(margins.shape)  # of what the calibrated half-width is multiplied by
        self._done = 0

    def update(
        self, low: np.ndarray, high: np.ndarray, truth: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The ends of the next windows of the series, in the order of time.

        Args:
            low: (N, H, D) lower ends, not calibrated.
            high: (N, H, D) upper ends.
            truth: (N, H, D); NaN where nobody knows it yet. That of a step moves windows after its time alone.

        Returns:
            Both ends (N, H, D), calibrated.
        """
        middle, half = (low + high) / 2, np.maximum((high - low) / 2 + self._margins, _LEAST)
        lows, highs = np.empty_like(low), np.empty_like(high)
        for row in range(len(truth)):
            missed = self._missed[(self._done - self._wait) % len(self._missed), self._steps]
            self._log += self._gain * np.nan_to_num(missed - self._miss)
            width = half[row] * np.exp(self._log)
            lows[row], highs[row] = middle[row] - width, middle[row] + width
            outside = (truth[row] < lows[row]) | (truth[row] > highs[row])
            here = self._done % len(self._missed)
            self._missed[here] = np.where(np.isnan(truth[row]), np.nan, outside)
            self._done += 1
        return lows, highs


class TrackedIntervals:
    """The intervals of a model's forecasts for many series, one after the other, each with a `MarginTracker`."""

    def __init__(self, model: WindowModel, stride: int = 1) -> None:
        """``stride`` is the number of readings from one window of a series to the next."""
        self._model, self._stride = model, stride
        self._tracker: tuple[int, MarginTracker] | None = None

    def ends(
        self, series: np.ndarray, output: Tensor, truth: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Both ends (N, H, D) of forecasts, in standard deviations.

        Args:
            series: (N,) which series each window is of; those of one follow each other, in the order of time.
            output: (N, H, D, Q) of the model.
            truth: (N, H, D) in standard deviations; NaN where it is not known.
        """
        model = self._model
        low, high = output[..., model.outputs // 2].numpy(), output[..., -1].numpy()
        lows, highs = np.empty_like(low), np.empty_like(high)
        cuts = np.flatnonzero(np.diff(series)) + 1
        for rows in np.split(np.arange(len(series)), cuts):
            number = int(series[rows[0]])
            if self._tracker is None or self._tracker[0] != number:
                margins = model.margins.double().numpy()
                self._tracker = number, MarginTracker(margins, model.config.coverage, self._stride)
            lows[rows], highs[rows] = self._tracker[1].update(low[rows], high[rows], truth[rows])
        return lows, highs
