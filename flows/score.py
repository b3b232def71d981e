"""The score job: files of reviews or readings in, files of scores out."""

from pathlib import Path

from prefect import flow

from flows.datasets.readers import Columns
from flows.engine import as_task
from flows.parameters import Execution
from flows.steps.score import LIMITS, Summary, score_files
from rnnfast.checks import Limits

EXECUTION = Execution()

score_task = as_task(score_files)


@flow(name="score", persist_result=False)
def score(
    model: Path,
    input: str,
    output: str,
    text_column: str = "text",
    id_column: str | None = None,
    time_column: str | None = None,
    group_column: str | None = None,
    every: int | None = None,
    execution: Execution = EXECUTION,
    limits: Limits = LIMITS,
    gate: bool = False,
) -> Summary:
    """Scores reviews or readings with the model of a run.

    Args:
        model: The folder of a run.
        input: A CSV, JSONL or Parquet file, a glob of such files, or a folder; local or `s3://`.
        output: The folder for the scores, local or `s3://`; what is already there is not scored again.
        text_column: Column of the input that holds the text.
        id_column: Column of the input that names the row; by default `id`, where there is one.
        time_column: Column of the time stamp of readings; by default as in training.
        group_column: Column of the device or person of readings; by default as in training.
        every: Readings from one window to the next; by default the last one of each device to
            forecast, and half a window to classify.
        execution: Where the shards are done, and how.
        limits: The rules for the rows, each with the value from which it warns and from which it fails.
        gate: Whether the run fails, after its scores are written, where a rule fails.

    Returns:
        What was done, in files and rows.
    """
    columns = Columns(text=text_column, id=id_column)
    return score_task(
        model.absolute(),
        input,
        columns,
        output,
        every,
        time_column,
        group_column,
        execution,
        limits,
        gate,
    )
