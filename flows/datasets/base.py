"""What every data set of reviews has in common: where it comes from and what it becomes.

A review is a row of SCHEMA. Reviews travel between steps as Parquet files of that schema, whose
metadata carries the names of the two labels.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("label", pa.int8(), nullable=False),
        # Rows of one group, such as the reviews of one movie, stay on one side of a split.
        pa.field("group", pa.string()),
    ]
)


@dataclass(frozen=True)
class Archive:
    """A file to download: its name at a mirror, its address, its SHA-256 in hexadecimal."""

    name: str
    url: str
    sha256: str


@dataclass(frozen=True)
class Splits:
    """A data set in memory: tables of SCHEMA, and the names of label 0 and label 1.

    `test` is None where the data set does not say which rows are for testing.
    """

    train: pa.Table
    test: pa.Table | None
    labels: tuple[str, str]


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


def write_reviews(table: pa.Table, labels: tuple[str, str], path: Path) -> None:
    """Writes rows of SCHEMA and the names of their labels as one Parquet file."""
    metadata = {"labels": json.dumps(labels)}
    pq.write_table(table.cast(SCHEMA).replace_schema_metadata(metadata), path, compression="zstd")


def read_labels(path: Path) -> tuple[str, str]:
    """The names of label 0 and label 1 of a file that `write_reviews` wrote."""
    negative, positive = json.loads(pq.read_schema(path).metadata[b"labels"])
    return negative, positive
