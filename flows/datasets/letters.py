"""Streams of bytes as Arrow's reader of CSV can take them: it needs UTF-8, or anything that stands for it."""

import codecs
import io

import pyarrow as pa

_PIECE = 1 << 20  # bytes that are decoded at a time


class NotUtf8Error(Exception):
    """A stream holds a byte that is not UTF-8."""


class Utf8Stream(io.RawIOBase):
    """The bytes as they are; raises NotUtf8Error where they cease to be UTF-8."""

    growth = 1

    def __init__(self, content: pa.NativeFile) -> None:
        self._content = content
        self._decoder = codecs.getincrementaldecoder("utf-8")()

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data: bytes = self._content.read(size)
        view = memoryview(data)
        try:
            for at in range(0, len(data), _PIECE):
                self._decoder.decode(view[at : at + _PIECE])
            self._decoder.decode(b"", final=not data)
        except UnicodeDecodeError as error:
            raise NotUtf8Error from error
        return data

    def close(self) -> None:
        self._content.close()
        super().close()

    @staticmethod
    def name(read: str) -> str:
        """The name of a column that was read so."""
        return read


class Latin1Stream(io.RawIOBase):
    """Every byte as the letter that it is in Latin-1, in UTF-8; without a byte-order mark."""

    growth = 2  # as many bytes may come of one

    def __init__(self, content: pa.NativeFile) -> None:
        self._content = content
        self._mark = codecs.BOM_UTF8

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data: bytes = self._content.read(max(size // self.growth, len(codecs.BOM_UTF8)))
        data, self._mark = data.removeprefix(self._mark), b""
        return data.decode("latin-1").encode()

    def close(self) -> None:
        self._content.close()
        super().close()

    @staticmethod
    def name(read: str) -> str:
        """The name of a column that was read so; raises UnicodeDecodeError."""
        return read.encode("latin-1").decode()


def from_latin1(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The bytes that a column of bytes held before they went through a Latin1Stream."""
    values = (value if value is None else _original(value) for value in column.to_pylist())
    return pa.chunked_array([pa.array(values, pa.binary())])


def _original(value: bytes) -> bytes:
    return value.decode().encode("latin-1")
