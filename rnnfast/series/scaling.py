"""Readings in standard deviations of their training part."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from rnnfast.series.order import CHUNK


@dataclass(frozen=True)
class Scaler:
    """Mean and standard deviation of each channel, (C,) float64 each.

    Example:
        >>> Scaler.fit(np.array([[1.0], [3.0]], np.float32), np.array([[0, 2]]))
        Scaler(mean=array([2.]), scale=array([1.]))
    """

    mean: np.ndarray
    scale: np.ndarray

    @classmethod
    def fit(cls, values: np.ndarray, runs: np.ndarray) -> Scaler:
        """Measures the rows of the runs: those of the training part, and no others.

        Raises ValueError for runs without a row; a channel that does not vary has scale 0, and
        ``constant`` names it.
        """
        count = int((runs[:, 1] - runs[:, 0]).sum()) if len(runs) else 0
        if count == 0:
            raise ValueError("runs must hold a row, got none")
        mean = sum(chunk.sum(0, dtype=np.float64) for chunk in _chunks(values, runs)) / count
        squares = sum(np.square(chunk - mean).sum(0) for chunk in _chunks(values, runs)) / count
        scale = np.sqrt(squares)
        # What rounding leaves of a constant is no variation.
        scale[scale <= 1e-7 * np.abs(mean)] = 0
        return cls(mean, scale)

    @property
    def constant(self) -> list[int]:
        """The channels that do not vary."""
        return np.flatnonzero(self.scale == 0).tolist()


def _chunks(values: np.ndarray, runs: np.ndarray) -> Iterator[np.ndarray]:
    for start, stop in runs:
        for at in range(start, stop, CHUNK):
            yield values[at : min(at + CHUNK, stop)]
