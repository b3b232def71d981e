"""How a CSV file is written: found once from its first bytes, whatever it is read with.

Python's `csv.Sniffer` looks at a few characters and is often wrong; `clevercsv` is right more often, but reads the
whole file in Python. Here each candidate reads the first rows, and the one counts whose rows have most often as many
fields as the header.
"""

import codecs
import csv
import io
import itertools
import logging
import re
from collections import Counter
from typing import NamedTuple

from flows.errors import InputError
from flows.store.file_options import FileOptions
from flows.store.storage import File

HEAD_BYTES = 1 << 20  # bytes of a file that are looked at
_SEPARATORS = (",", ";", "\t", "|")
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_LOOKED_AT = 200  # lines from which it is told what is above the header
_LONGEST = 10_000  # letters of a column's name
_NAMES = {"\t": "tab", " ": "space"}
_NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?")

logger = logging.getLogger(__name__)


class Dialect(NamedTuple):
    """How a CSV file is written.

    Attributes:
        names: of the columns, without the spaces around them; c1, c2, ... where there is none.
        separator: one character.
        quote: one character, or empty.
        escape: what is before a quote in quotes; empty: a quote is doubled.
        encoding: as Python calls it.
        decimal: the mark of numbers.
        header: the line that has the names, counted from 1; 0: none.
        begin: where the first row begins, in bytes of the content in UTF-8: the header's end.
        odd: what may be wrong, in a sentence; empty: nothing.
    """

    names: tuple[str, ...]
    separator: str = ","
    quote: str = '"'
    escape: str = ""
    encoding: str = "utf-8"
    decimal: str = "."
    header: int = 1
    begin: int = 0
    odd: str = ""

    def __str__(self) -> str:
        parts = [f"CSV, separator {_NAMES.get(self.separator, repr(self.separator))}"]
        parts.append(self.encoding.upper())
        if not self.quote:
            parts.append("no quotes")
        elif self.quote != '"':
            parts.append(f"quotes {self.quote}")
        if self.escape:
            parts.append(
                f"quotes escaped by {self.escape!r}" if self.quote else f"escape {self.escape!r}"
            )
        if self.decimal != ".":
            parts.append(f"decimal mark {self.decimal!r}")
        parts.append(f"header in line {self.header}" if self.header else "no header")
        return ", ".join(parts)

    @property
    def signs(self) -> tuple[int, int, int]:
        """Separator, quote and escape as numbers; -1 for what there is not."""
        separator, quote, escape = (ord(sign) if sign else -1 for sign in self[1:4])
        return separator, quote, escape

    @property
    def head(self) -> bytes:
        """A header with names that nothing can misread: c1, c2, ... in the file's separator."""
        names = (f"c{number + 1}" for number in range(len(self.names)))
        return self.separator.join(names).encode() + b"\n"


def find_encoding(head: bytes, options: FileOptions) -> str:
    """The encoding by the option, the byte-order mark, or where the zeros are; else UTF-8."""
    mark = next((name for sign, name in _MARKS if head.startswith(sign)), None)
    if options.encoding is not None:
        # What "utf-16" leaves open, the mark says.
        asked = options.encoding
        if mark and mark.startswith(asked):
            return mark
        return f"{asked}-le" if asked in ("utf-16", "utf-32") else asked
    if mark:
        return mark
    even, odd = head[:4096:2].count(0), head[1:4096:2].count(0)
    least = len(head[:4096]) // 5
    if odd > least and even < least // 8 + 1:
        return "utf-16-le"
    if even > least and odd < least // 8 + 1:
        return "utf-16-be"
    return "utf-8"


