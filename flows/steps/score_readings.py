"""Scores readings: forecasts from the last window of each device, or labels of all windows.

A shard is a file.
"""

import hashlib
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Lock

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from flows.datasets.readers import Rejected
from flows.datasets.series_files import SeriesColumns, read_readings
from flows.outputs import Outputs
from flows.steps.gather import Readings, gather
from flows.steps.score_reviews import BASE_MEMORY, Done
from flows.storage import File
from rnnfast.prediction import forecasts
from rnnfast.scoring import SensorScorer
from rnnfast.series import Windows
from rnnfast.window_models import WindowConfig

GATHERING_MEMORY = 300 << 20  # bytes: what gathering takes beside mapped files, measured

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
LABELS = pa.schema(
    [
        ("group", pa.string()),
        ("start", pa.timestamp("us", "UTC")),
        ("end", pa.timestamp("us", "UTC")),
        ("score", pa.float32()),
        ("label", pa.string()),
    ]
)


@dataclass(frozen=True)
class ReadingsWork:
    """What a worker does with a file.

    Attributes:
        model: folder of the run.
        columns: which columns hold what.
        every: also makes forecasts from windows before the last one, so many readings apart. Windows to
            classify are half a window apart, or `every`.
        outputs: where the forecasts or labels go.
        inside: how many letters of a path are those of the folder that is common to all files.
    """

    model: Path
    columns: SeriesColumns
    every: int | None
    outputs: Outputs
    inside: int

    def start(self, threads: int) -> Callable[[File], Done]:
        """Loads the model."""
        torch.set_num_threads(threads)
        return partial(self._do, SensorScorer.load(self.model), Lock())

    def _do(self, scorer: SensorScorer, computing: Lock, file: File) -> Done:
        with file.random() as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
        name = file.path[self.inside :]
        key = self.outputs.key(file.name.split(".")[0], name, digest)
        record = self.outputs.find(key)
        if record is not None:
            return Done(record, True, file.size)
        rejected: list[Rejected] = []
        about = {"input": name, "first_row": 1, "input_rows": 0, "input_sha256": digest}
        with computing, tempfile.TemporaryDirectory() as folder:
            readings, _ = gather(self._read(file, rejected), scorer.series, Path(folder))
            tables = scored(scorer, readings, self.every)
            about["input_rows"] = readings.report["readings"] + len(rejected)
            return Done(self.outputs.write(key, tables, rejected, about), False, file.size)

    def _read(self, file: File, rejected: list[Rejected]) -> Iterator[pa.Table]:
        for table, bad in read_readings(file, self.columns):
            rejected += bad
            yield table


def readings_memory(scorer: SensorScorer) -> int:
    """Bytes that a worker takes at the most, beside the pages of files that the system may take back."""
    weights = sum(tensor.nbytes for tensor in scorer.model.state_dict().values())
    return BASE_MEMORY + 2 * weights + GATHERING_MEMORY


def output_schema(scorer: SensorScorer) -> pa.Schema:
    """FORECASTS or LABELS."""
    return FORECASTS if scorer.model.config.task == "forecast" else LABELS


def scored(scorer: SensorScorer, readings: Readings, every: int | None) -> Iterator[pa.Table]:
    """Tables of FORECASTS or LABELS, one after the other."""
    config = scorer.model.config
    table = _forecasts if config.task == "forecast" else _labels
    # Labels are what is looked for: they part no run.
    runs = _runs(readings, config, every)
    windows = Windows(readings.tensor(), runs, config.lookback, _distance(config, every))
    run_of_row = readings.runs[:, 1]
    for numbers, output in forecasts(scorer.model, windows):
        start = windows.starts(numbers).numpy()
        run = np.searchsorted(run_of_row, start, "right")
        group = [readings.group_names[i] for i in readings.groups[run]]
        last = start + config.lookback - 1
        yield table(scorer, readings.times[start], readings.times[last], group, output)


def _distance(config: WindowConfig, every: int | None) -> int:
    if config.task == "classify":
        return every or config.lookback // 2
    return every or config.lookback


def _runs(readings: Readings, config: WindowConfig, every: int | None) -> np.ndarray:
    """The runs, each cut so that a window ends where it ends."""
    lookback = config.lookback
    runs = readings.runs[readings.runs[:, 1] - readings.runs[:, 0] >= lookback].copy()
    if config.task == "forecast":
        spare = runs[:, 1] - runs[:, 0] - lookback
        runs[:, 0] += spare % every if every else spare
        if not every:
            # Of each device the last run alone.
            groups = np.searchsorted(readings.runs[:, 1], runs[:, 0], "right")
            owner = readings.groups[groups]
            runs = runs[np.append(owner[1:] != owner[:-1], True)] if len(runs) else runs
    return runs


def _forecasts(
    scorer: SensorScorer,
    start: np.ndarray,
    end: np.ndarray,
    group: list[str | None],
    output: Tensor,
) -> pa.Table:
    model, series = scorer.model, scorer.series
    n, steps, targets, _ = output.shape
    low, high = model.interval(output)
    values = model.raw(torch.stack([output[..., 0], low, high], -1)).numpy()
    ahead = end[:, None] + series.step * np.arange(1, steps + 1)
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
    scorer: SensorScorer,
    start: np.ndarray,
    end: np.ndarray,
    group: list[str | None],
    output: Tensor,
) -> pa.Table:
    score, label = output.softmax(1).max(1)
    stamp = pa.timestamp("us", "UTC")
    columns = [
        pa.array(group, pa.string()),
        pa.array(start).cast(stamp),
        pa.array(end).cast(stamp),
        pa.array(score.numpy()),
        pa.array(scorer.series.labels).take(pa.array(label.numpy())),
    ]
    return pa.table(columns, schema=LABELS)
