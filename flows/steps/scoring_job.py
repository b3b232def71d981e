"""What there is to do to score files with the model of a run: which rows come of them, and where they go."""

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import rnnfast
from flows.datasets.ranges import FileRows, file_rows
from flows.datasets.readers import READERS, Columns
from flows.datasets.series_files import KINDS, SeriesColumns
from flows.errors import InputError
from flows.executors import Executor, Work
from flows.outputs import Outputs, Record
from flows.parameters import Execution
from flows.registry import Model, models
from flows.steps import score_readings, score_reviews
from flows.steps.partition import Shard, Whole, partition_count, partitioned
from flows.steps.score_readings import ReadingsFilesWork, ReadingsWork, output_schema
from flows.steps.score_reviews import SCORES, SHARD_BYTES, Done, ReviewsWork
from flows.storage import File, Folder
from rnnfast.checks import Status
from rnnfast.drift import Tally
from rnnfast.scoring import CONFIG, RunFolderError, Scorer, SensorScorer, load_scorer

FORMAT = 5  # of the output; part of a shard's key


logger = logging.getLogger(__name__)


@dataclass
class Summary:
    """What scoring did, in shards and rows; `seconds` are those of scoring alone, `files` those that were taken.

    `checks` says how the worst check of the rows ended, `nothing` why there was nothing to do, where that is so.
    `read` counts the rows of the input that were read to be scored, `judged` says whether `drift.json` and the report
    are of this run.
    """

    files: int = 0
    shards: int = 0
    skipped: int = 0
    rows: int = 0
    rejected: int = 0
    read: int = 0
    judged: bool = False
    checks: Status = "passed"
    seconds: float = 0.0
    nothing: str = ""

    def count(self, done: Done) -> Record:
        """Counts a shard that is done, and returns its record."""
        self.shards += 1
        self.skipped += done.was_done
        self.rows += done.record.rows
        self.rejected += done.record.rejected
        self.read += 0 if done.was_done else done.record.input_rows
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


class Job(Protocol):
    """What is to be done with files, which are known by their place below the folder that all are in.

    How many letters of a path are those of that folder is called `inside`.
    """

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
    def memory(self) -> int:
        """Bytes that a worker takes at the most."""

    def together(
        self, files: list[File], inside: int, executor: Executor
    ) -> AbstractContextManager[tuple[Work[Any, Done], Iterable[Any]]]:
        """The work on all files as one input, and its shards, for as long as the block runs."""

    def apart(self, inside: int) -> AbstractContextManager[FilesWork]:
        """The work on files that are taken each by itself, for as long as the block runs."""

    def shards_of(self, file: File, inside: int) -> Iterable[Any]:
        """The shards of such a file."""

    def progress(self, files: list[File], inside: int) -> tuple[int, int | None]:
        """How many shards all files have as one input, and how many are done; None where only the work tells."""


def progress_apart(job: Job, files: list[File], inside: int) -> tuple[int, int]:
    """How many shards files have that are taken each by itself, and how many are done."""
    with job.apart(inside) as work:
        done = [
            work.find(shard) is not None for file in files for shard in job.shards_of(file, inside)
        ]
    return len(done), sum(done)


@dataclass(frozen=True)
class ReviewsJob:
    """The scoring of reviews, of which each has its score whatever is beside it."""

    model: Path
    scorer: Scorer
    columns: Columns
    shard_rows: int
    outputs: Outputs
    kinds: tuple[str, ...] = tuple(READERS)

    @property
    def memory(self) -> int:
        return score_reviews.reviews_memory(self.scorer)

    @contextmanager
    def together(
        self, files: list[File], inside: int, executor: Executor
    ) -> Iterator[tuple[ReviewsWork, Iterable[FileRows]]]:
        with self.apart(inside) as work:
            yield work, self._shards(files, inside)

    @contextmanager
    def apart(self, inside: int) -> Iterator[ReviewsWork]:
        yield ReviewsWork(self.model, self.scorer.digest, self.columns, self.outputs)

    def shards_of(self, file: File, inside: int) -> Iterable[FileRows]:
        return self._shards([file], inside)

    def _shards(self, files: list[File], inside: int) -> Iterable[FileRows]:
        return file_rows(files, inside, self.shard_rows, SHARD_BYTES, self.columns.text)

    def progress(self, files: list[File], inside: int) -> tuple[int, int]:
        return progress_apart(self, files, inside)


