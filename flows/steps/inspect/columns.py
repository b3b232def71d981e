"""What the columns of a file hold, by their first values."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from flows.datasets.labels import MISSING_LABELS, LabelRule
from flows.errors import InputError
from flows.tables.numbers import MISSING_NUMBERS, Marks, count_numbers, parse_numbers
from flows.tables.times import find_form, parse_times

LONGEST_LABEL = 40  # characters, on average, of the labels of a column
LABEL_NAME = re.compile(r"label|sentiment|class|target|categor|polarity|activity", re.IGNORECASE)
TEXT_NAME = re.compile(r"text|review|comment|body|content|message|description", re.IGNORECASE)
_TIME_NAME = re.compile(r"time|date|stamp|when|day|month|year|datum|zeit|^ts$", re.IGNORECASE)
_ID_NAME = re.compile(r"(^|_)id$|^index$|^Unnamed", re.IGNORECASE)
_BLANK = frozenset((*MISSING_LABELS, *MISSING_NUMBERS))


@dataclass(frozen=True)
class Column:
    """A column, as far as it was looked at.

    Attributes:
        name: of it.
        kind: "number", "time", "text", "label", "id", "empty" or "other".
        missing: how many of the values are.
        distinct: how many there are, without the missing ones.
        examples: the first values.
        low: the least number or the first time.
        high: the largest number or the last time.
        labels: the most frequent labels and their rows, of a column that may hold labels.
    """

    name: str
    kind: str
    missing: int
    distinct: int
    examples: tuple[str, ...]
    low: str = ""
    high: str = ""
    labels: dict[str, int] = field(default_factory=dict)


def shown_values(column: pa.ChunkedArray) -> list[str | None]:
    """The values without what is around them; None for what means that there is none."""
    trimmed = pc.utf8_trim_whitespace(column.cast(pa.string())).to_pylist()
    return [None if each is None or each.lower() in _BLANK else each for each in trimmed]


def column_of(
    name: str, values: Sequence[str | None], marks: Marks, is_time: bool = False
) -> Column:
    """What a column holds, from the values of `shown_values`; of time where a training takes it for that."""
    present = [each for each in values if each is not None]
    counts = Counter(present)
    examples = tuple(f"{each:.60}" for each in islice(counts, 3))
    column = Column(name, "empty", len(values) - len(present), len(counts), examples)
    if not present:
        return column
    numbers = _numbers(present, marks)
    labels = _labels(name, present)
    if is_time or _TIME_NAME.search(name) or numbers is None:
        stamps = time_stamps(present, name)
        if stamps is not None:
            low, high = (f"{np.datetime64(int(end), 'us')}" for end in (min(stamps), max(stamps)))
            return replace(column, kind="time", low=low, high=high)
    is_id = len(counts) == len(present) > 20
    if numbers is not None:
        column = replace(column, low=f"{numbers.min():g}", high=f"{numbers.max():g}", labels=labels)
        kind = "id" if is_id and _ID_NAME.search(name) else "number"
        return replace(column, kind=kind)
    if labels:
        return replace(column, kind="label", labels=labels)
    is_text = mean_length(present) >= 20 or TEXT_NAME.search(name) is not None
    return replace(column, kind="text" if is_text else "id" if is_id else "other")


def mean_length(values: Sequence[str]) -> float:
    return sum(map(len, values)) / max(len(values), 1)


def _numbers(values: Sequence[str], marks: Marks) -> np.ndarray | None:
    """The values as numbers, or None where too many are none for a training to read them."""
    column = pa.chunked_array([pa.array(values, pa.string())])
    known, there = count_numbers(column, marks)
    if known == 0 or known < 0.9 * there:
        return None
    numbers = parse_numbers(column, "", {}, marks).drop_null().cast(pa.float64()).to_numpy()
    return numbers[np.isfinite(numbers)] if np.isfinite(numbers).any() else None


def time_stamps(values: Sequence[str], name: str) -> np.ndarray | None:
    """The values as a training would read them as time stamps, in microseconds; None unless nearly all are."""
    column = pa.chunked_array([pa.array(values, pa.string())])
    try:
        times = parse_times(column, find_form([column], name)).drop_null()
    except InputError:
        return None
    return times.to_numpy() if len(times) >= len(values) - len(values) // 20 else None


def _labels(name: str, values: Sequence[str]) -> dict[str, int]:
    """The most frequent labels of a column that may hold labels; empty where it may not."""
    if mean_length(values) > LONGEST_LABEL:
        return {}
    read = map(LabelRule().read, values)
    counts = Counter(label for label in read if label is not None)
    most = 20 if LABEL_NAME.search(name) else 10
    if not 2 <= len(counts) <= most or len(counts) > len(values) / 2:
        return {}
    return dict(counts.most_common(most))
