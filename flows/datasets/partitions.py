"""Readings parted by group: of each part of the input a file whose record batches are the partitions.

A group is in the partition that a hash of its name says: the same one in every file, whoever writes it and wherever.
So that a partition is read, out of all files, without the rest. In a batch the readings of a group stand together, in
the order in which they came. Rows that could not be read are beside it in a file of their own.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import pyarrow as pa

from flows.accounts import Rejected
from flows.datasets.series_files import SeriesColumns
from flows.store.storage import Folder

_WRITING = pa.ipc.IpcWriteOptions(compression="zstd", use_threads=False)
_READING = pa.ipc.IpcReadOptions(use_threads=False)


def partition_of(group: str | None, count: int) -> int:
    """Which of so many partitions a group is in, counted from 0."""
    digest = hashlib.blake2b((group or "").encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % count


def is_written(folder: Folder, key: str) -> bool:
    """Whether `write_part` was done with that key."""
    return folder.size(f"{key}.arrow") is not None


def write_part(
    folder: Folder,
    key: str,
    readings: Sequence[pa.Table],
    rejected: Sequence[tuple[str, Rejected]],
    columns: SeriesColumns,
    count: int,
) -> None:
    """Writes a part of the input, split into so many partitions.

    Args:
        folder: where to.
        key: names the files.
        readings: batches as `flows.datasets.base` says; their labels are left out.
        rejected: rows that could not be read, each with the name of its file.
        columns: that were read.
        count: of partitions.
    """
    if rejected:
        lines = [json.dumps([name, *row]) + "\n" for name, row in rejected]
        folder.write(f"{key}.jsonl", "".join(lines).encode())
    fields = [("time", pa.int64()), ("group", pa.string())]
    schema = pa.schema(fields + [(name, pa.float32()) for name in columns.channels])
    table = pa.concat_tables(
        [schema.empty_table(), *(each.select(schema.names) for each in readings)]
    )
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, schema, options=_WRITING) as writer:
        for batch in _split(table, count):
            writer.write_batch(batch)
    # Last, since it says that the part is done.
    folder.write(f"{key}.arrow", sink.getvalue())


def _split(table: pa.Table, count: int) -> Iterator[pa.RecordBatch]:
    groups = table["group"].combine_chunks().dictionary_encode(null_encoding="encode")
    codes = groups.indices.to_numpy()
    of_group = [partition_of(name, count) for name in groups.dictionary.to_pylist()]
    partitions = np.array(of_group, np.int64)[codes]
    order = np.lexsort((codes, partitions))
    bounds = np.searchsorted(partitions[order], np.arange(count + 1))
    columns = [column.combine_chunks().take(pa.array(order)) for column in table.columns]
    batch = pa.RecordBatch.from_arrays(columns, schema=table.schema)
    for start, stop in pairwise(bounds.tolist()):
        yield batch.slice(start, stop - start)


def read_partition(folder: Folder, keys: Sequence[str], number: int) -> Iterator[pa.Table]:
    """Streams the readings of a partition, in batches as `flows.datasets.base` says, part after part."""
    for key in keys:
        with folder.file(f"{key}.arrow").random() as file:
            batch = pa.ipc.open_file(file, options=_READING).get_batch(number)
        if batch.num_rows:
            labels = pa.nulls(batch.num_rows, pa.string())
            yield pa.Table.from_batches([batch]).append_column("label", labels)


def read_rejected(folder: Folder, key: str) -> Iterator[tuple[str, Rejected]]:
    """The rows of a part that could not be read, each with the name of its file."""
    try:
        lines = folder.read(f"{key}.jsonl").decode()
    except FileNotFoundError:
        return
    for line in lines.splitlines():
        name, place, reason = json.loads(line)
        yield name, Rejected(place, reason)
