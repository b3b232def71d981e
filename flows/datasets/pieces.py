"""CSV a piece at a time: whole rows, with the names of the columns before them, that Arrow reads from memory."""

from collections.abc import Iterator

from flows.errors import InputError
from flows.storage import File, blocks
from rnnfast._text import RowEnds


def pieces(file: File, most: int) -> Iterator[tuple[bytes, int]]:
    """The rows of a file in pieces, and the place of the first row of each, counted from 1 after the header.

    Of a file without rows there is one piece.

    Args:
        file: CSV.
        most: bytes of a row.

    Raises:
        InputError: a row has more.
    """
    scanner = RowEnds(True)
    head: bytes | None = None
    waiting, begin, read = (
        bytearray(),
        0,
        0,
    )  # what waits, from where in the file on, and up to where
    handed = 0  # rows, the header among them
    with file.stream() as stream:
        for block in blocks(stream):
            ends = scanner.scan(block).tolist()
            waiting += block
            read += len(block)
            require_short(file, handed, ends, begin, read, most)
            if head is None and ends:
                head, begin, handed = bytes(waiting[: ends[0]]), ends[0], 1
                del waiting[:begin]
                ends = ends[1:]
            if ends:
                assert head is not None
                yield with_head(head, bytes(waiting[: ends[-1] - begin])), handed
                del waiting[: ends[-1] - begin]
                begin, handed = ends[-1], handed + len(ends)
    if waiting or handed < 2:
        yield with_head(head or b"", bytes(waiting)), max(handed, 1)


def with_head(head: bytes, rows: bytes) -> bytes:
    """Rows, with the names of the columns before them."""
    return head.rstrip(b"\r\n") + b"\n" + rows if head else rows


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
    for number, end in enumerate([*ends, read]):
        if end - begin > most:
            raise InputError(
                f"{file}, row {row + number}: a row must have at most {most:,} bytes, this one has more; "
                "most likely it has a quote that is not closed"
            )
        begin = end
