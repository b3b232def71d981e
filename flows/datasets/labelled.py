"""Labelled reviews in files of one's own: read as often as need be, a batch at a time, never as a whole.

A row without a label is left out and counted. Every other row must be one that can be used; the first that cannot is
an error.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import pyarrow as pa

from flows.datasets.base import schema_of
from flows.datasets.labels import LabelRule, counted, joined_labels, most_frequent
from flows.errors import InputError
from flows.store.file_options import FOUND, FileOptions
from flows.store.storage import File, common_folder
from flows.tables.columns import Columns, Fields, label_fields
from flows.tables.files import Batch, read_batches, where_false
from flows.tables.inputs import find_files
from flows.tables.readers import READERS
from flows.wording import counted as in_words
from rnnfast.labels.base import LabelKind

RULE = LabelRule()
MOST_LABELS = 1000  # that are counted before a column is given up


@dataclass
class Unlabelled:
    """The rows without a label, and all that were read.

    Attributes:
        rows: that were read.
        missing: those without a label.
        first: where the first of these is.
        spellings: what stands in place of a label, and in how many rows; None is nothing at all.
    """

    rows: int = 0
    missing: int = 0
    first: str = ""
    spellings: Counter[str | None] = field(default_factory=Counter)

    def require_few(self, columns: Columns, most: float) -> None:
        """Raises InputError where more than the share `most` of the rows have no label."""
        if self.missing <= most * self.rows:
            return
        found = ", ".join("nothing" if each is None else repr(each)[:40] for each in self.spellings)
        raise InputError(
            f"--label-column {columns.label!r} must have a label in {1 - most:.0%} of the rows, "
            f"{in_words(self.missing, 'row')} of {self.rows:,} have none ({found}), the first is {self.first}; "
            "--set unlabelled=1 leaves them out, --set missing_labels=NAMES says which spellings mean that"
        )


@dataclass(frozen=True)
class LabelledFiles:
    """Files, the address that names them, the argument that gave it, the columns that are wanted, and the labels' rule.

    Attributes:
        unlabelled: the rows that `read_keys` has left out.
        spellings: of each label that it has found, how the files write it and in how many rows.
    """

    pattern: str
    files: tuple[File, ...]
    columns: Columns
    argument: str
    rule: LabelRule = RULE
    unlabelled: Unlabelled = field(default_factory=Unlabelled)
    spellings: dict[str, Counter[str]] = field(default_factory=dict)

    @classmethod
    def find(
        cls,
        pattern: str,
        columns: Columns,
        argument: str,
        rule: LabelRule = RULE,
        options: FileOptions = FOUND,
    ) -> "LabelledFiles":
        """The files that an address names.

        Raises:
            InputError: there is none, or one is of another format.
        """
        files = find_files(pattern, argument, tuple(READERS), options)
        return cls(pattern, tuple(files), columns, argument, rule)

    def read_keys(self) -> Iterator[tuple[pa.Table, int]]:
        """Tables of the columns label and group, both strings, and the bytes of the files that were ended before it.

        Rows without a label are left out. Groups may be null. Of Parquet nothing else is read.

        Raises:
            InputError: a file or column cannot be read, a row is broken, or there is no row.
        """
        done = 0
        for file in self.files:
            for batch in self._batches(file, ("label", "group")):
                self._count(batch, file)
                yield self._with_labels(_with_groups(batch.table)), done
            done += file.size
        if self.unlabelled.rows == 0:
            raise InputError(
                f"{self.argument} must hold at least one row, found none in {self.pattern!r}"
            )

    def read_reviews(self, target: LabelKind) -> Iterator[pa.Table]:
        """Tables of `schema_of` the target.

        Ids of rows that have none are a file's place below the folder of all, and the row.

        Raises:
            InputError: as `read_keys`; a row has no text, or something is not UTF-8.
        """
        for file in self.files:
            for batch in self._batches(file):
                table = self._with_labels(_with_groups(batch.table))
                label = target.encode(table["label"])
                if label.null_count:
                    raise InputError(
                        f"{self.argument} must stay as it is while it is read, it has other labels than before"
                    )
                columns = [table["id"], table["text"], label, table["group"]]
                yield pa.table(columns, schema=schema_of(target))

    def names(self, labels: tuple[str, ...]) -> tuple[str, ...]:
        """How the files write labels most often, where several spellings of one are joined."""
        if not self.rule.join:
            return labels
        return tuple(
            most_frequent(self.spellings[each]) if each in self.spellings else each
            for each in labels
        )

    def _batches(self, file: File, only: Fields = ()) -> Iterator[Batch]:
        name = file.path[len(common_folder(list(self.files))) :].lstrip("/")
        for batch in read_batches(file, self.columns, name, only=self._fields(only)):
            if batch.rejected:
                place, why = batch.rejected[0]
                raise InputError(f"{self.argument} {file}, row {place}: {why}")
            yield batch._replace(table=joined_labels(batch.table, self.columns.label))

    def _fields(self, only: Fields) -> Fields:
        """The fields to read, with those of all columns of labels."""
        return (*only, *label_fields(self.columns.label)) if "label" in only else only

    def _with_labels(self, table: pa.Table) -> pa.Table:
        """The rows that have a label, by the rule in place of how it is written."""
        labels = self.rule.column(table["label"])
        place = table.column_names.index("label")
        return table.set_column(place, "label", labels).filter(labels.is_valid())

    def _count(self, batch: Batch, file: File) -> None:
        """Adds the rows of a batch to `unlabelled` and `spellings`."""
        found = self.unlabelled
        found.rows += len(batch.table)
        for spelling, rows in counted(batch.table["label"]).items():
            label = self.rule.read(spelling)
            if label is None or spelling is None:
                found.missing += rows
                found.spellings[spelling] += rows
            elif len(self.spellings) <= MOST_LABELS:
                self.spellings.setdefault(label, Counter())[spelling.strip()] += rows
        if found.missing and not found.first:
            missing = where_false(self.rule.column(batch.table["label"]).is_valid())
            found.first = f"row {batch.places[missing[0]]} of {file}"


def _with_groups(table: pa.Table) -> pa.Table:
    if "group" in table.column_names:
        return table
    return table.append_column("group", pa.nulls(len(table), pa.string()))
