"""Brings readings into shards that no series crosses: one where they are few, else partitions by their group.

To partition them, workers read ranges of the files' rows and leave each of them split in a hidden folder of the
output (`flows.datasets.partitions`). It is removed when the scores are there; a run that dies leaves it to the next.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from threading import Lock
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc

from flows.accounts import Rejected
from flows.datasets.partitions import is_written, read_partition, read_rejected, write_part
from flows.datasets.series_files import SeriesColumns, read_readings
from flows.errors import InputError
from flows.executors import Executor
from flows.progress import rows_bar
from flows.store.outputs import Outputs
from flows.store.storage import File, Folder
from flows.tables.ranges import FileRows, file_rows

PARTITIONS = ".partitions"  # the folder, in that of the output
PARTITION_BYTES = 128 << 20  # of the input, as CSV, for each partition
UNPACKED = 4  # bytes of CSV for one of Parquet or of a packed file
PART_ROWS, PART_BYTES = 1 << 20, 64 << 20  # of the ranges that are split, at the most
PART_SHARDS = 16  # so many times the rows of a shard, which are few to split
PART_MEMORY = (
    3 * PART_BYTES
)  # the file's bytes, the columns, and these in the order of the partitions

logger = logging.getLogger(__name__)


class UnusableError(InputError):
    """The readings cannot be partitioned; the input has to be another one."""


RejectedRows = list[tuple[str, Rejected]]  # each with the name of its file


@dataclass(frozen=True)
class Shard:
    """All readings of some series: which of so many shards it is, counted from 0."""

    number: int
    count: int

    def __str__(self) -> str:
        return f"partition {self.number + 1} of {self.count}"


class Source(Protocol):
    """Readings in shards."""

    @property
    def count(self) -> int:
        """How many shards there are."""

    @property
    def size(self) -> int:
        """Bytes of the input for each."""

    def input(self, shard: Shard) -> tuple[str, int | None]:
        """What the record of a shard says of its input: the name, and the first row if the rows follow each other."""

    def stem(self, shard: Shard) -> str:
        """How the names of a shard's files begin."""

    def digest(self, shard: Shard) -> str:
        """SHA-256 in hexadecimal of the content of a shard."""

    def read(self, shard: Shard, rejected: RejectedRows) -> Iterator[pa.Table]:
        """Streams the readings of a shard as `flows.datasets.base` says, and adds the rows that cannot be read."""


@dataclass(frozen=True)
class Whole:
    """The readings of all files in one shard, read as they are.

    Attributes:
        files: at least one.
        columns: which columns hold what.
        count: of shards.
    """

    files: tuple[File, ...]
    columns: SeriesColumns
    count: int = 1

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)

    @property
    def _names(self) -> list[str]:
        return [file.place for file in self.files]

    def input(self, shard: Shard) -> tuple[str, int | None]:
        return (self._names[0], 1) if len(self.files) == 1 else (f"{len(self.files)} files", None)

    def stem(self, shard: Shard) -> str:
        return self.files[0].name.split(".")[0] if len(self.files) == 1 else "readings"

    def digest(self, shard: Shard) -> str:
        digests = [file.sha256() for file in self.files]
        identity = json.dumps([self._names, digests]).encode()
        return digests[0] if len(digests) == 1 else hashlib.sha256(identity).hexdigest()

    def read(self, shard: Shard, rejected: RejectedRows) -> Iterator[pa.Table]:
        for name, file in zip(self._names, self.files, strict=True):
            for table, bad in read_readings(file, self.columns):
                rejected += ((name, row) for row in bad)
                yield table


@dataclass(frozen=True)
class Parted:
    """Readings in partitions. Rows that could not be read are of no group: those of a part are with one partition.

    Attributes:
        folder: where the parts are.
        keys: of the parts, in the order of the input.
        columns: that were read.
        count: of partitions.
        size: bytes of the input for each.
    """

    folder: Folder
    keys: tuple[str, ...]
    columns: SeriesColumns
    count: int
    size: int

    def input(self, shard: Shard) -> tuple[str, int | None]:
        return str(shard), None

    def stem(self, shard: Shard) -> str:
        return str(shard).replace(" ", "-")

    def digest(self, shard: Shard) -> str:
        digest = hashlib.sha256(json.dumps(self._rejected(shard)).encode())
        for table in read_partition(self.folder, self.keys, shard.number):
            groups = table["group"].combine_chunks().dictionary_encode(null_encoding="encode")
            digest.update(json.dumps(groups.dictionary.to_pylist()).encode())
            digest.update(groups.indices.to_numpy())
            digest.update(table["time"].to_numpy())
            for name in self.columns.channels:
                digest.update(pc.fill_null(table[name], float("nan")).to_numpy())
        return digest.hexdigest()

    def read(self, shard: Shard, rejected: RejectedRows) -> Iterator[pa.Table]:
        rejected += self._rejected(shard)
        yield from read_partition(self.folder, self.keys, shard.number)

    def _rejected(self, shard: Shard) -> RejectedRows:
        keys = self.keys[shard.number :: self.count]
        return [row for key in keys for row in read_rejected(self.folder, key)]


