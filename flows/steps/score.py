"""Scores files of reviews or of readings, shard by shard: one input file is one shard.

A shard's output has a name that follows from its input, the columns and the model, and it gets that
name only when it is whole. So a shard that is there is done, and one that is scored twice is there
once. Rows that cannot be scored go to `rejected/`, with their place and the reason.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from flows.datasets.files import expand, read_batches
from flows.datasets.readers import READERS, Columns, Rejected
from flows.datasets.series_files import KINDS, SeriesColumns, read_series
from flows.errors import InputError
from flows.progress import bar
from flows.steps.download import sha256
from flows.steps.gather import Readings, gather
from flows.unfinished import at_end
from rnnfast.prediction import forecasts
from rnnfast.scoring import RunFolderError, Scorer, SensorScorer, load_scorer
from rnnfast.series import CALENDAR, Windows

FORMAT = 1  # of the output; part of a shard's key
OUTPUT = pa.schema([("id", pa.string()), ("score", pa.float32()), ("label", pa.string())])
FORECASTS = pa.schema(
    [
        ("group", pa.string()),
        ("made_at", pa.timestamp("us", "UTC")),  # the last reading that was known
        ("time", pa.timestamp("us", "UTC")),
        ("channel", pa.string()),
        ("forecast", pa.float32()),
        ("low", pa.float32()),
        ("high", pa.float32()),
    ]
)
LABELS = pa.schema(
    [
        ("group", pa.string()),
        ("start", pa.timestamp("us", "UTC")),
        ("end", pa.timestamp("us", "UTC")),
        ("score", pa.float32()),
        ("label", pa.string()),
    ]
)


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


class Work(Protocol):
    """What scoring a file means for one kind of model."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """Of files that can be scored, as `flows.datasets.files.kind` has them."""

    @property
    def settings(self) -> object:
        """What decides the scores beside the file, as JSON has it; part of a shard's key."""

    @property
    def schema(self) -> pa.Schema:
        """Of the output."""

    def score(self, shard: Shard, bad: list[Rejected]) -> Iterator[pa.Table]:
        """Tables of the schema, one after the other; rows that cannot be scored go to `bad`."""


@dataclass(frozen=True)
class ReviewsWork:
    """Scores texts."""

    scorer: Scorer
    columns: Columns
    kinds = tuple(READERS)
    schema = OUTPUT

    @property
    def settings(self) -> object:
        """The columns and the model."""
        return [asdict(self.columns), self.scorer.digest]

    def score(self, shard: Shard, bad: list[Rejected]) -> Iterator[pa.Table]:
        """Tables of OUTPUT."""
        for batch in read_batches(shard.path, self.columns, shard.name):
            scores = self.scorer.score(batch.table["text"])
            names = np.asarray(self.scorer.labels, dtype=object)[(scores >= 0.5).astype(int)]
            labels = pa.array(names, pa.string())
            yield pa.table([batch.table["id"], pa.array(scores), labels], schema=OUTPUT)
            bad += batch.rejected


