"""Windows of readings, as views.

Readings are rows of a float32 array (T, C), time first, so that a window of L steps is one block of
memory: windows are views, and a year of readings is never copied. Several devices follow one another
in the same array; a *run* is a stretch of rows, ``start`` to ``stop``, that belong to one device and
follow each other by exactly one step of the grid. No window crosses the end of a run.

Dimensions: T rows, C channels, L steps of a window, N windows, R runs.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor


def find_runs(times: np.ndarray, step: int, *keys: np.ndarray) -> np.ndarray:
    """The runs (R, 2) of start and stop: rows one step apart and alike in every key."""
    if len(times) == 0:
        return np.empty((0, 2), np.int64)
    ends = np.diff(times) != step
    for key in keys:
        ends |= np.diff(key) != 0
    stops = np.append(np.flatnonzero(ends) + 1, len(times))
    return np.stack([np.append(0, stops[:-1]), stops], 1)


def cut_runs(runs: np.ndarray, start: int, stop: int) -> np.ndarray:
    """What of the runs (R, 2) lies from row ``start`` to row ``stop``."""
    cut = np.clip(runs, start, stop)
    result: np.ndarray = cut[cut[:, 0] < cut[:, 1]]
    return result


def windows(values: Tensor, size: int) -> Tensor:
    """All windows of ``size`` rows of values (T, C), as a view (T - size + 1, size, C).

    Raises ValueError for a size that is below 1 or above T.
    """
    if not 1 <= size <= len(values):
        raise ValueError(f"size must be from 1 to the {len(values)} rows, got: {size}")
    return values.unfold(0, size, 1).transpose(1, 2)


class Windows:
    """The windows of all runs, numbered in order; only what ``take`` asks for is copied.

    Attributes:
        values: (T, C) float32, which may be a file mapped into memory.
        runs: (R, 2) int64 starts and stops of those runs that hold a window.
        size: rows of a window.
        step: rows from the start of a window to that of the next in a run.

    Example:
        >>> windows = Windows(torch.arange(5.0)[:, None], np.array([[0, 5]]), size=3)
        >>> windows.take(torch.tensor([2]))[0, :, 0]
        tensor([2., 3., 4.])
    """

    def __init__(self, values: Tensor, runs: np.ndarray, size: int, step: int = 1) -> None:
        """Raises ValueError for a size or step below 1, or runs outside of the values."""
        if size < 1 or step < 1:
            raise ValueError(f"size and step must be at least 1, got: {size} and {step}")
        if len(runs) and (runs.min() < 0 or runs.max() > len(values)):
            raise ValueError(
                f"runs must lie within the {len(values)} rows, got one from {runs.min()} to "
                f"{runs.max()}"
            )
        self.values, self.size, self.step = values, size, step
        counts = np.maximum(0, (runs[:, 1] - runs[:, 0] - size) // step + 1)
        self.runs = runs[counts > 0]
        self._first = torch.from_numpy(self.runs[:, 0].astype(np.int64))
        self._ends = torch.from_numpy(np.cumsum(counts[counts > 0]))

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def run_of(self, numbers: Tensor) -> Tensor:
        """Which of the runs each window lies in (N,) int64."""
        return torch.searchsorted(self._ends, numbers, right=True)

    def starts(self, numbers: Tensor) -> Tensor:
        """The first row of each window (N,) int64."""
        run = self.run_of(numbers)
        before = torch.where(run > 0, self._ends[(run - 1).clamp(min=0)], 0)
        return self._first[run] + (numbers - before) * self.step

    def take(self, numbers: Tensor) -> Tensor:
        """The windows of these numbers, (N, size, C)."""
        rows, channels = self.values.shape
        # A window is a row of this view, so that it is copied as one block.
        blocks = self.values.as_strided((rows - self.size + 1, self.size * channels), (channels, 1))
        return blocks[self.starts(numbers)].view(len(numbers), self.size, channels)

    def only(self, chosen: Tensor) -> Windows:
        """Of these windows those of some numbers (N,), numbered anew."""
        return _Chosen(self, chosen)

    def batches(self, size: int) -> Iterator[Tensor]:
        """The numbers of all windows in order, so many at a time."""
        for start in range(0, len(self), size):
            yield torch.arange(start, min(start + size, len(self)))


class _Chosen(Windows):
    """Some of the windows of others."""

    def __init__(self, windows: Windows, chosen: Tensor) -> None:
        self.values, self.size, self.step = windows.values, windows.size, windows.step
        self.runs, self._windows, self._chosen = windows.runs, windows, chosen

    def __len__(self) -> int:
        return len(self._chosen)

    def run_of(self, numbers: Tensor) -> Tensor:
        return self._windows.run_of(self._chosen[numbers])

    def starts(self, numbers: Tensor) -> Tensor:
        return self._windows.starts(self._chosen[numbers])
