"""Reviews in files of one's own: CSV, JSONL or Parquet, compressed or not, one file or a glob.

`read_batches` streams a file and sets aside the rows that cannot be used, each with its place and
the reason; scoring lives on that. `read` is for training data, where such a row is an error.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from flows.datasets.base import SCHEMA, Splits
from flows.datasets.readers import READERS, Columns, Rejected, RowRange
from flows.errors import InputError
from flows.progress import bar
from flows.storage import File, find


class Batch(NamedTuple):
    """Some rows of one file.

    Attributes:
        table: columns id, text, and label and group where they were asked for, all strings. Labels
            and groups may be null, ids and texts may not.
        places: the place of each row in its file (N,) int64, counted from 1; in JSONL, its line.
        rejected: the rows between them that cannot be used.
    """

    table: pa.Table
    places: pa.Array
    rejected: list[Rejected]


def read_batches(
    file: File, columns: Columns, name: str, rows: RowRange | None = None
) -> Iterator[Batch]:
    """Streams a file.

    Args:
        file: CSV, JSONL or Parquet, by its name.
        columns: which columns hold what.
        name: what the file is called in the ids of rows that have none: `name:place`.
        rows: those to read; None: all.

    Raises:
        InputError: the file cannot be read as what its name says, or lacks a column.
    """
    with whole_file(file):
        for raw, places, rejected in READERS[file.kind](file, columns, rows):
            yield _usable(raw, places, rejected, name)


@contextmanager
def whole_file(file: File) -> Iterator[None]:
    """Turns what Arrow says of a file that is not what its name says into an InputError."""
    try:
        yield
    except (pa.ArrowInvalid, UnicodeDecodeError, OSError) as error:
        # Arrow's own errors of a broken stream have no number, those of the system do.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise InputError(f"{file} must be a whole {file.kind} file in UTF-8: {error}") from error


def _usable(raw: pa.Table, places: pa.Array, rejected: list[Rejected], name: str) -> Batch:
    """Moves the rows that have no text, or none in UTF-8, from the table to the rejected ones."""
    texts = raw["text"]
    reasons = dict.fromkeys(_where_false(pc.is_valid(texts)), "the text is missing")
    raw, checked = _to_strings(raw)
    for index, column in checked.items():
        reasons.setdefault(index, f"the {column} is not UTF-8")
    if reasons:
        rejected = [*rejected, *(Rejected(places[i].as_py(), why) for i, why in reasons.items())]
        keep = pa.array([index not in reasons for index in range(raw.num_rows)])
        raw, places = raw.filter(keep), places.filter(keep)
    by_place = pc.binary_join_element_wise(name, pc.cast(places, pa.string()), ":")
    ids = pc.coalesce(raw["id"], by_place) if "id" in raw.column_names else by_place
    rest = {column: raw[column] for column in raw.column_names if column != "id"}
    return Batch(pa.table({"id": ids, **rest}), places, sorted(rejected))


def _where_false(mask: pa.ChunkedArray) -> list[int]:
    return pc.indices_nonzero(pc.invert(mask)).to_pylist()


def _to_strings(raw: pa.Table) -> tuple[pa.Table, dict[int, str]]:
    """Binary columns as strings; rows that are not UTF-8 are named and become null."""
    broken: dict[int, str] = {}
    strings = {}
    for column in raw.column_names:
        try:
            strings[column] = raw[column].cast(pa.string())
        except pa.ArrowInvalid:
            values = [_decoded(value) for value in raw[column].to_pylist()]
            broken |= {
                index: column
                for index, (value, valid) in enumerate(
                    zip(values, raw[column].is_valid().to_pylist(), strict=True)
                )
                if valid and value is None
            }
            strings[column] = pa.chunked_array([pa.array(values, pa.string())])
    return pa.table(strings), broken


def _decoded(value: bytes | None) -> str | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return None


def read(pattern: str, columns: Columns, test_pattern: str | None = None) -> Splits:
    """Reads training data, and test data where it has files of its own.

    The label that sorts last, by value where both are numbers and else by letter, becomes 1: so 1
    of 0 and 1, "positive" of "negative" and "positive", "yes" of "no" and "yes".

    Raises:
        InputError: a file or column is missing, there is no row, a row has no text, no label or is
            not UTF-8, or there are other than two labels.
    """
    train = _read_files(pattern, columns, "--dataset")
    labels = _two_labels(train["label"], f"--label-column {columns.label!r}")
    tables = [train]
    if test_pattern is not None:
        test = _read_files(test_pattern, columns, "--test-dataset")
        unknown = sorted(set(pc.unique(test["label"]).to_pylist()) - set(labels))
        if unknown:
            raise InputError(
                f"--test-dataset must hold the labels of --dataset, {labels[0]!r} and "
                f"{labels[1]!r}; found {unknown[0]!r} as well"
            )
        tables.append(test)
    encoded = [_encoded(table, labels) for table in tables]
    return Splits(encoded[0], encoded[1] if len(encoded) == 2 else None, labels)


def _read_files(pattern: str, columns: Columns, argument: str) -> pa.Table:
    files = find(pattern, argument, tuple(READERS))
    tables = []
    with bar("reading reviews", None, unit="rows") as advance:
        for file in files:
            name = file.name if len(files) == 1 else str(file)
            for batch in read_batches(file, columns, name):
                if batch.rejected:
                    place, why = batch.rejected[0]
                    raise InputError(f"{argument} {file}, row {place}: {why}")
                _require_labels(batch, file, columns)
                tables.append(batch.table)
                advance(batch.table.num_rows)
    table = pa.concat_tables(tables) if tables else None
    if table is None or table.num_rows == 0:
        raise InputError(f"{argument} must hold at least one row, found none in {pattern!r}")
    return table


def _require_labels(batch: Batch, file: File, columns: Columns) -> None:
    labels = batch.table["label"]
    if labels.null_count:
        row = batch.places[_where_false(pc.is_valid(labels))[0]]
        raise InputError(
            f"--label-column {columns.label!r} must have a label in every row, "
            f"row {row} of {file} has none"
        )


def _two_labels(labels: pa.ChunkedArray, argument: str) -> tuple[str, str]:
    counts = {c["values"]: c["counts"] for c in pc.value_counts(labels).to_pylist()}
    if len(counts) != 2:
        shown = ", ".join(f"{label!r:.40} ({counts[label]} rows)" for label in sorted(counts)[:5])
        more = f" and {len(counts) - 5:,} more" if len(counts) > 5 else ""
        raise InputError(
            f"{argument} must hold exactly two distinct labels, "
            f"found {len(counts):,}: {shown}{more}"
        )
    try:
        first, second = sorted(counts, key=float)
    except ValueError:
        first, second = sorted(counts)
    return first, second


def _encoded(table: pa.Table, labels: tuple[str, str]) -> pa.Table:
    label = pc.equal(table["label"], labels[1]).cast(pa.int8())
    groups = table["group"] if "group" in table.column_names else pa.nulls(len(table), pa.string())
    return pa.table([table["id"], table["text"], label, groups], schema=SCHEMA)
