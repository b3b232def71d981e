"""Scores files of reviews or of readings with the model of a run: plans the shards, has them done, and lists them."""

import logging
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter

import rnnfast
from flows.datasets.readers import READERS, Columns
from flows.datasets.series_files import KINDS, SeriesColumns
from flows.errors import InputError
from flows.executors import Item, Work
from flows.outputs import MANIFEST, Outputs
from flows.parameters import Execution
from flows.progress import rows_bar
from flows.steps.score_readings import ReadingsWork, output_schema, readings_memory
from flows.steps.score_reviews import SCORES, Done, ReviewsWork, plan_reviews, reviews_memory
from flows.storage import File, Folder, common_folder, find
from flows.unfinished import at_end
from rnnfast.scoring import RunFolderError, Scorer, load_scorer
from rnnfast.series import CALENDAR

EXECUTION = Execution()
FORMAT = 2  # of the output; part of a shard's key

logger = logging.getLogger(__name__)


@dataclass
class Summary:
    """What scoring did, in shards and rows; `seconds` are those of scoring alone."""

    shards: int = 0
    skipped: int = 0
    rows: int = 0
    rejected: int = 0
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
) -> Summary:
    """Scores every file that an address names.

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

    Raises:
        InputError: `model` is not the folder of a run, or there is no such file or column, or no
            row that can be scored.
    """
    try:
        scorer = load_scorer(model)
    except RunFolderError as error:
        raise InputError(f"--model: {error}") from error
    folder = Folder.at(output, "--output")
    # What is written is told apart by the version too: another one may score in another way.
    told = {"rnnfast": rnnfast.__version__, "format": FORMAT, "model": scorer.digest}
    if isinstance(scorer, Scorer):
        files = find(pattern, "--input", tuple(READERS))
        texts = columns or Columns()
        settings = told | {"columns": texts.wanted, "shard_rows": execution.shard_rows}
        outputs = Outputs(folder, SCORES, settings)
        return _run(
            ReviewsWork(model, scorer.digest, texts, outputs),
            plan_reviews(files, execution.shard_rows),
            outputs,
            files,
            execution,
            reviews_memory(scorer),
        )
    series = scorer.series
    own = tuple(name for name in series.channels if name not in CALENDAR)
    read = SeriesColumns(
        time_column or series.time_column, own, group_column or series.group_column
    )
    files = find(pattern, "--input", KINDS)
    outputs = Outputs(
        folder, output_schema(scorer), told | {"columns": asdict(read), "every": every}
    )
    work = ReadingsWork(model, read, every, outputs, len(common_folder(files)) + 1)
    return _run(work, files, outputs, files, execution, readings_memory(scorer))


def _run(
    work: Work[Item, Done],
    items: Iterable[Item],
    outputs: Outputs,
    files: list[File],
    execution: Execution,
    worker_memory: int,
) -> Summary:
    """Has the shards done, and lists them."""
    started = perf_counter()
    summary, records = Summary(), []
    chosen = execution.executor(worker_memory)
    with at_end(outputs.folder.remove_if_empty):  # an empty folder is nothing to leave
        outputs.begin()
        with rows_bar("scoring", sum(file.size for file in files)) as advance:
            for done in chosen.run(work, items):
                records.append(done.record)
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
    summary.seconds = perf_counter() - started
    return summary
