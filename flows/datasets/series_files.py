"""Readings in files of one's own: CSV or Parquet, one file or a glob, read in columns.

A reading has a time stamp, a number for each channel, and where wanted a group (a device or person)
and a label. Time stamps are ISO 8601 with or without an offset (without: UTC), or seconds since 1970.
An empty number is missing. A row whose time or number cannot be read is an error in training; scoring
sets it aside with its place and the reason.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from flows.datasets.files import to_strings, where_false, whole_file
from flows.datasets.kinds import as_bytes, is_text, value_type
from flows.datasets.readers import (
    Rejected,
    RowRange,
    Rows,
    open_parquet,
    parquet_rows,
    read_csv,
    require_column,
)
from flows.errors import InputError
from flows.storage import File, find

logger = logging.getLogger(__name__)

KINDS = ("csv", "parquet")
BATCH = 1 << 16  # rows of a batch of Parquet
_MICROSECONDS = pa.timestamp("us")
_PER_UNIT = {"s": 1e6, "ms": 1e3, "us": 1.0, "ns": 1e-3}
# Microseconds from 1970: the distance of any two times is a number of 64 bits.
_FAR = float(1 << 62)


@dataclass(frozen=True)
class SeriesColumns:
    """Names of the columns to read; a channel's field is its own name with `=` before it."""

    time: str
    channels: tuple[str, ...]
    group: str | None = None
    label: str | None = None

    def select(self, names: list[str], file: File) -> dict[str, str]:
        """Which column holds which field: {field: column}.

        Raises:
            InputError: a column that is wanted is not among the `names`.
        """
        wanted = {"time": self.time, "group": self.group, "label": self.label}
        fields = {field: name for field, name in wanted.items() if name is not None}
        for field, name in fields.items():
            require_column(f"--{field}-column", name, names, file)
        for name in self.channels:
            require_column("--features or --target", name, names, file)
        left = [name for name in names if name not in {*fields.values(), *self.channels}]
        if left:
            logger.info("%s: columns that are not read: %s", file.name, ", ".join(left[:20]))
        return fields | {f"={name}": name for name in self.channels}


def numeric_columns(pattern: str, argument: str, leave: set[str]) -> tuple[str, ...]:
    """The columns of the first file whose first rows are numbers, but those to `leave`."""
    file = find(pattern, argument, KINDS)[0]
    with whole_file(file):
        if file.kind == "parquet":
            with open_parquet(file) as parquet:
                first = parquet.schema_arrow.empty_table()
        else:
            first = next(_head(file), pa.table({}))
    return tuple(
        field.name
        for field in first.schema
        if field.name not in leave
        and (pa.types.is_floating(field.type) or pa.types.is_integer(field.type))
    )


def _head(file: File) -> Iterator[pa.Table]:
    from pyarrow import csv

    try:
        with csv.open_csv(file.stream()) as reader:
            yield pa.Table.from_batches([reader.read_next_batch()])
    except (StopIteration, pa.ArrowInvalid):
        return


def read_series(
    pattern: str,
    columns: SeriesColumns,
    argument: str,
    rejected: list[tuple[str, Rejected]] | None = None,
) -> Iterator[pa.Table]:
    """Streams the readings of files in batches, as `flows.datasets.base` says.

    Args:
        pattern: the address of CSV or Parquet files.
        columns: which columns hold what.
        argument: the option that gave the address, for errors.
        rejected: where rows that cannot be read go, each with its file; None: they are errors.

    Raises:
        InputError: a file or column is missing or broken, or a row cannot be read.
    """
    for file in find(pattern, argument, KINDS):
        for table, bad in read_readings(file, columns):
            if rejected is not None:
                rejected += ((file.name, row) for row in bad)
            elif bad:
                raise InputError(f"{argument} {file}, row {bad[0].place}: {bad[0].reason}")
            yield table


def read_readings(
    file: File, columns: SeriesColumns, rows: RowRange | None = None
) -> Iterator[tuple[pa.Table, list[Rejected]]]:
    """Streams the readings of a file, or of some of its rows, and those rows that cannot be read."""
    reader = read_csv if file.kind == "csv" else _read_parquet
    with whole_file(file):
        for raw, places, broken in reader(file, columns, rows):
            table, bad = _typed(raw, places, columns)
            yield table, sorted([*broken, *bad])


def _read_parquet(file: File, columns: SeriesColumns, rows: RowRange | None) -> Rows:
    with open_parquet(file) as parquet:
        fields = columns.select(parquet.schema_arrow.names, file)
        for table, places in parquet_rows(parquet, fields, BATCH, rows):
            yield table, places, []


def _typed(
    raw: pa.Table, places: pa.Array, columns: SeriesColumns
) -> tuple[pa.Table, list[Rejected]]:
    """The fields with their types, and the rows that cannot be read, which are left out."""
    raw, broken = _decoded(raw)
    names = {"time": columns.time, "group": columns.group, "label": columns.label}
    reasons = {
        row: f"{names.get(field) or field.removeprefix('=')!r} is not UTF-8"
        for row, field in broken.items()
    }
    times = _times(raw["time"], columns.time, reasons)
    channels = {name: _numbers(raw[f"={name}"], name, reasons) for name in columns.channels}
    empty = pa.nulls(raw.num_rows, pa.string())
    keys = {
        field: raw[field].cast(pa.string()) if field in raw.column_names else empty
        for field in ("group", "label")
    }
    table = pa.table({"time": times, **keys, **channels})
    if not reasons:
        return table, []
    keep = np.ones(raw.num_rows, bool)
    keep[list(reasons)] = False
    bad = [Rejected(places[row].as_py(), reason) for row, reason in reasons.items()]
    return table.filter(pa.array(keep)), bad


