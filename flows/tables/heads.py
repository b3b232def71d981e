"""What the first bytes of a file say of it: its kind where its name does not, its encoding, and its dialect."""

import json
import logging
from typing import Any

from flows.store.storage import File
from flows.tables.dialect import HEAD_BYTES, Dialect, find_dialect, find_encoding
from flows.tables.unfolded import in_utf8

_found: dict[tuple[Any, ...], Dialect | None] = {}

logger = logging.getLogger(__name__)


def read_head(file: File) -> bytes:
    """The first bytes of a file, unpacked."""
    with file.stream() as stream:
        return bytes(stream.read(HEAD_BYTES))


def encoding_of(file: File) -> str:
    """The encoding of a file of text."""
    return find_encoding(read_head(file), file.options)


def dialect_of(file: File) -> Dialect | None:
    """How a CSV file is written, logged once; None where there is nothing in it.

    Raises:
        InputError: its header cannot be read.
    """
    key = (str(file), file.size, file.modified, file.options)
    if key not in _found:
        raw = read_head(file)
        encoding = find_encoding(raw, file.options)
        head = raw
        if encoding != "utf-8":
            with in_utf8(file, encoding).stream() as stream:
                head = bytes(stream.read(HEAD_BYTES))
        dialect = find_dialect(head, len(raw) < HEAD_BYTES, encoding, file)
        # A file that is written anew while its time stands still has another dialect.
        if file.modified:
            _found[key] = dialect
        if dialect is not None:
            logger.info("%s: %s", file.name, dialect)
        if dialect is not None and dialect.odd:
            logger.warning("%s: %s", file.name, dialect.odd)
        return dialect
    return _found[key]


def kind_of(file: File) -> str:
    """What a file is by its first bytes: `parquet`, `arrow`, `jsonl`, `json` or `csv`; empty where it is no text."""
    head = read_head(file)
    if head.startswith(b"PAR1"):
        return "parquet"
    if head.startswith((b"ARROW1", b"FEA1")):
        return "arrow"
    if head.startswith(b"PK\x03\x04"):
        return "zip"
    encoding = find_encoding(head, file.options)
    if encoding == "utf-8" and b"\0" in head:
        return ""
    text = head.decode(encoding, "replace").lstrip("\ufeff").lstrip()
    if text.startswith(("{", "[")):
        return json_kind(text)
    return "csv"


def json_kind(text: str) -> str:
    """`jsonl` where the first of several lines is an object by itself, else `json`."""
    line = text.partition("\n")[0]
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return "json"
    has_more = text.partition("\n")[2].strip()
    return "jsonl" if isinstance(value, dict) and has_more else "json"
