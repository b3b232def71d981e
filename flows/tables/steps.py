"""Names of steps in time, such as `15min`, `1h`, `month` or `business day`."""

import re

from rnnfast.series.calendar_steps import STEP

_SECONDS = {
    "ms": 1e-3, "millisecond": 1e-3, "s": 1, "sec": 1, "second": 1, "min": 60, "t": 60, "minute": 60, "h": 3600,
    "hour": 3600, "hourly": 3600, "d": 86_400, "day": 86_400, "daily": 86_400, "w": 604_800, "week": 604_800,
    "weekly": 604_800,
}  # fmt: skip
_MONTHS = {
    "m": 1, "ms*": 1, "me": 1, "bm": 1, "bms": 1, "bme": 1, "mo": 1, "month": 1, "monthly": 1,
    "q": 3, "qs": 3, "qe": 3, "bq": 3, "bqs": 3, "bqe": 3, "quarter": 3, "quarterly": 3,
    "y": 12, "a": 12, "ys": 12, "as": 12, "ye": 12, "by": 12, "bys": 12, "bye": 12, "year": 12, "yearly": 12,
    "annual": 12,
}  # fmt: skip
_BUSINESS = ("b", "business day", "business", "bd", "weekday")


def parse_step(text: str) -> tuple[int, str]:
    """A step and its unit: microseconds and an empty unit, or the places of `rnnfast.series.calendar_steps` and theirs.

    Raises:
        ValueError: that is no step.
    """
    # Where pandas says on which day weeks, quarters and years begin, the first reading says so here.
    text = re.sub(r"(?i)(?<=[WQAYSE])-[A-Z]{3}$", "", text.strip())
    found = re.fullmatch(r"\s*(\d+(?:\.\d*)?(?:[eE][+-]?\d+)?)?\s*([A-Za-z][A-Za-z ]*?)?\s*", text)
    if found and (found[1] or found[2]):
        count, name = float(found[1] or 1), found[2] or "s"
        # "M" is a month, as pandas has it; "MS" its start, and "ms" a thousandth of a second.
        plain = "ms*" if name == "MS" else name.lower()
        plain = plain if plain in (*_SECONDS, *_MONTHS, *_BUSINESS) else plain.removesuffix("s")
        whole = count == int(count) and count >= 1
        if plain in _SECONDS and count * _SECONDS[plain] >= 1e-6:
            return round(count * _SECONDS[plain] * 1e6), ""
        if plain in _MONTHS and whole:
            return int(count) * _MONTHS[plain] * STEP, "month"
        if plain in _BUSINESS and whole:
            return int(count) * STEP, "business day"
    raise ValueError(
        "must be seconds, a length such as 15min, 1h or 1d, or day, week, month, quarter, year or business day"
    )


def step_text(step: int, unit: str) -> str:
    """A step as people say it."""
    if not unit:
        lengths = ((86_400_000_000, "day"), (3_600_000_000, "hour"), (60_000_000, "minute"))
        size, name = next((u for u in lengths if step % u[0] == 0), (1_000_000, "second"))
        return counted_length(step / size, name)
    count = step // STEP
    names = {(3, "month"): "quarter", (12, "month"): "year"}
    if (count, unit) in names or count == 1:
        return names.get((count, unit), unit)
    return f"{count} {unit}s"


def counted_length(count: float, name: str) -> str:
    """So many of a unit, such as "1 hour" or "1.5 hours"."""
    return f"{count:g} {name}" + ("" if count == 1 else "s")
