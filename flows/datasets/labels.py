"""Which spellings of a label are one label, and which mean that there is none."""

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

import pyarrow as pa

from flows.errors import InputError
from flows.tables.columns import label_columns, label_fields
from rnnfast.labels.tags import SEPARATOR, split_tags

MISSING_LABELS = ("", "nan", "nat", "none", "null", "n/a", "na", "#n/a", "#na", "<na>")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]{1,3})?")
_BOOLEANS = ("true", "false")


@dataclass(frozen=True)
class LabelRule:
    """How labels are read.

    Numbers are one by their value, `0`, `0.0` and `"0"`, and so are true and false in any case. Of other labels each
    spelling is one of its own, unless they are joined.

    Attributes:
        join: whether labels that differ in case or in spaces alone are one.
        missing: spellings, in any case, that mean that there is no label.
        several: whether a cell holds several, such as `late;broken` or `["late", "broken"]`; `[]` holds none.
    """

    join: bool = False
    missing: tuple[str, ...] = MISSING_LABELS
    several: bool = False

    def read(self, spelling: str | None) -> str | None:
        """The label that a spelling stands for; None where that is none."""
        if spelling is None or spelling.strip().lower() in self.missing:
            return None
        if self.several:
            tags = [self._single(tag) for tag in _parts(spelling)]
            return SEPARATOR.join(dict.fromkeys(tags)) or SEPARATOR
        return self._single(spelling)

    def _single(self, spelling: str) -> str:
        plain = spelling.strip().lower()
        if plain in _BOOLEANS:
            return plain
        if _NUMBER.fullmatch(plain):
            return _number(plain)
        return alike(spelling) if self.join else spelling

    def column(self, spellings: pa.ChunkedArray) -> pa.ChunkedArray:
        """The labels of a column of strings; null where a row has none."""
        coded = spellings.combine_chunks().dictionary_encode()
        labels = pa.array([self.read(each) for each in coded.dictionary.to_pylist()], pa.string())
        return pa.chunked_array([labels.take(coded.indices)])


def _parts(spelling: str) -> list[str]:
    """The labels in a cell, as a list of JSON or parted by a semicolon."""
    if spelling.lstrip().startswith("["):
        try:
            found = json.loads(spelling)
        except ValueError:
            found = None
        if isinstance(found, list):
            return [str(each).strip() for each in found if str(each).strip()]
    return split_tags(spelling)


def is_number(label: str) -> bool:
    """Whether a label is written as a number."""
    return _NUMBER.fullmatch(label.strip().lower()) is not None


def alike(label: str) -> str:
    """The same for labels that differ in case, in spaces, or in the width of their characters alone."""
    return " ".join(unicodedata.normalize("NFKC", label).casefold().split())


def near(labels: Iterable[str]) -> tuple[str, ...]:
    """The first labels, in order, that are alike without being equal; none where all are far from each other."""
    found: dict[str, list[str]] = {}
    for label in sorted(labels):
        found.setdefault(alike(label), []).append(label)
    return next((tuple(each) for each in found.values() if len(each) > 1), ())


def joined_labels(table: pa.Table, columns: str | None) -> pa.Table:
    """The rows with one column of labels; of several the names of those that hold 1 or true, as a list of JSON.

    A row without a value in any of them has no label.

    Raises:
        InputError: a column of several holds something else.
    """
    names = label_columns(columns)
    fields = [name for name in label_fields(columns) if name in table.column_names]
    if len(fields) < 2:
        return table
    held = [_held(table[field], name) for field, name in zip(fields, names, strict=True)]
    rows = zip(*held, strict=True)
    texts = [
        None
        if all(each is None for each in row)
        else json.dumps([name for name, has in zip(names, row, strict=True) if has])
        for row in rows
    ]
    return table.drop_columns(fields).append_column("label", pa.array(texts, pa.string()))


def _held(column: pa.ChunkedArray, name: str) -> list[bool | None]:
    """Which rows of a column of labels hold 1 or true; None where there is nothing."""
    known = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
    labels = LabelRule().column(column.cast(pa.string())).to_pylist()
    for label in labels:
        if label is not None and label.lower() not in known:
            raise InputError(
                f"--label-column {name!r} must hold 0 and 1 where there are several such columns, found {label!r:.40}"
            )
    return [None if each is None else known[each.lower()] for each in labels]


def most_frequent(spellings: Mapping[str, int]) -> str:
    """Of the spellings of a label the one that most rows have, of equal ones the first."""
    return min(spellings, key=lambda each: (-spellings[each], each))


def counted(column: pa.ChunkedArray) -> Counter[str | None]:
    """How many rows have each value of a column of strings."""
    return Counter({each["values"]: each["counts"] for each in column.value_counts().to_pylist()})


def _number(text: str) -> str:
    """A number as it is shortest without an exponent."""
    value = Decimal(text)
    if value == 0:
        return "0"
    return f"{value.normalize():f}"
