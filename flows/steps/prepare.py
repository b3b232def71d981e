"""Turns a data set into the parts of a job: train, validation and test, a Parquet file each."""

import json
import shutil
from functools import partial
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from flows.datasets import DATASETS, files
from flows.datasets.base import Dataset, Splits, read_labels, write_reviews
from flows.parameters import ReviewsData
from flows.steps.download import sha256
from flows.steps.split import split
from flows.unfinished import at_end

PARTS = ("train", "validation", "test")


def prepare(data: ReviewsData, archive: Path | None, cache: Path, work: Path) -> Path:
    """Writes the parts, and `data.json`: the `source` of the data and its `rows`, counted.

    Args:
        data: what to read.
        archive: of a data set that has one, downloaded.
        cache: tables read from an archive are kept here, by the archive's content.
        work: the folder to write into.

    Returns:
        `work`.

    Raises:
        InputError: the data cannot be used.
    """
    digest = sha256(archive) if archive else None
    splits = _read(data, archive, digest, cache)
    rest, test = splits.train, splits.test
    if test is None:
        rest, test = split(rest, data.test_share, data.split_seed, "testing")
    train, validation = split(rest, data.validation_share, data.split_seed, "validation")
    parts = dict(zip(PARTS, (train, validation, test), strict=True))
    for name, table in parts.items():
        write_reviews(table, splits.labels, work / f"{name}.parquet")
    about = {
        "source": {
            **data.model_dump(exclude={"mirror"}, exclude_none=True),
            "about": DATASETS[data.dataset].about if data.is_named else "files of the user",
            "sha256": digest,
            "validation_drawn_by": "row" if _all_null(rest["group"]) else "group",
        },
        "rows": {
            **{f"{name}_rows": table.num_rows for name, table in parts.items()},
            "duplicates_in_train_and_test": pc.sum(in_both(rest, test)).as_py(),
        },
    }
    (work / "data.json").write_text(json.dumps(about, indent=2), encoding="utf-8")
    return work


def in_both(train: pa.Table, test: pa.Table) -> pa.ChunkedArray:
    """For each row of `test`, whether its text is in `train` as well.

    Two texts are the same when nothing but upper case, or white space around them, differs.
    """
    return pc.is_in(_normalised(test["text"]), value_set=_normalised(train["text"]))


def _normalised(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.utf8_trim_whitespace(pc.utf8_lower(texts))


def _all_null(column: pa.ChunkedArray) -> bool:
    return column.null_count == len(column)


def _read(data: ReviewsData, archive: Path | None, digest: str | None, cache: Path) -> Splits:
    if not data.is_named:
        return files.read(data.dataset, data.columns, data.test_dataset)
    dataset = DATASETS[data.dataset]
    if archive is None or digest is None:
        return dataset.read(None)
    folder = cache / "tables" / f"{dataset.name}-{dataset.version}-{digest[:16]}"
    return _read_cached(dataset, archive, folder)


def _read_cached(dataset: Dataset, archive: Path, folder: Path) -> Splits:
    """The tables of an archive from `folder`, which is filled the first time."""
    train, test = folder / "train.parquet", folder / "test.parquet"
    if folder.is_dir():
        tests = pq.read_table(test) if test.exists() else None
        return Splits(pq.read_table(train), tests, read_labels(train))
    splits = dataset.read(archive)
    building = folder.with_name(f".{folder.name}.{uuid4().hex[:8]}")
    with at_end(partial(shutil.rmtree, building, ignore_errors=True)):
        building.mkdir(parents=True)
        write_reviews(splits.train, splits.labels, building / train.name)
        if splits.test is not None:
            write_reviews(splits.test, splits.labels, building / test.name)
        try:
            building.rename(folder)
        except OSError:
            # Another run was first; its tables are the same.
            if not folder.is_dir():
                raise
    return splits
