"""Series of readings: put in order, on a regular grid, in windows, split and scaled.

Readings are rows of a float32 array (T, C), time first, so that a window of L steps is one block of
memory: windows are views, and a year of readings is never copied. Several devices follow one another
in the same array; a *run* is a stretch of rows, ``start`` to ``stop``, that belong to one device and
follow each other by exactly one step of the grid. No window crosses the end of a run.

The rule for what is missing: a sentinel is a missing value, a step of the grid without a reading is a
row of them. A missing value takes the last value of its channel before it, which is all that anyone
would have known at that time, if that is at most ``limit`` steps old. What is still missing then is
dropped, and ends the run.

Dimensions: T rows, C channels, L steps of a window, N windows, R runs. Times are int64 microseconds
since 1970 in UTC.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

CHUNK = 1 << 18  # rows that are looked at together where the whole need not be in memory
DAY = 24 * 3600 * 1_000_000
CALENDAR = ("day_sin", "day_cos", "week_sin", "week_cos", "year_sin", "year_cos")


@dataclass(frozen=True)
class Order:
    """Rows of a file in the order of group and time, and what was wrong with the order they had.

    Attributes:
        rows: (T,) int64, which row of the file comes when; of equal time stamps the first is kept.
            None where the file has that order already.
        step: the most frequent distance of neighbours in time, in microseconds; 0 for single rows.
        breaks: places of the file where the next row of the group is not the one a step later.
        duplicates: rows that were dropped because their group has that time stamp already.
    """

    rows: np.ndarray | None
    step: int
    breaks: int
    duplicates: int


def in_order(times: np.ndarray, groups: np.ndarray) -> Order:
    """Sorts rows by group, then by time, and drops repeated time stamps.

    Args:
        times: (T,) int64 microseconds.
        groups: (T,) integers, one for each device.
    """
    by_group = None if _rising(groups) else np.argsort(groups, kind="stable")
    rows, duplicates = by_group, 0
    if any((steps <= 0).any() for steps in _steps(times, groups, by_group)):
        rows = np.lexsort((times, groups))
        repeated = (np.diff(times[rows]) == 0) & (np.diff(groups[rows]) == 0)
        rows, duplicates = rows[np.append(True, ~repeated)], int(repeated.sum())
    step = _most_frequent(_steps(times, groups, rows))
    breaks = sum(int((steps != step).sum()) for steps in _steps(times, groups, by_group))
    return Order(rows, step, breaks if step else 0, duplicates)


def _steps(times: np.ndarray, groups: np.ndarray, rows: np.ndarray | None) -> Iterator[np.ndarray]:
    """The distances in time of neighbouring rows of one group, some at a time."""
    for start in range(0, len(times if rows is None else rows) - 1, CHUNK):
        part = slice(start, start + CHUNK + 1)
        chosen = part if rows is None else rows[part]
        yield np.diff(times[chosen])[np.diff(groups[chosen]) == 0]


def _most_frequent(parts: Iterator[np.ndarray]) -> int:
    """The value that occurs most often in all parts together; 0 where there is none."""
    values, counts = np.zeros(0, np.int64), np.zeros(0, np.int64)
    for part in parts:
        own, own_counts = np.unique(part, return_counts=True)
        values, places = np.unique(np.append(values, own), return_inverse=True)
        counts = np.bincount(places, np.append(counts, own_counts), len(values)).astype(np.int64)
    return int(values[counts.argmax()]) if len(values) else 0


def _rising(values: np.ndarray) -> bool:
    parts = (values[start : start + CHUNK + 1] for start in range(0, len(values), CHUNK))
    return all(bool((part[1:] >= part[:-1]).all()) for part in parts)


@dataclass(frozen=True)
class Regular:
    """Readings of one device on a regular grid, or a piece of them.

    Attributes:
        values: (T, C) float32 without a missing value.
        times: (T,) int64, rising by whole steps.
        last_read: (T,) int64, of each row the number of the last reading of the device up to its cell's end.
        merged: readings that shared a cell with another; a row is the mean of its cell.
        filled: missing values that took the last one before them.
        dropped: steps of the grid that had to be left out, between the first reading and the last.
    """

    values: np.ndarray
    times: np.ndarray
    last_read: np.ndarray
    merged: int
    filled: int
    dropped: int


def regular(
    times: np.ndarray,
    values: Callable[[int, int], np.ndarray],
    step: int,
    limit: int,
    sentinels: Sequence[float] = (),
    size: int = CHUNK,
) -> Iterator[Regular]:
    """Puts the readings of one device on a grid of ``step`` microseconds, by the rule of the module.

    Args:
        times: (T,) int64 microseconds, rising.
        values: gives the readings from one row to another, (T, C) floats; NaN and sentinels are
            missing.
        step: of the grid; at least 1.
        limit: steps that a value may be carried forward; 0: none.
        sentinels: values that mean "missing".
        size: readings of a piece, or a few more; the pieces together do not depend on it.

    Yields pieces, one after the other, so that not all have to be in memory. Raises ValueError for a
    step below 1, a limit below 0 or times that do not rise.
    """
    if step < 1:
        raise ValueError(f"step must be at least 1 microsecond, got: {step}")
    if limit < 0:
        raise ValueError(f"limit must be at least 0, got: {limit}")
    if len(times) == 0:
        return
    # A grid through the first reading: regular readings keep their times.
    phase = int(times[0]) % step
    before = (int(times[0]) - phase) // step - 1  # the last cell that is done
    start = 0
    while start < len(times):
        last = int(times[min(start + size, len(times)) - 1])
        # A piece ends with a cell, and knows what may be carried into it.
        stop = int(np.searchsorted(times, last - (last - phase) % step + step))
        known = int(np.searchsorted(times, phase + (before - limit) * step))
        cells = (times[known:stop] - phase) // step
        if (np.diff(times[known:stop]) <= 0).any():
            raise ValueError("times must rise, got some that do not")
        grid, rows, filled = _gridded(cells, values(known, stop), limit, sentinels, before)
        own = cells[start - known :]
        yield Regular(
            rows,
            grid * step + phase,
            known + np.searchsorted(cells, grid, "right") - 1,
            len(own) - 1 - int((np.diff(own) > 0).sum()),
            filled,
            int(cells[-1]) - before - len(grid),
        )
        start, before = stop, int(cells[-1])


def _gridded(
    cells: np.ndarray, values: np.ndarray, limit: int, sentinels: Sequence[float], before: int
) -> tuple[np.ndarray, np.ndarray, int]:
    """Cells (T,) after the one ``before``, their values (T, C), and how many of these were filled."""
    values = np.array(values, np.float32)
    for sentinel in sentinels:
        values[values == np.float32(sentinel)] = np.nan
    values[np.isinf(values)] = np.nan
    cells, values = _cell_means(cells, values)
    # Rows of missing values where a short gap is, each gap of d steps having d - 1 of them.
    gap = np.append(np.diff(cells), 1)
    repeats = np.where(gap <= limit + 1, gap, 1)
    if (repeats > 1).any():
        source = np.repeat(np.arange(len(cells)), repeats)
        offset = np.arange(len(source)) - np.repeat(np.cumsum(repeats) - repeats, repeats)
        cells = cells[source] + offset
        values = values[source]
        values[offset > 0] = np.nan

    filled = 0
    rows = np.arange(len(cells))
    for channel in values.T:
        missing = np.isnan(channel)
        if not missing.any():
            continue
        last = np.maximum.accumulate(np.where(missing, -1, rows))
        young = missing & (last >= 0) & (cells - cells[np.maximum(last, 0)] <= limit)
        channel[young] = channel[last[young]]
        filled += int((young & (cells > before)).sum())
    kept = ~np.isnan(values).any(1) & (cells > before)
    return (cells, values, filled) if kept.all() else (cells[kept], values[kept], filled)


def _cell_means(cells: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean over the readings of each cell, of those that are not missing."""
    first = np.flatnonzero(np.append(True, np.diff(cells) > 0))
    if len(first) == len(cells):
        return cells, values
    known = ~np.isnan(values)
    count = np.add.reduceat(known, first, axis=0, dtype=np.int64)
    total = np.add.reduceat(np.where(known, values, 0).astype(np.float64), first, axis=0)
    with np.errstate(invalid="ignore"):
        return cells[first], (total / count).astype(np.float32)


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
    return cut[cut[:, 0] < cut[:, 1]]


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

    def batches(self, size: int) -> Iterator[Tensor]:
        """The numbers of all windows in order, so many at a time."""
        for start in range(0, len(self), size):
            yield torch.arange(start, min(start + size, len(self)))