def _decoded(raw: pa.Table) -> tuple[pa.Table, dict[int, str]]:
    """The columns of text as strings; of rows that are not UTF-8 the last such column."""
    texts = [name for name in raw.column_names if is_text(value_type(raw[name].type))]
    strings, broken = to_strings(pa.table({name: as_bytes(raw[name]) for name in texts}))
    rest = {name: raw[name] for name in raw.column_names if name not in texts}
    return pa.table(rest | {name: strings[name] for name in texts}), broken


def _numbers(column: pa.ChunkedArray, name: str, reasons: dict[int, str]) -> pa.ChunkedArray:
    """Numbers as float32; what is no number is null, and has a reason."""
    if not pa.types.is_string(column.type):
        return pc.cast(column, pa.float64(), safe=False).cast(pa.float32(), safe=False)
    text = pc.utf8_trim_whitespace(column)
    text = pc.if_else(pc.is_in(text, pa.array(["", "NA", "null"])), None, text)
    return _cast_rows(text, pa.float64(), f"{name!r} must be a number", reasons).cast(
        pa.float32(), safe=False
    )


def _times(column: pa.ChunkedArray, name: str, reasons: dict[int, str]) -> pa.ChunkedArray:
    """Microseconds since 1970 in UTC; what is no time stamp is null, and has a reason."""
    rule = f"{name!r} must be a time stamp"
    if pa.types.is_date(column.type):
        unit = "s" if pa.types.is_date32(column.type) else "ms"
        column = column.cast(pa.timestamp(unit))
    if pa.types.is_timestamp(column.type):
        numbers = column.cast(pa.int64())
        _in_range(numbers, _PER_UNIT[column.type.unit], rule, reasons)
        times = column.cast(pa.timestamp("us", column.type.tz), safe=False).cast(pa.int64())
    elif pa.types.is_string(column.type):
        times = _parsed_times(column, rule, reasons)
    else:
        times = _from_seconds(pc.cast(column, pa.float64(), safe=False), rule, reasons)
    for row in pc.indices_nonzero(pc.is_null(times)).to_pylist():
        reasons.setdefault(row, f"{rule}, it is missing")
    return times


def _parsed_times(column: pa.ChunkedArray, rule: str, reasons: dict[int, str]) -> pa.ChunkedArray:
    text = pc.utf8_trim_whitespace(column)
    # "2006-04-01 00:00:00.000 +0200": Arrow wants no space before an offset.
    text = pc.replace_substring_regex(text, r"\s+([+-]\d\d:?\d\d|Z)$", r"\1")
    number = pc.match_substring_regex(text, r"^-?\d{6,}(\.\d*)?$")
    offset = pc.match_substring_regex(text, r"\d\d:.*([+-]\d\d:?(\d\d)?|Z)$")
    zoned = _cast_rows(pc.if_else(offset, text, None), pa.timestamp("us", "UTC"), rule, reasons)
    plain = pc.if_else(pc.or_(offset, number), None, text)
    local = _cast_rows(plain, _MICROSECONDS, rule, reasons)
    seconds = _cast_rows(pc.if_else(number, text, None), pa.float64(), rule, reasons)
    return pc.coalesce(
        zoned.cast(pa.int64()), local.cast(pa.int64()), _from_seconds(seconds, rule, reasons)
    )


def _from_seconds(seconds: pa.ChunkedArray, rule: str, reasons: dict[int, str]) -> pa.ChunkedArray:
    """Microseconds for seconds in float64; those that are no time are null, and have a reason."""
    usable = _in_range(seconds, 1e6, rule, reasons)
    return pc.cast(pc.multiply(pc.if_else(usable, seconds, None), 1e6), pa.int64(), safe=False)


def _in_range(
    numbers: pa.ChunkedArray, factor: float, rule: str, reasons: dict[int, str]
) -> pa.ChunkedArray:
    """Whether times in some unit, `factor` microseconds, are times; the others have a reason."""
    # NaN is not less than anything.
    usable = pc.less(pc.abs(pc.multiply(pc.cast(numbers, pa.float64(), safe=False), factor)), _FAR)
    for row in where_false(usable):
        reasons.setdefault(row, f"{rule}, got {numbers[row].as_py()!r:.40}")
    return usable


def _cast_rows(
    text: pa.ChunkedArray, kind: pa.DataType, rule: str, reasons: dict[int, str]
) -> pa.ChunkedArray:
    """The strings as another type; those that are none of it become null, and have a reason."""
    try:
        return text.cast(kind)
    except pa.ArrowInvalid:
        values = [value or None for value in text.to_pylist()]
        for row, value in enumerate(values):
            try:
                pa.scalar(value, pa.string()).cast(kind)
            except pa.ArrowInvalid:
                values[row] = None
                reasons.setdefault(row, f"{rule}, got {value!r:.40}")
        return pa.chunked_array([pa.array(values, pa.string())]).cast(kind)
