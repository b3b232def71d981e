"""Texts of Parquet that are in the file once and in memory as often as they occur: a dictionary stands for them.

The footer tells only how many bytes the dictionary has and the places in it. A writer gives up a dictionary that is
too large (of 1 MB, as most have it) and goes on with texts as they are. A column that is packed into no more bytes
than a dictionary and short texts come to is looked at; of a larger one the texts may be taken for its bytes. While
they are measured or read there are as many as `FEW` in memory: of some 100 KB each they are as much as a shard.
"""

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from flows.tables.kinds import as_bytes

DICTIONARY = 1 << 20  # bytes, which a writer lets a dictionary have
SHORT = 256  # bytes of a text
FEW = 512  # rows of a batch of texts that may each be much longer than what the file has for it


def may_repeat(parquet: pq.ParquetFile, group: int, column: str) -> bool:
    """Whether the texts of a row group may be much larger in memory than the footer says."""
    rows = parquet.metadata.row_group(group)
    place = _place(parquet, column)
    if place is None or not rows.column(place).has_dictionary_page:
        return False
    size: int = rows.column(place).total_uncompressed_size
    return bool(size <= DICTIONARY + SHORT * rows.num_rows)


def group_bytes(parquet: pq.ParquetFile, group: int, column: str) -> np.ndarray | None:
    """How many bytes of a row group are before each of its rows, and of all (N + 1,), in memory.

    The texts are read for it, a few at a time; of the other columns each row has its share. None where the footer is
    to be believed.
    """
    if not may_repeat(parquet, group, column):
        return None
    rows = parquet.metadata.row_group(group)
    place = _place(parquet, column)
    rest = rows.total_byte_size - rows.column(place).total_uncompressed_size
    lengths = [
        pc.fill_null(pc.binary_length(as_bytes(batch.column(0))), 0).to_numpy()
        for batch in parquet.iter_batches(FEW, row_groups=[group], columns=[column])
    ]
    return np.cumsum(np.concatenate([[0], *lengths])) + np.linspace(0, rest, rows.num_rows + 1)


def _place(parquet: pq.ParquetFile, column: str) -> int | None:
    """The place of a column that is not nested."""
    for place in range(parquet.metadata.num_columns):
        about = parquet.metadata.schema.column(place)
        if about.path == column and about.physical_type == "BYTE_ARRAY":
            return place
    return None