def find_dialect(head: bytes, is_whole: bool, encoding: str, file: File) -> Dialect | None:
    """How a file is written.

    Args:
        head: its first bytes, in UTF-8.
        is_whole: whether there are no more.
        encoding: that it has in the file.
        file: whose options count.

    Returns:
        None where there is no row, and no header either.

    Raises:
        InputError: the header cannot be read.
    """
    text = head.decode("utf-8", "surrogateescape").removeprefix("\ufeff")
    mark = len(codecs.BOM_UTF8) if head.startswith(codecs.BOM_UTF8) else 0
    before, separator = _before_header(text)
    text = text[len(before) :]
    if not text.strip():
        return None
    options = file.options
    if options.header:
        above = _above_header(_whole_lines(text, is_whole), options.separator or separator)
        before, text = before + text[:above], text[above:]
    separator, quote, escape = _signs(_whole_lines(text, is_whole), options, separator, file)
    lines = _Lines(text)
    try:
        first = next(_reader(lines, separator, quote, escape, strict=False))
    except (csv.Error, StopIteration) as error:
        raise InputError(f"{file}: the header in line 1 cannot be read: {error}") from error
    line = before.count("\n") or before.count("\r")
    rows = _rows(_whole_lines(text, is_whole), separator, quote, escape)
    decimal = options.decimal or _decimal(rows, separator)
    dialect = Dialect((), separator, quote, escape, encoding, decimal)
    if not options.header:
        names = tuple(f"c{number + 1}" for number in range(len(first)))
        begin = mark + len(before.encode("utf-8", "surrogateescape"))
        return dialect._replace(names=names, header=0, begin=begin)
    broken = [name for name in first if _is_broken(name)]
    if broken:
        raise InputError(
            f"{file} must be a whole csv file in UTF-8: the header has a name that is not; if the file has another "
            "encoding, give it by --encoding"
        )
    if max(map(len, first)) > _LONGEST:
        raise InputError(f"{file}: the header in line {line + 1} has a quote that is not closed")
    stripped = [name.strip().strip("\ufeff") for name in first]
    names = tuple(name or f"c{number + 1}" for number, name in enumerate(stripped))
    if _names_rows(rows):
        names = ("c0", *names) if (rows[1] or [""])[-1] else (*names, f"c{len(names) + 1}")
    header = before + text[: lines.taken]
    begin = mark + len(header.encode("utf-8", "surrogateescape"))
    odd = _looks_like_data(stripped)
    return dialect._replace(names=names, header=line + 1, begin=begin, odd=odd)


