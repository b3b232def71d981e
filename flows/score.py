"""The score job: files of reviews or readings in, files of scores out."""

import json
from pathlib import Path
from typing import Any, cast

from prefect import flow
from prefect.states import Completed

from flows.apart import require_outside_models
from flows.orchestration.artifacts import show_scoring, show_scoring_report
from flows.orchestration.engine import as_task
from flows.orchestration.events import tell_drift
from flows.parameters import Execution, Selection
from flows.steps.score.files import LIMITS, score_files
from flows.steps.score.job import Summary
from flows.store.file_options import FOUND, FileOptions
from flows.store.outputs import DRIFT
from flows.store.registry import chosen_model
from flows.store.storage import Folder
from flows.tables.columns import Columns
from rnnfast.evaluation.checks import Limits

EXECUTION, EVERYTHING = Execution(), Selection()

score_task = as_task(score_files)


@flow(name="score", persist_result=False)
def score(
    model: str,
    input: str,
    output: str,
    text_column: str = "text",
    id_column: str | None = None,
    time_column: str | None = None,
    group_column: str | None = None,
    every: int | None = None,
    execution: Execution = EXECUTION,
    selection: Selection = EVERYTHING,
    registry: Path = Path("models"),
    limits: Limits = LIMITS,
    gate: bool = False,
    reading: FileOptions = FOUND,
) -> Summary:
    """Scores reviews or readings with the model of a run.

    Args:
        model: A name of the registry, for the version in production when the run begins, or the folder of a run.
        input: A CSV, JSONL or Parquet file, a glob of such files, or a folder; local or `s3://`.
        output: The folder for the scores, local or `s3://`; what is already there is not scored again.
        text_column: Column of the input that holds the text.
        id_column: Column of the input that names the row; by default `id`, if it is of texts or whole numbers.
        time_column: Column of the time stamp of readings; by default as in training.
        group_column: Column of the device or person of readings; by default as in training.
        every: Readings from one window to the next; by default the last one of each device to
            forecast, and half a window to classify.
        execution: Where the shards are done, and how.
        selection: Which files are taken: all, those that are new, those of some days.
        registry: The folder of the registry.
        limits: The rules for the rows, each with the value from which it warns and from which it fails.
        gate: Whether the run fails, after its scores are written, where a rule fails.
        reading: How the files are read: separator, encoding and the like, where they are not to be found.

    Returns:
        What was done, in files and rows. Where there was nothing to do, the state of the run says so.
    """
    columns = Columns(text=text_column, id=id_column)
    judged: list[Summary] = []
    require_outside_models(model, registry, output)
    with chosen_model(model, registry) as folder:
        try:
            done = score_task(
                folder,
                input,
                columns,
                output,
                every,
                time_column,
                group_column,
                execution,
                selection,
                limits,
                gate,
                on_judged=judged.append,
                reading=reading,
            )
        except Exception:
            # Its scores are there all the same: the gate is closed, say, or a file cannot be read.
            for each in judged:
                _show(each, output)
            raise
    _show(done, output)
    if done.nothing:
        # Prefect takes the state for that of the run, and hands over its data.
        return cast(Summary, Completed(message=done.nothing, data=done))
    return done


def _show(done: Summary, output: str) -> None:
    """Shows what was done, and tells what was judged."""
    drift = _drift(output) if done.judged else None
    if drift is not None:
        tell_drift(output, drift)
        show_scoring_report(output)
    show_scoring(done, output, drift)


def _drift(output: str) -> dict[str, Any]:
    """What the checks of the scored rows came to."""
    return dict(json.loads(Folder.at(output, "--output").read(DRIFT)))
