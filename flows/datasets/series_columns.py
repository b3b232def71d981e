"""Which columns of files of readings hold the time and the numbers, found from their first rows."""

import re
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from flows.datasets.series_files import KINDS, decoded, marks_of, read_raw
from flows.errors import InputError
from flows.store.file_options import FOUND, FileOptions
from flows.store.storage import File
from flows.tables.columns import folder_columns
from flows.tables.files import whole_file
from flows.tables.heads import dialect_of
from flows.tables.inputs import find_files
from flows.tables.numbers import Marks, count_numbers, is_number, not_a_number
from flows.tables.readers import open_parquet
from flows.tables.times import NUMBER_FORMS, find_form, parse_times

HEAD_ROWS = 100_000  # rows
_REGULAR = 0.9  # share of the distances of regular stamps that are close to the usual one
_SHARED = 0.2  # share of all stamps that a device has, on average
_PAIRED = 8  # columns of which two may tell devices apart together
PRESENT = 0.5  # share of a column's rows that has a value, at the least, for the column to be found
_USUAL = re.compile(
    r"(?i)^(time|times|date|datetime|date[_ ]?time|timestamp|time[_ ]?stamp|ds|ts|utc|when|day|month|year|"
    r"index|step|time[_ ]?step|epoch|.*[_ ](time|date|datetime|timestamp)|(time|date).*)$"
)
_PARTS = (
    ("year", "yr"),
    ("month", "mo"),
    ("day", "dy"),
    ("hour", "hr"),
    ("minute", "min"),
    ("second", "sec"),
)
_CLOCK = r"^([01]?\d|2[0-4])(:[0-5]\d(:[0-5]\d([.,]\d+)?)?|\.[0-5]\d\.[0-5]\d)( ?[AaPp][Mm])?$"
_HHMM = r"^([01]\d|2[0-3])[0-5]\d$"
_HOUR = re.compile(r"(?i)^(.*_)?(hr|hour|hh|hhmm|time|hour of day)$")


@dataclass(frozen=True)
class _All:
    """All columns that have a name of their own."""

    def select(self, names: list[str], file: File) -> dict[str, str]:
        return {name: name for name in names if names.count(name) == 1}


def first_rows(pattern: str, argument: str, options: FileOptions = FOUND) -> tuple[pa.Table, Marks]:
    """The first rows of the first file, texts as strings, and how its numbers are written."""
    file = find_files(pattern, argument, KINDS, options)[0]
    with whole_file(file):
        raw = next((decoded(raw)[0] for raw, _, _ in read_raw(file, _All())), None)
        if raw is None:
            names = _names(file)
            raw = pa.table({name: pa.array([], pa.string()) for name in names})
        return raw.slice(0, HEAD_ROWS), marks_of(file)


def _names(file: File) -> list[str]:
    if file.kind == "parquet":
        with open_parquet(file) as parquet:
            return list(parquet.schema_arrow.names)
    dialect = dialect_of(file)
    return [*(dialect.names if dialect else ()), *folder_columns(file)]


def find_time(rows: pa.Table) -> str:
    """The column that holds the time, or several parted by commas.

    Raises:
        InputError: no column does, or several may.
    """
    names = rows.column_names
    plain = {name.strip().casefold(): name for name in names}
    named = plain.get("time")
    if named and not _is_digits(rows[named]) and _is_time(rows[named], "time"):
        return str(named)
    if parts := _parts(rows, plain):
        return ",".join(parts)
    found = [name for name in names if _is_time(rows[name], name)]
    worded = [name for name in found if not _is_digits(rows[name])]
    dates = [name for name in found if name not in worded and _is_dates(rows[name])]
    usual = [name for name in found if _USUAL.match(name.strip())]
    clocks = [name for name in names if _is_clock(rows[name])] or _hours(rows)
    for candidates in (worded, dates, usual):
        if len(candidates) == 1:
            others = [name for name in clocks if name != candidates[0]]
            if others and _is_midnight(rows[candidates[0]], candidates[0]):
                return f"{candidates[0]},{others[0]}"
            return str(candidates[0])
    if named in usual and not worded:
        return str(named)
    counters = [name for name in names if len(rows) > 2 and _is_counter(rows[name])]
    if not worded and not usual and len(counters) == 1:
        return str(counters[0])
    shown = ", ".join(map(repr, names[:20]))
    if worded or usual:
        several = " and ".join(map(repr, worded or usual))
        raise InputError(
            f"--time-column must name the column with the time: {several} may each be it; columns: {shown}"
        )
    raise InputError(
        f"--time-column must name the column with the time, none of {shown} was found to hold one; where "
        "there is none, --set order=file takes the rows as they come"
    )


