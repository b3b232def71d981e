"""Cuts files into ranges of rows that can be read each without the rest."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow.parquet as pq

from flows.store.storage import File, blocks
from flows.tables import readers
from flows.tables.dialect import Dialect
from flows.tables.files import whole_file
from flows.tables.heads import dialect_of, encoding_of
from flows.tables.pieces import require_short, row_ends
from flows.tables.readers import RowRange, open_parquet
from flows.tables.repeated import group_bytes
from flows.tables.unfolded import in_utf8
from rnnfast._text import RowEnds


@dataclass(frozen=True)
class FileRows:
    """Some rows of a file."""

    file: File
    rows: RowRange

    def __str__(self) -> str:
        return f"rows {self.rows.start + 1:,} to {self.rows.stop:,} of {self.file}"


def file_rows(
    files: Iterable[File], most_rows: int, most_bytes: int, text: str | None = None
) -> Iterator[FileRows]:
    """The rows of files in ranges, as `row_ranges` has them, each as soon as it is known.

    Args:
        files: known by their place.
        most_rows: of a range.
        most_bytes: of a range, unpacked.
        text: the column of long texts, where there is one.
    """
    for file in files:
        for rows in row_ranges(file, most_rows, most_bytes, text):
            yield FileRows(file, rows)


def row_ranges(
    file: File, most_rows: int, most_bytes: int, text: str | None = None
) -> Iterator[RowRange]:
    """The ranges of a file's rows, in order, each with as many rows as both bounds let it have, at least one.

    CSV and JSONL are read once for it, a block at a time, and a range is handed over as soon as it is known; of
    Parquet the footer says it, but texts that a dictionary stands for, which the footer does not count as often as
    they occur, are measured. A packed file can be read from its first byte alone, so that its last range costs the
    unpacking of all before it.

    Args:
        file: CSV, JSONL or Parquet, by its name.
        most_rows: of a range; in Parquet up to twice as many where it ends where a row group ends.
        most_bytes: of a range, unpacked; in Parquet likewise.
        text: the column of long texts, where there is one.

    Raises:
        InputError: the file is not what its name says.
    """
    with whole_file(file):
        if file.kind == "parquet":
            with open_parquet(file) as parquet:
                rows = max(1, parquet.metadata.num_rows)
                for start, stop in _of_groups(parquet, most_rows, most_bytes, text):
                    yield RowRange(start, stop, file.size * (stop - start) // rows)
        else:
            yield from _of_bytes(file, most_rows, most_bytes)


def _of_groups(
    parquet: pq.ParquetFile, most_rows: int, most_bytes: int, text: str | None
) -> Iterator[tuple[int, int]]:
    """Whole row groups where they are small enough, parts of those that are not."""
    start = stop = size = 0
    for number in range(parquet.num_row_groups):
        group = parquet.metadata.row_group(number)
        before = None if text is None else group_bytes(parquet, number, text)
        # Those that the footer tells are of all columns: of those that are read, unless a dictionary stands for
        # them, an upper bound.
        own = group.total_byte_size if before is None else int(before[-1])
        fits = stop - start + group.num_rows <= most_rows and size + own <= most_bytes
        if start < stop and not fits:
            yield start, stop
            start, size = stop, 0
        first, stop = stop, stop + group.num_rows
        size += own
        parts = max(group.num_rows / (2 * most_rows), own / (2 * most_bytes))
        if parts > 1 and group.num_rows:
            each = min(most_rows, max(1, int(group.num_rows * most_bytes / max(size, 1))))
            while start < stop:
                if before is not None:
                    most = before[start - first] + most_bytes
                    rows = int(np.searchsorted(before, most, "right")) - 1 + first - start
                    each = min(most_rows, max(1, rows))
                yield start, min(start + each, stop)
                start += each
            start, size = stop, 0
    if start < stop:
        yield start, stop


def _of_bytes(file: File, most_rows: int, most_bytes: int) -> Iterator[RowRange]:
    if file.kind == "csv":
        dialect = dialect_of(file)
        if dialect is None:
            return
        plain, scanner, begin = in_utf8(file, dialect.encoding), row_ends(dialect), dialect.begin
    else:
        dialect = Dialect((), encoding=encoding_of(file))
        plain, scanner, begin = in_utf8(file, dialect.encoding), RowEnds(False), 0
    # How far into a file a range is that is packed, or read as another one, nobody says.
    is_plain = plain is file and not file.is_packed
    end, head = begin, 0
    rows = taken = 0  # before `begin`, and from there to `end`
    for place in _row_ends(plain, scanner, begin):
        head = head or place
        if taken and (taken == most_rows or place - begin > most_bytes):
            size = end - begin if is_plain else 0
            yield RowRange(rows, rows + taken, size, begin, end, head, dialect)
            rows, begin, taken = rows + taken, end, 0
        taken, end = taken + 1, place
    if taken:
        size = end - begin if is_plain else file.size
        yield RowRange(rows, rows + taken, size, begin, end, head, dialect)


def _row_ends(file: File, scanner: RowEnds, begin: int) -> Iterator[int]:
    """The places behind each row, the one behind the last row though it have no line end.

    Raises:
        InputError: a row of CSV is too long for Arrow, the rest of the file for all that one can tell.
    """
    row, read, last = 1, begin, begin
    with file.stream() as stream:
        stream.read(begin)
        for block in blocks(stream):
            ends = (scanner.scan(block)[0] + begin).tolist()
            read += len(block)
            if file.kind == "csv":
                require_short(file, row, ends, last, read, readers.CSV_BLOCK)
            yield from ends
            row, last = row + len(ends), ends[-1] if ends else last
    ends = (scanner.finish()[0] + begin).tolist()
    yield from ends
    if scanner.open and (not ends or ends[-1] < read):
        yield read
