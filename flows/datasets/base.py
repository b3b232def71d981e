"""What every data set has in common: where it comes from and what it becomes.

A review is a row of SCHEMA, or of `schema_of` its labels where these are other than two classes. Reviews travel
between steps as Parquet files of that schema, whose metadata carries the names of the labels. Readings of sensors are
read in batches of columns: `time` (int64 microseconds since 1970, UTC), `group` and `label` (strings, or all null),
and a float column for each channel.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from flows.store.storage import replacing
from rnnfast.labels.base import LabelKind
from rnnfast.labels.classes import Classes

GROUP_ROWS = 65_536  # of a row group that is written, at the most
TEXT_BATCH = 8192  # in a batch of texts without labels
GROUP_BYTES = 16 << 20  # of the rows that wait for their row group, in memory

SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("label", pa.int8(), nullable=False),
        # Rows of one group, such as the reviews of one movie, stay on one side of a split.
        pa.field("group", pa.string()),
    ]
)


def schema_of(target: LabelKind) -> pa.Schema:
    """SCHEMA with a label as the target encodes it."""
    place = SCHEMA.get_field_index("label")
    return SCHEMA.set(place, pa.field("label", target.storage, nullable=False))


@dataclass(frozen=True)
class Archive:
    """A file to download: its name at a mirror, its address, its SHA-256 in hexadecimal.

    Without an address it is to be had from a mirror only; without a sum, of which none is published,
    only a mirror's own SHA256SUMS can vouch for it.
    """

    name: str
    url: str | None
    sha256: str | None


@dataclass(frozen=True)
class Splits:
    """A data set in memory: tables of SCHEMA, and the names of its classes, in the order of their codes.

    `test` is None where the data set does not say which rows are for testing.
    """

    train: pa.Table
    test: pa.Table | None
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Dataset:
    """A data set by name: `read` turns its archive (None where there is none) into tables."""

    name: str
    about: str
    archive: Archive | None
    read: Callable[[Path | None], Splits]
    # Fields of a model's configuration that suit it better than a preset's.
    model: Mapping[str, Any] = field(default_factory=dict)
    # Part of the key of the cached tables: to be raised whenever `read` gives other rows.
    version: int = 1
    # Texts without labels as well, but for those to test on, in batches; None: those of `read`.
    read_texts: Callable[[Path | None], Iterator[pa.Array]] | None = None

    def texts(self, archive: Path | None) -> Iterator[pa.Array]:
        """All texts that are not for testing, with a label or without."""
        if self.read_texts is not None:
            yield from self.read_texts(archive)
        else:
            for batch in self.read(archive).train.to_batches(TEXT_BATCH):
                yield batch["text"]


@dataclass(frozen=True)
class SensorDataset:
    """Readings by name: `read` streams batches of its archive (None where there is none).

    `tasks` are those that it is for, the usual one first, each with the fields of the model's and
    of the training's configuration that suit it. `cuts` are the rows where validation, test and what
    nobody uses begin, for data whose split is published; `test_groups` likewise the groups to test
    on.
    """

    name: str
    about: str
    archive: Archive | None
    read: Callable[[Path | None], Iterator[pa.Table]]
    channels: tuple[str, ...]
    tasks: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any]]]
    targets: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    cuts: tuple[int, ...] = ()
    test_groups: tuple[str, ...] = ()
    # Whether published errors are in standard deviations of each channel.
    standardised: bool = False


@contextmanager
def reviews_writer(path: Path, target: LabelKind) -> Iterator[Callable[[pa.Table], None]]:
    """Writes a Parquet file piece by piece, with the names of the labels.

    Yields:
        A function that takes the next rows of `schema_of` the target. The file is there after the block, whole, or
        not at all.
    """
    schema = schema_of(target).with_metadata({"labels": json.dumps(target.names)})
    waiting: list[pa.Table] = []
    rows = size = 0

    def flush() -> None:
        nonlocal rows, size
        if rows:
            writer.write_table(pa.concat_tables(waiting), row_group_size=GROUP_ROWS)
        waiting.clear()
        rows = size = 0

    def write(table: pa.Table) -> None:
        nonlocal rows, size
        if rows + table.num_rows > GROUP_ROWS or size + table.nbytes > GROUP_BYTES:
            flush()
        waiting.append(table.cast(schema_of(target)).replace_schema_metadata(schema.metadata))
        rows += table.num_rows
        size += table.nbytes

    with (
        replacing(path, durable=False) as temporary,
        pq.ParquetWriter(temporary, schema, compression="zstd") as writer,
    ):
        yield write
        flush()


def write_reviews(table: pa.Table, labels: tuple[str, ...], path: Path) -> None:
    """Writes rows of SCHEMA and the names of their classes as one Parquet file."""
    with reviews_writer(path, Classes(names=labels)) as write:
        write(table)


def open_reviews(path: Path) -> pq.ParquetFile:
    """A file that `write_reviews` wrote, to read in batches: not a whole row group is in memory."""
    return pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20)


def read_labels(path: Path) -> tuple[str, ...]:
    """The names of the labels of a file that `reviews_writer` wrote."""
    return tuple(json.loads(pq.read_schema(path).metadata[b"labels"]))
