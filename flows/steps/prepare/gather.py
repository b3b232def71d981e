"""Gathers readings: in order, on a regular grid, in flat files that windows are views of.

Flat files and not Parquet, since a window is a view only of an array that lies in memory as a whole; the
system pages in what is read of them, and out again where memory is short. Beside these pages there are in
memory a piece of the readings at a time and, only where rows come out of order, the 8 bytes a row of their
order and what sorting takes.

What is to be read again lies in a folder. All else is in files without a name, which take their room as long as
somebody reads them: no process can leave one behind, however it ends.
"""

import json
import logging
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from flows.errors import InputError, RepeatedError
from flows.steps.prepare.grid_step import with_step
from flows.steps.prepare.oddities import (
    REPEATED_SHARE,
    close_times,
    doubt,
    find_sentinels,
    longest_gap,
    other_values,
    stamp,
    stray_times,
)
from flows.tables.steps import step_text
from flows.wording import counted
from rnnfast.series.calendar import calendar_features
from rnnfast.series.calendar_steps import CALENDAR, from_places, rising, seconds_of, to_places
from rnnfast.series.grid import regular
from rnnfast.series.order import CHUNK, Order, in_order
from rnnfast.series.windows import find_runs
from rnnfast.training.run_folder import SeriesInfo

logger = logging.getLogger(__name__)

VALUES, TIMES, RUN_RECORD = "readings.f32", "times.i64", "runs.json"
LABEL_NUMBERS = "numbers.f32"  # labels that are numbers, one a row
RAW = np.float32, np.int64, np.int32, np.int32  # kinds of the rows' values, times, groups, labels


@dataclass(frozen=True)
class Readings:
    """Readings in files that are mapped into memory.

    Attributes:
        values: (T, C) float32.
        times: (T,) int64 microseconds.
        runs: (R, 2) int64; no run crosses a change of group, or, to classify, of label.
        groups: of each run, the place in `group_names`.
        labels: of each run, the place in the labels of the data, -1 where it has none.
        group_names: the devices or persons; None for the one of data without groups.
        report: what was found and done, counted.
        numbers: (T,) float32, the label of each row where labels are numbers; NaN where it has none; else None.
        own: (T,) bool, whether a row has a reading of its own, and not only values carried into it; None where these
            readings were opened again.
    """

    values: np.ndarray
    times: np.ndarray
    runs: np.ndarray
    groups: np.ndarray
    labels: np.ndarray
    group_names: list[str | None]
    report: dict[str, Any]
    numbers: np.ndarray | None = None
    own: np.ndarray | None = None

    def tensor(self) -> Tensor:
        """The values without a copy."""
        return torch.from_numpy(self.values)