@dataclass(frozen=True)
class FilePart(FileRows):
    """Some rows of a file: which part of the input they are, and the key of their partitions."""

    number: int
    key: str


@dataclass(frozen=True)
class PartitionWork:
    """What a worker does with a part: splits it into partitions, unless that was done before.

    Attributes:
        columns: which columns hold what.
        folder: where the partitions go.
        count: of partitions.
    """

    columns: SeriesColumns
    folder: Folder
    count: int

    def start(self, threads: int) -> Callable[[FilePart], FilePart]:
        """Needs nothing; all of it is done by one thread."""
        return partial(self._do, Lock())

    def _do(self, computing: Lock, part: FilePart) -> FilePart:
        if is_written(self.folder, part.key):
            return part
        readings, rejected = [], []
        with _as_unusable():
            for table, bad in read_readings(part.file, self.columns, part.rows):
                readings.append(table)
                rejected += [(part.file.place, row) for row in bad]
        with computing:
            write_part(self.folder, part.key, readings, rejected, self.columns, self.count)
        return part


@contextmanager
def partitioned(
    files: list[File],
    columns: SeriesColumns,
    is_one: bool,
    outputs: Outputs,
    executor: Executor,
    shard_rows: int,
) -> Iterator[Source]:
    """The readings of files in shards, for as long as the block runs.

    How many there are follows from the bytes of the files alone, so that the shards are the same ones whoever does
    them.

    Args:
        files: CSV or Parquet.
        columns: which columns hold what.
        is_one: whether all readings are one series.
        outputs: of the job, below whose folder the partitions are.
        executor: does the partitioning.
        shard_rows: a range that is split has PART_SHARDS times as many rows, but at most PART_ROWS.

    Raises:
        UnusableError: a file or column is missing or broken, and the readings are more than one shard.
    """
    folder = outputs.folder / PARTITIONS
    count = 1 if is_one else partition_count(files)
    try:
        yield (
            _parted(files, columns, count, outputs, executor, shard_rows)
            if count > 1
            else Whole(tuple(files), columns)
        )
    except UnusableError:
        # Nothing here will be of use. It will be where something else has to be put right, be it the model.
        _keep(folder, set())
        raise
    _keep(folder, set())


def partition_count(files: list[File]) -> int:
    """Into how many partitions the readings of files go."""
    plain = sum(
        file.size * (1 if file.kind == "csv" and not file.is_packed else UNPACKED) for file in files
    )
    return max(1, -(-plain // PARTITION_BYTES))


def _parted(
    files: list[File],
    columns: SeriesColumns,
    count: int,
    outputs: Outputs,
    executor: Executor,
    shard_rows: int,
) -> Parted:
    """Has the files partitioned."""
    folder = outputs.folder / PARTITIONS
    folder.sweep()
    size = sum(file.size for file in files)
    parts: list[FilePart] = []
    with rows_bar("partitioning", size) as advance:
        for part in executor.run(
            PartitionWork(columns, folder, count),
            _parts(files, outputs, count, min(PART_ROWS, PART_SHARDS * shard_rows)),
        ):
            parts.append(part)
            advance(part.rows.stop - part.rows.start, part.rows.size)
    keys = [part.key for part in sorted(parts, key=lambda part: part.number)]
    _keep(folder, set(keys))
    logger.info("readings: %d partitions of %d ranges of rows", count, len(keys))
    return Parted(folder, tuple(keys), columns, count, size // count)


def _parts(files: list[File], outputs: Outputs, count: int, part_rows: int) -> Iterator[FilePart]:
    """The parts of the input, each as soon as it is known."""
    with _as_unusable():
        for number, each in enumerate(file_rows(files, part_rows, PART_BYTES)):
            file, rows = each.file, each.rows
            key = outputs.key("part", file.place, rows, file.size, file.modified, count)
            yield FilePart(file, rows, number, key)


@contextmanager
def _as_unusable() -> Iterator[None]:
    """Makes an error of the input one that is told apart from those of other arguments."""
    try:
        yield
    except InputError as error:
        raise UnusableError(str(error)) from error


def _keep(folder: Folder, keys: set[str]) -> None:
    """Removes what is of other parts than these, and the folder where nothing is left."""
    for name in folder.sizes():
        if name.rpartition(".")[0] not in keys:
            folder.remove(name)
    folder.remove_if_empty()
