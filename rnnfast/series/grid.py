"""Readings on a regular grid: what shares a cell, what is missing, and what is left out.

The rule for what is missing: a sentinel is a missing value, a step of the grid without a reading is a
row of them. A missing value takes the last value of its channel before it, which is all that anyone
would have known at that time, if that is at most ``limit`` steps old. What is still missing then is
dropped, and ends the run.

Dimensions: T rows, C channels. Times are int64 microseconds since 1970 in UTC.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from rnnfast.series.order import CHUNK


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
    early: int = 0,
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
        early: microseconds that a reading may come before its cell; half a step takes the nearest cell.

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
        last = int(times[min(start + size, len(times)) - 1]) + early
        # A piece ends with a cell, and knows what may be carried into it.
        stop = int(np.searchsorted(times, last - (last - phase) % step + step - early))
        known = int(np.searchsorted(times, phase + (before - limit) * step - early))
        cells = (times[known:stop] + early - phase) // step
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
