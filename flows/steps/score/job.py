"""What there is to do to score files with the model of a run: which rows come of them, and where they go."""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol

import torch

import rnnfast
from flows.accounts import Account, account_of_scoring
from flows.datasets.series_files import KINDS, SeriesColumns, columns_of_run
from flows.errors import InputError
from flows.executors import Executor, Work
from flows.parameters import ScoreRequest
from flows.steps.prepare.partition import Shard, Source, Whole, partition_count, partitioned
from flows.steps.score import readings, reviews
from flows.steps.score.readings import ReadingsFilesWork, ReadingsWork, output_schema
from flows.steps.score.reviews import SHARD_BYTES, Done, ReviewsWork
from flows.store.file_options import FOUND, FileOptions
from flows.store.outputs import Outputs, Record
from flows.store.storage import File, Folder
from flows.tables.columns import Columns
from flows.tables.ranges import FileRows, file_rows
from flows.tables.readers import READERS
from rnnfast.evaluation.checks import Status
from rnnfast.evaluation.drift import Tally
from rnnfast.evaluation.profiles import Profile
from rnnfast.models.choices import DeviceChoice, Precision
from rnnfast.models.precision import DeviceError
from rnnfast.scoring.scorers import Scorer, SensorScorer, load_scorer, settled_precision
from rnnfast.training.run_folder import RunConfig, RunFolderError, read_config

FORMAT = 5  # of the output; part of a shard's key


logger = logging.getLogger(__name__)


@dataclass
class Summary:
    """What scoring did, in shards and rows; `seconds` are those of scoring alone, `files` those that were taken.

    `checks` says how the worst check of the rows ended, `nothing` why there was nothing to do, where that is so.
    `read` counts the rows of the input that were read to be scored. `drift` is what `drift.json` says of this run, None
    where no row was judged, and `pictures` are the plots of its report. `input_rows`, `counts` and `records` are those
    of all shards, done before or not.
    """

    files: int = 0
    shards: int = 0
    skipped: int = 0
    rows: int = 0
    rejected: int = 0
    read: int = 0
    drift: Mapping[str, Any] | None = None
    pictures: Sequence[tuple[str, str]] = ()
    checks: Status = "passed"
    seconds: float = 0.0
    nothing: str = ""
    input_rows: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    records: list[Record] = field(default_factory=list)

    @property
    def account(self) -> Account:
        """What became of the rows of the shards."""
        return account_of_scoring(self.input_rows, self.rows, self.rejected, self.counts)

    @property
    def judged(self) -> bool:
        """Whether rows were held against those of training."""
        return self.drift is not None

    def log_account(self) -> None:
        """Logs what became of the rows, for a run that ends in an error after they were scored."""
        for line in self.account.lines():
            logger.info("%s", line)

    def count(self, done: Done) -> Record:
        """Counts a shard that is done, and returns its record."""
        self.shards += 1
        self.skipped += done.was_done
        self.rows += done.record.rows
        self.rejected += done.record.rejected
        self.read += 0 if done.was_done else done.record.input_rows
        self.input_rows += done.record.input_rows
        self.counts.update(done.tally.counts)
        self.records.append(done.record)
        return done.record


@dataclass(frozen=True)
class Judged:
    """What a run hands over to be judged when its shards are done.

    Attributes:
        summary: what it did.
        records: of its shards.
        seconds: that they took.
        tally: what was counted of the rows that are judged.
        rejected: how many rows beside these could not be used.
        runs: where runs add to a folder, those whose rows are judged, by their ids in its ledger.
        failed: files that could not be read, with the reason.
    """

    summary: Summary
    records: Sequence[Record]
    seconds: float
    tally: Tally
    rejected: int
    runs: tuple[str, ...] = ()
    failed: Mapping[str, str] = field(default_factory=dict)


Judge = Callable[[Judged], None]
"""Judges rows, and puts into the summary how the worst check of them ends; raises GateError where that ends the job."""


class FilesWork(Work[Any, Done], Protocol):
    """Work on shards that are each of one file, whose records can be asked for."""

    def find(self, shard: Any, /) -> tuple[Record, Tally] | None:
        """The record of a shard that is done, and what was counted of its rows."""