class NoReadingsError(InputError):
    """There is nothing to gather; `report` counts what there was, like that of `Readings`."""

    def __init__(self, reason: str, report: Mapping[str, Any]) -> None:
        super().__init__(reason)
        self.reason, self.report = reason, report

    def __reduce__(self) -> tuple[type, tuple[str, Mapping[str, Any]]]:
        return type(self), (self.reason, self.report)


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
    batches: Iterable[pa.Table],
    info: SeriesInfo,
    folder: Path | None = None,
    find_missing: bool = False,
) -> tuple[Readings, SeriesInfo]:
    """Gathers batches of readings.

    Args:
        batches: as `flows.datasets.base` says.
        info: the channels and the rules; a `step` of 0 takes the most frequent distance.
        folder: where `open_readings` shall find them; None: they are there for this process alone.
        find_missing: adds to the sentinels those that the readings themselves show.

    Labels are names, which part runs, or a column of float numbers, which part none.

    Returns:
        The readings, and `info` with the step that was found and, where it had none, the labels.

    Raises:
        RepeatedError: many time stamps of a device are there again with other values.
        NoReadingsError: there is no reading, or none with a value for every channel.
        InputError: the step is to be found, and no device has two readings.
    """
    own = [name for name in info.channels if name not in CALENDAR]
    raw = _collect(batches, own, info.sentinels, folder)
    if len(raw.times) == 0:
        found = {"readings": 0, "groups": 0, "readings_merged": 0, "steps_left_out": 0}
        raise NoReadingsError(
            "--dataset or --input must hold at least one reading, found none",
            found | {"missing": dict.fromkeys(own, 0)},
        )
    if info.order == "file":
        raw = replace(raw, times=np.arange(len(raw.times), dtype=np.int64) * 1_000_000)
    if find_missing:
        info = _with_sentinels(raw, info)
    order = in_order(raw.times, raw.groups)
    _require_one_of_each(raw, order)
    in_time = _ordered(raw.times, order.rows), _ordered(raw.groups, order.rows)
    info = with_step(*in_time, order.step, info)
    step = info.step
    logger.info("step: %s", step_text(step, info.unit))
    named = not info.targets and not raw.is_numbers
    names = sorted(name for name in raw.label_names if name is not None) if named else ()
    info = info.model_copy(update={"labels": info.labels or tuple(names)})
    with (
        _file(folder, VALUES) as value_file,
        _file(folder, TIMES) as time_file,
        _file(None, "") as own_file,
        _file(folder if raw.is_numbers else None, LABEL_NUMBERS) as number_file,
    ):
        files = _GridFiles(value_file, time_file, own_file, number_file)
        runs, groups, labels, counts = _write_grid(raw, order.rows, info, files)
        report: dict[str, Any] = {
            "readings": len(raw.times),
            "groups": len(raw.group_names),
            "step_seconds": seconds_of(step, info.unit),
            "breaks_in_order": order.breaks,
            "duplicates_dropped": order.duplicates,
            **counts,
            "runs": len(runs),
        }
        noticed = ", ".join(f"{n.replace('_', ' ')} {v:,}" for n, v in report.items() if v)
        logger.info("readings: %s", noticed)
        _tell_odd_times(*in_time, order, counts)
        report["missing"] = dict(zip(own, raw.missing.tolist(), strict=True))
        if len(runs) == 0:
            raise NoReadingsError(_none_in_common(own, raw), report)
        places = {n: info.labels.index(n) if n in info.labels else -1 for n in raw.label_names}
        of_code = np.array([places[name] for name in raw.label_names] or [0])
        record = {
            "channels": len(info.channels),
            "runs": runs.tolist(),
            "groups": groups.tolist(),
            "labels": of_code[labels].tolist(),
            "group_names": raw.group_names,
            "report": report,
        }
        if folder is not None:
            (folder / RUN_RECORD).write_text(json.dumps(record), encoding="utf-8")
        own_rows = np.memmap(own_file, np.bool_, "r")
        numbers = np.memmap(number_file, np.float32, "r") if raw.is_numbers else None
        readings = _mapped(value_file, time_file, record)
        return replace(readings, own=own_rows, numbers=numbers), info


