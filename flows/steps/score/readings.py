"""Scores readings: forecasts from the last window of each device, or labels of all windows, of any kind.

A device whose readings since its last gap are too few for a window has no forecast of what follows them: one from
before the gap would be of a time that may be long past. The rule `short` tells how many devices that are.

A shard is all readings of some devices, in the order of their names and then of time.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from threading import Lock

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from flows.accounts import count_rejected
from flows.datasets.series_files import SeriesColumns
from flows.errors import InputError
from flows.executors import AHEAD
from flows.steps.prepare.checks import count_report
from flows.steps.prepare.gather import NoReadingsError, Readings, gather
from flows.steps.prepare.partition import (
    PART_MEMORY,
    PARTITION_BYTES,
    RejectedRows,
    Shard,
    Source,
    Whole,
)
from flows.steps.score.reviews import BASE_MEMORY, Done
from flows.store.outputs import Outputs, Record
from flows.store.storage import File
from flows.wording import counted
from rnnfast.evaluation.drift import Tally
from rnnfast.evaluation.intervals import TrackedIntervals
from rnnfast.evaluation.profiles import (
    level_of,
    tally_errors,
    tally_forecasts,
    tally_readings,
    tally_scores,
)
from rnnfast.labels.target import Target
from rnnfast.models.choices import DeviceChoice, ScoringPrecision
from rnnfast.models.window_config import WindowConfig
from rnnfast.scoring.scorers import SensorScorer
from rnnfast.series.calendar_steps import advance
from rnnfast.series.windows import Windows

GATHERING_MEMORY = 300 << 20  # bytes: what gathering takes beside mapped files, measured
# The least that a reading takes in CSV is some 24 bytes, and readings out of order take 50 each to sort.
SORTING_MEMORY = 2 * PARTITION_BYTES

logger = logging.getLogger(__name__)

WHOLE_FILE = Shard(0, 1)  # all readings of a file

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
_OF_WINDOW = (
    ("group", pa.string()),
    ("start", pa.timestamp("us", "UTC")),
    ("end", pa.timestamp("us", "UTC")),
)


def window_labels(target: Target) -> pa.Schema:
    """The columns of labels: which window it is, and what the target has."""
    return pa.schema([*_OF_WINDOW, *target.fields()])


@dataclass(frozen=True)
class ReadingsWork:
    """What a worker does with a shard: scores and writes it, unless that was done before.

    Attributes:
        model: folder of the run.
        digest: of the model that it must hold.
        source: the readings.
        every: also makes forecasts from windows before the last one, so many readings apart. Windows that
            have a label are half a window apart, or `every`.
        outputs: where the forecasts or labels go.
        precision: what the recurrent layers compute in.
        device: where.
    """

    model: Path
    digest: str
    source: Source
    every: int | None
    outputs: Outputs
    precision: ScoringPrecision = "auto"
    device: DeviceChoice = "cpu"

    def start(self, threads: int) -> Callable[[Shard], Done]:
        """Loads the model."""
        return partial(self.do, self.load(threads), Lock())

    def load(self, threads: int) -> SensorScorer:
        """The model, for so many threads; raises InputError where it is another one than it was."""
        torch.set_num_threads(threads)
        scorer = SensorScorer.load(self.model, self.precision, self.device)
        if scorer.digest != self.digest:
            raise InputError(
                f"--model must stay as it is while it scores, {self.model} has changed"
            )
        return scorer

    def find(self, shard: Shard) -> tuple[Record, Tally] | None:
        """The record of a shard that is done, and what was counted of its rows."""
        return self.outputs.find(self._key(shard, self.source.digest(shard)))

    def _key(self, shard: Shard, digest: str) -> str:
        name, _ = self.source.input(shard)
        return self.outputs.key(self.source.stem(shard), name, digest)

    def do(self, scorer: SensorScorer, computing: Lock, shard: Shard) -> Done:
        """Does a shard, as `start` says."""
        digest = self.source.digest(shard)
        name, first_row = self.source.input(shard)
        key = self._key(shard, digest)
        found = self.outputs.find(key)
        if found is not None:
            return Done(*found, True, self.source.size)
        rejected: RejectedRows = []
        tally = Tally()
        rows = 0

        def read() -> Iterator[pa.Table]:
            nonlocal rows
            for table in self.source.read(shard, rejected):
                rows += table.num_rows
                yield table

        with computing:
            tables: Iterable[pa.Table] = ()
            try:
                readings, _ = gather(read(), scorer.series)
            except NoReadingsError as error:
                # Of a few devices there may be nothing, of all together there must be something;
                # what they are missing counts all the same.
                count_report(tally, error.report)
            else:
                _count(tally, scorer, readings)
                tables = scored(scorer, readings, self.every, tally)
            about = {
                "input": name,
                "first_row": first_row,
                "input_rows": rows + len(rejected),
                "input_sha256": digest,
            }
            tally.counts.update(count_rejected(row.reason for _, row in rejected))
            record = self.outputs.write(key, tables, rejected, tally, about)
            return Done(record, tally, False, self.source.size)


@dataclass(frozen=True)
class ReadingsFilesWork:
    """What a worker does with a file whose readings are taken by themselves: no window reaches into another file.

    Attributes:
        work: the same for a whole input.
        columns: which columns hold what.
    """

    work: ReadingsWork
    columns: SeriesColumns

    def start(self, threads: int) -> Callable[[File], Done]:
        """Loads the model."""
        return partial(self._do, self.work.load(threads), Lock())

    def find(self, file: File) -> tuple[Record, Tally] | None:
        """The record of a file that is done, and what was counted of its rows."""
        return self._of(file).find(WHOLE_FILE)

    def _do(self, scorer: SensorScorer, computing: Lock, file: File) -> Done:
        return self._of(file).do(scorer, computing, WHOLE_FILE)

    def _of(self, file: File) -> ReadingsWork:
        return replace(self.work, source=Whole((file,), self.columns))


def readings_memory(scorer: SensorScorer) -> int:
    """Bytes that a worker takes at the most, beside the pages of files that the system may take back.

    More only where a shard is of more than a partition's share: all of one series that comes out of order.
    """
    weights = sum(tensor.nbytes for tensor in scorer.model.state_dict().values())
    return _memory(weights)


def least_memory() -> int:
    """The same of the smallest model: a job asks whether there is as much before it trains one."""
    return _memory(0)


def _memory(weights: int) -> int:
    splitting = AHEAD * PART_MEMORY
    return int(BASE_MEMORY + max(splitting, 2 * weights + GATHERING_MEMORY + SORTING_MEMORY))


def output_schema(scorer: SensorScorer) -> pa.Schema:
    """FORECASTS or `window_labels`."""
    return FORECASTS if scorer.target is None else window_labels(scorer.target)


def _count(tally: Tally, scorer: SensorScorer, readings: Readings) -> None:
    """Counts the readings, all of them, whether or not a window is made of them."""
    scaler = scorer.model.mean.numpy(), scorer.model.scale.numpy()
    level = level_of(scorer.model.config)
    tally_readings(tally, readings.values, readings.runs, scorer.series.own, scaler, level)
    count_report(tally, readings.report)


def scored(
    scorer: SensorScorer, readings: Readings, every: int | None, tally: Tally
) -> Iterator[pa.Table]:
    """Tables of FORECASTS or `window_labels`, one after the other; what the model gives is counted."""
    config = scorer.model.config
    # Labels are what is looked for: they part no run.
    runs = _runs(readings, config, every)
    if config.task == "forecast":
        _count_forecast(tally, readings, config.lookback)
    windows = Windows(readings.tensor(), runs, config.lookback, _distance(config, every))
    run_of_row = readings.runs[:, 1]
    intervals = TrackedIntervals(scorer.model, windows.step)
    for numbers, output in scorer.forecasts(windows):
        start = windows.starts(numbers).numpy()
        run = np.searchsorted(run_of_row, start, "right")
        group = [readings.group_names[i] for i in readings.groups[run]]
        last = start + config.lookback - 1
        if scorer.target is not None:
            given = scorer.target.given(output)
            tally_scores(tally, given, scorer.target)
            ends_of = readings.times[start], readings.times[last]
            yield _labels(scorer.target, *ends_of, group, given)
            continue
        tally_forecasts(tally, scorer.series.targets, output.numpy())
        truth = _truth(scorer, readings, last, run_of_row[run])
        tally_errors(tally, scorer.series.targets, output[..., 0].numpy() - truth)
        ends = intervals.ends(readings.groups[run], output, truth)
        yield _forecasts(scorer, readings.times[last], group, output, ends)


def _truth(
    scorer: SensorScorer, readings: Readings, last: np.ndarray, stop: np.ndarray
) -> np.ndarray:
    """What came after windows, in standard deviations (N, H, D); NaN where that is not among the readings.

    Args:
        scorer: the model.
        readings: that are scored.
        last: (N,) the last row of each window.
        stop: (N,) where its run ends.
    """
    model = scorer.model
    rows = last[:, None] + np.arange(1, model.config.horizon + 1)
    known = rows < stop[:, None]
    taken = readings.tensor()[torch.from_numpy(np.where(known, rows, last[:, None]))]
    truth: np.ndarray = model.standardised(taken)[..., model.targets].numpy()
    truth[~known] = np.nan
    return truth


def _distance(config: WindowConfig, every: int | None) -> int:
    if config.gives_labels:
        return every or max(1, config.lookback // 2)
    return every or config.lookback


def _runs(readings: Readings, config: WindowConfig, every: int | None) -> np.ndarray:
    """The runs, each cut so that a window ends where it ends; in the order of the groups' names, then of time."""
    chosen = _long_enough(readings, config.lookback)
    if config.task == "forecast" and not every:
        chosen &= _is_last(readings)
    runs, groups = readings.runs[chosen], readings.groups[chosen]
    spare = runs[:, 1] - runs[:, 0] - config.lookback
    if config.task == "forecast":
        runs[:, 0] += spare % every if every else spare
    elif config.task == "regress":
        runs[:, 0] += spare % _distance(config, every)
    names = readings.group_names
    places = np.empty(len(names), np.int64)
    places[sorted(range(len(names)), key=lambda group: names[group] or "")] = np.arange(len(names))
    result: np.ndarray = runs[np.argsort(places[groups], kind="stable")]
    return result


