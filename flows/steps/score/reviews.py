"""Scores reviews: a shard is a range of the rows of a file."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Lock

import pyarrow as pa
import torch

from flows.accounts import Rejected, count_rejected
from flows.errors import InputError
from flows.executors import AHEAD
from flows.store.outputs import Outputs, Record, content_digest
from flows.tables.columns import Columns
from flows.tables.files import read_batches
from flows.tables.ranges import FileRows
from rnnfast.evaluation.drift import Tally
from rnnfast.evaluation.profiles import tally_ids, tally_scores
from rnnfast.labels.target import Target
from rnnfast.models.choices import DeviceChoice, ScoringPrecision
from rnnfast.scoring.scorers import Scorer

# Of a shard's rows in their file, unpacked, at the most; of one row group of Parquet up to twice as many.
SHARD_BYTES = 64 << 20
BASE_MEMORY = 350 << 20  # bytes: Python, torch and Arrow
# The file's bytes, the columns, and what is made of them on the way. Parquet is read piece by piece: of twice as many
# bytes there are the columns, and less than half as many beside (119 MB of texts took 166 MB).
SHARD_MEMORY = 3 * SHARD_BYTES


@dataclass(frozen=True)
class Done:
    """A shard that is done.

    Attributes:
        record: of it.
        tally: what was counted of its rows.
        was_done: whether it was done before.
        size: its part of the input's bytes.
    """

    record: Record
    tally: Tally
    was_done: bool
    size: int


def review_scores(target: Target) -> pa.Schema:
    """The columns of scores: which row it is, and what the target has."""
    return pa.schema([("id", pa.string()), *target.fields()])


def reviews_memory(scorer: Scorer) -> int:
    """Bytes that a worker takes at the most, measured: the libraries, the model, and the shards that it has."""
    weights = sum(tensor.nbytes for tensor in scorer.model.state_dict().values())
    return int(BASE_MEMORY + 2 * weights + AHEAD * SHARD_MEMORY)


@dataclass(frozen=True)
class ReviewsWork:
    """What a worker does with a shard: reads it, and scores and writes it unless that was done before.

    Attributes:
        model: folder of the run.
        digest: of the model that it must hold.
        columns: where the text and, if there is one, the id is.
        outputs: where the scores go.
        precision: what the recurrent layers compute in.
        device: where.
    """

    model: Path
    digest: str
    columns: Columns
    outputs: Outputs
    precision: ScoringPrecision = "auto"
    device: DeviceChoice = "cpu"

    def start(self, threads: int) -> Callable[[FileRows], Done]:
        """Loads the model."""
        torch.set_num_threads(threads)
        scorer = Scorer.load(self.model, self.precision, self.device)
        if scorer.digest != self.digest:
            raise InputError(
                f"--model must stay as it is while it scores, {self.model} has changed"
            )
        return partial(self._do, scorer, Lock())

    def find(self, shard: FileRows) -> tuple[Record, Tally] | None:
        """The record of a shard that is done, and what was counted of its rows."""
        return self.outputs.find(self._key(shard, content_digest(*_read(shard, self.columns))))

    def _key(self, shard: FileRows, digest: str) -> str:
        stem = shard.file.name.split(".")[0]
        return self.outputs.key(stem, shard.file.place, shard.rows.start, digest)

    def _do(self, scorer: Scorer, computing: Lock, shard: FileRows) -> Done:
        table, rejected = _read(shard, self.columns)
        digest = content_digest(table, rejected)
        key = self._key(shard, digest)
        found = self.outputs.find(key)
        if found is not None:
            return Done(*found, True, shard.rows.size)
        tally = Tally()
        with computing:
            scores = scorer.score(table["text"], partial(tally_ids, tally))
        tally_scores(tally, scores, scorer.target)
        tally.counts.update(count_rejected(row.reason for row in rejected))
        columns = [table["id"], *scorer.target.columns(scores)]
        rows = pa.table(columns, schema=review_scores(scorer.target))
        about = {
            "input": shard.file.place,
            "first_row": shard.rows.start + 1,
            "input_rows": shard.rows.stop - shard.rows.start,
            "input_sha256": digest,
        }
        bad = [(shard.file.place, row) for row in rejected]
        record = self.outputs.write(key, [rows], bad, tally, about)
        return Done(record, tally, False, shard.rows.size)


def _read(shard: FileRows, columns: Columns) -> tuple[pa.Table, list[Rejected]]:
    """The rows of a shard: columns id and text, and those that cannot be scored."""
    tables = [pa.table({"id": pa.array([], pa.string()), "text": pa.array([], pa.string())})]
    rejected: list[Rejected] = []
    for batch in read_batches(shard.file, columns, shard.file.place, shard.rows):
        tables.append(batch.table.select(["id", "text"]))
        rejected += batch.rejected
    return pa.concat_tables(tables), rejected
