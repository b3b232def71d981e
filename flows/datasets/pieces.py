"""CSV a piece at a time: whole rows, with the names of the columns before them, that Arrow reads from memory."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from flows.errors import InputError
from flows.storage import File, blocks
from rnnfast._text import RowEnds


def pieces(
    file: File, stream: pa.NativeFile, most: int, head: bytes | None = None, row: int = 0
) -> Iterator[tuple[bytes, int]]:
    """The rows of a file in pieces, and the place of the first row of each, counted from 1 after the header.

    Without rows there is one piece.

    Args:
        file: CSV.
        stream: its content, or some rows of it.
        most: bytes of a row.
        head: the names of the columns, where the stream does not begin with them.
        row: the place of the first row in the stream, that of the header being 0.

    Raises:
        InputError: a row has more bytes.
    """
    scanner = RowEnds(True)
    waiting = bytearray()
    begin = read = 0  # from where in the stream on it waits, and up to where
    is_first = True
    with stream:
        for block in blocks(stream):
            ends = scanner.scan(block).tolist()
            waiting += block
            read += len(block)
            require_short(file, row, ends, begin, read, most)
            if head is None and ends:
                head, begin, row = bytes(waiting[: ends[0]]), ends[0], row + 1
                del waiting[:begin]
                ends = ends[1:]
            if ends:
                assert head is not None
                yield _with_head(head, waiting[: ends[-1] - begin]), row
                del waiting[: ends[-1] - begin]
                begin, row, is_first = ends[-1], row + len(ends), False
    if waiting or is_first:
        yield _with_head(head or b"", waiting), max(row, 1)


def _with_head(head: bytes, rows: bytearray) -> bytes:
    """Rows, with the names of the columns before them."""
    return b"".join([head.rstrip(b"\r\n"), b"\n", rows] if head else [rows])


def require_short(file: File, row: int, ends: list[int], begin: int, read: int, most: int) -> None:
    """Raises InputError where a row has more bytes than `most`, be it one whose end was not found yet.

    A quote that is not closed makes one row of all that comes after it.

    Args:
        file: CSV.
        row: the place of the first of the rows, the header's being 0.
        ends: the places behind these rows.
        begin: where the first one begins.
        read: up to where the file was read.
        most: bytes of a row.
    """
    sizes = np.diff([begin, *ends, read])
    if sizes.max() > most:
        number = row + int(np.flatnonzero(sizes > most)[0])
        raise InputError(
            f"{file}, row {number}: a row must have at most {most:,} bytes, this one has more; "
            "most likely it has a quote that is not closed"
        )