@dataclass(frozen=True)
class ReadingsJob:
    """The scoring of readings, of which a device's are one series wherever they are."""

    model: Path
    scorer: SensorScorer
    columns: SeriesColumns
    every: int | None
    outputs: Outputs
    kinds: tuple[str, ...] = KINDS

    @property
    def memory(self) -> int:
        return score_readings.readings_memory(self.scorer)

    @property
    def is_one(self) -> bool:
        # In the order of the files, a reading's time is its place among all.
        return self.columns.group is None or self.scorer.series.order == "file"

    @contextmanager
    def together(
        self, files: list[File], inside: int, executor: Executor
    ) -> Iterator[tuple[ReadingsWork, Iterable[Shard]]]:
        with partitioned(
            files, inside, self.columns, self.is_one, self.outputs, executor
        ) as source:
            work = ReadingsWork(self.model, self.scorer.digest, source, self.every, self.outputs)
            yield work, (Shard(number, source.count) for number in range(source.count))

    @contextmanager
    def apart(self, inside: int) -> Iterator[ReadingsFilesWork]:
        nothing = Whole((), self.columns, inside)
        work = ReadingsWork(self.model, self.scorer.digest, nothing, self.every, self.outputs)
        yield ReadingsFilesWork(work, self.columns, inside)

    def shards_of(self, file: File, inside: int) -> Iterable[File]:
        return [file]

    def progress(self, files: list[File], inside: int) -> tuple[int, int | None]:
        count = 1 if self.is_one else partition_count(files)
        if count > 1:
            return count, None
        whole = Whole(tuple(files), self.columns, inside)
        with self.apart(inside) as work:
            found = replace(work.work, source=whole).find(Shard(0, 1))
        return 1, int(found is not None)


def scoring_job(
    model: Path,
    columns: Columns | None,
    output: Path | str,
    every: int | None,
    time_column: str | None,
    group_column: str | None,
    execution: Execution,
) -> Job:
    """What there is to do; the arguments are those of `flows.steps.score.score_files`.

    Raises:
        InputError: `model` is not the folder of a run.
    """
    try:
        scorer = load_scorer(model)
    except RunFolderError as error:
        raise InputError(f"--model: {error}") from error
    folder = Folder.at(output, "--output")
    # What is written is told apart by the version too: another one may score in another way.
    told = {"rnnfast": rnnfast.__version__, "format": FORMAT, "model": scorer.digest}
    if isinstance(scorer, Scorer):
        texts = columns or Columns()
        settings = told | {"columns": texts.wanted, "shard_rows": execution.shard_rows}
        outputs = Outputs(folder, SCORES, settings)
        return ReviewsJob(model, scorer, texts, execution.shard_rows, outputs)
    series = scorer.series
    read = SeriesColumns(
        time_column or series.time_column, series.own, group_column or series.group_column
    )
    columns_read = asdict(read) | {"channels": list(series.own)}
    settings = told | {"columns": columns_read, "every": every}
    return ReadingsJob(model, scorer, read, every, Outputs(folder, output_schema(scorer), settings))


@contextmanager
def chosen_model(model: str, registry: Path) -> Iterator[Path]:
    """The folder of the run that a name or a path stands for; what is chosen stays there while the block lasts.

    A model, by its name in the registry or by the path of its folder, stands for its version in production when the
    block begins, and the path of the folder of a run for that one. What may be both is the name of the model, and
    with `./` before it a path.

    Raises:
        InputError: it is neither, or no version of the model is in production.
    """
    path = Path(model).expanduser().absolute()
    named = Model(path)
    if os.sep not in model and Model(registry.absolute() / model).numbers():
        named = Model(registry.absolute() / model)
    elif (path / CONFIG).is_file():
        yield path
        return
    if not named.numbers():
        known = ", ".join(each.name for each in models(registry)) if registry.is_dir() else ""
        raise InputError(
            f"--model must be the folder of a run, or one of the models of {registry}, which has "
            f"{known or 'none'}; got: {model!r}"
        )
    with named.in_production() as promotion:
        logger.info(
            "scoring with version %d of %s, in production since %s",
            promotion.version,
            named.name,
            promotion.at,
        )
        yield named.path(promotion.version)
