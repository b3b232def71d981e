"""Which kind of label a column holds: what was asked for, or what its first rows say."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from flows.datasets.labelled import MOST_LABELS
from flows.datasets.labels import is_number, near
from flows.errors import InputError
from flows.wording import counted
from rnnfast.labels.classes import Classes
from rnnfast.labels.numbers import Numbers
from rnnfast.labels.tags import SEPARATOR, Tags, split_tags
from rnnfast.models.choices import LabelTask

MOST_CLASSES = 20  # distinct whole numbers that are classes; more are numbers


class FoundTask(NamedTuple):
    """A task, and why it is the one."""

    task: LabelTask
    why: str


def find_task(labels: Mapping[str, int], column: str) -> FoundTask:
    """What labels are, by how they are written.

    Several columns hold tags, and so do texts such as `late;broken` whose parts come again. Numbers are numbers where
    some have a fraction, or there are more than MOST_CLASSES of them; all else are classes.

    Args:
        labels: of the first rows, and how many rows have each.
        column: its name, or several parted by commas.

    >>> find_task({"1": 5, "2": 7}, "stars").task, find_task({"1.5": 5, "2": 7, "3": 2}, "stars").task
    ('classify', 'regress')
    """
    shown = f"{column!r} holds {counted(len(labels), 'distinct label')}"
    if "," in column:
        return FoundTask("tag", f"{column!r} are several columns")
    if _are_tags(labels):
        return FoundTask("tag", f"{column!r} holds labels that {SEPARATOR!r} parts")
    if len(labels) > 2 and all(map(is_number, labels)):
        has_fractions = any(float(each) % 1 for each in labels)
        if has_fractions or len(labels) > MOST_CLASSES:
            return FoundTask("regress", f"{column!r} holds {len(labels):,} distinct numbers")
        return FoundTask("classify", f"{shown}, whole numbers; --task regress takes the numbers")
    return FoundTask("classify", shown)


def _are_tags(labels: Iterable[str]) -> bool:
    """Whether some labels have several parts, of which one comes again."""
    parted = [split_tags(each) for each in labels]
    counts = Counter(tag for tags in parted for tag in tags)
    return any(len(tags) > 1 and any(counts[tag] > 1 for tag in tags) for tags in parted)


class LabelSurvey:
    """What is to be known of all labels before one is encoded.

    Attributes:
        rows: how many rows have each class or tag, or how many there are.
    """

    def __init__(self, task: LabelTask, column: str) -> None:
        """Starts without rows."""
        self.rows: Counter[str] = Counter()
        self._task, self._column = task, column

    def add(self, labels: pa.ChunkedArray) -> None:
        """Takes the labels of the next rows, none of them null.

        Raises:
            InputError: they are no numbers where these are wanted.
        """
        if self._task == "regress":
            require_numbers(labels, self._column)
            self.rows[self._column] += len(labels)
            return
        for each in pc.value_counts(labels).to_pylist():
            label, rows = each.values()
            for name in split_tags(label) if self._task == "tag" else (label,):
                self.rows[name] += rows

    @property
    def is_given_up(self) -> bool:
        """Whether there are more labels than any model tells apart."""
        return len(self.rows) > MOST_LABELS

    def strata(self, labels: pa.ChunkedArray) -> pa.ChunkedArray:
        """What the parts are to have the same shares of: the classes, else nothing."""
        if self._task == "classify":
            return labels
        return pa.chunked_array([pa.repeat(pa.scalar(""), len(labels))])

    def target(self) -> Classes | Numbers | Tags:
        """What the labels are.

        Raises:
            InputError: there are too few of them, too many, or two that are alike.
        """
        if self._task == "regress":
            return Numbers(names=(self._column,))
        names = distinct_names(self.rows, self._column, least=2 if self._task == "classify" else 1)
        return Classes(names=names) if self._task == "classify" else Tags(names=names)


def require_numbers(labels: pa.ChunkedArray, column: str) -> None:
    """Raises InputError where one of the labels is no number."""
    for label in labels.unique().to_pylist():
        if not is_number(label):
            raise InputError(
                f"--label-column {column!r} must hold numbers for --task regress, found {label!r:.40}; "
                "--task classify takes each label as it is written, --set missing_labels=NAMES says which mean none"
            )


def distinct_names(counts: Mapping[str, int], column: str, least: int = 2) -> tuple[str, ...]:
    """The names of labels in their order: by value where all are numbers and else by letter.

    So of two the last is the second one: 1 of 0 and 1, "positive" of "negative" and "positive", "yes" of "no" and
    "yes".

    Args:
        counts: rows of each label, 0 where that is not known; with more than MOST_LABELS of them they need not be all.
        column: where they were found.
        least: how many there must be.

    Raises:
        InputError: there are fewer, or more than MOST_LABELS, or two differ in case or spaces alone.
    """
    if pair := near(counts):
        shown = " and ".join(_shown(each, counts[each]) for each in pair)
        raise InputError(
            f"--label-column {column!r} must hold labels that differ in more than case and spaces, "
            f"found {shown}; --join-labels makes one of them"
        )
    if not least <= len(counts) <= MOST_LABELS:
        first = sorted(counts)[:5]
        shown = ", ".join(_shown(label, counts[label]) for label in first)
        more = f" and {len(counts) - 5:,} more" if len(counts) > 5 else ""
        many = len(counts) > MOST_LABELS
        rule = f"at most {MOST_LABELS:,}" if many else f"at least {least}"
        raise InputError(
            f"--label-column {column!r} must hold {rule} distinct labels, "
            f"found {'at least ' if many else ''}{len(counts):,}{': ' if shown else ''}{shown}{more}"
        )
    return tuple(sorted(counts, key=float if all(map(is_number, counts)) else None))


def _shown(label: str, rows: int) -> str:
    """A label, and how many rows have it."""
    return f"{label!r:.40} ({counted(rows, 'row')})" if rows else f"{label!r:.40}"
