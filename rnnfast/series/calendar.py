"""Where a time stands in its day, its week and its year, as features."""

from __future__ import annotations

import numpy as np

from rnnfast.series.order import DAY


def calendar_features(times: np.ndarray) -> np.ndarray:
    """Where in the day, the week and the year (of 365.25 days) times lie, in UTC.

    Returns (T, 6) float32, the sine and the cosine of each angle, named by ``CALENDAR``.
    """
    angles = []
    for period in (DAY, 7 * DAY, DAY * 1461 // 4):
        angle = (times % period) * (2 * np.pi / period)
        angles += [np.sin(angle), np.cos(angle)]
    return np.stack(angles, 1).astype(np.float32)
