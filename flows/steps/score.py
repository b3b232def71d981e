"""Scores files of reviews or of readings with the model of a run: plans the shards, has them done, and lists them."""

import logging
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from shutil import rmtree
from time import perf_counter
from uuid import uuid4

import rnnfast
from flows.datasets.readers import READERS, Columns
from flows.datasets.series_files import KINDS, SeriesColumns
from flows.errors import InputError
from flows.executors import Executor, Item, Work
from flows.outputs import MANIFEST, Outputs
from flows.parameters import Execution
from flows.progress import rows_bar
from flows.steps.check_drift import check_drift
from flows.steps.checks import report_checks
from flows.steps.partition import Shard, partitioned
from flows.steps.score_readings import ReadingsWork, output_schema, readings_memory
from flows.steps.score_reviews import SCORES, Done, ReviewsWork, plan_reviews, reviews_memory
from flows.storage import File, Folder, find
from flows.unfinished import at_end
from rnnfast.checks import Limits, Status, worst
from rnnfast.drift import Tally
from rnnfast.scoring import RunFolderError, Scorer, load_scorer

EXECUTION = Execution()
LIMITS = Limits()
FORMAT = 3  # of the output; part of a shard's key

logger = logging.getLogger(__name__)


@dataclass
class Summary:
    """What scoring did, in shards and rows, and how the worst check of its rows ended.

    `seconds` are those of scoring alone.
    """

    shards: int = 0
    skipped: int = 0
    rows: int = 0
    rejected: int = 0
    checks: Status = "passed"
    seconds: float = 0.0


def score_files(
    model: Path,
    pattern: str,
    columns: Columns | None,
    output: Path | str,
    every: int | None = None,
    time_column: str | None = None,
    group_column: str | None = None,
    execution: Execution = EXECUTION,
    limits: Limits = LIMITS,
    gate: bool = False,
) -> Summary:
    """Scores every file that an address names, and holds its rows against those of training.

    A closed gate ends the job after the scores are written: how the rows have moved is known only when all were
    read, and each score is right for its row. But `_SUCCESS` is not there then, so that nobody who waits for it
    takes them up unseen.

    Args:
        model: folder of a run.
        pattern: path, glob, folder or `s3://` address of CSV, JSONL or Parquet files; of readings CSV or Parquet.
        columns: of reviews, where the text and, if there is one, the id is.
        output: folder or `s3://` address for one Parquet file a shard, with the columns of SCORES, FORECASTS or
            LABELS, and what else `flows.outputs` says.
        every: of readings, the distance of windows; see `ReadingsWork`.
        time_column: of readings; by default that of the training data.
        group_column: likewise.
        execution: where and how.
        limits: the rules for the rows.
        gate: whether a rule that fails is an error.

    Raises:
        GateError: a rule fails, and `gate`.
        InputError: `model` is not the folder of a run, or there is no such file or column, or no
            row that can be scored.
    """
    try:
        scorer = load_scorer(model)
    except RunFolderError as error:
        raise InputError(f"--model: {error}") from error
    started = perf_counter()

    def judge(tally: Tally, rejected: int, outputs: Outputs) -> Status:
        checks = check_drift(model, scorer, tally, rejected, limits, outputs)
        report_checks(checks, gate)
        return worst(checks)

    folder = Folder.at(output, "--output")
    # What is written is told apart by the version too: another one may score in another way.
    told = {"rnnfast": rnnfast.__version__, "format": FORMAT, "model": scorer.digest}
    if isinstance(scorer, Scorer):
        files = find(pattern, "--input", tuple(READERS))
        texts = columns or Columns()
        settings = told | {"columns": texts.wanted, "shard_rows": execution.shard_rows}
        outputs = Outputs(folder, SCORES, settings)
        reviews = ReviewsWork(model, scorer.digest, texts, outputs)
        shards = plan_reviews(files, execution.shard_rows)
        chosen = execution.executor(reviews_memory(scorer))
        with _begun(outputs):
            return _run(reviews, shards, outputs, files, chosen, started, judge)
    series = scorer.series
    read = SeriesColumns(
        time_column or series.time_column, series.own, group_column or series.group_column
    )
    files = find(pattern, "--input", KINDS)
    outputs = Outputs(
        folder, output_schema(scorer), told | {"columns": asdict(read), "every": every}
    )
    # In the order of the files, a reading's time is its place among all.
    is_one = read.group is None or series.order == "file"
    chosen = execution.executor(readings_memory(scorer))
    with (
        _begun(outputs),
        _scratch() as scratch,
        partitioned(files, read, is_one, outputs, chosen) as source,
    ):
        readings = ReadingsWork(model, scorer.digest, source, every, outputs, scratch)
        parts = (Shard(number, source.count) for number in range(source.count))
        return _run(readings, parts, outputs, files, chosen, started, judge)


@contextmanager
def _begun(outputs: Outputs) -> Iterator[None]:
    with at_end(outputs.end):
        outputs.begin()
        yield


@contextmanager
def _scratch() -> Iterator[Path]:
    """The name of a folder for temporary files, which are gone at the end, whoever made them and however they ended."""
    folder = Path(tempfile.gettempdir(), f"rnnfast-{uuid4().hex}")
    with at_end(partial(rmtree, folder, ignore_errors=True)):
        yield folder


def _run(
    work: Work[Item, Done],
    items: Iterable[Item],
    outputs: Outputs,
    files: list[File],
    executor: Executor,
    started: float,
    judge: Callable[[Tally, int, Outputs], Status],
) -> Summary:
    """Has the shards done, lists them, and has what was counted of them judged."""
    summary, records, tally = Summary(), [], Tally()
    with rows_bar("scoring", sum(file.size for file in files)) as advance:
        for done in executor.run(work, items):
            records.append(done.record)
            tally.include(done.tally)
            summary.shards += 1
            summary.skipped += done.was_done
            summary.rows += done.record.rows
            summary.rejected += done.record.rejected
            advance(done.record.input_rows, done.size)
    if summary.rows == 0:
        found = f"{summary.rejected} rejected ones" if summary.rejected else "no row"
        raise InputError(f"--input must hold a row that can be scored, it has {found}")
    others = outputs.finish(records)
    if others:
        logger.warning(
            "%s has %d shards of other inputs or models too; %s lists those of this run",
            outputs.folder,
            others,
            MANIFEST,
        )
    summary.checks = judge(tally, summary.rejected, outputs)
    outputs.succeed()
    summary.seconds = perf_counter() - started
    return summary
