"""Which spellings of a label are one label, and which mean that there is none."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

import pyarrow as pa

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
    """

    join: bool = False
    missing: tuple[str, ...] = MISSING_LABELS

    def read(self, spelling: str | None) -> str | None:
        """The label that a spelling stands for; None where that is none."""
        if spelling is None or (plain := spelling.strip().lower()) in self.missing:
            return None
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


def alike(label: str) -> str:
    """The same for labels that differ in case, in spaces, or in the width of their characters alone."""
    return " ".join(unicodedata.normalize("NFKC", label).casefold().split())


def near(labels: Iterable[str]) -> tuple[str, ...]:
    """The first labels, in order, that are alike without being equal; none where all are far from each other."""
    found: dict[str, list[str]] = {}
    for label in sorted(labels):
        found.setdefault(alike(label), []).append(label)
    return next((tuple(each) for each in found.values() if len(each) > 1), ())


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
