"""How CSV, JSONL and Parquet become batches of rows; knows nothing of what the rows mean.

A reader yields (table, places, rejected): columns named after the fields of `Columns`, the place of
each row in the file, and the rows that it could not take apart. Texts stay bytes here, so that one
byte that is not UTF-8 costs its own row and not the whole batch. It reads the whole file, or a range of
its rows as `flows.tables.ranges` cuts them; and all fields, or `only` those that are named, although every
column that is wanted has to be there.
"""

import codecs
import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import accumulate, islice
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from flows.accounts import Rejected
from flows.errors import InputError
from flows.store.storage import File
from flows.tables.columns import Choice, Columns, Fields, Selection
from flows.tables.dialect import Dialect
from flows.tables.heads import dialect_of, encoding_of
from flows.tables.kinds import as_bytes, is_binary, is_text, value_type
from flows.tables.latin1 import as_latin1, from_latin1, is_utf8
from flows.tables.pieces import Piece, pieces
from flows.tables.repeated import FEW, may_repeat
from flows.tables.unfolded import in_utf8

BATCH_ROWS = 8192  # rows of a batch where the format leaves the choice
CSV_BLOCK = 16 << 20  # bytes; a row must fit into one block
NESTED = "the line is nested too deeply"


class RowRange(NamedTuple):
    """Some rows of a file, from `start` on, counted from 0, to before `stop`.

    `size` is their part of the file's bytes, for whoever tells how far a job is. In CSV and JSONL the rows are
    the bytes from `begin` to before `end` of the unpacked content in UTF-8, whose first `head` bytes have the names
    of the columns; of Parquet all three are 0. `dialect` is that of the whole file, so that all ranges have the same.
    """

    start: int
    stop: int
    size: int
    begin: int = 0
    end: int = 0
    head: int = 0
    dialect: Dialect | None = None


RowBatches = Iterator[tuple[pa.Table, pa.Array, list[Rejected]]]


def read_csv(
    file: File, columns: Selection, rows: RowRange | None = None, only: Fields = ()
) -> RowBatches:
    """Reads CSV in any dialect; quoted fields may hold line breaks.

    An empty field is missing, a quoted empty one is a text without words. A row is rejected that has too few or too
    many fields, a quote that is not closed, or the header once more. Row 1 is the first after the header.
    """
    dialect = rows.dialect if rows else dialect_of(file)
    if dialect is None:
        return
    choice = Choice(columns, list(dialect.names), file, only)
    plain = in_utf8(file, dialect.encoding)
    if rows is None:
        content = plain.stream()
        header = content.read(dialect.begin)
    else:
        header = plain.between(0, dialect.begin).to_pybytes() if dialect.header else b""
        content = pa.BufferReader(plain.between(rows.begin, rows.end))
    names = header.removeprefix(codecs.BOM_UTF8).strip(b"\r\n")
    first = rows.start + 1 if rows else 1
    for piece in pieces(
        file, content, CSV_BLOCK, dialect, names if dialect.header == 1 else b"", first
    ):
        for table, places, rejected in _read_piece(piece, dialect, choice):
            yield choice.complete(table, pa.binary()), places, rejected


def _read_piece(piece: Piece, dialect: Dialect, choice: Choice) -> RowBatches:
    """Reads some rows with a header before them."""
    if is_utf8(piece.content):
        yield from _csv_rows(piece, dialect, choice)
        return
    # Arrow decodes a row with too few or too many fields for the handler, and gives up where it is not UTF-8. In
    # other characters rows and fields end where they did.
    latin1 = piece._replace(content=as_latin1(piece.content))
    for table, places, rejected in _csv_rows(latin1, dialect, choice, is_latin1=True):
        texts = {field: from_latin1(table[field]) for field in table.column_names}
        yield pa.table(texts), places, rejected


def _csv_rows(
    piece: Piece, dialect: Dialect, choice: Choice, is_latin1: bool = False
) -> RowBatches:
    """Reads such rows in the characters that they are in; what comes of them is in these characters."""
    rejected: list[Rejected] = []
    first = piece.first
    # The rows of a part are counted from its own header.
    before = first - 2

    def reject(row: pa_csv.InvalidRow) -> str:
        reason = f"{row.expected_columns} fields expected, found {row.actual_columns}"
        place = row.number + before
        rejected.append(Rejected(place, piece.broken.get(place, reason)))
        return "skip"

    # Names that occur twice, or that nobody can read, do not matter to Arrow: it knows columns by their places.
    named = {field: f"c{dialect.names.index(name) + 1}" for field, name in choice.fields.items()}
    wanted = list(dict.fromkeys(named.values())) or ["c1"]
    with pa_csv.open_csv(
        pa.BufferReader(piece.content), *_csv_options(dialect, wanted, reject, is_latin1)
    ) as reader:
        for batch in reader:
            table = _fields_of(batch, named)
            # The handler has seen the rejected rows of this batch, perhaps some of the next one's.
            places = _places(first, batch.num_rows, [row.place for row in rejected])
            first = int(places[-1]) + 1 if len(places) else first
            yield table, pa.array(places, pa.int64()), [r for r in rejected if r.place < first]
            rejected[:] = [row for row in rejected if row.place >= first]
    if rejected:
        empty = pa.table({field: pa.array([], pa.binary()) for field in named})
        yield empty, pa.array([], pa.int64()), rejected


