"""Time stamps of a column, in the form that the whole column has, as microseconds since 1970 in UTC.

A form is a name: `iso`; `year first`, `day first`, `month first` for dates in words or numbers; `week` and
`quarter`; `month year` and `quarter year` with the year last; `s`, `ms`, `us`, `ns` since 1970; `digits` for dates as
integers such as 20210131 or 202101; `years` with a fraction, such as 1949.25; `count` for numbers that only count steps
of a second; `excel` for days since 1899-12-30; or a pattern of strptime.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from flows.errors import InputError

FAR = float(1 << 62)  # microseconds: the distance of any two times is a number of 64 bits
SAMPLE = 20_000  # rows of a batch that are looked at to find the form
MONTHLY = (
    0.02  # months that a year with a fraction, which was rounded, may be from the start of one
)
ENOUGH = 0.5  # share of the rows that have the form of a column: some may be broken
STAMP_UNITS = {"s": 1e6, "ms": 1e3, "us": 1.0, "ns": 1e-3, "count": 1e6}
_NEVER = -1 - (1 << 62)  # of `_digits`, for what is no date
_EXCEL = 25_569  # the serial number of 1970-01-01
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_ZONE = r"(?:UTC|GMT)?(?P<z>Z|[+-]\d{2}(?::?\d{2})?)?"
_CLOCK = (
    r"(?:(?:[T:_]|,?\s+)(?P<h>\d{1,2})(?:[:.](?P<mi>\d{1,2})(?:[:.](?P<s>\d{1,2})(?:[.,](?P<f>\d+))?)?)?"
    r"\s*(?P<ap>[AaPp]\.?[Mm]\.?)?\s*" + _ZONE + r"\s*(?:UTC|GMT)?)?$"
)
_NAMED = r"(?:[A-Za-z]{3,9}\.?)"
_DAY_NAME = r"^(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*,?\s+)?"
_FORMS = {
    "year first": r"^(?P<y>\d{4})[-/. M](?P<m>\d{1,2}|" + _NAMED + r")(?:[-/. ](?P<d>\d{1,2}))?\.?" + _CLOCK,
    "day first": _DAY_NAME + r"(?P<d>\d{1,2})[-/. ]\s?(?P<m>\d{1,2}|" + _NAMED + r")[-/., ]\s?(?P<y>\d{4}|\d{2})"
    + _CLOCK,
    "month first": _DAY_NAME + r"(?P<m>\d{1,2}|" + _NAMED + r")[-/. ]\s?(?P<d>\d{1,2})(?:[-/.]|,?\s)\s?"
    r"(?P<y>\d{4}|\d{2})" + _CLOCK,
    "basic": r"^(?P<y>\d{4})(?P<m>\d{2})(?P<d>\d{2})[T ](?P<h>\d{2}):?(?P<mi>\d{2}):?(?P<s>\d{2})?"
    r"(?:[.,](?P<f>\d+))?\s*" + _ZONE + "$",
    "week": r"^(?P<y>\d{4})-?W(?P<w>\d{1,2})(?:-?(?P<d>[1-7]))?$",
    "quarter": r"^(?P<y>\d{4})[- ]?Q(?P<q>[1-4])$",
    "quarter year": r"^Q(?P<q>[1-4])[-/ ]?(?P<y>\d{4})$",
    "month year": r"^(?P<m>\d{1,2}|" + _NAMED + r")[-/. ]\s?(?P<y>\d{4})$",
    "day name": r"^(?P<d>\d{1,2})(?P<m>[A-Za-z]{3})(?P<y>\d{4})" + _CLOCK,
}  # fmt: skip
_NUMBER = r"^[+-]?\d+(\.\d*)?([eE][+]?\d+)?$"
FORM_NAMES = {
    "s": "seconds since 1970",
    "ms": "milliseconds since 1970",
    "us": "microseconds since 1970",
    "ns": "nanoseconds since 1970",
    "count": "numbers that count steps",
    "digits": "dates as integers",
    "years": "years with a fraction",
    "day first": "dates with the day first",
    "month first": "dates with the month first",
}
NUMBER_FORMS = (*STAMP_UNITS, "digits", "years", "excel")
FORMS = ("iso", *_FORMS, *NUMBER_FORMS)


def find_form(columns: Iterable[pa.ChunkedArray], name: str) -> str:
    """The one form of a column, from as many of its batches as it takes.

    Args:
        columns: the batches of the column.
        name: of the column, for the error.

    Raises:
        InputError: no form fits, or more than one does.
    """
    fitting = dict.fromkeys(_FORMS, 0)
    rows, example = 0, None
    for column in columns:
        column = column.filter(pc.is_valid(column))
        if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
            return "iso"
        whole = column
        column = column.slice(0, SAMPLE)
        if not len(column):
            continue
        example = column[0].as_py()
        if not pa.types.is_string(column.type):
            return _numbers_form(_as_floats(column), name)
        text = _trimmed(column)
        number = pc.match_substring_regex(text, _NUMBER)
        if _most(number):
            return _numbers_form(_as_floats(text.filter(number).cast(pa.float64())), name)
        if not rows and _most(pc.is_valid(_iso(text))):
            return "iso"
        # A day above 12 may be anywhere, and decides: the whole batch is looked at.
        text = _trimmed(whole)
        rows += len(text) - text.null_count
        for form in _FORMS:
            fitting[form] += len(text) - _worded(text, form).null_count
        if fitting["day first"] != fitting["month first"]:
            break
    if rows == 0:
        return "iso"
    most = max(fitting.values())
    if most < ENOUGH * rows:
        raise InputError(
            f"--time-column {name!r} must hold time stamps of one form, got {str(example)!r:.40}; "
            "--time-format takes a pattern such as '%d/%m/%Y %H:%M'"
        )
    found = [form for form, count in fitting.items() if count == most]
    if len(found) > 1:
        raise InputError(
            f"--time-column {name!r} can be read with the day or the month first, such as {str(example)!r:.40}; "
            "give --time-format 'day first' or 'month first'"
        )
    return found[0]


def require_form(form: str) -> None:
    """Raises InputError where that is no form."""
    if form not in FORMS and "%" not in form:
        raise InputError(
            f"--time-format must be {', '.join(FORMS)} or a pattern such as '%d/%m/%Y %H:%M', got {form!r}"
        )


def parse_times(column: pa.ChunkedArray, form: str) -> pa.ChunkedArray:
    """Microseconds since 1970 (int64) of text or numbers; null where the value has not that form."""
    if form in NUMBER_FORMS:
        if not pa.types.is_string(column.type):
            return _counted(column, form)
        text = _trimmed(column)
        number = pc.match_substring_regex(text, _NUMBER)
        return _counted(_exact(pc.if_else(number, text, None)), form)
    if not pa.types.is_string(column.type):
        column = column.cast(pa.string())
    if form == "iso":
        for kind in (pa.timestamp("us"), pa.timestamp("us", "UTC")):
            try:  # what nearly all files hold
                return column.cast(kind).cast(pa.int64())
            except pa.ArrowInvalid:
                continue
    text = _trimmed(column)
    if form == "iso":
        times = _iso(text)
        if times.null_count > text.null_count:  # 24:00, or a fraction that Arrow does not take
            times = pc.coalesce(times, _worded(text, "year first"))
        return times
    if form in _FORMS:
        return _worded(text, form)
    return _by_pattern(text, form)


def _by_pattern(text: pa.ChunkedArray, pattern: str) -> pa.ChunkedArray:
    """Times by a pattern of strptime, each different text once."""
    coded = text.combine_chunks().dictionary_encode()
    times: list[int | None] = []
    for value in coded.dictionary.to_pylist():
        try:
            time = datetime.strptime(value, pattern)
        except ValueError:
            times.append(None)
            continue
        zoned = time if time.tzinfo else time.replace(tzinfo=UTC)
        times.append((zoned - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1))
    return pa.chunked_array([pa.array(times, pa.int64()).take(coded.indices)])


def _trimmed(column: pa.ChunkedArray) -> pa.ChunkedArray:
    text = pc.utf8_trim(column, " \t\r\n\"'\u00a0\ufeff")
    return pc.if_else(pc.equal(text, ""), None, text)


def _most(mask: pa.ChunkedArray) -> bool:
    """Whether nearly all are true: a few broken rows do not decide a form."""
    count = len(mask)
    return count > 0 and (pc.sum(mask).as_py() or 0) >= ENOUGH * count


def _iso(text: pa.ChunkedArray) -> pa.ChunkedArray:
    text = pc.replace_substring_regex(text, r"\s*(?:UTC|GMT)$", "Z")
    text = pc.replace_substring_regex(text, r"\s+([+-]\d\d:?\d\d|Z)$", r"\1")
    text = pc.replace_substring_regex(text, r"(\d\d:\d\d:\d\d)[.,](\d{1,6})\d*", r"\1.\2")
    zoned = pc.match_substring_regex(text, r"\d\d:.*([+-]\d\d:?(\d\d)?|Z)$")
    parts = []
    for mask, kind in ((zoned, pa.timestamp("us", "UTC")), (pc.invert(zoned), pa.timestamp("us"))):
        shape = pc.match_substring_regex(
            text, r"^\d{4}-\d\d-\d\d([T ]\d\d(:\d\d(:\d\d(\.\d{1,6})?)?)?)?"
        )
        parts.append(_cast(pc.if_else(pc.and_(mask, shape), text, None), kind).cast(pa.int64()))
    return pc.coalesce(*parts)


def _cast(text: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    """The strings as another type, null where they are none of it."""
    try:
        return text.cast(kind)
    except pa.ArrowInvalid:
        if len(text) == 1:
            return pa.chunked_array([pa.nulls(1, kind)])
        half = len(text) // 2
        return pa.chunked_array(
            [*_cast(text[:half], kind).chunks, *_cast(text[half:], kind).chunks], kind
        )


def _worded(text: pa.ChunkedArray, form: str) -> pa.ChunkedArray:
    """Dates with their parts in some order, by a regular expression."""
    text = pc.replace_substring(
        text, "\u202f", " "
    )  # that some spreadsheets write before AM and PM
    found = pc.extract_regex(text, _FORMS[form]).combine_chunks()
    names = [field.name for field in found.type]
    n = len(text)

    def number(name: str, missing: float) -> np.ndarray:
        if name not in names:
            return np.full(n, missing)
        part = pc.struct_field(found, name)
        digits = pc.if_else(pc.match_substring_regex(part, r"^\d+$"), part, None)
        result: np.ndarray = pc.fill_null(digits.cast(pa.float64()), missing).to_numpy(
            zero_copy_only=False
        )
        return result

    valid = pc.is_valid(found).to_numpy(zero_copy_only=False)
    year, day = number("y", 0), number("d", 1)
    if form in ("day first", "month first"):
        year = np.where(year < 69, year + 2000, np.where(year < 100, year + 1900, year))
    month = number("m", 1)
    if "m" in names:
        head = pc.utf8_slice_codeunits(pc.utf8_lower(pc.struct_field(found, "m")), 0, 3)
        place = pc.fill_null(pc.index_in(head, pa.array(_MONTHS)), -1).to_numpy(
            zero_copy_only=False
        )
        month = np.where(place >= 0, place + 1, month)
        worded = pc.fill_null(pc.match_substring_regex(head, r"[a-z]"), False).to_numpy(
            zero_copy_only=False
        )
        valid &= ~worded | (place >= 0)
    if "q" in names:
        month = number("q", 1) * 3 - 2
    hour, minute, second = number("h", 0), number("mi", 0), number("s", 0)
    if "ap" in names:
        half = pc.utf8_lower(pc.utf8_slice_codeunits(pc.struct_field(found, "ap"), 0, 1))
        after = pc.fill_null(pc.equal(half, "p"), False).to_numpy(zero_copy_only=False)
        named = pc.not_equal(pc.fill_null(half, ""), "").to_numpy(zero_copy_only=False)
        valid &= ~named | ((hour >= 1) & (hour <= 12))
        hour = np.where(named, hour % 12 + 12 * after, hour)
    valid &= (month >= 1) & (month <= 12) & (day >= 1) & (year >= 1)
    valid &= (minute < 60) & (second < 60) & ((hour < 24) | ((hour == 24) & (minute + second == 0)))
    start = _days(
        np.where(valid, year, 1970), np.where(valid, month, 1), np.where(form == "week", 1, day)
    )
    if form == "week":
        first = _days(np.where(valid, year, 1970), np.ones(n), np.full(n, 4.0))
        start = first - (first + 3) % 7 + 7 * (number("w", 1) - 1) + day - 1
    else:
        following = np.where(valid, year * 12 + month, 0)
        end = _days(following // 12, following % 12 + 1, np.ones(n))
        valid &= start < np.where(valid, end, np.inf)
    micro = (((start * 24 + hour) * 60 + minute) * 60 + second).astype(np.int64) * 1_000_000
    if "f" in names:
        fraction = pc.utf8_slice_codeunits(pc.fill_null(pc.struct_field(found, "f"), ""), 0, 6)
        micro += pc.utf8_rpad(fraction, 6, "0").cast(pa.int64()).to_numpy(zero_copy_only=False)
    if "z" in names:
        micro -= _offsets(pc.fill_null(pc.struct_field(found, "z"), ""))
    return pa.chunked_array([pa.array(micro, mask=~valid)])


def _offsets(zone: pa.Array) -> np.ndarray:
    """Microseconds that a zone such as +0130 is ahead of UTC."""
    coded = zone.dictionary_encode()
    ahead = []
    for text in coded.dictionary.to_pylist():
        digits = text[1:].replace(":", "").ljust(4, "0")
        minutes = int(digits[:2]) * 60 + int(digits[2:]) if text[:1] in ("+", "-") else 0
        ahead.append((-minutes if text[:1] == "-" else minutes) * 60_000_000)
    return np.array(ahead, np.int64)[coded.indices.to_numpy()] if ahead else np.zeros(0, np.int64)


def _days(year: np.ndarray, month: np.ndarray, day: np.ndarray) -> np.ndarray:
    """Days since 1970 of dates of the proleptic Gregorian calendar."""
    months = ((year - 1970) * 12 + month - 1).astype(np.int64).astype("datetime64[M]")
    result: np.ndarray = months.astype("datetime64[D]").astype(np.int64) + day - 1
    return result


def _as_floats(column: pa.ChunkedArray) -> np.ndarray:
    values = pc.cast(column, pa.float64(), safe=False).to_numpy()
    result: np.ndarray = values[np.isfinite(values)]
    return result


def _exact(text: pa.ChunkedArray) -> pa.ChunkedArray:
    """Numbers of text: integers as they are, for nanoseconds have more digits than a float."""
    try:
        return text.cast(pa.int64())
    except pa.ArrowInvalid:
        return text.cast(pa.float64())


def _numbers_form(values: np.ndarray, name: str) -> str:
    """What the numbers of a column count, by their size."""
    if not len(values):
        return "count"
    whole = bool((values == np.floor(values)).all())
    if whole and bool((_digits(values.astype(np.int64)) != _NEVER).mean() >= ENOUGH):
        return "digits"
    size = float(np.sort(np.abs(values))[(len(values) - 1) // 2])
    for unit, least in (("s", 1e8), ("ms", 1e11), ("us", 1e14), ("ns", 1e17)):
        if least <= size < least * 100:
            return unit
    if not whole and values.min() >= 1500 and values.max() < 2200:
        if bool((np.abs(values * 12 - np.round(values * 12)) < MONTHLY).mean() >= ENOUGH):
            return "years"
        raise InputError(
            f"--time-column {name!r} holds numbers such as {values[0]:g}: years with a fraction or seconds; "
            "give --time-format years or count"
        )
    if values.min() >= 20_000 and values.max() < 80_000:
        raise InputError(
            f"--time-column {name!r} holds numbers such as {values[0]:.10g}: days of a spreadsheet or steps of a "
            "second; give --time-format excel or count"
        )
    if size < 1e8:
        return "count"
    raise InputError(
        f"--time-column {name!r} must hold dates, or seconds, milliseconds, microseconds or nanoseconds since 1970, "
        f"got {values[0]:.0f}; give --time-format s, ms, us or ns"
    )


def _digits(values: np.ndarray) -> np.ndarray:
    """Microseconds since 1970, or _NEVER at those that are no date of years 1500 to 2200, written as an integer."""
    times = np.full(len(values), _NEVER, np.int64)
    if len(values) == 0:
        return times
    size = np.where(values > 0, np.floor(np.log10(np.maximum(values, 1) + 0.5)) + 1, 0).astype(int)
    for digits in (4, 6, 8, 10, 12, 14):
        own = size == digits
        if not own.any():
            continue
        rest = values[own]
        parts: list[np.ndarray] = []
        for _ in range((digits - 4) // 2):
            rest, part = np.divmod(rest, 100)
            parts.insert(0, part)
        month, day, hour, minute, second = [*parts, *([None] * 5)][:5]
        one, zero = np.ones(len(rest), np.int64), np.zeros(len(rest), np.int64)
        month = one if month is None else month
        day = one if day is None else day
        hour, minute, second = (zero if part is None else part for part in (hour, minute, second))
        fits = (rest >= 1500) & (rest <= 2200) & (month >= 1) & (month <= 12) & (day >= 1)
        fits &= (hour < 24) & (minute < 60) & (second < 60)
        month = np.where(fits, month, 1)
        year = np.where(fits, rest, 1970)
        start = _days(year, month, day)
        fits &= start < _days(year + month // 12, month % 12 + 1, one)
        micro = (((start * 24 + hour) * 60 + minute) * 60 + second).astype(np.int64) * 1_000_000
        times[own] = np.where(fits, micro, _NEVER)
    return times


def _years(floats: pa.ChunkedArray) -> pa.ChunkedArray:
    """Microseconds since 1970 of years with a fraction; those that are close to the start of a month have that."""
    known = pc.fill_null(pc.and_(pc.greater_equal(floats, 1.0), pc.less(floats, 9999.0)), False)
    years = pc.fill_null(pc.if_else(known, floats, None), 1970.0).to_numpy()
    months = np.round(years * 12)
    start = (months - 1970 * 12).astype(np.int64).astype("datetime64[M]").astype("datetime64[us]")
    year = np.floor(years)
    first, following = (
        _days(each, np.ones(len(years)), np.ones(len(years))) for each in (year, year + 1)
    )
    within = (first + (years - year) * (following - first)) * 86_400_000_000
    monthly = np.abs(years * 12 - months) < MONTHLY
    times = np.where(monthly, start.astype(np.int64), within.astype(np.int64))
    return pa.chunked_array([pa.array(times, mask=~known.to_numpy())])


def _counted(column: pa.ChunkedArray, form: str) -> pa.ChunkedArray:
    """Microseconds for numbers; null for those that are no time."""
    floats = pc.cast(column, pa.float64(), safe=False)
    if form == "excel":
        floats = pc.multiply(pc.subtract(floats, float(_EXCEL)), 86_400.0)
        column, form = floats, "s"
    if form == "years":
        return _years(floats)
    if form == "digits":
        known = pc.fill_null(pc.less(pc.abs(floats), 1e15), False)
        safe = pc.fill_null(pc.if_else(known, floats, None), 0.0).cast(pa.int64(), safe=False)
        times = _digits(safe.to_numpy())
        return pa.chunked_array([pa.array(times, mask=times == _NEVER)])
    factor = STAMP_UNITS[form]
    usable = pc.less(pc.abs(pc.multiply(floats, factor)), FAR)
    if pa.types.is_integer(column.type) and form != "count":
        kept = pc.if_else(usable, column, None).cast(pa.int64())
        return pc.divide(kept, 1000) if form == "ns" else pc.multiply(kept, int(factor))
    return pc.cast(
        pc.round(pc.multiply(pc.if_else(usable, floats, None), factor)), pa.int64(), safe=False
    )
