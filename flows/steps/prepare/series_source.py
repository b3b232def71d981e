"""The readings that a training takes, and the rules by which they are read: asked for, or found."""

import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from flows.datasets.base import SensorDataset
from flows.datasets.labels import LabelRule
from flows.datasets.series_columns import (
    HEAD_ROWS,
    examples,
    find_devices,
    find_interleaved,
    find_numbers,
    find_time,
    first_rows,
)
from flows.datasets.series_files import (
    KINDS,
    SeriesColumns,
    read_readings,
    read_series,
    typed_rows,
    with_form,
)
from flows.errors import InputError, RepeatedError
from flows.parameters import SensorsData
from flows.steps.prepare.label_kinds import find_task, require_numbers
from flows.store.storage import File
from flows.tables.inputs import find_files
from flows.tables.steps import parse_step
from rnnfast.series.calendar_steps import CALENDAR
from rnnfast.training.run_folder import SeriesInfo

KEYS = ("time", "group", "label")  # columns of every batch, beside the channels
SENTINEL = -9999.0  # means a missing value, unless others were given

logger = logging.getLogger(__name__)


def chosen_columns(
    data: SensorsData,
) -> tuple[SeriesColumns, tuple[str, ...], tuple[str, ...]]:
    """The columns that are read, the features and the targets: those asked for, or found from the first rows.

    Raises:
        InputError: the columns cannot be used.
    """
    named = data.named
    features = data.features or (named.features if named else ())
    time = data.time_column or "time"
    if not named:
        rows, marks = first_rows(data.dataset, "--dataset", data.reading)
        if data.time_column is None:
            time = find_time(rows) if data.has_time else ""
            if time:
                logger.info("the time is in column %s", time)
        if not features:
            keys = {time, *time.split(","), data.group_column, *data.label_columns, *KEYS}
            features, left_out = find_numbers(rows, marks, {k for k in keys if k})
            for line in left_out:
                logger.warning("%s", line)
    own = [name for name in features if name != "calendar"]
    if labels := sorted({*data.label_columns} & {*own}):
        raise InputError(
            f"--features must not hold the column of labels, which is not there to be read: {labels[0]!r}"
        )
    targets: tuple[str, ...] = ()
    if data.chosen_task == "forecast":
        targets = data.target or (named.targets if named else tuple(own))
        if not data.has_time and not data.features:
            features, own = targets, []
        own += [name for name in targets if name not in own]
    taken = [name for name in own if name in KEYS]
    if taken:
        raise InputError(f"--features must not be called {' or '.join(KEYS)}, got {taken[0]!r}")
    if not own:
        raise InputError(
            f"--features must name at least one column of numbers, found none{examples(rows) if not named else ''}"
        )
    if named:
        _require_channels(named, own)
    columns = SeriesColumns(
        time, tuple(own), data.group_column, data.label_column, data.time_format or ""
    )
    return columns, features, targets


def source(
    data: SensorsData, archive: Path | None, counts: Counter[str]
) -> tuple[Iterator[pa.Table], SeriesInfo]:
    """The readings and their rules.

    Args:
        data: what to read.
        archive: of a data set that has one.
        counts: where readings without a label are counted as they come, where labels are wanted.

    Raises:
        InputError: the columns cannot be used.
    """
    columns, features, targets = chosen_columns(data)
    info = _rules(data, columns, features, targets)
    if data.named:
        return data.named.read(archive), info
    if data.has_time:
        files = find_files(data.dataset, "--dataset", KINDS, data.reading)
        columns = with_form(files, columns)
        if not data.group_column and not columns.label:
            _require_one_device(data, columns, files[0])
    info = info.model_copy(update={"time_format": columns.time_format})
    batches = read_series(data.dataset, columns, "--dataset", options=data.reading)
    if data.label_column is None:
        return batches, info
    rule = replace(data.label_rule, several=data.chosen_task == "tag")
    numbers = data.label_column if data.chosen_task == "regress" else ""
    return (_with_labels(batch, rule, counts, numbers) for batch in batches), info


def with_task(data: SensorsData) -> SensorsData:
    """What to read, with the task that the column of labels says where none was asked for; it is logged.

    Raises:
        InputError: the files cannot be read, or have no such column.
    """
    if data.named or data.task is not None or data.label_column is None:
        return data
    file = find_files(data.dataset, "--dataset", KINDS, data.reading)[0]
    alone = SeriesColumns("", (), label=data.label_column)
    labels: Counter[str] = Counter()
    for batch, _ in read_readings(file, alone):
        rows = data.label_rule.column(batch["label"].slice(0, HEAD_ROWS)).drop_null()
        labels.update(rows.to_pylist())
        break
    task, why = find_task(labels, data.label_column)
    logger.info("task: %s, %s", task, why)
    return data.model_copy(update={"task": task})


def _rules(
    data: SensorsData, columns: SeriesColumns, features: tuple[str, ...], targets: tuple[str, ...]
) -> SeriesInfo:
    """How the readings come to a grid, as far as that is known before they are read."""
    step, unit = parse_step(data.step) if data.step else (0, "")
    return SeriesInfo(
        channels=(*columns.channels, *(CALENDAR if "calendar" in features else ())),
        targets=targets,
        step=step,
        unit=unit,
        carry=data.carry,
        sentinels=(SENTINEL,) if data.sentinels is None else data.sentinels,
        order=data.order or "time",
        standardised=bool(data.named and data.named.standardised),
        time_column=columns.time,
        group_column="group" if data.named else data.group_column,
    )


def _require_one_device(data: SensorsData, columns: SeriesColumns, file: File) -> None:
    """Raises InputError where stamps of several devices are between each other."""
    rows, marks = first_rows(data.dataset, "--dataset", data.reading)
    if not rows.column_names or rows.num_rows == 0:
        return
    alone = replace(columns, channels=())
    stamps = typed_rows(rows, alone, marks, file)[0]["time"]
    if len(stamps) < rows.num_rows:
        return  # a row cannot be read, which is told when it comes
    if name := find_interleaved(rows, stamps, {columns.time, *columns.time.split(",")}):
        raise InputError(
            f"--group-column must name the column that tells the devices apart: --group-column {name}: "
            "the stamps of each are regular, those of all together are not"
        )


def told_apart(error: RepeatedError, data: SensorsData, time: str) -> RepeatedError:
    """The error with the column that tells the devices apart, or saying that none was found."""
    if data.named:
        return error
    rows, _ = first_rows(data.dataset, "--dataset", data.reading)
    found = find_devices(rows, time, {data.label_column})
    if len(found) == 2:
        both = " and ".join(map(repr, found))
        return RepeatedError(error.stamps, f", which {both} do together: join them in one column")
    if found and found[0] != data.group_column:
        return RepeatedError(error.stamps, f": --group-column {found[0]}")
    return RepeatedError(error.stamps, ", and no column was found that does")


def _with_labels(
    batch: pa.Table, rule: LabelRule, counts: Counter[str], numbers: str = ""
) -> pa.Table:
    """The readings with the labels that their spellings stand for; those without one are counted.

    Those of a column of `numbers` become such.
    """
    labels = rule.column(batch["label"])
    counts["unlabelled_readings"] += labels.null_count
    if numbers:
        require_numbers(labels.drop_null(), numbers)
        labels = labels.cast(pa.float64())
    return batch.set_column(batch.column_names.index("label"), "label", labels)


def _require_channels(named: SensorDataset, channels: list[str]) -> None:
    for name in channels:
        if name not in named.channels:
            raise InputError(
                f"--features and --target must be of {', '.join(named.channels)} for "
                f"{named.name!r}, got {name!r}"
            )
