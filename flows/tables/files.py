"""Reviews in files of one's own: CSV, JSONL or Parquet, compressed or not, one file or a glob.

A file is streamed, and the rows that cannot be used are set aside, each with its place and the reason. Scoring
lives on that; for training data, where such a row is an error, see `flows.datasets.labelled`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from flows.accounts import Rejected
from flows.errors import InputError, TransferError
from flows.store.storage import File
from flows.tables.columns import Columns, Fields
from flows.tables.readers import READERS, RowRange


class Batch(NamedTuple):
    """Some rows of one file.

    Attributes:
        table: columns id, text, and label and group where they were asked for, all strings. Labels
            and groups may be null, ids and texts may not. Without the text there is no id either.
        places: the place of each row in its file (N,) int64, counted from 1; in JSONL, its line.
        rejected: the rows between them that cannot be used.
    """

    table: pa.Table
    places: pa.Array
    rejected: list[Rejected]


def read_batches(
    file: File, columns: Columns, name: str, rows: RowRange | None = None, only: Fields = ()
) -> Iterator[Batch]:
    """Streams a file.

    Args:
        file: CSV, JSONL or Parquet, by its name.
        columns: which columns hold what.
        name: what the file is called in the ids of rows that have none: `name:place`.
        rows: those to read; None: all.
        only: the fields to read; none: all.

    Raises:
        InputError: the file cannot be read as what its name says, or lacks a column.
        TransferError: the object store did not answer.
    """
    with whole_file(file):
        for raw, places, rejected in READERS[file.kind](file, columns, rows, only):
            yield _usable(raw, places, rejected, name)


@contextmanager
def whole_file(file: File) -> Iterator[None]:
    """Turns what Arrow says of a file that is not what its name says into an InputError.

    And what it says of an object store that does not answer into a TransferError.
    """
    try:
        yield
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, UnicodeDecodeError, OSError) as error:
        if isinstance(error, FileNotFoundError):
            raise InputError(
                f"{file} must stay as it is while it is read, it was removed"
            ) from error
        # Arrow's own errors of a broken stream have no number, those of the system do.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        if isinstance(error, OSError) and "AWS Error" in str(error):
            raise TransferError(f"{file} could not be read: {error}") from error
        raise InputError(f"{file} must be a whole {file.kind} file in UTF-8: {error}") from error


def _usable(raw: pa.Table, places: pa.Array, rejected: list[Rejected], name: str) -> Batch:
    """Moves the rows that have no text, or none in UTF-8, from the table to the rejected ones."""
    has_text = "text" in raw.column_names
    missing = where_false(pc.is_valid(raw["text"])) if has_text else []
    reasons = dict.fromkeys(missing, "the text is missing")
    raw, checked = to_strings(raw)
    for index, column in checked.items():
        reasons.setdefault(index, f"the {column} is not UTF-8")
    if reasons:
        rejected = [*rejected, *(Rejected(places[i].as_py(), why) for i, why in reasons.items())]
        keep = pa.array([index not in reasons for index in range(raw.num_rows)])
        raw, places = raw.filter(keep), places.filter(keep)
    if not has_text:
        return Batch(raw, places, sorted(rejected))
    by_place = pc.binary_join_element_wise(name, pc.cast(places, pa.string()), ":")
    ids = pc.coalesce(raw["id"], by_place) if "id" in raw.column_names else by_place
    rest = {column: raw[column] for column in raw.column_names if column != "id"}
    return Batch(pa.table({"id": ids, **rest}), places, sorted(rejected))


def where_false(mask: pa.ChunkedArray) -> list[int]:
    """The places, counted from 0, where a mask is false."""
    result: list[int] = pc.indices_nonzero(pc.invert(mask)).to_pylist()
    return result


def to_strings(raw: pa.Table) -> tuple[pa.Table, dict[int, str]]:
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
