"""Seasons of readings: after how many steps they repeat, by the calendar and by their autocorrelation.

A period is looked for in readings less their moving average over it, which leaves what repeats and takes away trends,
random walks and longer seasons.

Dimensions: T rows, C channels, R runs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

CALENDAR_PERIODS = {"day": 86_400.0, "week": 7 * 86_400.0, "year": 365.25 * 86_400.0}
"""Seconds of what readings are known to repeat after."""

CYCLES = 2.5  # of a season that the training part has to hold
SEEN = 4  # cycles that have to be there of a season that the calendar does not have
CLEAR = 0.1  # by which the correlation after a season is above that a quarter of it before
_SURE = 4.0  # standard errors above none
_ROWS = 1 << 17  # of a run that are looked at, the last ones
_RUNS = 8  # that are looked at, the longest
_LONGEST = 2048  # steps of a season that the calendar does not have


@dataclass(frozen=True)
class Season:
    """A time after which readings repeat.

    Attributes:
        steps: of the data, 2 or more.
        name: of the calendar (day, week, year), or "cycle".
        strength: the correlation of readings a season apart, less their moving average; at most 1.
    """

    steps: int
    name: str
    strength: float

    def __str__(self) -> str:
        return f"{self.name} of {self.steps} steps (autocorrelation {self.strength:.2f})"


def find_seasons(values: np.ndarray, runs: np.ndarray, seconds: float) -> tuple[Season, ...]:
    """The seasons of readings, the shortest first.

    A day, a week and a year are looked for where they are two steps or more and the longest run holds CYCLES of them.
    A period is a season where the mean correlation of the channels after it is _SURE standard errors above none
    (Bartlett's formula), and CLEAR above the correlation a quarter of it before, of a week in whole days where
    the day is one. Where the calendar has none, the period with the clearest peak of the autocorrelation is looked at,
    up to _LONGEST, if there are SEEN cycles of it.

    Args:
        values: (T, C) readings on their grid, finite; those to be forecast.
        runs: (R, 2) rows of the training part.
        seconds: of a step; 0 where steps have no length, as those of a counter.

    Example:
        >>> hours = np.arange(24 * 30.0)
        >>> rows = np.sin(2 * np.pi * hours / 24)[:, None]
        >>> [(each.steps, each.name) for each in find_seasons(rows, np.array([[0, len(rows)]]), 3600)]
        [(24, 'day')]
    """
    lengths = runs[:, 1] - runs[:, 0]
    chosen = np.argsort(-lengths, kind="stable")[:_RUNS]
    parts = [
        values[max(start, stop - _ROWS) : stop].astype(np.float64)
        for start, stop in runs[chosen].tolist()
    ]
    longest = min(int(lengths.max(initial=0)), _ROWS)
    found: list[Season] = []
    for name, length in CALENDAR_PERIODS.items():
        steps = round(length / seconds) if seconds > 0 else 0
        if steps >= 2 and CYCLES * steps <= longest:
            unit = found[-1].steps if found else 1
            strength = _strength(parts, steps, unit)
            found += [Season(steps, name, strength)] if strength > 0 else []
    if not found and (steps := _clearest(parts, min(_LONGEST, longest // SEEN))):
        strength = _strength(parts, steps, 1)
        found += [Season(steps, "cycle", strength)] if strength > 0 else []
    return tuple(found)


def autocorrelation(values: np.ndarray, lags: int) -> np.ndarray:
    """The correlation (lags + 1,) of series (T, C) with themselves so many rows later, the mean over channels.

    Channels that do not vary are left out; without any, it is 0.
    """
    centred = values - values.mean(0)
    size = 1 << (len(values) + lags).bit_length()
    spectrum = np.abs(np.fft.rfft(centred, size, axis=0)) ** 2
    covariance = np.fft.irfft(spectrum, size, axis=0)[: lags + 1]
    varies = covariance[0] > 1e-9 * np.maximum(np.square(values).sum(0), 1e-12)
    if not varies.any():
        return np.zeros(lags + 1)
    # Of the pairs that there are, so that a long lag is not damped.
    pairs = len(values) / (len(values) - np.arange(lags + 1))
    result: np.ndarray = (covariance[:, varies] / covariance[0, varies]).mean(1) * pairs
    return result


def _detrended(values: np.ndarray, period: int) -> np.ndarray:
    """Series (T, C) less their centred moving average over a period: (T - period, C)."""
    sums = np.cumsum(np.pad(values, ((1, 0), (0, 0))), axis=0)
    # An even period is centred by half a step at both ends.
    average = (sums[period:] - sums[:-period]) / period
    average = (average[1:] + average[:-1]) / 2 if period % 2 == 0 else average
    start = period // 2
    result: np.ndarray = values[start : start + len(average)] - average
    return result


def _strength(parts: list[np.ndarray], period: int, unit: int) -> float:
    """The correlation after a period, or 0 where it is no season; the quarter is in whole units."""
    fitting = [part for part in parts if len(part) >= CYCLES * period]
    found = [autocorrelation(_detrended(part, period), period) for part in fitting]
    if not found:
        return 0.0
    pairs = sum(len(part) - 2 * period for part in fitting)
    mean = np.average(found, axis=0, weights=[len(part) for part in fitting])
    quarter = max(unit, round(period / 4 / unit) * unit)
    # Of the lags up to a quarter: what repeats is no noise, and would count as such at all others.
    error = np.sqrt((1 + 2 * np.square(mean[1:quarter]).sum()) / pairs)
    before = period - quarter
    strength = float(mean[period])
    return strength if strength > _SURE * error and strength - mean[before] > CLEAR else 0.0


def _clearest(parts: list[np.ndarray], longest: int) -> int:
    """The lag of the clearest peak of the autocorrelation, the shortest of those about as high; 0 without one."""
    if longest < 4:
        return 0
    part = parts[0]
    trend = min(2 * longest, len(part) // 2)
    mean = autocorrelation(_detrended(part, trend), longest)
    dips = np.minimum.accumulate(mean)
    inner = mean[2:-1]
    peaks = 2 + np.flatnonzero((inner > mean[1:-2]) & (inner >= mean[3:]))
    height = mean[peaks] - dips[peaks]
    clear = peaks[(height > CLEAR) & (mean[peaks] > CLEAR)]
    if not len(clear):
        return 0
    return int(clear[mean[clear] >= 0.9 * mean[clear].max()][0])