def chronological(times: np.ndarray, shares: Sequence[float]) -> list[int]:
    """Times that cut rows into consecutive parts: the last part's start comes last.

    Args:
        times: (T,) int64, in any order; the same cut holds for every device.
        shares: of the rows, for each part but the first.

    Returns the first time of each part but the first. Raises ValueError unless the shares leave
    rows for every part.
    """
    rest = 1 - sum(shares)
    if min(shares) <= 0 or rest <= 0:
        raise ValueError(f"shares must be above 0 and below 1 together, got: {list(shares)}")
    places = [round(len(times) * s) for s in np.cumsum([rest, *shares[:-1]])]
    cuts = np.partition(times, [min(p, len(times) - 1) for p in places])
    return [int(cuts[min(p, len(times) - 1)]) for p in places]


def by_group(groups: Sequence[str], shares: Sequence[float], seed: int) -> list[list[str]]:
    """Draws whole groups for each part; at least one each.

    Returns the groups of the first part, which gets the rest, then those of the others. Raises
    ValueError where there are fewer groups than parts.
    """
    names = sorted(set(groups))
    if len(names) <= len(shares):
        raise ValueError(f"groups must be at least {len(shares) + 1}, got: {len(names)}")
    drawn = [names[i] for i in np.random.default_rng(seed).permutation(len(names))]
    parts = []
    for i, share in enumerate(shares):
        left = len(shares) - i  # so many groups the other parts need
        count = min(max(1, round(share * len(names))), len(drawn) - left)
        parts.append(sorted(drawn[:count]))
        drawn = drawn[count:]
    return [sorted(drawn), *parts]


@dataclass(frozen=True)
class Scaler:
    """Mean and standard deviation of each channel, (C,) float64 each."""

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


def calendar_features(times: np.ndarray) -> np.ndarray:
    """Where in the day, the week and the year (of 365.25 days) times lie, in UTC.

    Returns (T, 6) float32, the sine and the cosine of each angle, named by ``CALENDAR``.
    """
    angles = []
    for period in (DAY, 7 * DAY, DAY * 1461 // 4):
        angle = (times % period) * (2 * np.pi / period)
        angles += [np.sin(angle), np.cos(angle)]
    return np.stack(angles, 1).astype(np.float32)