def is_table(text: str, file: File) -> bool:
    """Whether a text is a table with columns: nine of ten rows have as many fields as the first, more than one."""
    before, declared = _before_header(text)
    whole = _whole_lines(text[len(before) :], is_whole=len(text) < HEAD_BYTES // 4)
    rows = _rows(whole, *_signs(whole, file.options, declared, file))
    fields = len(rows[0] or ()) if rows else 0
    return len(rows) > 1 < fields and sum(len(r or ()) == fields for r in rows) >= 0.9 * len(rows)


class _Lines:
    """The lines of a text, whatever ends them, and how many letters of it were taken."""

    def __init__(self, text: str) -> None:
        self._lines = iter(io.StringIO(text, newline=""))
        self.taken = 0

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.taken += len(line)
        return line


def _before_header(text: str) -> tuple[str, str]:
    """What is before the header: empty lines, comments and Excel's `sep=;`; and the separator that this names."""
    separator, size = "", 0
    for line in io.StringIO(text, newline=""):
        content = line.strip()
        declared = re.fullmatch(r'"?sep=(.)"?', line.strip("\r\n"), re.IGNORECASE)
        if declared:
            separator = declared[1]
        elif content and not (content.startswith("#") and size + len(line) < len(text)):
            break
        size += len(line)
    else:
        return "", separator
    return text[:size], separator


def _above_header(text: str, declared: str) -> int:
    """How many letters are above the header: lines that programs write there, with fewer fields than all rows have.

    The header is taken to be the first line with as many fields as the rows, where it holds no number and the rows do.
    """
    for separator in (declared,) if declared else _SEPARATORS:
        lines = _Lines(text)
        reader = _reader(lines, separator, '"', "", strict=False)
        rows, starts, start = [], [], 0
        try:
            for row in itertools.islice(reader, _LOOKED_AT):
                rows.append(row)
                starts.append(start)
                start = lines.taken
        except csv.Error:
            continue
        fields, count = Counter(len(row) for row in rows if row).most_common(1)[0]
        first = next(place for place, row in enumerate(rows) if len(row) == fields)
        if fields == 1 or first == 0 or count < 0.9 * len([row for row in rows[first:] if row]):
            continue
        values = [row for row in rows[first + 1 :] if len(row) == fields]
        if _is_one_less(rows[first - 1], fields) and _numbers_in([rows[first]]):
            first -= 1  # names of all columns but the first
        if first and not _numbers_in([rows[first]]) and _numbers_in(values):
            return starts[first]
    return 0


def _is_one_less(row: list[str], fields: int) -> bool:
    """Whether a row has the names of all columns but one."""
    return len(row) == fields - 1 > 0 and not _numbers_in([row])


def _names_rows(rows: list[list[str] | None]) -> bool:
    """Whether nearly all rows have a field more than the header: their name, as R writes it, or an empty last one."""
    names = rows[0] if rows else None
    if not names or len(rows) < 2 or not _numbers_in(rows[1:]):
        return False
    more = sum(row is not None and _is_one_less(names, len(row)) for row in rows[1:])
    return more >= 0.9 * (len(rows) - 1)


def _numbers_in(rows: list[list[str] | None]) -> bool:
    """Whether some place holds a number in most of the rows."""
    counts = Counter(
        place
        for row in rows
        for place, field in enumerate(row or ())
        if _NUMBER.fullmatch(field.strip())
    )
    return bool(counts) and counts.most_common(1)[0][1] > len(rows) / 2


def _whole_lines(text: str, is_whole: bool) -> str:
    """Without the last line, where it may go on."""
    if is_whole:
        return text
    end = max(text.rfind("\n"), text.rfind("\r"))
    return text[: end + 1] if end >= 0 else text


def _reader(lines: "io.StringIO | _Lines", separator: str, quote: str, escape: str, strict: bool):  # type: ignore[no-untyped-def]
    return csv.reader(
        lines,
        delimiter=separator,
        quotechar=quote or None,
        quoting=csv.QUOTE_MINIMAL if quote else csv.QUOTE_NONE,
        escapechar=escape or None,
        strict=strict,
    )


def _rows(text: str, separator: str, quote: str, escape: str) -> list[list[str] | None]:
    """The rows of a text, empty lines left out; None for one whose quotes are not in order."""
    reader = _reader(io.StringIO(text, newline=""), separator, quote, escape, strict=True)
    rows: list[list[str] | None] = []
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return rows
        except csv.Error:
            rows.append(None)
        else:
            if row:
                rows.append(row)


def _signs(text: str, options: FileOptions, declared: str, file: File) -> tuple[str, str, str]:
    """Separator, quote and escape: those that were given, and else those under which most rows are like the header."""
    if options.separator or declared:
        separators: tuple[str, ...] = (options.separator or declared,)
    elif ".tsv" in file.name.lower() or ".tab" in file.name.lower():
        separators = ("\t", *(sign for sign in _SEPARATORS if sign != "\t"))
    else:
        separators = _SEPARATORS
    quotes = ('"',) if options.quote is None else (options.quote,)
    if options.escape is not None:
        escapes: tuple[str, ...] = (options.escape,)
    else:
        escapes = ("", "\\") if '\\"' in text else ("",)
    scores = {
        signs: _score(_rows(text, *signs))
        for signs in itertools.product(separators, quotes, escapes)
    }
    best = max(scores, key=lambda signs: scores[signs])
    if scores[best][1] > 1:
        return best
    # One column: a few rows with commas are rows with too many fields; where most have some, these are of the text.
    usual = [signs for signs in scores if signs[0] == separators[0] and scores[signs][0] >= 0.25]
    return max(usual or [best], key=lambda signs: scores[signs])


def _score(rows: list[list[str] | None]) -> tuple[float, int]:
    """How good a dialect is: the share of the rows that are like the header, of which one field says nothing."""
    fields = len(rows[0]) if rows and rows[0] else 1
    own = fields + _names_rows(rows)
    good = sum(row is not None and len(row) == own for row in rows)
    share = good / max(len(rows), 1)
    # One column reads anything: it counts where no other one reads the half of it.
    return (share if fields > 1 else share / 2, fields)


def _decimal(rows: list[list[str] | None], separator: str) -> str:
    """The decimal mark; a comma, where it parts fields as well, only if it cannot part thousands."""
    commas = points = decimal = 0
    for row in rows[1:]:
        for field in row or ():
            if _NUMBER.fullmatch(field.strip()):
                commas += "," in field
                points += "." in field
                decimal += "," in field and len(field.strip().partition(",")[2]) != 3
    return "," if commas > points and (separator != "," or decimal > commas / 2) else "."


def _is_broken(name: str) -> bool:
    """Whether a name was no UTF-8."""
    return any("\udc80" <= letter <= "\udcff" for letter in name)


def _looks_like_data(names: list[str]) -> str:
    """That a header has numbers or texts for names, where it has."""
    numbers = [name for name in names if _NUMBER.fullmatch(name)]
    if 1 < len(numbers) < len(names) and all(map(str.isdigit, numbers)):
        counted = [int(name) for name in numbers]
        if counted == list(range(counted[0], counted[0] + len(counted))):
            return ""  # columns that are numbered, or called after years
    long = [name for name in names if len(name) > 100]
    odd = numbers if 2 * len(numbers) >= len(names) or len(names) <= 3 else []
    if not odd and not long:
        return ""
    shown = ", ".join(repr(f"{name:.30}") for name in names[:5])
    return f"the first row looks like data, not like names of columns: {shown}; if it is, use --no-header"
