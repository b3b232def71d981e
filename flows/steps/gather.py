"""Gathers readings in a folder: in order, on a regular grid, in flat files that windows are views of.

Flat files and not Parquet, since a window is a view only of an array that lies in memory as a whole; the
system pages in what is read of them. At most the readings of one device, and the time stamps of all, are
in memory at a time.
"""

import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from flows.errors import InputError
from rnnfast.scoring import SeriesInfo
from rnnfast.series import CALENDAR, calendar_features, find_runs, in_order, regular

logger = logging.getLogger(__name__)

VALUES, TIMES, RUNS = "readings.f32", "times.i64", "runs.json"


@dataclass(frozen=True)
class Readings:
    """Readings in the files of a folder.

    Attributes:
        values: (T, C) float32.
        times: (T,) int64 microseconds.
        runs: (R, 2) int64; no run crosses a change of group, or, to classify, of label.
        groups: of each run, the place in `group_names`.
        labels: of each run, the place in the labels of the data, -1 where it has none.
        group_names: the devices or persons; None for the one of data without groups.
        report: what was found and done, counted.
    """

    values: np.ndarray
    times: np.ndarray
    runs: np.ndarray
    groups: np.ndarray
    labels: np.ndarray
    group_names: list[str | None]
    report: dict[str, Any]

    def tensor(self) -> Tensor:
        """The values without a copy."""
        return torch.from_numpy(self.values)


class _Codes:
    """Numbers for names, in the order in which they were first seen."""

    def __init__(self) -> None:
        self.names: dict[str | None, int] = {}

    def of(self, column: pa.ChunkedArray) -> np.ndarray:
        coded = column.combine_chunks().dictionary_encode(null_encoding="encode")
        known = [self.names.setdefault(n, len(self.names)) for n in coded.dictionary.to_pylist()]
        return (
            np.array(known, np.int32)[coded.indices.to_numpy()] if known else np.empty(0, np.int32)
        )


def gather(
    batches: Iterable[pa.Table], info: SeriesInfo, folder: Path
) -> tuple[Readings, SeriesInfo]:
    """Gathers batches of readings.

    Args:
        batches: as `flows.datasets.base` says.
        info: the channels and the rules; a `step` of 0 takes the most frequent distance.
        folder: to write into.

    Returns:
        The readings, and `info` with the step that was found and, where it had none, the labels.

    Raises:
        InputError: there is no reading.
    """
    own = [name for name in info.channels if name not in CALENDAR]
    raw, times, groups, labels, names, label_names = _collect(batches, own, folder / "raw.f32")
    if len(times) == 0:
        raise InputError("--dataset or --input must hold at least one reading, found none")
    if info.order == "file":
        times = np.arange(len(times), dtype=np.int64) * 1_000_000
    order = in_order(times, groups)
    step = info.step or order.step
    if step == 0:
        raise InputError(
            "--dataset or --input must hold two readings of a device, found one of each"
        )
    counts = dict.fromkeys(("merged", "filled", "dropped"), 0)
    pieces: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    sorted_groups = groups[order.rows]
    bounds = np.append(np.flatnonzero(np.diff(sorted_groups, prepend=-1)), len(sorted_groups))
    with (folder / VALUES).open("wb") as file:
        for start, stop in pairwise(bounds):
            rows = order.rows[start:stop]
            grid = regular(times[rows], raw[rows], step, info.carry, info.sentinels)
            for name in counts:
                counts[name] += getattr(grid, name)
            values = grid.values
            if info.calendar:
                values = np.hstack([values, calendar_features(grid.times)])
            values.astype(np.float32).tofile(file)
            before = np.searchsorted(times[rows], grid.times, "right") - 1
            label = labels[rows][np.maximum(before, 0)]
            pieces.append((grid.times, np.full(len(grid.times), sorted_groups[start]), label))
    (folder / "raw.f32").unlink()
    all_times, all_groups, all_labels = (np.concatenate(each) for each in zip(*pieces, strict=True))
    if len(all_times) == 0:
        raise InputError(
            f"--features must have readings in common rows, {', '.join(own)} have none"
        )
    all_times.tofile(folder / TIMES)
    # A forecast goes on over a change of label, and knows none.
    runs = find_runs(all_times, step, all_groups, *(() if info.targets else (all_labels,)))
    found = () if info.targets else sorted(name for name in label_names if name is not None)
    info = info.model_copy(update={"step": step, "labels": info.labels or tuple(found)})
    places = {n: info.labels.index(n) if n in info.labels else -1 for n in label_names}
    of_code = np.array([places[name] for name in label_names])
    report = {
        "readings": len(times),
        "groups": len(names),
        "step_seconds": step / 1e6,
        "breaks_in_order": order.breaks,
        "duplicates_dropped": order.duplicates,
        "readings_merged": counts["merged"],
        "values_carried_forward": counts["filled"],
        "steps_left_out": counts["dropped"],
        "runs": len(runs),
    }
    record = {
        "channels": len(info.channels),
        "runs": runs.tolist(),
        "groups": all_groups[runs[:, 0]].tolist(),
        "labels": of_code[all_labels[runs[:, 0]]].tolist(),
        "group_names": list(names),
        "report": report,
    }
    (folder / RUNS).write_text(json.dumps(record), encoding="utf-8")
    noticed = ", ".join(f"{n.replace('_', ' ')} {v:,}" for n, v in report.items() if v)
    logger.info("readings: %s", noticed)
    return open_readings(folder), info


def open_readings(folder: Path) -> Readings:
    """The readings that `gather` left in a folder."""
    record = json.loads((folder / RUNS).read_text(encoding="utf-8"))
    times = np.memmap(folder / TIMES, np.int64, "c")
    shape = (len(times), record["channels"])
    return Readings(
        np.memmap(folder / VALUES, np.float32, "c", shape=shape),
        times,
        np.array(record["runs"], np.int64).reshape(-1, 2),
        np.array(record["groups"], np.int64),
        np.array(record["labels"], np.int64),
        record["group_names"],
        record["report"],
    )


def _collect(
    batches: Iterable[pa.Table], channels: list[str], path: Path
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, list[Any], list[Any]]:
    """The rows as they come: values in a file, times, group and label numbers, and their names."""
    groups, labels = _Codes(), _Codes()
    keys: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    with path.open("wb") as file:
        for table in batches:
            columns = [pc.fill_null(table[name], float("nan")).to_numpy() for name in channels]
            np.stack(columns, 1).astype(np.float32).tofile(file)
            keys.append(
                (table["time"].to_numpy(), groups.of(table["group"]), labels.of(table["label"]))
            )
    none = np.empty(0, np.int64)
    times, group, label = (
        (np.concatenate(each) for each in zip(*keys, strict=True)) if keys else (none, none, none)
    )
    shape = (len(times), len(channels))
    values = np.memmap(path, np.float32, "r", shape=shape) if len(times) else np.empty(shape)
    return values, times, group, label, list(groups.names), list(labels.names)