def _long_enough(readings: Readings, lookback: int) -> np.ndarray:
    """(R,) whether a run holds a window."""
    result: np.ndarray = readings.runs[:, 1] - readings.runs[:, 0] >= lookback
    return result


def _is_last(readings: Readings) -> np.ndarray:
    """(R,) whether a run is the last one of its device; those of a device follow each other."""
    return np.append(readings.groups[1:] != readings.groups[:-1], True)


def _count_forecast(tally: Tally, readings: Readings, lookback: int) -> None:
    """Counts the devices that have a forecast of what follows their last reading, and logs that others have none."""
    last = _is_last(readings)
    short = np.flatnonzero(last & ~_long_enough(readings, lookback))
    tally.counts["forecast"] += int(last.sum()) - len(short)
    if len(short):
        start, stop = readings.runs[short[0]]
        logger.warning(
            "no forecast after the last reading of %d of %s: %s has %s since its last gap, the model reads %d",
            len(short),
            counted(len(readings.group_names), "device"),
            readings.group_names[readings.groups[short[0]]] or "the series",
            counted(int(stop - start), "reading"),
            lookback,
        )


def _forecasts(
    scorer: SensorScorer,
    end: np.ndarray,
    group: list[str | None],
    output: Tensor,
    interval: tuple[np.ndarray, np.ndarray],
) -> pa.Table:
    model, series = scorer.model, scorer.series
    n, steps, targets, _ = output.shape
    low, high = (torch.from_numpy(each) for each in interval)
    values = model.raw(torch.stack([output[..., 0], low, high], -1)).numpy()
    ahead = advance(end, series.step, steps, series.unit, series.anchor)
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
    target: Target,
    start: np.ndarray,
    end: np.ndarray,
    group: list[str | None],
    given: np.ndarray,
) -> pa.Table:
    stamp = pa.timestamp("us", "UTC")
    columns = [
        pa.array(group, pa.string()),
        pa.array(start).cast(stamp),
        pa.array(end).cast(stamp),
        *target.columns(given),
    ]
    return pa.table(columns, schema=window_labels(target))