@dataclass(frozen=True)
class ReadingsWork:
    """Scores readings: forecasts from the last window of each device, or labels of all windows.

    `every` also makes forecasts from windows before the last one, so many readings apart. Windows to
    classify are half a window apart, or `every`.
    """

    scorer: SensorScorer
    columns: SeriesColumns
    every: int | None = None
    kinds = KINDS

    @property
    def schema(self) -> pa.Schema:
        """FORECASTS or LABELS."""
        return FORECASTS if self.scorer.model.config.task == "forecast" else LABELS

    @property
    def settings(self) -> object:
        """The columns, the distance of windows and the model."""
        return [asdict(self.columns), self.every, self.scorer.digest]

    def score(self, shard: Shard, bad: list[Rejected]) -> Iterator[pa.Table]:
        """Tables of the schema."""
        rejected: list[tuple[str, Rejected]] = []
        config = self.scorer.model.config
        with tempfile.TemporaryDirectory() as folder:
            batches = read_series(str(shard.path), self.columns, "--input", rejected)
            readings, _ = gather(batches, self.scorer.series, Path(folder))
            bad += [row for _, row in rejected]
            # Labels are what is looked for: they part no run.
            windows = Windows(
                readings.tensor(), self._runs(readings), config.lookback, self._distance()
            )
            run_of_row = readings.runs[:, 1]
            for numbers, output in forecasts(self.scorer.model, windows):
                start = windows.starts(numbers).numpy()
                run = np.searchsorted(run_of_row, start, "right")
                group = [readings.group_names[i] for i in readings.groups[run]]
                last = start + config.lookback - 1
                table = self._forecasts if config.task == "forecast" else self._labels
                yield table(readings.times[start], readings.times[last], group, output)

    def _distance(self) -> int:
        config = self.scorer.model.config
        if config.task == "classify":
            return self.every or config.lookback // 2
        return self.every or config.lookback

    def _runs(self, readings: Readings) -> np.ndarray:
        """The runs, each cut so that a window ends where it ends."""
        lookback = self.scorer.model.config.lookback
        runs = readings.runs[readings.runs[:, 1] - readings.runs[:, 0] >= lookback].copy()
        if self.scorer.model.config.task == "forecast":
            spare = runs[:, 1] - runs[:, 0] - lookback
            runs[:, 0] += spare % self.every if self.every else spare
            if not self.every:
                # Of each device the last run alone.
                groups = np.searchsorted(readings.runs[:, 1], runs[:, 0], "right")
                owner = readings.groups[groups]
                runs = runs[np.append(owner[1:] != owner[:-1], True)] if len(runs) else runs
        return runs

    def _forecasts(
        self, start: np.ndarray, end: np.ndarray, group: list[str | None], output: Tensor
    ) -> pa.Table:
        model, series = self.scorer.model, self.scorer.series
        n, steps, targets, _ = output.shape
        low, high = model.interval(output)
        values = model.raw(torch.stack([output[..., 0], low, high], -1)).numpy()
        ahead = end[:, None] + series.step * np.arange(1, steps + 1)
        names = pa.array(group, pa.string())
        rows = np.repeat(np.arange(n), steps * targets)
        columns = [
            names.take(pa.array(rows)),
            pa.array(end[rows]).cast(pa.timestamp("us", "UTC")),
            pa.array(np.repeat(ahead, targets)).cast(pa.timestamp("us", "UTC")),
            pa.array(series.targets).take(pa.array(np.tile(np.arange(targets), n * steps))),
            *(pa.array(values[..., i].ravel(), pa.float32()) for i in range(3)),
        ]
        if not model.margins.any():
            columns[5:] = [pa.nulls(len(rows), pa.float32())] * 2
        return pa.table(columns, schema=FORECASTS)

    def _labels(
        self, start: np.ndarray, end: np.ndarray, group: list[str | None], output: Tensor
    ) -> pa.Table:
        score, label = output.softmax(1).max(1)
        stamp = pa.timestamp("us", "UTC")
        columns = [
            pa.array(group, pa.string()),
            pa.array(start).cast(stamp),
            pa.array(end).cast(stamp),
            pa.array(score.numpy()),
            pa.array(self.scorer.series.labels).take(pa.array(label.numpy())),
        ]
        return pa.table(columns, schema=LABELS)


def score_files(
    model: Path,
    pattern: str,
    columns: Columns | None,
    output: Path,
    every: int | None = None,
    time_column: str | None = None,
    group_column: str | None = None,
) -> Summary:
    """Scores every file that a path or glob names.

    Args:
        model: folder of a run.
        pattern: path or glob of CSV, JSONL or Parquet files; of readings CSV or Parquet.
        columns: of reviews, where the text and, if there is one, the id is.
        output: folder for one Parquet file a shard, with the columns of OUTPUT, FORECASTS or LABELS.
        every: of readings, the distance of windows; see `ReadingsWork`.
        time_column: of readings; by default that of the training data.
        group_column: likewise.

    Raises:
        InputError: `model` is not the folder of a run, or there is no such file or column, or no
            row that can be scored.
    """
    try:
        scorer = load_scorer(model)
    except RunFolderError as error:
        raise InputError(f"--model: {error}") from error
    if isinstance(scorer, Scorer):
        work: Work = ReviewsWork(scorer, columns or Columns())
    else:
        series = scorer.series
        own = tuple(name for name in series.channels if name not in CALENDAR)
        read = SeriesColumns(
            time_column or series.time_column, own, group_column or series.group_column
        )
        work = ReadingsWork(scorer, read, every)
    shards = list(plan(pattern, work))
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
                _score_shard(work, shard, done, rejected)
            rows = pq.read_metadata(done).num_rows
            summary.rows += rows
            summary.rejected += _count_lines(rejected)
            advance(rows)
    if summary.rows == 0:
        found = f"{summary.rejected} rejected ones" if summary.rejected else "no row"
        raise InputError(f"--input must hold a row that can be scored, {pattern!r} has {found}")
    summary.seconds = perf_counter() - started
    return summary


def plan(pattern: str, work: Work) -> Iterator[Shard]:
    """The shards of the files that a path or glob names.

    Files are known by their place below the folder that is common to them, so that moving them all
    changes neither ids nor keys.
    """
    paths = expand(pattern, "--input", work.kinds)
    common = Path(os.path.commonpath([path.absolute().parent for path in paths]))
    settings = json.dumps([FORMAT, work.settings])
    for path in paths:
        name = path.absolute().relative_to(common).as_posix()
        digest = hashlib.sha256(f"{settings}\n{name}\n{sha256(path)}".encode()).hexdigest()
        yield Shard(path, name, f"{path.name.split('.')[0]}-{digest[:16]}")


def _score_shard(work: Work, shard: Shard, done: Path, rejected: Path) -> None:
    with _whole_or_none(done) as temporary:
        bad: list[Rejected] = []
        with pq.ParquetWriter(temporary, work.schema) as writer:
            for table in work.score(shard, bad):
                writer.write_table(table)
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