class ScoringJob(Protocol):
    """What is to be done with files, which are known by their place below the folder that all are in."""

    @property
    def scorer(self) -> Scorer | SensorScorer:
        """The model."""

    @property
    def outputs(self) -> Outputs:
        """Where the rows go."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """What the files may be."""

    @property
    def options(self) -> FileOptions:
        """How the files are read."""

    @property
    def memory(self) -> int:
        """Bytes that a worker takes at the most."""

    def together(
        self, files: list[File], executor: Executor
    ) -> AbstractContextManager[tuple[Work[Any, Done], Iterable[Any]]]:
        """The work on all files as one input, and its shards, for as long as the block runs."""

    def apart(self) -> AbstractContextManager[FilesWork]:
        """The work on files that are taken each by itself, for as long as the block runs."""

    def shards_of(self, file: File) -> Iterable[Any]:
        """The shards of such a file."""

    def progress(self, files: list[File]) -> tuple[int, int | None]:
        """How many shards all files have as one input, and how many are done; None where only the work tells."""


def progress_apart(job: ScoringJob, files: list[File]) -> tuple[int, int]:
    """How many shards files have that are taken each by itself, and how many are done."""
    with job.apart() as work:
        done = [work.find(shard) is not None for file in files for shard in job.shards_of(file)]
    return len(done), sum(done)


@dataclass(frozen=True)
class ReviewsScoring:
    """The scoring of reviews, of which each has its score whatever is beside it."""

    model: Path
    scorer: Scorer
    precision: Precision
    device: DeviceChoice
    columns: Columns
    shard_rows: int
    outputs: Outputs
    options: FileOptions = FOUND
    kinds: tuple[str, ...] = tuple(READERS)

    @property
    def memory(self) -> int:
        return reviews.reviews_memory(self.scorer)

    @contextmanager
    def together(
        self, files: list[File], executor: Executor
    ) -> Iterator[tuple[ReviewsWork, Iterable[FileRows]]]:
        with self.apart() as work:
            yield work, self._shards(files)

    @contextmanager
    def apart(self) -> Iterator[ReviewsWork]:
        how = self.precision, self.device
        yield ReviewsWork(self.model, self.scorer.digest, self.columns, self.outputs, *how)

    def shards_of(self, file: File) -> Iterable[FileRows]:
        return self._shards([file])

    def _shards(self, files: list[File]) -> Iterable[FileRows]:
        return file_rows(files, self.shard_rows, SHARD_BYTES, self.columns.text)

    def progress(self, files: list[File]) -> tuple[int, int]:
        return progress_apart(self, files)


@dataclass(frozen=True)
class ReadingsScoring:
    """The scoring of readings, of which a device's are one series wherever they are."""

    model: Path
    scorer: SensorScorer
    precision: Precision
    device: DeviceChoice
    columns: SeriesColumns
    every: int | None
    shard_rows: int
    outputs: Outputs
    options: FileOptions = FOUND
    kinds: tuple[str, ...] = KINDS

    @property
    def memory(self) -> int:
        return readings.readings_memory(self.scorer)

    @property
    def is_one(self) -> bool:
        # In the order of the files, a reading's time is its place among all.
        return self.columns.group is None or self.scorer.series.order == "file"

    @contextmanager
    def together(
        self, files: list[File], executor: Executor
    ) -> Iterator[tuple[ReadingsWork, Iterable[Shard]]]:
        with partitioned(
            files, self.columns, self.is_one, self.outputs, executor, self.shard_rows
        ) as source:
            work = self._work(source)
            yield work, (Shard(number, source.count) for number in range(source.count))

    @contextmanager
    def apart(self) -> Iterator[ReadingsFilesWork]:
        nothing = Whole((), self.columns)
        work = self._work(nothing)
        yield ReadingsFilesWork(work, self.columns)

    def _work(self, source: Source) -> ReadingsWork:
        of_model = self.model, self.scorer.digest
        how = self.precision, self.device
        return ReadingsWork(*of_model, source, self.every, self.outputs, *how)

    def shards_of(self, file: File) -> Iterable[File]:
        return [file]

    def progress(self, files: list[File]) -> tuple[int, int | None]:
        count = 1 if self.is_one else partition_count(files)
        if count > 1:
            return count, None
        whole = Whole(tuple(files), self.columns)
        with self.apart() as work:
            found = replace(work.work, source=whole).find(Shard(0, 1))
        return 1, int(found is not None)


def scoring_job(model: Path, request: ScoreRequest) -> ScoringJob:
    """What there is to do for a request with the model of a run.

    Raises:
        InputError: `model` is not the folder of a run.
    """
    try:
        scorer = load_scorer(model)  # of which nothing is computed here
        how = _how(read_config(model), request)
        # It is needed when the scores are written: a broken one is an error before.
        Profile.load(model)
    except RunFolderError as error:
        raise InputError(f"--model: {error}") from error
    folder = Folder.at(request.output, "--output")
    # What is written is identity apart by the version too: another one may score in another way.
    identity: dict[str, Any] = {
        "rnnfast": rnnfast.__version__,
        "format": FORMAT,
        "model": scorer.digest,
    }
    precision, device = how
    identity |= {"precision": precision} if precision != "fp32" else {}
    identity |= {"device": device} if device != "cpu" else {}
    reading, shard_rows = request.reading, request.execution.shard_rows
    if reading.given:
        identity["reading"] = reading.given
    if isinstance(scorer, Scorer):
        settings = identity | {"columns": request.columns.wanted, "shard_rows": shard_rows}
        outputs = Outputs(folder, reviews.review_scores(scorer.target), settings)
        return ReviewsScoring(model, scorer, *how, request.columns, shard_rows, outputs, reading)
    read = columns_of_run(scorer.series, request.time_column, request.group_column)
    columns_read = asdict(read) | {"channels": list(read.channels)}
    settings = identity | {"columns": columns_read, "every": request.every}
    written = Outputs(folder, output_schema(scorer), settings)
    return ReadingsScoring(model, scorer, *how, read, request.every, shard_rows, written, reading)


def _how(run: RunConfig, request: ScoreRequest) -> tuple[Precision, Literal["cpu", "cuda"]]:
    """The precision and the device of all workers.

    Raises:
        InputError: the workers have not what was asked for.
    """
    device = request.execution.workers_device
    try:
        return settled_precision(run, request.precision, torch.device(device)), device
    except DeviceError as error:
        raise InputError(f"--{error}") from error
