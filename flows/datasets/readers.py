"""How CSV, JSONL and Parquet become batches of rows; knows nothing of what the rows mean.

A reader yields (table, places, rejected): columns named after the fields of `Columns`, the place of
each row in the file, and the rows that it could not take apart. Texts stay bytes here, so that one
byte that is not UTF-8 costs its own row and not the whole batch.
"""

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from flows.errors import InputError

ROWS = 8192  # rows of a batch where the format leaves the choice
CSV_BLOCK = 16 << 20  # bytes; a row must fit into one block


@dataclass(frozen=True)
class Columns:
    """Names of the columns to read; None for what is not wanted.

    `id` is wanted by default where the file has a column of that name.
    """

    text: str = "text"
    label: str | None = None
    group: str | None = None
    id: str | None = None

    @property
    def wanted(self) -> dict[str, str]:
        """Which column is to hold which field: {field: column}."""
        return {field: name for field, name in vars(self).items() if name is not None}

    def select(self, names: list[str], path: Path) -> dict[str, str]:
        """Which of the columns `names` of a file holds which field: {field: column}.

        Raises:
            InputError: a column that is wanted is not among them.
        """
        for field, name in self.wanted.items():
            require_column(f"--{field}-column", name, names, path)
        return ({"id": "id"} if "id" in names else {}) | self.wanted


def require_column(argument: str, name: str, names: list[str], path: Path) -> None:
    """Raises InputError unless a file that has the columns `names` has the column `name`."""
    if name not in names:
        shown = ", ".join(map(repr, names[:10])) + (", ..." if len(names) > 10 else "")
        raise InputError(
            f"{argument} must name a column of {path}, which has {shown}; got {name!r}"
        )


class Selection(Protocol):
    """What a reader needs to know of the columns that are wanted."""

    def select(self, names: list[str], path: Path) -> dict[str, str]:
        """Which of the columns `names` of a file holds which field: {field: column}."""


class Rejected(NamedTuple):
    """A row that cannot be used: its place in the file, counted from 1, and the reason."""

    place: int
    reason: str


Rows = Iterator[tuple[pa.Table, pa.Array, list[Rejected]]]


def read_csv(path: Path, columns: Selection) -> Rows:
    """Reads CSV with a header; quoted fields may hold line breaks.

    An empty field is missing, a quoted empty one is a text without words. A row with too few or too
    many fields is rejected. Row 1 is the first after the header.
    """
    rejected: list[Rejected] = []

    def reject(row: pa_csv.InvalidRow) -> str:
        reason = f"{row.expected_columns} fields expected, found {row.actual_columns}"
        rejected.append(Rejected(row.number - 1, reason))
        return "skip"

    def open_reader(wanted: list[str] | None) -> pa_csv.CSVStreamingReader:
        return pa_csv.open_csv(
            pa.input_stream(str(path), compression="detect"),
            pa_csv.ReadOptions(use_threads=False, block_size=CSV_BLOCK),
            pa_csv.ParseOptions(newlines_in_values=True, invalid_row_handler=reject),
            pa_csv.ConvertOptions(
                include_columns=wanted,
                column_types=dict.fromkeys(wanted or (), pa.binary()),
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )

    try:
        with open_reader(None) as reader:
            names = reader.schema.names
    except pa.ArrowInvalid as error:
        if "Empty CSV file" in str(error):
            return
        raise
    fields = columns.select(names, path)
    rejected.clear()
    first = 1
    with open_reader(list(dict.fromkeys(fields.values()))) as reader:
        for batch in reader:
            table = pa.table({field: batch.column(name) for field, name in fields.items()})
            # The handler has seen the rejected rows of this batch, perhaps some of the next one's.
            places: list[int] = []
            gaps = {row.place for row in rejected}
            place = first
            while len(places) < table.num_rows:
                if place not in gaps:
                    places.append(place)
                place += 1
            first = place
            yield table, pa.array(places, pa.int64()), [r for r in rejected if r.place < first]
            rejected[:] = [row for row in rejected if row.place >= first]
    if rejected:
        empty = pa.table({field: pa.array([], pa.binary()) for field in fields})
        yield empty, pa.array([], pa.int64()), rejected


def read_jsonl(path: Path, columns: Columns) -> Rows:
    """Reads one JSON object a line; the first one says which columns there are.

    Line by line, so that one broken line costs that line: pyarrow's reader would refuse the file.
    """
    fields: dict[str, str] | None = None
    with io.BufferedReader(pa.input_stream(str(path), compression="detect")) as file:
        lines = enumerate(file, start=1)
        while chunk := list(islice(lines, ROWS)):
            rows: list[dict[str, Any]] = []
            places: list[int] = []
            rejected: list[Rejected] = []
            for place, line in chunk:
                if not line.strip():
                    continue
                row = _json_object(line)
                if isinstance(row, str):
                    rejected.append(Rejected(place, row))
                    continue
                fields = fields or columns.select(list(row), path)
                text = row.get(fields["text"])
                if text is not None and not isinstance(text, str):
                    rejected.append(Rejected(place, f"the text is {text!r:.40}, not a string"))
                    continue
                rows.append({field: _plain(row.get(name)) for field, name in fields.items()})
                places.append(place)
            table = {
                field: pa.array([row[field] for row in rows], pa.binary())
                for field in fields or columns.wanted
            }
            yield pa.table(table), pa.array(places, pa.int64()), rejected


def _json_object(line: bytes) -> dict[str, Any] | str:
    """The object, or the reason why there is none."""
    try:
        row = json.loads(line.decode())
    except UnicodeDecodeError as error:
        return f"the line is not UTF-8 (byte {error.start + 1})"
    except ValueError as error:
        return f"the line is not JSON: {error}"
    return row if isinstance(row, dict) else "the line is not a JSON object"


def _plain(value: object) -> bytes | None:
    """Strings as they are, other scalars as JSON writes them; lone surrogates stay not UTF-8."""
    if value is None:
        return None
    text = value if isinstance(value, str) else json.dumps(value)
    return text.encode("utf-8", "surrogatepass")


def read_parquet(path: Path, columns: Columns) -> Rows:
    """Reads Parquet; Arrow does not check that its strings are UTF-8, so they are read as bytes."""
    # With pre_buffer, the default, the whole file would come to be in memory.
    with pq.ParquetFile(path, pre_buffer=False) as file:
        fields = columns.select(file.schema_arrow.names, path)
        _require_text(file.schema_arrow.field(fields["text"]).type, fields["text"], path)
        first = 1
        wanted = list(dict.fromkeys(fields.values()))
        for batch in file.iter_batches(batch_size=ROWS, columns=wanted):
            table = pa.table({f: _as_bytes(batch.column(name)) for f, name in fields.items()})
            places = pa.array(range(first, first + table.num_rows), pa.int64())
            first += table.num_rows
            yield table, places, []


def _require_text(type_: pa.DataType, name: str, path: Path) -> None:
    if pa.types.is_dictionary(type_):
        type_ = type_.value_type
    if not _is_text(type_):
        raise InputError(f"--text-column must name a column of text, {name!r} of {path} is {type_}")


def _as_bytes(column: pa.Array) -> pa.Array:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    return (column if _is_text(column.type) else column.cast(pa.string())).cast(pa.binary())


def _is_text(type_: pa.DataType) -> bool:
    # Arrow spells every variant so: large_string, string_view, fixed_size_binary, ...
    return "string" in str(type_) or "binary" in str(type_)


READERS: dict[str, Callable[[Path, Columns], Rows]] = {
    "csv": read_csv,
    "jsonl": read_jsonl,
    "parquet": read_parquet,
}
