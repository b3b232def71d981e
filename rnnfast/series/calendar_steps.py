"""Steps of the calendar, which are no fixed length of time: months, and days from Monday to Friday.

A time has a *place* among them: the steps since January 1970, times STEP. Places are as regular as the calendar is,
so that grids, windows and gaps are those of `rnnfast.series`. Quarters and years are steps of 3 and 12 months.
"""

from __future__ import annotations

import numpy as np

from rnnfast.series.order import DAY

CALENDAR = ("day_sin", "day_cos", "week_sin", "week_cos", "year_sin", "year_cos")
STEP = (
    1_000_000_000  # of places, for one month or business day: more than there are readings in one
)
UNITS = ("month", "business day")
_ENOUGH = 0.99  # share of the stamps that have to be where the calendar puts them
_REGULAR = 0.95  # share of the stamps that are as many months after the one before as most are
_SUMMER = DAY // 24  # that summer time moves a time of day
_LEAST = 6  # stamps from which a calendar can be told


def to_places(times: np.ndarray, unit: str) -> np.ndarray:
    """The places (T,) int64 of times in microseconds; a weekend has that of the Monday after it."""
    if unit == "month":
        return times.astype("datetime64[us]").astype("datetime64[M]").astype(np.int64) * STEP
    return np.asarray(np.busday_count(np.datetime64("1970-01-01"), _days(times)), np.int64) * STEP


def rising(places: np.ndarray) -> np.ndarray:
    """Places (T,) in order, those that are alike made to rise within their step."""
    first = np.append(True, np.diff(places) > 0)
    rows = np.arange(len(places))
    return places + rows - np.maximum.accumulate(np.where(first, rows, 0))


def from_places(places: np.ndarray, unit: str, anchor: int) -> np.ndarray:
    """The times (T,) int64 of places, in microseconds.

    Args:
        places: (T,) int64.
        unit: of UNITS.
        anchor: a time whose day of the month, unless the month is shorter, and time of day they have.
    """
    steps = places // STEP
    day, clock = np.datetime64(anchor, "us").astype("datetime64[D]"), anchor % DAY
    if unit == "month":
        place = int((day - day.astype("datetime64[M]")).astype(np.int64))
        months = steps.astype("datetime64[M]")
        last = ((months + 1).astype("datetime64[D]") - 1) - months.astype("datetime64[D]")
        days = months.astype("datetime64[D]") + np.minimum(last.astype(np.int64), place)
    else:
        days = np.busday_offset(np.datetime64("1970-01-01"), steps)
    result: np.ndarray = days.astype(np.int64) * DAY + clock
    return result


def advance(
    times: np.ndarray, step: int, count: int, unit: str = "", anchor: int = 0
) -> np.ndarray:
    """The `count` times (N, count) after each of `times` (N,), a step of time, or of places, apart."""
    ahead = step * np.arange(1, count + 1)
    if not unit:
        return times[:, None] + ahead
    return from_places(to_places(times, unit)[:, None] + ahead, unit, anchor)


def seconds_of(step: int, unit: str) -> float:
    """The length of a step in seconds, of the calendar the usual one: a month has 30.4375 days."""
    lengths = {"": 1e-6, "month": 30.4375 * 86_400 / STEP, "business day": 86_400 / STEP}
    return step * lengths[unit]


def find_unit(times: np.ndarray, groups: np.ndarray) -> str:
    """The unit of the calendar that times go by; empty where they go by a fixed step.

    Args:
        times: (T,) int64 microseconds, those of a group together and rising.
        groups: (T,) integers, rising.
    """
    distances = np.diff(times)[np.diff(groups) == 0]
    if len(distances) < _LEAST:
        return ""
    days = _days(times)
    values, counts = np.unique((distances + _SUMMER) // DAY, return_counts=True)
    usual = values[counts.argmax()]
    if usual >= 28:
        months = days.astype("datetime64[M]")
        day = (days - months.astype("datetime64[D]")).astype(np.int64)
        last = ((months + 1).astype("datetime64[D]") - 1 - months.astype("datetime64[D]")).astype(
            int
        )
        if len(values) == 1 and usual < 89:
            return ""  # 28 or 30 days are a length of time as well
        same_day = (day == np.minimum(day.max(), last)).mean() >= _ENOUGH
        # The last day of work, or the day on which figures come out: there is one in each month, or each third.
        apart = np.diff(months.astype(np.int64))[np.diff(groups) == 0]
        one_each = apart.min() > 0 and (apart == np.median(apart)).mean() >= _REGULAR
        return "month" if same_day or (one_each and len(values) > 1) else ""
    if np.ptp(times % DAY) > _SUMMER:
        return ""
    weekday = (days.astype(np.int64) + 3) % 7
    if usual == 1 and (weekday < 5).mean() >= _ENOUGH and (distances >= 3 * DAY).any():
        return "business day"
    return ""


def find_anchor(times: np.ndarray) -> int:
    """The time, of those that go by months, with the latest day of its month."""
    days = _days(times)
    day = (days - days.astype("datetime64[M]").astype("datetime64[D]")).astype(np.int64)
    return int(times[int(day.argmax())])


def _days(times: np.ndarray) -> np.ndarray:
    return times.astype("datetime64[us]").astype("datetime64[D]")
