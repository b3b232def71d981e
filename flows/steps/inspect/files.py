"""Looks at the first rows of files, and says what a training would read there: columns, labels, times, what is odd."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from flows.accounts import Rejected
from flows.datasets.labels import near
from flows.errors import InputError
from flows.steps.inspect.columns import (
    LABEL_NAME,
    TEXT_NAME,
    Column,
    column_of,
    mean_length,
    shown_values,
)
from flows.steps.inspect.series import Times, inspect_series
from flows.store.file_options import FOUND, FileOptions
from flows.store.storage import File
from flows.tables.dialect import Dialect
from flows.tables.files import to_strings, whole_file
from flows.tables.heads import dialect_of
from flows.tables.inputs import find_files
from flows.tables.kinds import as_bytes
from flows.tables.numbers import Marks
from flows.tables.readers import READERS, open_parquet, parquet_rows
from flows.tables.times import require_form
from flows.wording import counted

INSPECTED_ROWS = 5000  # that are looked at, unless another number is asked for
SHOWN_ROWS = 5  # rows


@dataclass(frozen=True)
class Inspection:
    """What was found.

    Attributes:
        files: how many there are.
        size: of all, bytes.
        shape: how the first is written.
        rows: that were looked at; `is_all` where there are no more.
        rejected: those of them that cannot be read.
        columns: in their order.
        head: the first rows.
        times: of readings, as a training would read them.
        no_times: why there are none.
        odd: sentences on what may be wrong.
        command: to run next; empty where none fits.
    """

    files: int
    size: int
    shape: str
    rows: int
    is_all: bool
    rejected: tuple[Rejected, ...]
    columns: tuple[Column, ...]
    head: tuple[tuple[str, ...], ...]
    times: Times | None
    no_times: str
    odd: tuple[str, ...]
    command: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """The same as JSON has it."""
        return asdict(self) | {"rejected": [each._asdict() for each in self.rejected]}


class _Everything:
    """All columns of a file, each called by its own name."""

    wanted: dict[str, str] = {}  # noqa: RUF012 (that the readers of JSONL ask for)

    def select(self, names: list[str], file: File) -> dict[str, str]:
        return {name: name for name in names}


def inspect(
    pattern: str,
    rows: int = INSPECTED_ROWS,
    options: FileOptions = FOUND,
    time_column: str | None = None,
    time_format: str | None = None,
) -> Inspection:
    """Looks at the first rows of the files that an address names.

    Args:
        pattern: a file, a glob or a folder; local or `s3://`.
        rows: how many are looked at.
        options: how they are read.
        time_column: with the time stamps; by default found, as by a training.
        time_format: of them.

    Raises:
        InputError: there is no such file, or the first cannot be read.
    """
    if time_format is not None:
        require_form(time_format)
    files = find_files(pattern, "FILE", tuple(READERS), options)
    table, rejected, is_all = _first_rows(files, rows)
    values = {name: shown_values(table[name]) for name in table.column_names}
    dialect = dialect_of(files[0]) if files[0].kind == "csv" else None
    marks = Marks(dialect.decimal if dialect else ".", options.missing)
    columns = tuple(column_of(name, values[name], marks) for name in values)
    text, label = _text_column(columns, values), _label_column(columns)
    named = next(
        (each.name for each in columns if each.labels and LABEL_NAME.search(each.name)), ""
    )
    times, why = inspect_series(pattern, files[0], options, named, time_column, time_format)
    if times:
        columns = tuple(
            column_of(name, values[name], marks, is_time=name == times.column) for name in values
        )
    odd = [dialect.odd] if dialect and dialect.odd else []
    return Inspection(
        files=len(files),
        size=sum(file.size for file in files),
        shape=_shape(files[0], dialect),
        rows=table.num_rows + len(rejected),
        is_all=is_all,
        rejected=tuple(rejected[:SHOWN_ROWS]),
        columns=columns,
        head=tuple(
            tuple(f"{column[row] or '':.60}" for column in values.values())
            for row in range(min(SHOWN_ROWS, table.num_rows))
        ),
        times=times,
        no_times=why,
        odd=(*odd, *_odd(columns, rejected, table.num_rows, text, label, times)),
        command=tuple(_command(pattern, columns, text, label, named, times, time_format)),
    )


def _first_rows(files: list[File], rows: int) -> tuple[pa.Table, list[Rejected], bool]:
    """So many rows as strings, those among them that cannot be read, and whether there are no more."""
    tables: list[pa.Table] = []
    rejected: list[Rejected] = []
    found = 0
    for file in files:
        with whole_file(file):
            for table, places, bad in _batches(file, rows + 1 - found):
                strings, _ = to_strings(table)
                tables.append(strings.slice(0, rows - found))
                behind = places[rows - found].as_py() if found + len(places) > rows else None
                rejected += [row for row in bad if behind is None or row.place < behind]
                found += table.num_rows
                if found > rows:
                    return _joined(tables), rejected, False
    if not found + len(rejected):
        raise InputError(f"FILE must hold at least one row, found none in {files[0]}")
    return _joined(tables), rejected, True


def _batches(file: File, rows: int) -> Iterator[tuple[pa.Table, pa.Array, list[Rejected]]]:
    if file.kind != "parquet":
        yield from READERS[file.kind](file, _Everything(), None, ())  # type: ignore[arg-type]
        return
    with open_parquet(file) as parquet:
        names = {name: name for name in parquet.schema_arrow.names}
        for table, places in parquet_rows(parquet, names, min(rows, INSPECTED_ROWS), None):
            yield pa.table({name: _as_bytes(table[name]) for name in names}), places, []


def _as_bytes(column: pa.ChunkedArray) -> pa.ChunkedArray:
    try:
        return as_bytes(column)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError):
        shown = [None if value is None else str(value) for value in column.to_pylist()]
        return pa.chunked_array([pa.array(shown, pa.string()).cast(pa.binary())])


def _joined(tables: list[pa.Table]) -> pa.Table:
    return pa.concat_tables(tables, promote_options="default")


def _text_column(columns: Sequence[Column], values: dict[str, list[str | None]]) -> str:
    """The column that most likely holds the text, or an empty name."""
    texts = [each.name for each in columns if each.kind == "text"]

    def likely(name: str) -> tuple[bool, float]:
        present = [value for value in values[name] if value]
        return TEXT_NAME.search(name) is not None, mean_length(present)

    return max(texts, key=likely, default="")


def _label_column(columns: Sequence[Column]) -> str:
    """The column that most likely holds the label, or an empty name: two labels are likelier than more."""
    found = [each for each in columns if each.labels]
    return max(
        found,
        key=lambda each: (LABEL_NAME.search(each.name) is not None, len(each.labels) == 2),
        default=Column("", "", 0, 0, ()),
    ).name


def _shape(file: File, dialect: Dialect | None) -> str:
    """How a file is written, in words."""
    kinds = {"csv": "CSV", "jsonl": "JSON, an object a line", "json": "JSON", "parquet": "Parquet"}
    shape = kinds.get(file.kind, file.kind) if dialect is None else str(dialect)
    return f"{shape}, packed" if file.is_packed else shape


def _odd(  # a branch for each thing that may be odd
    columns: Sequence[Column],
    rejected: Sequence[Rejected],
    rows: int,
    text: str,
    label: str,
    times: Times | None,
) -> Iterator[str]:
    if rejected:
        place, reason = rejected[0]
        yield f"{counted(len(rejected), 'row')} cannot be read; the first is row {place}: {reason}"
    for each in columns:
        if each.kind == "empty":
            yield f"column {each.name!r} is empty"
        elif each.missing > rows / 2:
            yield f"column {each.name!r} misses {each.missing:,} of {rows:,} values"
        if each.distinct == 1 and rows > 1:
            yield f"column {each.name!r} has one value alone, {each.examples[0]!r}"
        if each.name == label and (pair := near(each.labels)):
            yield f"labels {' and '.join(map(repr, pair))} are alike; --join-labels makes one of them"
    if text and not label and not times:
        yield "no column looks like a label; put the name of one in place of LABEL"
    if times:
        yield from times.odd
    if times and times.repeated:
        stamps = counted(times.repeated, "time stamp is", "time stamps are")
        yield f"{stamps} there more than once; where there are several devices: --group-column NAME"
    if times and times.gaps:
        yield f"{counted(times.gaps, 'gap')} in the time stamps"
    if times and not times.is_ordered:
        yield "rows are not in the order of time; a training sorts them"


def _command(
    pattern: str,
    columns: Sequence[Column],
    text: str,
    label: str,
    named: str,
    times: Times | None,
    time_format: str | None,
) -> Iterator[str]:
    """The words of the command to run next."""
    if text and not (times and len(times.features) > 1):
        yield from ("rnnfast", "reviews", "--dataset", pattern)
        yield from _given("--text-column", text, "text")
        yield from _given("--label-column", label or "LABEL", "label")
        if any(each.name == label and near(each.labels) for each in columns):
            yield "--join-labels"
    elif times:
        yield from ("rnnfast", "sensors", "--dataset", pattern)
        yield from _given("--time-column", times.column, "time")
        if time_format is not None:
            yield from ("--time-format", time_format)
        if times.devices:
            yield from ("--group-column", times.devices)
        if named:
            yield from ("--label-column", named)
        if times.sentinels:
            yield from ("--set", f"sentinels={','.join(f'{each:g}' for each in times.sentinels)}")


def _given(option: str, name: str, usual: str) -> tuple[str, ...]:
    return () if name == usual else (option, name)
