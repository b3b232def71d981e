"""Readings in files of one's own: CSV or Parquet, one file or a glob, read in columns.

A reading has a time stamp, a number for each channel, and where wanted a group (a device or person)
and a label. Time stamps have the one form that their column has (`flows.tables.times`); without an offset they are UTC.
An empty number is missing, and so is what `flows.tables.numbers` or an option says; rows without any value are
passed over. A row whose time or number cannot be read is an error in training; scoring
sets it aside with its place and the reason.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from flows.accounts import Rejected
from flows.datasets.labels import joined_labels
from flows.errors import InputError
from flows.store.file_options import FOUND, FileOptions
from flows.store.storage import File
from flows.tables.columns import (
    Choice,
    Selection,
    label_columns,
    label_fields,
    require_column,
)
from flows.tables.files import to_strings, whole_file
from flows.tables.heads import dialect_of
from flows.tables.inputs import find_files
from flows.tables.kinds import as_bytes, is_text, value_type
from flows.tables.numbers import Marks, parse_numbers
from flows.tables.readers import (
    RowBatches,
    RowRange,
    open_parquet,
    parquet_rows,
    read_csv,
)
from flows.tables.times import FAR, FORM_NAMES, STAMP_UNITS, find_form, parse_times
from flows.wording import counted
from rnnfast.training.run_folder import SeriesInfo

logger = logging.getLogger(__name__)

KINDS = ("csv", "parquet")
PARQUET_BATCH = 1 << 16  # rows of a batch of Parquet


@dataclass(frozen=True)
class SeriesColumns:
    """Names of the columns to read; a channel's field is its own name with `=` before it.

    An empty name of the time takes the rows as they come, all of them at the time 0.
    """

    time: str
    channels: tuple[str, ...]
    group: str | None = None
    label: str | None = None
    time_format: str = ""

    @property
    def label_fields(self) -> tuple[str, ...]:
        """The fields of labels: label, label1 and so on."""
        return label_fields(self.label)

    def select(self, names: list[str], file: File) -> dict[str, str]:
        """Which column holds which field: {field: column}.

        Raises:
            InputError: a column that is wanted is not among the `names`.
        """
        labels = dict(zip(self.label_fields, label_columns(self.label), strict=True))
        wanted = {"time": self.time, "group": self.group, **labels}
        fields = {field: name for field, name in wanted.items() if name is not None}
        fields = {
            field: require_column(f"--{field.rstrip('0123456789')}-column", name, names, file)
            for field, name in fields.items()
            if field != "time"
        }
        fields |= {
            "time" + str(place or ""): require_column("--time-column", name, names, file)
            for place, name in enumerate(time_columns(self.time, names))
        }
        channels = {
            f"={name}": require_column("--features or --target", name, names, file)
            for name in self.channels
        }
        left = [n for n in names if n not in {*fields.values(), *channels.values()}]
        if left and self.channels:
            logger.info("%s: columns that are not read: %s", file.name, ", ".join(left[:20]))
        return fields | channels


def columns_of_run(
    series: SeriesInfo, time_column: str | None, group_column: str | None
) -> SeriesColumns:
    """The columns that a trained model reads, those that are given in place of its own."""
    return SeriesColumns(
        time_column or series.time_column,
        series.own,
        group_column or series.group_column,
        time_format="" if time_column else series.time_format,
    )


def read_series(
    pattern: str,
    columns: SeriesColumns,
    argument: str,
    rejected: list[tuple[str, Rejected]] | None = None,
    options: FileOptions = FOUND,
) -> Iterator[pa.Table]:
    """Streams the readings of files in batches, as `flows.datasets.base` says.

    Args:
        pattern: the address of CSV or Parquet files.
        columns: which columns hold what.
        argument: the option that gave the address, for errors.
        rejected: where rows that cannot be read go, each with its file; None: they are errors.
        options: how the files are read.

    Raises:
        InputError: a file or column is missing or broken, or a row cannot be read.
    """
    files = find_files(pattern, argument, KINDS, options)
    columns = with_form(files, columns)
    for file in files:
        for table, bad in read_readings(file, columns):
            if rejected is not None:
                rejected += ((file.name, row) for row in bad)
            elif bad:
                reason = f"{argument} {file}, row {bad[0].place}: {bad[0].reason}"
                raise InputError(f"{reason}; correct the row or remove it{_hint(bad[0])}")
            yield table


def _hint(row: Rejected) -> str:
    """What else can be done about a row that cannot be read."""
    if "must be a number" in row.reason:
        return ", or say by --missing what means a missing number"
    return ", or give --time-format" if "must be a time stamp, got" in row.reason else ""


def read_readings(
    file: File, columns: SeriesColumns, rows: RowRange | None = None
) -> Iterator[tuple[pa.Table, list[Rejected]]]:
    """Streams the readings of a file, or of some of its rows, and those rows that cannot be read."""
    with whole_file(file):
        columns = with_form([file], columns)
        marks = marks_of(file, rows)
        blank = 0
        for raw, places, broken in read_raw(file, columns, rows):
            kept = _with_content(raw)
            if kept is not None:
                blank += raw.num_rows - (pc.sum(kept).as_py() or 0)
                raw, places = raw.filter(kept), places.filter(kept)
            table, bad = _typed(raw, places, columns, marks)
            yield table, sorted([*broken, *bad])
        if blank:
            logger.warning(
                "%s: %s without a value, as empty lines are", file.name, counted(blank, "row")
            )


def typed_rows(
    rows: pa.Table, columns: SeriesColumns, marks: Marks, file: File
) -> tuple[pa.Table, list[Rejected], str]:
    """The first rows of a file as `read_readings` has them, those that cannot be read, and the form of the time.

    Raises:
        InputError: the time stamps have no form that is known, or two fit.
    """
    fields = columns.select(rows.column_names, file)
    raw = pa.table({field: rows[name] for field, name in fields.items()})
    places = pa.array(np.arange(1, raw.num_rows + 1))
    if (kept := _with_content(raw)) is not None:
        raw, places = raw.filter(kept), places.filter(kept)
    if columns.time and not columns.time_format:
        columns = replace(columns, time_format=find_form([_one_time(raw)], columns.time))
    return *_typed(raw, places, columns, marks), columns.time_format


def _with_content(raw: pa.Table) -> pa.Array | None:
    """Which rows hold a value, where some do not: spreadsheets write separators alone below a table."""
    if "time" in raw.column_names and raw["time"].null_count == 0:
        return None
    valid = [pc.is_valid(column) for column in raw.columns]
    kept = valid[0]
    for each in valid[1:]:
        kept = pc.or_(kept, each)
    return None if pc.all(kept).as_py() else kept.combine_chunks()


def with_form(files: Sequence[File], columns: SeriesColumns) -> SeriesColumns:
    """The columns with the form of the time stamps, found from the files where it is not given.

    Raises:
        InputError: the time stamps have no form that is known, or two fit.
    """
    if columns.time_format or not columns.time:
        return columns
    alone = replace(columns, channels=(), group=None, label=None)
    raws = (decoded(raw)[0] for file in files for raw, _, _ in read_raw(file, alone))
    form = find_form((_one_time(raw) for raw in raws), columns.time)
    if form != "iso":
        logger.info("time stamps in %r: %s", columns.time, FORM_NAMES.get(form, form))
    return replace(columns, time_format=form)


def read_raw(file: File, columns: Selection, rows: RowRange | None = None) -> RowBatches:
    """Reads the columns of a file of any kind as they stand there."""
    return (read_csv if file.kind == "csv" else _read_parquet)(file, columns, rows)


def marks_of(file: File, rows: RowRange | None = None) -> Marks:
    """How the numbers of a file are written."""
    dialect = None
    if file.kind == "csv":
        dialect = rows.dialect if rows else dialect_of(file)
    return Marks(dialect.decimal if dialect else ".", file.options.missing)


def time_columns(time: str, names: list[str]) -> list[str]:
    """The columns that are one time together, such as `year,month,day,hour`."""
    if not time:
        return []
    if time in names or "," not in time:
        return [time]
    return [name.strip() for name in time.split(",")]


def _one_time(raw: pa.Table) -> pa.ChunkedArray:
    """The time of each row, of several columns as one text."""
    names = [name for name in raw.column_names if name.rstrip("0123456789") == "time"]
    if len(names) == 1:
        return raw["time"]
    parts = [pc.utf8_trim_whitespace(raw[name].cast(pa.string())) for name in names]
    parts = [pc.replace_substring_regex(part, r"\.0*$", "") for part in parts]
    if len(parts) == 2:  # 1305 is a time of day
        parts[1] = pc.replace_substring_regex(parts[1], r"^(\d{2})(\d{2})$", r"\1:\2")
    first = pc.match_substring_regex(parts[0], r"^\d{4}$")
    by_parts = len(parts) > 2 or pc.all(pc.match_substring_regex(parts[1], r"^\d{1,2}$")).as_py()
    marks = ["-", "-", " ", ":", ":"] if pc.any(first).as_py() and by_parts else [" "] * len(parts)
    text = parts[0]
    for mark, part in zip(marks, parts[1:], strict=False):
        text = pc.binary_join_element_wise(text, part, mark)
    return text


def _read_parquet(file: File, columns: Selection, rows: RowRange | None) -> RowBatches:
    with open_parquet(file) as parquet:
        choice = Choice(columns, parquet.schema_arrow.names, file)
        for table, places in parquet_rows(parquet, choice.fields, PARQUET_BATCH, rows):
            yield choice.complete(table, pa.string()), places, []


def _typed(
    raw: pa.Table, places: pa.Array, columns: SeriesColumns, marks: Marks
) -> tuple[pa.Table, list[Rejected]]:
    """The fields with their types, and the rows that cannot be read, which are left out."""
    raw, broken = decoded(raw)
    names = {"time": columns.time, "group": columns.group, "label": columns.label}
    reasons = {
        row: f"{names.get(field) or field.removeprefix('=')!r} is not UTF-8"
        for row, field in broken.items()
    }
    times: pa.ChunkedArray | pa.Array = pa.array(np.zeros(raw.num_rows, np.int64))
    if columns.time:
        times = _times(_one_time(raw), columns, reasons)
    channels = {
        name: parse_numbers(raw[f"={name}"], name, reasons, marks) for name in columns.channels
    }
    empty = pa.nulls(raw.num_rows, pa.string())
    raw = joined_labels(raw, columns.label)
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


def decoded(raw: pa.Table) -> tuple[pa.Table, dict[int, str]]:
    """The columns of text as strings; of rows that are not UTF-8 the last such column."""
    texts = [name for name in raw.column_names if is_text(value_type(raw[name].type))]
    strings, broken = to_strings(pa.table({name: as_bytes(raw[name]) for name in texts}))
    columns = {name: strings[name] if name in texts else raw[name] for name in raw.column_names}
    return pa.table(columns), broken


def _times(
    column: pa.ChunkedArray, columns: SeriesColumns, reasons: dict[int, str]
) -> pa.ChunkedArray:
    """Microseconds since 1970 in UTC; what is no time stamp is null, and has a reason."""
    rule = f"{columns.time!r} must be a time stamp"
    if pa.types.is_date(column.type):
        unit = "s" if pa.types.is_date32(column.type) else "ms"
        column = column.cast(pa.timestamp(unit))
    if pa.types.is_timestamp(column.type):
        numbers = pc.cast(column.cast(pa.int64()), pa.float64(), safe=False)
        usable = pc.less(pc.abs(pc.multiply(numbers, STAMP_UNITS[column.type.unit])), FAR)
        safe = pc.if_else(usable, column.cast(pa.int64()), None).cast(column.type)
        times = safe.cast(pa.timestamp("us", column.type.tz), safe=False).cast(pa.int64())
    else:
        times = parse_times(column, columns.time_format)
    missing = pc.is_null(times)
    if pc.any(missing).as_py():
        shown = column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column
        for row in pc.indices_nonzero(missing).to_pylist():
            value = shown[row].as_py()
            found = "it is missing" if value is None else f"got {value!r:.40}"
            reasons.setdefault(row, f"{rule}, {found}")
    return times
