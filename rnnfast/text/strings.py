"""Texts as the kernel reads them: the buffers of Arrow, or of Python strings joined to the same."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeAlias

import numpy as np
import pyarrow as pa

from rnnfast import _text

Texts: TypeAlias = Iterable[str] | pa.Array | pa.ChunkedArray
"""Python strings, or Arrow's `string` or `large_string`."""
_ROWS = 4096  # Python strings that are joined at a time


def columns(texts: Texts) -> Iterator[_text.Strings]:
    """The texts part by part, each checked before anything is done with it.

    Arrow's texts are not copied. Raises TypeError for a text that is null or no string, with its row, and for Arrow's
    arrays of anything else; ValueError for one that is not UTF-8, or that lies outside its buffer.
    """
    row = 0
    for part in _parts(texts):
        column = _arrow(part, row) if isinstance(part, pa.Array) else joined(part, row)
        yield column
        row += len(column)


def joined(texts: Sequence[str], first_row: int = 0) -> _text.Strings:
    """Python strings, which may hold lone surrogates; `first_row` is what errors call the first one."""
    encoded = []
    for row, text in enumerate(texts, first_row):
        if not isinstance(text, str):
            raise TypeError(f"texts must be strings, got {type(text).__name__} as row {row}")
        encoded.append(text.encode("utf-8", "surrogatepass"))
    offsets = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
    return _text.Strings(b"".join(encoded), offsets, None, 8, 0, len(encoded), first_row)


def _parts(texts: Texts) -> Iterator[pa.Array | Sequence[str]]:
    if isinstance(texts, pa.Array):
        yield texts
    elif isinstance(texts, pa.ChunkedArray):
        yield from texts.chunks
    else:
        rest: Iterator[str] = iter(texts)
        while part := list(islice(rest, _ROWS)):
            yield part


def _arrow(texts: pa.Array, first_row: int) -> _text.Strings:
    if not (pa.types.is_string(texts.type) or pa.types.is_large_string(texts.type)):
        raise TypeError(f"texts must be strings, got an Arrow array of {texts.type}")
    if len(texts) == 0:  # which need not have buffers
        return joined([])
    present, offsets, data = texts.buffers()
    width = 8 if pa.types.is_large_string(texts.type) else 4
    return _text.Strings(data or b"", offsets, present, width, texts.offset, len(texts), first_row)
