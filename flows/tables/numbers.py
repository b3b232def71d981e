"""Numbers of a column: of any type that Parquet has for them, or of text, with the marks for a missing one."""

from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

MISSING_NUMBERS = (  # in any case
    "", "na", "n/a", "n.a.", "#n/a", "#na", "<na>", "nan", "-nan", "1.#qnan", "-1.#ind", "nat", "null", "none", "nil",
    "nd", "n/d", "missing", "no data", "nodata", "\\n", "-", "--", "---", "?", ".", "..", "…", ":", "*", "***",
    "#value!", "#div/0!", "#ref!", "#num!", "#name?",
)  # fmt: skip
_SIGNS = (
    r"^([+-]?)\s*[$€£¥]\s*|\s*[%€]$|^\+"  # of money and of shares, and what Arrow does not read
)
_LOGICAL = r"^(?i:true|false)$"


class Marks(NamedTuple):
    """How numbers are written as text: the decimal mark, a point or a comma, and what else means a missing one."""

    decimal: str = "."
    missing: tuple[str, ...] = ()


def parse_numbers(
    column: pa.ChunkedArray, name: str, reasons: dict[int, str], marks: Marks
) -> pa.ChunkedArray:
    """Numbers as float32; a missing one is null, and so is what is no number, which has a reason as well.

    Args:
        column: of numbers, of truth values (as 0 and 1) or of text.
        name: of the column, for the reasons.
        reasons: of rows that have one; those of this column are added.
        marks: of texts.
    """
    if not pa.types.is_string(column.type):
        return pc.cast(column, pa.float64(), safe=False).cast(pa.float32(), safe=False)
    try:  # what nearly all files hold
        plain = column if marks.decimal == "." else _with_points(column)
        return plain.cast(pa.float64()).cast(pa.float32(), safe=False)
    except pa.ArrowInvalid:
        pass
    text, known = _numbers_alone(column, marks)
    for row in pc.indices_nonzero(pc.and_(pc.is_valid(text), pc.invert(known))).to_pylist():
        reasons.setdefault(row, f"{name!r} must be a number, got {column[row].as_py()!r:.40}")
    return pc.if_else(known, text, None).cast(pa.float64()).cast(pa.float32(), safe=False)


def count_numbers(column: pa.ChunkedArray, marks: Marks) -> tuple[int, int]:
    """How many values are numbers, and how many are there at all."""
    if not pa.types.is_string(column.type):
        return (0 if not is_number(column.type) else len(column) - column.null_count,
                len(column) - column.null_count)  # fmt: skip
    text, known = _numbers_alone(column, marks)
    return pc.sum(known).as_py() or 0, len(text) - text.null_count


def not_a_number(column: pa.ChunkedArray, marks: Marks) -> str:
    """The first text that is there and is no number."""
    text, known = _numbers_alone(column, marks)
    return str(text.filter(pc.and_(pc.is_valid(text), pc.invert(known)))[0])


def is_number(kind: pa.DataType) -> bool:
    """Whether a type is that of numbers or truth values."""
    types = pa.types
    return bool(
        types.is_floating(kind)
        or types.is_integer(kind)
        or types.is_decimal(kind)
        or types.is_boolean(kind)
    )


def _with_points(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Decimal commas as points; a point that is there would part thousands, and leaves no number below 2 of 1.234."""
    return pc.replace_substring(pc.replace_substring(column, ".", "no number"), ",", ".")


def _numbers_alone(
    column: pa.ChunkedArray, marks: Marks
) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
    """The texts without missing ones and with truth values as numbers, and which of them are numbers."""
    text = pc.utf8_trim_whitespace(column)
    blank = pa.array([*MISSING_NUMBERS, *(each.strip().lower() for each in marks.missing)])
    text = pc.if_else(pc.is_in(pc.utf8_lower(text), blank), None, text)
    logical = pc.match_substring_regex(text, _LOGICAL)
    text = pc.if_else(logical, pc.if_else(pc.match_substring_regex(text, "^[tT]"), "1", "0"), text)
    text = pc.replace_substring_regex(text, _SIGNS, r"\1")
    if (
        marks.decimal == ","
    ):  # a point would part thousands: 1.234 is not taken for a number below 2
        text = pc.if_else(pc.match_substring(text, "."), "no number", text)
        text = pc.replace_substring(text, ",", ".")
    number = pc.match_substring_regex(
        text, r"^-?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$|^[+-]?(?i:inf|infinity)$"
    )
    return text, pc.fill_null(number, False)
