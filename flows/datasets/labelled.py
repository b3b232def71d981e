"""Labelled reviews in files of one's own: read as often as need be, a batch at a time, never as a whole.

Every row must be one that can be used; the first that cannot is an error.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from flows.datasets.base import SCHEMA
from flows.datasets.files import Batch, read_batches, where_false
from flows.datasets.readers import READERS, Columns, Fields
from flows.errors import InputError
from flows.storage import File, common_folder, find

MOST_LABELS = 1000  # that are counted before a column is given up


@dataclass(frozen=True)
class LabelledFiles:
    """Files, the address that names them, the argument that gave it, and the columns that are wanted."""

    pattern: str
    files: tuple[File, ...]
    columns: Columns
    argument: str

    @classmethod
    def find(cls, pattern: str, columns: Columns, argument: str) -> "LabelledFiles":
        """The files that an address names.

        Raises:
            InputError: there is none, or one is of another format.
        """
        return cls(pattern, tuple(find(pattern, argument, tuple(READERS))), columns, argument)

    def read_keys(self) -> Iterator[tuple[pa.Table, int]]:
        """Tables of the columns label and group, both strings, and the bytes of the files that were ended before it.

        Groups may be null. Of Parquet nothing else is read.

        Raises:
            InputError: a file or column cannot be read, a row is broken or has no label, or there is no row.
        """
        rows = done = 0
        for file in self.files:
            for batch in self._batches(file, ("label", "group")):
                self._require_labels(batch, file)
                rows += len(batch.table)
                yield _with_groups(batch.table), done
            done += file.size
        if rows == 0:
            raise InputError(
                f"{self.argument} must hold at least one row, found none in {self.pattern!r}"
            )

    def read_reviews(self, labels: tuple[str, str]) -> Iterator[pa.Table]:
        """Tables of SCHEMA; ids of rows that have none are a file's place below the folder of all, and the row.

        Raises:
            InputError: as `read_keys`; a row has no text, or something is not UTF-8.
        """
        for file in self.files:
            for batch in self._batches(file):
                table = _with_groups(batch.table)
                label = pc.equal(table["label"], labels[1]).cast(pa.int8())
                yield pa.table([table["id"], table["text"], label, table["group"]], schema=SCHEMA)

    def _batches(self, file: File, only: Fields = ()) -> Iterator[Batch]:
        name = file.path[len(common_folder(list(self.files))) :].lstrip("/")
        for batch in read_batches(file, self.columns, name, only=only):
            if batch.rejected:
                place, why = batch.rejected[0]
                raise InputError(f"{self.argument} {file}, row {place}: {why}")
            yield batch

    def _require_labels(self, batch: Batch, file: File) -> None:
        labels = batch.table["label"]
        if labels.null_count:
            row = batch.places[where_false(pc.is_valid(labels))[0]]
            raise InputError(
                f"--label-column {self.columns.label!r} must have a label in every row, "
                f"row {row} of {file} has none"
            )


def _with_groups(table: pa.Table) -> pa.Table:
    if "group" in table.column_names:
        return table
    return table.append_column("group", pa.nulls(len(table), pa.string()))


def two_labels(counts: Mapping[str, int], columns: Columns) -> tuple[str, str]:
    """The names of label 0 and label 1.

    The label that sorts last, by value where both are numbers and else by letter, becomes 1: so 1
    of 0 and 1, "positive" of "negative" and "positive", "yes" of "no" and "yes".

    Args:
        counts: rows of each label; with more than MOST_LABELS of them they need not be all.
        columns: where they were found.

    Raises:
        InputError: there are other than two.
    """
    if len(counts) != 2:
        shown = ", ".join(f"{label!r:.40} ({counts[label]} rows)" for label in sorted(counts)[:5])
        more = f" and {len(counts) - 5:,} more" if len(counts) > 5 else ""
        least = "at least " if len(counts) > MOST_LABELS else ""
        raise InputError(
            f"--label-column {columns.label!r} must hold exactly two distinct labels, "
            f"found {least}{len(counts):,}: {shown}{more}"
        )
    try:
        first, second = sorted(counts, key=float)
    except ValueError:
        first, second = sorted(counts)
    return first, second
