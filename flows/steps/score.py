"""Scores files of reviews, shard by shard: one input file is one shard.

A shard's output has a name that follows from its input, the columns and the model, and it gets that
name only when it is whole. So a shard that is there is done, and one that is scored twice is there
once. Rows that cannot be scored go to `rejected/`, with their place and the reason.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from time import perf_counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from flows.datasets.files import expand, read_batches
from flows.datasets.readers import Columns, Rejected
from flows.errors import InputError
from flows.progress import bar
from flows.steps.download import sha256
from flows.unfinished import at_end
from rnnfast.scoring import RunFolderError, Scorer

FORMAT = 1  # of the output; part of a shard's key
OUTPUT = pa.schema([("id", pa.string()), ("score", pa.float32()), ("label", pa.string())])


@dataclass(frozen=True)
class Shard:
    """A file to score: where it is, what its rows are called, and the name of its output."""

    path: Path
    name: str
    key: str


@dataclass
class Summary:
    """What scoring did, in files and rows; `seconds` are those of scoring alone."""

    shards: int = 0
    skipped: int = 0
    rows: int = 0
    rejected: int = 0
    seconds: float = 0.0


def score_files(model: Path, pattern: str, columns: Columns, output: Path) -> Summary:
    """Scores every file that a path or glob names.

    Args:
        model: folder of a run.
        pattern: path or glob of CSV, JSONL or Parquet files.
        columns: where the text and, if there is one, the id is.
        output: folder for one Parquet file a shard, with id, score and label.

    Raises:
        InputError: `model` is not the folder of a run, or there is no such file or column, or no
            row that can be scored.
    """
    try:
        scorer = Scorer.load(model)
    except RunFolderError as error:
        raise InputError(f"--model: {error}") from error
    shards = list(plan(pattern, columns, scorer))
    started = perf_counter()
    summary = Summary(shards=len(shards))
    # An empty folder is nothing to leave.
    with at_end(partial(_remove_if_empty, output)), bar("scoring", None, unit="rows") as advance:
        output.mkdir(parents=True, exist_ok=True)
        for shard in shards:
            done = output / f"{shard.key}.parquet"
            rejected = output / "rejected" / f"{shard.key}.jsonl"
            if done.exists():
                summary.skipped += 1
            else:
                _score_shard(scorer, shard, columns, done, rejected)
            rows = pq.read_metadata(done).num_rows
            summary.rows += rows
            summary.rejected += _count_lines(rejected)
            advance(rows)
    if summary.rows == 0:
        found = f"{summary.rejected} rejected ones" if summary.rejected else "no row"
        raise InputError(f"--input must hold a row that can be scored, {pattern!r} has {found}")
    summary.seconds = perf_counter() - started
    return summary


def plan(pattern: str, columns: Columns, scorer: Scorer) -> Iterator[Shard]:
    """The shards of the files that a path or glob names.

    Files are known by their place below the folder that is common to them, so that moving them all
    changes neither ids nor keys.
    """
    paths = expand(pattern, "--input")
    common = Path(os.path.commonpath([path.absolute().parent for path in paths]))
    settings = json.dumps([FORMAT, asdict(columns), scorer.digest])
    for path in paths:
        name = path.absolute().relative_to(common).as_posix()
        digest = hashlib.sha256(f"{settings}\n{name}\n{sha256(path)}".encode()).hexdigest()
        yield Shard(path, name, f"{path.name.split('.')[0]}-{digest[:16]}")


def _score_shard(
    scorer: Scorer, shard: Shard, columns: Columns, done: Path, rejected: Path
) -> None:
    with _whole_or_none(done) as temporary:
        bad: list[Rejected] = []
        with pq.ParquetWriter(temporary, OUTPUT) as writer:
            for batch in read_batches(shard.path, columns, shard.name):
                scores = scorer.score(batch.table["text"])
                names = np.asarray(scorer.labels, dtype=object)[(scores >= 0.5).astype(int)]
                labels = pa.array(names, pa.string())
                ids = batch.table["id"]
                writer.write_table(pa.table([ids, pa.array(scores), labels], schema=OUTPUT))
                bad += batch.rejected
        # Before the shard counts as done.
        if bad:
            _write_rejected(bad, shard, rejected)


def _write_rejected(rows: list[Rejected], shard: Shard, path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    with _whole_or_none(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for row in rows:
            line = {"input": shard.name, "row": row.place, "reason": row.reason}
            file.write(json.dumps(line, ensure_ascii=False) + "\n")


@contextmanager
def _whole_or_none(path: Path) -> Iterator[Path]:
    """A temporary file that is on the disk and has the name `path` after the block, or is gone."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with at_end(partial(temporary.unlink, missing_ok=True)):
        yield temporary
        _to_disk(temporary)
        temporary.replace(path)
        _to_disk(path.parent)


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _count_lines(path: Path) -> int:
    if not path.exists():
        return 0
    with path.open("rb") as file:
        return sum(1 for _ in file)
