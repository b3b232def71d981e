"""What is odd in readings: numbers that stand for a missing one, repeated time stamps, stamps far from all others."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flows.wording import counted
from rnnfast.series.order import CHUNK

REPEATED_SHARE = 0.05  # share of a device's readings that may have a time stamp of another one
_TIMES = 3  # that a number has to be there to be no reading
STRAY = 100  # steps to the next reading from which a few readings are far from all others


@dataclass(frozen=True)
class _SentinelRule:
    """When a number is no reading of a sensor: it is far outside, and there again and again."""

    far: float  # spreads of the other values
    large: float  # its size
    distinct: int  # other values there have to be


_ANY = _SentinelRule(5.0, 90.0, 10)
_USUAL = _SentinelRule(0.5, 9.0, 3)  # of nines alone, or an end of the integers of 16 bits


@dataclass(frozen=True)
class _Ends:
    """Of each channel (C,) the least and the largest value, and how often they are there."""

    low: np.ndarray
    high: np.ndarray
    lows: np.ndarray
    highs: np.ndarray


def find_sentinels(
    values: np.ndarray, known: tuple[float, ...]
) -> tuple[dict[float, np.ndarray], dict[float, np.ndarray]]:
    """Numbers that stand for a missing one: {number: how often it is in each channel}; and those that may do so.

    A sentinel lies far outside of all other values of a channel, and outside of those of every other channel. What
    is far outside in one channel, and small or usual in another, may as well be a reading.

    Args:
        values: (T, C) float32, which may be a file mapped into memory.
        known: those that are known to be sentinels.
    """
    found: dict[float, np.ndarray] = {}
    doubtful: dict[float, np.ndarray] = {}
    channels = values.shape[1]
    for _ in range(4):  # there may be several, one further out than the next
        leave = np.array([*known, *found], np.float32)
        ends = _ends(values, leave)
        more: dict[float, np.ndarray] = {}
        for end, counts in ((ends.low, ends.lows), (ends.high, ends.highs)):
            for channel in range(channels):
                candidate = float(end[channel])
                rule = _rule_of(candidate)
                if counts[channel] < _TIMES or candidate in more:
                    continue
                rest = _ends(values, np.append(leave, np.float32(candidate)))
                if not _is_far(candidate, rule, rest, channel, values, leave):
                    continue
                outside = (candidate < rest.low) | (candidate > rest.high) | np.isnan(rest.low)
                if outside.all() and abs(candidate) >= rule.large:
                    more[candidate] = _count(values, candidate)
                elif counts[channel] < len(values) / 2:
                    where = doubtful.setdefault(candidate, np.zeros(channels, np.int64))
                    where[channel] = counts[channel]
        if not more:
            break
        found |= more
    as_written = (
        {float(f"{n:.7g}"): counts for n, counts in of.items()} for of in (found, doubtful)
    )
    return next(as_written), next(as_written)


def _rule_of(number: float) -> _SentinelRule:
    digits = f"{abs(number):.7g}".replace(".", "")
    return (
        _USUAL
        if (len(digits) > 1 and {*digits} == {"9"}) or number in (32767, -32768, 65535)
        else _ANY
    )


def _is_far(
    candidate: float,
    rule: _SentinelRule,
    rest: _Ends,
    channel: int,
    values: np.ndarray,
    leave: np.ndarray,
) -> bool:
    low, high = rest.low[channel], rest.high[channel]
    if np.isnan(low) or high <= low:
        return False
    distance = max(low - candidate, candidate - high)
    if distance <= rule.far * (high - low):
        return False
    column = np.asarray(values[:CHUNK, channel])
    column = column[
        np.isfinite(column) & ~np.isin(column, leave) & (column != np.float32(candidate))
    ]
    return len(np.unique(column)) >= rule.distinct


def _ends(values: np.ndarray, leave: np.ndarray) -> _Ends:
    channels = values.shape[1]
    low, high = np.full(channels, np.inf, np.float32), np.full(channels, -np.inf, np.float32)
    lows, highs = np.zeros(channels, np.int64), np.zeros(channels, np.int64)
    for start in range(0, len(values), CHUNK):
        part = values[start : start + CHUNK]
        usable = np.isfinite(part) & ~np.isin(part, leave)
        least = np.where(usable, part, np.inf).min(0)
        most = np.where(usable, part, -np.inf).max(0)
        lows = np.where(least < low, 0, lows)
        highs = np.where(most > high, 0, highs)
        low, high = np.minimum(low, least), np.maximum(high, most)
        lows += ((part == low) & usable).sum(0)
        highs += ((part == high) & usable).sum(0)
    empty = ~np.isfinite(low)
    return _Ends(np.where(empty, np.nan, low), np.where(empty, np.nan, high), lows, highs)


def _count(values: np.ndarray, number: float) -> np.ndarray:
    parts = (values[start : start + CHUNK] for start in range(0, len(values), CHUNK))
    result: np.ndarray = np.sum([(part == np.float32(number)).sum(0) for part in parts], 0)
    return result


def doubt(number: float, counts: np.ndarray, channels: Sequence[str]) -> str:
    """That a number may stand for a missing one, in words."""
    where = " and ".join(repr(n) for n, count in zip(channels, counts, strict=True) if count)
    return (
        f"{number:g} is there {counted(int(counts.sum()), 'time')} in {where}, far outside of the other values, and "
        "is taken for a reading; where it means a missing one, empty those fields or leave the column out of --features"
    )


def other_values(values: np.ndarray, repeats: np.ndarray) -> np.ndarray:
    """Which of the repeats (D,) have other values (T, C) than the row of their time that was kept."""
    other = np.zeros(len(repeats), bool)
    for start in range(0, len(repeats), CHUNK):
        one, two = (values[rows] for rows in repeats[start : start + CHUNK].T)
        same = (one == two) | (np.isnan(one) & np.isnan(two))
        other[start : start + CHUNK] = ~same.all(1)
    return other


def stamp(time: int) -> str:
    """A time as people write it."""
    return str(np.datetime64(time, "us").astype("datetime64[s]")).replace("T", " ")


def longest_gap(times: np.ndarray, groups: np.ndarray) -> tuple[int, int] | None:
    """The two times of neighbours in one group that are the furthest apart."""
    distances = np.where(np.diff(groups) == 0, np.diff(times), -1)
    place = int(distances.argmax()) if len(distances) else 0
    if not len(distances) or distances[place] <= 0:
        return None
    return int(times[place]), int(times[place + 1])


def stray_times(times: np.ndarray, groups: np.ndarray, step: int) -> np.ndarray:
    """The times of the few readings that are far from all others of their group, as a wrong clock makes them.

    Args:
        times: (T,) int64 microseconds, in the order of group and time.
        groups: (T,) integers.
        step: their usual distance.
    """
    is_new = np.diff(groups) != 0
    is_far = ~is_new & (np.diff(times) > STRAY * step)
    places = np.flatnonzero(is_new | is_far) + 1
    starts, stops = np.append(0, places), np.append(places, len(times))
    beside = np.append(False, is_far[places - 1]) | np.append(is_far[places - 1], False)
    most = max(3, len(times) // 100)
    found = np.flatnonzero(beside & (stops - starts <= most) & (stops - starts < len(times) / 2))
    rows = [np.arange(starts[each], stops[each]) for each in found[:most]]
    return times[np.concatenate(rows)] if rows else times[:0]


def close_times(times: np.ndarray, groups: np.ndarray, step: int) -> np.ndarray:
    """The times of readings that come so soon after the one before them that both are in one step."""
    steps = np.diff(times)
    result: np.ndarray = times[1:][(np.diff(groups) == 0) & (steps > 0) & (steps <= step // 2)]
    return result