def _csv_options(
    dialect: Dialect,
    wanted: list[str],
    reject: Callable[[pa_csv.InvalidRow], str],
    is_latin1: bool,
) -> tuple[pa_csv.ReadOptions, pa_csv.ParseOptions, pa_csv.ConvertOptions]:
    """How Arrow reads a piece: bytes of the columns that are wanted."""
    # A byte of Latin-1 is up to two of UTF-8, as is a quote that was escaped.
    block_size = CSV_BLOCK * (1 + (is_latin1 or bool(dialect.escape)))
    return (
        pa_csv.ReadOptions(use_threads=False, block_size=block_size),
        pa_csv.ParseOptions(
            delimiter=dialect.separator,
            quote_char=dialect.quote or False,
            escape_char=False if dialect.quote else dialect.escape or False,
            newlines_in_values=True,
            invalid_row_handler=reject,
        ),
        pa_csv.ConvertOptions(
            include_columns=wanted,
            column_types=dict.fromkeys(wanted, pa.binary()),
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )


def _places(first: int, rows: int, gaps: list[int]) -> np.ndarray:
    """The places of so many rows (rows,) from the first one on, without the gaps."""
    return np.setdiff1d(np.arange(first, first + rows + len(gaps)), gaps)[:rows]


def read_jsonl(
    file: File, columns: Columns, rows: RowRange | None = None, only: Fields = ()
) -> RowBatches:
    """Reads one JSON object a line; the file's first one says which columns there are.

    Line by line, so that one broken line costs that line: pyarrow's reader would refuse the file.
    """
    choice: Choice | None = None
    if rows is None:
        plain = in_utf8(file, encoding_of(file))
        content = plain.stream()
    else:
        plain = in_utf8(file, rows.dialect.encoding if rows.dialect else "utf-8")
        content = pa.BufferReader(plain.between(rows.begin, rows.end))
        head = _json_object(plain.between(0, rows.head).to_pybytes())
        if isinstance(head, dict):
            choice = Choice(columns, list(head), file, only)
    with io.BufferedReader(content) as stream:
        lines = enumerate(stream, start=1 + (rows.start if rows else 0))
        while chunk := list(islice(lines, BATCH_ROWS)):
            found: list[dict[str, bytes | None]] = []
            places: list[int] = []
            rejected: list[Rejected] = []
            for place, line in chunk:
                if not line.strip():
                    continue
                row = _json_object(line)
                if isinstance(row, dict):
                    choice = choice or Choice(columns, list(row), file, only)
                    row = _json_fields(row, choice.fields)
                if isinstance(row, str):
                    rejected.append(Rejected(place, row))
                    continue
                found.append(row)
                places.append(place)
            if choice is None:
                wanted = [field for field in columns.wanted if not only or field in only]
                table = pa.table({field: pa.array([], pa.binary()) for field in wanted})
            else:
                own = {f: pa.array([row[f] for row in found], pa.binary()) for f in choice.fields}
                table = choice.complete(pa.table(own), pa.binary())
            yield table, pa.array(places, pa.int64()), rejected


def _json_object(line: bytes) -> dict[str, Any] | str:
    """The object, or the reason why there is none."""
    try:
        # Before the first line there may be a byte-order mark.
        row = json.loads(line.removeprefix(codecs.BOM_UTF8).decode())
    except UnicodeDecodeError as error:
        return f"the line is not UTF-8 (byte {error.start + 1})"
    except RecursionError:
        return NESTED
    except ValueError as error:
        return f"the line is not JSON: {error}"
    return row if isinstance(row, dict) else "the line is not a JSON object"


def _json_fields(row: dict[str, Any], fields: dict[str, str]) -> dict[str, bytes | None] | str:
    """The fields of an object, or the reason why they cannot be used."""
    text = row.get(fields["text"]) if "text" in fields else None
    try:
        if text is not None and not isinstance(text, str):
            return f"the text is {text!r:.40}, not a string"
        return {field: _plain(row.get(name)) for field, name in fields.items()}
    except RecursionError:
        return NESTED


def _plain(value: object) -> bytes | None:
    """Strings as they are, other scalars as JSON writes them; lone surrogates stay not UTF-8."""
    if value is None:
        return None
    text = value if isinstance(value, str) else json.dumps(value)
    return text.encode("utf-8", "surrogatepass")


def read_parquet(
    file: File, columns: Columns, rows: RowRange | None = None, only: Fields = ()
) -> RowBatches:
    """Reads Parquet; Arrow does not check that its strings are UTF-8, so they are read as bytes."""
    with open_parquet(file) as parquet:
        schema = parquet.schema_arrow
        fields = Choice(columns, schema.names, file).fields
        if columns.id is None and "id" in fields and not _is_id(schema.field("id").type):
            del fields["id"]  # nobody asked for it
        for field, name in fields.items():
            if not (field == "label" and _is_list(schema.field(name).type)):
                _require_scalar(schema.field(name).type, field, name, file)
        if "text" in fields:
            _require_text(schema.field(fields["text"]).type, fields["text"], file)
        groups = range(parquet.num_row_groups)
        repeats = "text" in fields and any(
            may_repeat(parquet, group, fields["text"]) for group in groups
        )
        choice = Choice(columns, schema.names, file, only)
        chosen = {field: name for field, name in choice.fields.items() if field in fields}
        for table, places in parquet_rows(
            parquet, chosen, min(FEW, BATCH_ROWS) if repeats else BATCH_ROWS, rows
        ):
            texts = {
                field: _WRITTEN.get(field, as_bytes)(table[field]) for field in table.column_names
            }
            yield choice.complete(pa.table(texts), pa.binary()), places, []


@contextmanager
def open_parquet(file: File) -> Iterator[pq.ParquetFile]:
    """A Parquet file whose columns are read piece by piece: by default they would be in memory as a whole."""
    with (
        file.random() as source,
        pq.ParquetFile(source, buffer_size=1 << 20, pre_buffer=False) as parquet,
    ):
        yield parquet


def parquet_rows(
    parquet: pq.ParquetFile, fields: dict[str, str], batch: int, rows: RowRange | None
) -> Iterator[tuple[pa.Table, pa.Array]]:
    """Streams rows so many at a time: columns named after the `fields`, and the rows' places."""
    start, stop = rows[:2] if rows else (0, parquet.metadata.num_rows)
    sizes = [parquet.metadata.row_group(i).num_rows for i in range(parquet.num_row_groups)]
    firsts = [0, *accumulate(sizes)]
    groups = [i for i, first in enumerate(firsts[:-1]) if first < stop and firsts[i + 1] > start]
    if not groups:
        return
    at = firsts[groups[0]]
    wanted = list(dict.fromkeys(fields.values()))
    for found in parquet.iter_batches(batch, row_groups=groups, columns=wanted):
        first, end = max(start, at), min(stop, at + found.num_rows)
        if first < end:
            part = found.slice(first - at, end - first)
            yield _fields_of(part, fields), pa.array(np.arange(first + 1, end + 1))
        at += found.num_rows
        if at >= stop:
            return


def _fields_of(batch: pa.RecordBatch, fields: dict[str, str]) -> pa.Table:
    """Columns by the names of the fields; without fields, rows alone."""
    table = pa.Table.from_batches([batch])
    columns = [table.column(name) for name in fields.values()]
    return pa.table(columns, names=list(fields))


def _require_text(type_: pa.DataType, name: str, file: File) -> None:
    if not is_text(value_type(type_)):
        raise InputError(f"--text-column must name a column of text, {name!r} of {file} is {type_}")


def _require_scalar(type_: pa.DataType, field: str, name: str, file: File) -> None:
    if pa.types.is_nested(value_type(type_)):
        raise InputError(
            f"--{field}-column must name a column of single values, {name!r} of {file} is {type_}"
        )


def _is_id(type_: pa.DataType) -> bool:
    """Whether ids can be read as they stand, be it text or, say, numbers."""
    type_ = value_type(type_)
    is_other = isinstance(type_, pa.BaseExtensionType) or pa.types.is_nested(type_)
    return not is_other and not is_binary(type_)


def _id_bytes(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Ids as text in bytes: those that are bytes themselves in hexadecimal, UUIDs as these are written."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if not isinstance(column.type, pa.UuidType) and not is_binary(column.type):
        return as_bytes(column)
    values = (value if value is None else str(_hex(value)) for value in column.to_pylist())
    return pa.chunked_array([pa.array(values, pa.string()).cast(pa.binary())])


def _is_list(type_: pa.DataType) -> bool:
    """Whether a column holds lists of single values."""
    is_list = pa.types.is_list(type_) or pa.types.is_large_list(type_)
    return is_list and not pa.types.is_nested(type_.value_type)


def _label_bytes(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Labels as text in bytes: lists as JSON writes them."""
    if not _is_list(column.type):
        return as_bytes(column)
    values = (value if value is None else json.dumps(value) for value in column.to_pylist())
    return pa.chunked_array([pa.array(values, pa.string()).cast(pa.binary())])


def _hex(value: UUID | bytes) -> UUID | str:
    return value.hex() if isinstance(value, bytes) else value


_WRITTEN: dict[str, Callable[[pa.ChunkedArray], pa.ChunkedArray]] = {
    "id": _id_bytes,
    "label": _label_bytes,
}
"""How fields are written as text, but for those that have a plain form."""


READERS: dict[str, Callable[[File, Columns, RowRange | None, Fields], RowBatches]] = {
    "csv": read_csv,
    "jsonl": read_jsonl,
    "parquet": read_parquet,
}