def _parts(rows: pa.Table, plain: dict[str, str]) -> list[str]:
    """The columns year, month, day and so on, where they are there and hold numbers."""
    parts = []
    for words in _PARTS:
        name = next((plain[word] for word in words if word in plain), None)
        if name is None:
            break
        parts.append(name)
    return parts if len(parts) >= 2 and all(_is_digits(rows[name]) for name in parts) else []


def _is_digits(column: pa.ChunkedArray) -> bool:
    if is_number(column.type):
        return True
    if not pa.types.is_string(column.type):
        return False
    numbers, there = count_numbers(column, Marks())
    return there > 0 and numbers >= 0.9 * there


def _is_time(column: pa.ChunkedArray, name: str) -> bool:
    kind = column.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return True
    if not (pa.types.is_string(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        return False
    if column.null_count == len(column):
        return False
    if _is_digits(column) and not _USUAL.match(name.strip()):
        return _is_dates(column)
    try:
        form = find_form([column], name)
    except InputError as error:
        # It is the time, and its form is to be given.
        return "first" in str(error) or _is_digits(column)
    return form not in NUMBER_FORMS or _is_digits(column)


def _is_dates(column: pa.ChunkedArray) -> bool:
    """Whether integers of eight digits or more are dates, nearly all of them: these cannot be other numbers."""
    try:
        numbers = pc.cast(column.drop_null(), pa.float64())
    except pa.ArrowInvalid:
        return False
    if len(numbers) < 3 or pc.min(numbers).as_py() < 15_000_101:
        return False
    times = parse_times(column, "digits")
    return bool(times.null_count <= 0.01 * len(times) and pc.count_distinct(times).as_py() > 2)


def _is_clock(column: pa.ChunkedArray) -> bool:
    if pa.types.is_time(column.type):
        return True
    if not pa.types.is_string(column.type):
        return False
    return _all_match(column, _CLOCK)


def _all_match(column: pa.ChunkedArray, pattern: str) -> bool:
    text = column.drop_null()
    return len(text) > 0 and bool(pc.all(pc.match_substring_regex(text, pattern)).as_py())


def _hours(rows: pa.Table) -> list[str]:
    """The columns that by their name and their values hold the hour of the day."""
    found = []
    for name in rows.column_names:
        if not _HOUR.match(name.strip()) or not _is_digits(rows[name]):
            continue
        if pa.types.is_string(rows[name].type) and _all_match(rows[name], _HHMM):
            found.append(name)
            continue
        try:
            hours = pc.unique(rows[name].drop_null().cast(pa.float64())).to_numpy()
        except pa.ArrowInvalid:
            continue
        if len(hours) > 2 and set(hours) <= set(range(25)):
            found.append(name)
    return found


def _is_midnight(column: pa.ChunkedArray, name: str) -> bool:
    """Whether a column holds days."""
    if pa.types.is_date(column.type):
        return True
    if not (pa.types.is_string(column.type) or pa.types.is_integer(column.type)):
        return False
    if _all_match(column.cast(pa.string()), r"^\s*\d{4,6}\s*$"):
        return False  # years or months
    try:
        times = parse_times(column, find_form([column], name)).drop_null()
    except InputError:
        return True
    return bool(
        pc.all(
            pc.equal(times, pc.multiply(pc.divide(times, 86_400_000_000), 86_400_000_000))
        ).as_py()
    )


def _is_counter(column: pa.ChunkedArray) -> bool:
    """Whether integers only count the rows: each is so much more, or less, than the one before it."""
    if (
        not (pa.types.is_integer(column.type) or pa.types.is_string(column.type))
        or column.null_count
    ):
        return False
    try:
        steps = np.diff(column.cast(pa.int64()).to_numpy())
    except pa.ArrowInvalid:
        return False
    return bool(steps[0] != 0 and (steps == steps[0]).all())


def find_devices(rows: pa.Table, time: str, leave: set[str | None]) -> tuple[str, ...]:
    """The column that tells devices apart, or two that do so together; with them a stamp is hardly ever there twice."""
    times = time.split(",") if time not in rows.column_names else [time]
    counts = {}
    for name in rows.column_names:
        kind = rows[name].type
        is_name = (
            pa.types.is_string(kind) or pa.types.is_integer(kind) or pa.types.is_dictionary(kind)
        )
        if name not in times and name not in leave and is_name:
            counts[name] = pc.count_distinct(rows[name]).as_py()
    stamps = rows.group_by(times).aggregate([]).num_rows
    names = sorted(
        (name for name, count in counts.items() if 2 <= count <= rows.num_rows // 2),
        key=lambda name: counts[name],
    )
    for chosen in [*((name,) for name in names), *combinations(names[:_PAIRED], 2)]:
        apart = rows.group_by([*times, *chosen]).aggregate([]).num_rows
        devices = rows.group_by(list(chosen)).aggregate([]).num_rows
        # Devices have many stamps in common; what only differs where a stamp is repeated has not.
        if apart >= 0.95 * rows.num_rows and rows.num_rows >= _SHARED * devices * stamps:
            return chosen
    return ()


def find_interleaved(rows: pa.Table, times: pa.ChunkedArray, leave: set[str]) -> str:
    """The column that tells devices apart whose stamps are regular alone, and irregular all together; else empty."""
    stamps = times.to_numpy()
    if _regular_share(stamps, np.zeros(len(stamps), np.int64)) >= _REGULAR:
        return ""
    for name in rows.column_names:
        kind = rows[name].type
        if name in leave or not (pa.types.is_string(kind) or pa.types.is_integer(kind)):
            continue
        if not 2 <= pc.count_distinct(rows[name]).as_py() <= rows.num_rows // 10:
            continue
        coded = rows[name].combine_chunks().dictionary_encode(null_encoding="encode")
        if _regular_share(stamps, coded.indices.to_numpy()) >= _REGULAR:
            return str(name)
    return ""


def _regular_share(times: np.ndarray, groups: np.ndarray) -> float:
    """Which share of the distances in time within a group is close to the usual one."""
    order = np.lexsort((times, groups))
    steps = np.diff(times[order])[np.diff(groups[order]) == 0]
    steps = steps[steps > 0]  # equal stamps have a message of their own
    usual = np.median(steps) if len(steps) else 0
    return float((np.abs(steps - usual) <= usual / 10).mean()) if usual else 0.0


def find_numbers(
    rows: pa.Table, marks: Marks, leave: set[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The columns that hold numbers, but those to `leave`; and which are left out and why, in sentences."""
    found, empty, counters, mixed = [], [], [], []
    for name in rows.column_names:
        column = rows[name]
        if name in leave or not name.strip():
            continue
        numbers, there = count_numbers(column, marks)
        if len(column) == 0:
            if is_number(column.type):
                found.append(name)
        elif numbers < 0.9 * there or there == 0:
            if numbers > there / 2:
                mixed.append(f"{name!r} ({not_a_number(column, marks)!r:.20})")
        elif numbers < PRESENT * len(column):
            empty.append(f"{name!r} ({1 - numbers / len(column):.0%} missing)")
        elif len(column) > 2 and _is_counter(column):
            counters.append(name)
        else:
            found.append(name)
    if not found:
        found, counters = counters, []
    left_out = {
        "the number of the row": map(repr, counters),
        "not all numbers": mixed,
        "mostly missing": empty,
    }
    groups = ((why, ", ".join(names)) for why, names in left_out.items())
    return tuple(found), tuple(
        f"columns left out of the features, {why}: {names}" for why, names in groups if names
    )


def examples(rows: pa.Table) -> str:
    """What columns of text hold, for whoever expected numbers there."""
    texts = [name for name in rows.column_names if pa.types.is_string(rows[name].type)]
    firsts = {name: rows[name].drop_null().slice(0, 1).to_pylist() for name in texts[:5]}
    shown = [f"{name!r} holds {first[0]!r:.30}" for name, first in firsts.items() if first]
    return f": {', '.join(shown)}" if shown else ""