def _tell_odd_times(
    times: np.ndarray, groups: np.ndarray, order: Order, counts: Mapping[str, int]
) -> None:
    """Logs the stamps that are far from all others, a gap longer than all readings, and what shares a step."""
    few = max(3, len(times) // 20)
    left_out = counts["steps_left_out"]
    stray = stray_times(times, groups, order.step) if left_out else times[:0]
    if len(stray):
        shown = ", ".join(map(stamp, stray[:3].tolist()))
        logger.warning(
            "%s far from all others: %s%s; a wrong time stamp?",
            counted(len(stray), "reading is", "readings are"),
            shown,
            ", ..." if len(stray) > 3 else "",
        )
    elif left_out > max(len(times), 100) and (gap := longest_gap(times, groups)):
        logger.warning(
            "%s without a reading, most of them from %s to %s",
            counted(left_out, "step"),
            *map(stamp, gap),
        )
    if 0 < counts["readings_merged"] <= few and len(
        close := close_times(times, groups, order.step)
    ):
        logger.warning(
            "%s with the one before, a step has their mean; the first is %s",
            counted(counts["readings_merged"], "reading shares a step", "readings share a step"),
            stamp(int(close[0])),
        )
    if order.duplicates > few:
        logger.warning(
            "%s there again with the same values, and dropped; where they are of several devices: --group-column",
            counted(order.duplicates, "time stamp is", "time stamps are"),
        )


def _ordered(values: np.ndarray, rows: np.ndarray | None) -> np.ndarray:
    return values if rows is None else values[rows]


def _with_sentinels(raw: "_Raw", info: SeriesInfo) -> SeriesInfo:
    """The rules with the sentinels that were found as well; each is logged."""
    found, doubtful = find_sentinels(raw.values, info.sentinels)
    for number, counts in doubtful.items():
        logger.warning("%s", doubt(number, counts, info.own))
    for number, counts in found.items():
        np.add(raw.missing, counts, out=raw.missing)
        where = ", ".join(repr(n) for n, count in zip(info.own, counts, strict=True) if count)
        logger.warning(
            "%g is taken for a missing value: it is there %s in %s, far outside of all others; "
            "--set sentinels=none takes it for a number",
            number,
            counted(int(counts.sum()), "time"),
            where,
        )
        info = info.model_copy(update={"sentinels": (*info.sentinels, number)})
    return info


def _require_one_of_each(raw: "_Raw", order: Order) -> None:
    """Raises RepeatedError where many time stamps are there again with other values; warns of a few."""
    other = other_values(raw.values, order.repeats)
    count = int(other.sum())
    if count == 0:
        return
    row = int(order.repeats[other][0, 0])
    has = "has a time stamp of its" if count == 1 else "have a time stamp of their"
    stamps = (
        f"{counted(count, 'reading')} of {len(raw.times):,} {has} device that another one has, "
        f"with other values; the first is {stamp(int(raw.times[row]))}"
    )
    # Device by device, so that it does not depend on which devices are gathered together.
    of_device = np.bincount(raw.groups[order.repeats[other][:, 0]], minlength=len(raw.group_names))
    most = np.maximum(2, REPEATED_SHARE * np.bincount(raw.groups, minlength=len(raw.group_names)))
    if (of_device > most).any():
        raise RepeatedError(stamps)
    logger.warning("%s; of each stamp the first reading is taken", stamps)


def _none_in_common(own: list[str], raw: "_Raw") -> str:
    """Why there is no row with a value for every channel."""
    rows = len(raw.times)
    huge = [name for name, count in zip(own, raw.infinite, strict=True) if count == rows]
    if huge:
        return (
            f"--features must hold numbers below 3.4e38, the largest of 32 bits; all of {', '.join(huge)} are beyond; "
            "leave the column out, or scale it"
        )
    empty = [name for name, count in zip(own, raw.missing, strict=True) if count == rows]
    if empty:
        return f"--features must have readings, all {counted(rows, 'row')} of {', '.join(empty)} are missing"
    worst = int(raw.missing.argmax())
    return (
        f"--features must have readings in common rows, {', '.join(own)} have none; {own[worst]!r} misses "
        f"{raw.missing[worst]:,} of {rows:,}"
    )


def open_readings(folder: Path) -> Readings:
    """The readings that `gather` left in a folder."""
    record = json.loads((folder / RUN_RECORD).read_text(encoding="utf-8"))
    with (folder / VALUES).open("r+b") as value_file, (folder / TIMES).open("r+b") as time_file:
        readings = _mapped(value_file, time_file, record)
    path = folder / LABEL_NUMBERS
    return (
        replace(readings, numbers=np.memmap(path, np.float32, "r")) if path.exists() else readings
    )


def _file(folder: Path | None, name: str) -> IO[bytes]:
    """A file of that name in the folder, or one without a name."""
    return tempfile.TemporaryFile() if folder is None else (folder / name).open("w+b")


def _mapped(value_file: IO[bytes], time_file: IO[bytes], record: Mapping[str, Any]) -> Readings:
    # Shared with the file, "r+", which nobody writes to: of a private map, "c", the system has to promise
    # the memory, and one of more than there is it refuses; of a map to read only torch warns.
    times = np.memmap(time_file, np.int64, "r+")
    shape = (len(times), record["channels"])
    return Readings(
        np.memmap(value_file, np.float32, "r+", shape=shape),
        times,
        np.array(record["runs"], np.int64).reshape(-1, 2),
        np.array(record["groups"], np.int64),
        np.array(record["labels"], np.int64),
        record["group_names"],
        record["report"],
    )


@dataclass(frozen=True)
class _Raw:
    """The rows as they came, in files: values (T, C), the others (T,)."""

    values: np.ndarray
    times: np.ndarray
    groups: np.ndarray
    labels: np.ndarray
    group_names: list[str | None]
    label_names: list[str | None]
    missing: np.ndarray  # (C,): how many of each channel
    infinite: np.ndarray  # (C,)
    is_numbers: bool  # whether the labels are float32


def _collect(
    batches: Iterable[pa.Table],
    channels: list[str],
    sentinels: tuple[float, ...],
    folder: Path | None,
) -> _Raw:
    groups, labels = _Codes(), _Codes()
    rows, missing = 0, np.zeros(len(channels), np.int64)
    infinite = np.zeros(len(channels), np.int64)
    kinds: tuple[type, ...] = RAW
    with ExitStack() as stack:
        # In the folder, if there is one, since there is room for what is made of them.
        files = [stack.enter_context(tempfile.TemporaryFile(dir=folder)) for _ in RAW]
        for table in batches:
            columns = [pc.fill_null(table[name], float("nan")).to_numpy() for name in channels]
            if pa.types.is_floating(table["label"].type):
                kinds = (*RAW[:3], np.float32)
                label_part = pc.fill_null(table["label"], float("nan")).to_numpy()
            else:
                label_part = labels.of(table["label"])
            parts = (
                np.stack(columns, 1),
                table["time"].to_numpy(),
                groups.of(table["group"]),
                label_part,
            )
            for file, kind, part in zip(files, kinds, parts, strict=True):
                part.astype(kind, copy=False).tofile(file)
            rows += table.num_rows
            missing += (
                np.isnan(parts[0]) | np.isin(parts[0], np.array(sentinels, np.float32))
            ).sum(0)
            infinite += np.isinf(parts[0]).sum(0)
        values, times, group, label = (
            np.memmap(file, kind, "r") if rows else np.empty(0, kind)
            for file, kind in zip(files, kinds, strict=True)
        )
    return _Raw(
        values.reshape(rows, len(channels)),
        times,
        group,
        label,
        list(groups.names),
        list(labels.names),
        missing,
        infinite,
        kinds[3] is np.float32,
    )


class _GridFiles(NamedTuple):
    """Where the grid goes: readings, times, which rows have a reading of their own, and labels that are numbers."""

    values: IO[bytes]
    times: IO[bytes]
    own: IO[bytes]
    numbers: IO[bytes]


def _write_grid(
    raw: _Raw, order: np.ndarray | None, info: SeriesInfo, files: _GridFiles
) -> tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, int]]:
    """Writes readings, times, which rows have a reading of their own, and labels that are numbers.

    Gives the runs, of each its group and label, and what was done.
    """
    in_groups = raw.groups if order is None else raw.groups[order]
    bounds = np.searchsorted(in_groups, np.arange(len(raw.group_names) + 1, dtype=np.int32))
    runs: list[list[int]] = []
    owners: list[int] = []
    labels: list[int] = []
    counts = dict.fromkeys(("readings_merged", "values_carried_forward", "steps_left_out"), 0)
    written = 0
    for group, (start, stop) in enumerate(pairwise(bounds.tolist())):
        rows = slice(start, stop) if order is None else order[start:stop]
        own_times, own_labels = raw.times[rows], raw.labels[rows]
        if info.unit:
            own_times = rising(to_places(own_times, info.unit))
        read = partial(_between, raw.values, rows)
        expected = None  # time and label of a row that would go on with the last run
        early = info.step // 2 if info.nearest else 0
        last_read = -1
        for piece in regular(own_times, read, info.step, info.carry, info.sentinels, CHUNK, early):
            counts["readings_merged"] += piece.merged
            counts["values_carried_forward"] += piece.filled
            counts["steps_left_out"] += piece.dropped
            if len(piece.times) == 0:
                continue
            values, times = piece.values, piece.times
            if info.unit:
                times = from_places(times, info.unit, info.anchor)
            if info.calendar:
                values = np.hstack([values, calendar_features(times)])
            np.diff(piece.last_read, prepend=last_read).astype(bool).tofile(files.own)
            last_read = int(piece.last_read[-1])
            values.tofile(files.values)
            times.tofile(files.times)
            label = own_labels[piece.last_read]
            if raw.is_numbers:
                label.tofile(files.numbers)
            if info.targets or raw.is_numbers:
                label = np.zeros(len(label), np.int32)  # goes on over a change of label
            found = find_runs(piece.times, info.step, label)
            if expected == (piece.times[0], label[0]):
                runs[-1][1] = int(found[0, 1]) + written
                found = found[1:]
            runs += (found + written).tolist()
            owners += [group] * len(found)
            labels += label[found[:, 0]].tolist()
            expected = piece.times[-1] + info.step, label[-1]
            written += len(piece.times)
    return (
        np.array(runs, np.int64).reshape(-1, 2),
        np.array(owners, np.int64),
        np.array(labels, np.int64),
        counts,
    )


def _between(values: np.ndarray, rows: slice | np.ndarray, start: int, stop: int) -> np.ndarray:
    """Of the chosen rows those from one to another."""
    if isinstance(rows, slice):
        return values[rows.start + start : rows.start + stop]
    result: np.ndarray = values[rows[start:stop]]
    return result
