"""Looks at what a job is given before anything heavy is loaded: are the files there, and what it is to read in them?

A refusal comes after a second instead of after Prefect's server and torch. What is found late all the same, a broken
row in the midst of a file, say, the steps find. Nothing here needs Prefect or torch.
"""

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from flows.apart import require_apart, require_data_apart, require_outside_models, shard_files
from flows.datasets.series_files import KINDS, columns_of_run, read_raw
from flows.errors import InputError
from flows.parameters import (
    PretrainRequest,
    ReviewsData,
    ScoreRequest,
    SensorsData,
    TrainingRequest,
)
from flows.steps.prepare.download import require_place
from flows.steps.prepare.series_source import chosen_columns
from flows.steps.prepare.settings import ReviewsSettings, SensorsSettings
from flows.store.registry import chosen_model
from flows.store.storage import File, Folder, redacted
from flows.tables import columns as tables
from flows.tables.files import whole_file
from flows.tables.inputs import find_files
from flows.tables.readers import READERS
from rnnfast.training.run_folder import RunFolderError, SensorsRun, read_config

FILES = 20  # whose heads are looked at
# What these say of the data is said when the job reads it.
_LOGGED_AGAIN = ("flows.store.registry", "flows.datasets", "flows.steps.prepare.series_source")


def look_at_training(
    request: TrainingRequest,
    data: ReviewsData | SensorsData,
    settings: ReviewsSettings | SensorsSettings,
) -> None:
    """Raises InputError where the files of a training, or the folder for its run, cannot be used.

    Args:
        request: what was asked for.
        data: the same of the data, with all that was left open.
        settings: of model and training, likewise.
    """
    request.require_use(settings.model.cell, settings.training.batch_size)
    if data.archive is not None:
        require_place(data.archive, data.mirror)
    require_data_apart(data, request.output)
    _require_place(request.output)
    with _quietly():
        columns = data.columns if isinstance(data, ReviewsData) else chosen_columns(data)[0]
        for argument, pattern in data.own_files.items():
            files = find_files(pattern, argument, data.kinds, data.reading)
            own = data.columns_of(argument) if isinstance(data, ReviewsData) else columns
            _require_rows(files, own, argument)


def look_at_texts(request: PretrainRequest) -> None:
    """Raises InputError where the texts of a language model, or the folder for its run, cannot be used."""
    data = request.data
    if data.archive is not None:
        require_place(data.archive, data.mirror)
    require_data_apart(data, request.output)
    _require_place(request.output)
    with _quietly():
        for argument, pattern in data.own_files.items():
            files = find_files(pattern, argument, data.kinds, data.reading)
            _require_rows(files, data.columns, argument)


def look_at_scoring(request: ScoreRequest) -> None:
    """Raises InputError where the model or the files of a scoring cannot be used."""
    require_outside_models(request.model, request.registry, request.output)
    request.execution.require_place()
    new = request.selection.new
    wanted: tables.Selection = request.columns
    kinds = tuple(READERS)
    with _quietly(), chosen_model(request.model, request.registry) as folder:
        try:
            run = read_config(folder)
        except RunFolderError as error:
            raise InputError(f"--model: {error}") from error
    if isinstance(run, SensorsRun):
        wanted, kinds = (
            columns_of_run(run.series, request.time_column, request.group_column),
            KINDS,
        )
    files = find_files(request.input, "--input", kinds, request.reading, may_be_none=new)
    into = Folder.at(request.output, "--output")
    require_apart("--input", request.input, files, into, shard_files(files))
    if into.is_local:
        _require_place(Path(into.path))
    if not new:  # of these each is good or bad for itself
        with _quietly():
            _require_rows(files, wanted, "--input")


def _require_place(output: Path) -> None:
    """Raises InputError where a folder is not there and cannot be made, or cannot be written."""
    there = next(path for path in (output, *output.absolute().parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        why = "cannot be written" if there.is_dir() else "is no folder"
        raise InputError(
            f"--output must be a folder that can be made and written, got: {str(output)!r}; {there} {why}"
        )


def _require_rows(files: Sequence[File], columns: tables.Selection, argument: str) -> None:
    """Raises InputError where the head of a file lacks a column, or all files are empty."""
    heads = files[:FILES]
    rows = sum([_rows(file, columns) for file in heads])
    if rows == 0 and len(heads) == len(files):
        raise InputError(
            f"{argument} must hold at least one row, found none in {redacted(str(files[0]))!r}"
        )


def _rows(file: File, columns: tables.Selection) -> int:
    """How many rows the head of a file has, broken ones too; raises InputError where it cannot be read."""
    with whole_file(file):
        if isinstance(columns, tables.Columns):
            batches = READERS[file.kind](file, columns, None, ())
        else:
            batches = read_raw(file, columns)
        return sum(len(places) + len(rejected) for _, places, rejected in islice(batches, 1))


@contextmanager
def _quietly() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in _LOGGED_AGAIN]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger in loggers:
            logger.setLevel(logging.NOTSET)
