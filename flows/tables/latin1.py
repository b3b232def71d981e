"""Bytes that are not all UTF-8, in the characters of Latin-1, in which every byte is one."""

import codecs

import numpy as np
import pyarrow as pa

_PIECE = 1 << 20  # bytes that are taken at a time


def is_utf8(content: bytes | bytearray) -> bool:
    """Whether all of it is UTF-8."""
    whole = pa.py_buffer(np.array([0, len(content)], np.int64))
    one = pa.Array.from_buffers(pa.large_binary(), 1, [None, whole, pa.py_buffer(content)])
    try:
        one.cast(pa.large_string())
    except pa.ArrowInvalid:
        return False
    return True


def as_latin1(content: bytes | bytearray) -> bytearray:
    """Every byte as the letter that it is in Latin-1, in UTF-8; without a byte-order mark."""
    begin = len(codecs.BOM_UTF8) if content.startswith(codecs.BOM_UTF8) else 0
    result = bytearray()
    for at in range(begin, len(content), _PIECE):
        result += content[at : at + _PIECE].decode("latin-1").encode()
    return result


def from_latin1(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column of bytes as it was before `as_latin1`."""
    values = (value if value is None else _original(value) for value in column.to_pylist())
    return pa.chunked_array([pa.array(values, pa.binary())])


def _original(value: bytes) -> bytes:
    return value.decode().encode("latin-1")
