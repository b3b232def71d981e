"""The score job: files of reviews or readings in, files of scores out."""

from pathlib import Path

from prefect import flow

from flows.datasets.readers import Columns
from flows.engine import as_task
from flows.steps.score import Summary, score_files

score_task = as_task(score_files)


@flow(name="score", persist_result=False)
def score(
    model: Path,
    input: str,
    output: Path,
    text_column: str = "text",
    id_column: str | None = None,
    time_column: str | None = None,
    group_column: str | None = None,
    every: int | None = None,
) -> Summary:
    """Scores reviews or readings with the model of a run.

    Args:
        model: The folder of a run.
        input: A CSV, JSONL or Parquet file, or a glob of such files.
        output: The folder for the scores; what is already there is not scored again.
        text_column: Column of the input that holds the text.
        id_column: Column of the input that names the row; by default `id`, where there is one.
        time_column: Column of the time stamp of readings; by default as in training.
        group_column: Column of the device or person of readings; by default as in training.
        every: Readings from one window to the next; by default the last one of each device to
            forecast, and half a window to classify.

    Returns:
        What was done, in files and rows.
    """
    columns = Columns(text=text_column, id=id_column)
    return score_task(
        model.absolute(), input, columns, output.absolute(), every, time_column, group_column
    )
