"""CSV a piece at a time: whole rows, with names for the columns before them, that Arrow reads from memory."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from flows.errors import InputError
from flows.store.storage import File, blocks
from flows.tables.dialect import Dialect
from rnnfast._text import RowEnds, without_escapes

UNCLOSED = "a quote is not closed"
REPEATED = "the row repeats the header"


class Piece(NamedTuple):
    """Some rows of CSV.

    Attributes:
        content: the rows with a header before them, their quotes doubled.
        first: the place of the first row, counted from 1.
        broken: the places of rows that are spoiled, with the reason. In the content each has a field too many.
    """

    content: bytes | bytearray
    first: int
    broken: dict[int, str]


def row_ends(dialect: Dialect) -> RowEnds:
    """Finds where the rows of a file end that is written in a dialect."""
    return RowEnds(True, *dialect.signs, fields=len(dialect.names))


def pieces(
    file: File, stream: pa.NativeFile, most: int, dialect: Dialect, header: bytes, row: int = 1
) -> Iterator[Piece]:
    """The rows of a file in pieces.

    Args:
        file: CSV.
        stream: its rows, or some of them.
        most: bytes of a row.
        dialect: how they are written.
        header: the row with the names as it is written; a row that is the same counts for none.
        row: the place of the first row in the stream.

    Raises:
        InputError: a row has more bytes.
    """
    scanner = row_ends(dialect)
    waiting = bytearray()
    begin = read = 0  # from where in the stream on it waits, and up to where

    def taken(ends: list[int], broken: list[int]) -> Iterator[Piece]:
        nonlocal begin, row
        if ends:
            content = waiting[: ends[-1] - begin]
            places = [end - begin for end in ends]
            yield _piece(content, places, {end - begin for end in broken}, dialect, header, row)
            del waiting[: ends[-1] - begin]
            begin, row = ends[-1], row + len(ends)

    with stream:
        for block in blocks(stream):
            ends, broken = (places.tolist() for places in scanner.scan(block))
            waiting += block
            read += len(block)
            require_short(file, row, ends, begin, read, most)
            yield from taken(ends, broken)
    ends, broken = (places.tolist() for places in scanner.finish())
    if waiting and (not ends or ends[-1] < read) and scanner.open:
        ends.append(read)
    yield from taken(ends, broken)


def _piece(
    content: bytearray,
    ends: list[int],
    unclosed: set[int],
    dialect: Dialect,
    header: bytes,
    first: int,
) -> Piece:
    """Rows as Arrow can read them; `ends` and `unclosed` are places in the content."""
    broken = {number: UNCLOSED for number, end in enumerate(ends) if end in unclosed}
    broken |= dict.fromkeys(_repeats(content, ends, dialect, header), REPEATED)
    if broken:
        spoiled = dialect.separator.encode() * len(dialect.names) + b"\n"
        begins = [0, *ends]
        parts: list[bytes | bytearray] = []
        at = 0
        for number in sorted(broken):
            parts += [content[at : begins[number]], spoiled]
            at = ends[number]
        content = bytearray().join([*parts, content[at:]])
    rows: bytes | bytearray = content
    if dialect.escape and dialect.quote:
        rows = without_escapes(content, *dialect.signs)
    whole = b"".join([dialect.head, rows])
    return Piece(whole, first, {number + first: why for number, why in broken.items()})


def _repeats(content: bytearray, ends: list[int], dialect: Dialect, header: bytes) -> list[int]:
    """Which of the rows are the header once more, as where files were put together; not of one column."""
    if len(dialect.names) < 2 or not header:
        return []
    found = []
    at = content.find(header)
    while at >= 0:
        number = int(np.searchsorted(ends, at, "right"))
        begin = ends[number - 1] if number else 0
        row = bytes(content[begin : ends[number]]) if number < len(ends) else b""
        if row.removeprefix(b"\n").removeprefix(b"\xef\xbb\xbf").rstrip(b"\r\n") == header:
            found.append(number)
        at = content.find(header, at + len(header))
    return found


def require_short(file: File, row: int, ends: list[int], begin: int, read: int, most: int) -> None:
    """Raises InputError where a row has more bytes than `most`, be it one whose end was not found yet.

    A quote that is not closed makes one row of all that comes after it.

    Args:
        file: CSV.
        row: the place of the first of the rows.
        ends: the places behind these rows.
        begin: where the first one begins.
        read: up to where the file was read.
        most: bytes of a row.
    """
    places = np.array([begin, *ends, read], np.int64)
    sizes = np.diff(places)
    if sizes.max() > most:
        number = row + int(np.flatnonzero(sizes > most)[0])
        raise InputError(
            f"{file}, row {number}: a row must have at most {most:,} bytes, this one has more; "
            "most likely it has a quote that is not closed"
        )
