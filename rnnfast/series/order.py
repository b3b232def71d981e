"""The order of readings in time, and their usual step; without torch, which takes longer to load than all this.

Times are int64 microseconds since 1970 in UTC.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

CHUNK = 1 << 18  # rows that are looked at together where the whole need not be in memory
DAY = 24 * 3600 * 1_000_000  # microseconds
ROUND = (
    DAY,
    *(seconds * 1_000_000 for seconds in (3600, 900, 600, 300, 60, 30, 10, 5, 1)),
    100_000,
    10_000,
    1000,
)


@dataclass(frozen=True)
class Order:
    """Rows of a file in the order of group and time, and what was wrong with the order they had.

    Attributes:
        rows: (T,) int64, which row of the file comes when; of equal time stamps the first is kept.
            None where the file has that order already.
        step: the most frequent distance of neighbours in time, in microseconds; 0 for single rows.
        breaks: places of the file where the next row of the group is not the one a step later.
        duplicates: rows that were dropped because their group has that time stamp already.
        repeats: (D, 2) int64, each of these rows, and the one of its time that was kept.
    """

    rows: np.ndarray | None
    step: int
    breaks: int
    duplicates: int
    repeats: np.ndarray


def in_order(times: np.ndarray, groups: np.ndarray) -> Order:
    """Sorts rows by group, then by time, and drops repeated time stamps.

    Args:
        times: (T,) int64 microseconds.
        groups: (T,) integers, one for each device.
    """
    by_group = None if _rising(groups) else np.argsort(groups, kind="stable")
    rows, repeats = by_group, np.empty((0, 2), np.int64)
    if any((steps <= 0).any() for steps in _steps(times, groups, by_group)):
        rows = np.lexsort((times, groups))
        repeated = (np.diff(times[rows]) == 0) & (np.diff(groups[rows]) == 0)
        kept = np.append(True, ~repeated)
        first = np.maximum.accumulate(np.where(kept, np.arange(len(rows)), 0))
        repeats = np.stack([rows[~kept], rows[first[~kept]]], 1)
        rows = rows[kept]
    step = _usual(lambda: _steps(times, groups, rows))
    near = step // 10  # what jitters is in order
    breaks = sum(
        int((np.abs(steps - step) > near).sum()) for steps in _steps(times, groups, by_group)
    )
    return Order(rows, step, breaks if step else 0, len(repeats), repeats)


def _steps(times: np.ndarray, groups: np.ndarray, rows: np.ndarray | None) -> Iterator[np.ndarray]:
    """The distances in time of neighbouring rows of one group, some at a time."""
    for start in range(0, len(times if rows is None else rows) - 1, CHUNK):
        part = slice(start, start + CHUNK + 1)
        chosen = part if rows is None else rows[part]
        yield np.diff(times[chosen])[np.diff(groups[chosen]) == 0]


def _usual(parts: Callable[[], Iterator[np.ndarray]]) -> int:
    """The step of distances that may jitter: the most frequent one, or where there is none, a round one amid them."""
    step = _most_frequent(parts())
    exact, near, total = 0, 0, 0
    for part in parts():
        close = part[np.abs(part - step) <= step // 10]
        exact, near, total = (
            exact + int((close == step).sum()),
            near + len(close),
            total + int(close.sum()),
        )
    if step == 0 or 10 * exact >= 9 * near:
        return step
    mean = total / near
    for unit in ROUND:
        found = round(mean / unit) * unit
        if found and abs(found - mean) <= 0.002 * mean:
            # Half of them may be another step, as where it was changed, and no jitter about a rounder one.
            return step if 2 * exact >= near and step % unit == 0 else found
    return step if 2 * exact >= near else round(mean)


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
