"""Turns readings into the parts of a job: which windows are to train, to validate and to test on."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from flows.datasets.base import SensorDataset
from flows.datasets.series_files import SeriesColumns, numeric_columns, read_series
from flows.errors import InputError
from flows.parameters import SensorsData
from flows.steps.download import sha256
from flows.steps.gather import RUNS, VALUES, Readings, gather, open_readings
from flows.steps.prepare import PARTS
from rnnfast.scoring import SeriesInfo
from rnnfast.series import CALENDAR, CHUNK, Scaler, Windows, by_group, chronological
from rnnfast.window_models import WindowConfig

KEYS = ("time", "group", "label")  # columns of every batch, beside the channels
SERIES, SPANS = "series.json", "spans.npz"


def prepare_series(
    data: SensorsData, archive: Path | None, config: WindowConfig, work: Path
) -> Path:
    """Writes the readings, the spans of each part, the test readings, and `data.json`.

    A forecast is of readings of its own part; what it is made from may lie in the part before. A
    window to classify lies within one label.

    Args:
        data: what to read.
        archive: of a data set that has one, downloaded.
        config: the model; its windows have to fit into the parts.
        work: the folder to write into.

    Raises:
        InputError: the data cannot be used.
    """
    batches, info = _source(data, archive)
    readings, info = gather(batches, info, work)
    spans = _spans(readings, info, data, config)
    for name, (runs, _) in spans.items():
        _require_windows(name, runs, config)
    _require_variation(readings, spans["train"][0], info)
    if config.task == "classify" and len(info.labels) < 2:
        raise InputError(
            f"--label-column must hold two labels or more, found {', '.join(info.labels) or 'none'}"
        )
    arrays: dict[str, Any] = {f"{name}_runs": runs for name, (runs, _) in spans.items()}
    arrays |= {f"{name}_labels": labels for name, (_, labels) in spans.items()}
    np.savez(work / SPANS, **arrays)
    (work / SERIES).write_text(info.model_dump_json(), encoding="utf-8")
    _write_test(readings, spans["test"][0], info, work / "test.parquet")
    windows = {
        f"{name}_windows": len(_windows(readings, runs, config, 0))
        for name, (runs, _) in spans.items()
    }
    about = {
        "source": {
            **data.model_dump(exclude={"mirror"}, exclude_none=True, mode="json"),
            "about": data.named.about if data.named else "files of the user",
            "sha256": sha256(archive) if archive else None,
        },
        "rows": {**windows, **readings.report},
    }
    (work / "data.json").write_text(json.dumps(about, indent=2), encoding="utf-8")
    return work


def part_windows(
    work: Path, part: str, config: WindowConfig, stride: int = 0
) -> tuple[Windows, torch.Tensor, Readings] | None:
    """The windows of a part, the labels of their runs, and all readings; None without that part.

    A `stride` of 0 takes all windows to forecast, and half a window to classify.
    """
    readings = open_readings(work)
    with np.load(work / SPANS) as spans:
        if f"{part}_runs" not in spans:
            return None
        runs, labels = spans[f"{part}_runs"], spans[f"{part}_labels"]
    windows = _windows(readings, runs, config, stride)
    long_enough = runs[:, 1] - runs[:, 0] >= windows.size
    return windows, torch.from_numpy(labels[long_enough]), readings


def _windows(readings: Readings, runs: np.ndarray, config: WindowConfig, stride: int) -> Windows:
    if config.task == "forecast":
        return Windows(readings.tensor(), runs, config.lookback + config.horizon, stride or 1)
    return Windows(readings.tensor(), runs, config.lookback, stride or config.lookback // 2)


def _source(data: SensorsData, archive: Path | None) -> tuple[Iterator[pa.Table], SeriesInfo]:
    named = data.named
    features = data.features or (named.features if named else ())
    if not features and not named:
        keys = {data.time_column, data.group_column, data.label_column, *KEYS}
        features = numeric_columns(data.dataset, "--dataset", {k for k in keys if k})
    own = [name for name in features if name != "calendar"]
    targets: tuple[str, ...] = ()
    if data.chosen_task == "forecast":
        targets = data.target or (named.targets if named else tuple(own))
        if data.order == "file" and not data.features:
            features, own = targets, []
        own += [name for name in targets if name not in own]
    taken = [name for name in own if name in KEYS]
    if taken:
        raise InputError(f"--features must not be called {' or '.join(KEYS)}, got {taken[0]!r}")
    if not own:
        raise InputError("--features must name at least one column of numbers, found none")
    info = SeriesInfo(
        channels=(*own, *(CALENDAR if "calendar" in features else ())),
        targets=targets,
        step=round((data.step or 0) * 1e6),
        carry=data.carry,
        sentinels=data.sentinels,
        order=data.order,
        standardised=bool(named and named.standardised),
        time_column="time" if named else data.time_column,
        group_column="group" if named else data.group_column,
    )
    if named:
        _require_channels(named, own)
        return named.read(archive), info
    columns = SeriesColumns(data.time_column, tuple(own), data.group_column, data.label_column)
    return read_series(data.dataset, columns, "--dataset"), info


def _require_channels(named: SensorDataset, channels: list[str]) -> None:
    for name in channels:
        if name not in named.channels:
            raise InputError(
                f"--features and --target must be of {', '.join(named.channels)} for "
                f"{named.name!r}, got {name!r}"
            )


def _spans(
    readings: Readings, info: SeriesInfo, data: SensorsData, config: WindowConfig
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Of each part the runs (R, 2) that windows are cut from, and their labels (R,)."""
    labelled = (
        readings.labels >= 0 if config.task == "classify" else np.ones(len(readings.runs), bool)
    )
    runs, labels = readings.runs[labelled], readings.labels[labelled]
    groups = readings.groups[labelled]
    if config.task == "classify" and len(readings.group_names) > 1:
        of_group = _grouped(readings, data)
        part_of = np.array([of_group[name] for name in readings.group_names])[groups]
        return {
            name: (runs[part_of == i], labels[part_of == i])
            for i, name in enumerate(PARTS)
            if data.validation_share or name != "validation"
        }
    reach = config.lookback if config.task == "forecast" else 0
    cuts = _cuts(readings, data)
    spans = {}
    for name, start, stop in zip(PARTS, cuts[:-1], cuts[1:], strict=True):
        if stop <= start:
            continue
        cut = np.array(
            [
                [max(first, first + np.searchsorted(readings.times[first:last], start) - reach),
                 first + np.searchsorted(readings.times[first:last], stop)]
                for first, last in runs.tolist()
            ]
        ).reshape(-1, 2)  # fmt: skip
        kept = cut[:, 1] > cut[:, 0]
        spans[name] = cut[kept], labels[kept]
    return spans


def _cuts(readings: Readings, data: SensorsData) -> list[int]:
    """Times at which the parts start, and at which the last one ends."""
    ends = [np.iinfo(np.int64).min, np.iinfo(np.int64).max]
    if data.named and data.named.cuts and data.order == "time":
        last = min(data.named.cuts[2], len(readings.times)) - 1
        starts = [int(readings.times[cut]) for cut in data.named.cuts[:2]]
        return [ends[0], *starts, int(readings.times[last]) + 1]
    validation = (1 - data.test_share) * data.validation_share
    if not data.validation_share:
        [test] = chronological(readings.times, [data.test_share])
        return [ends[0], test, test, ends[1]]
    cuts = chronological(readings.times, [validation, data.test_share])
    return [ends[0], *cuts, ends[1]]


def _grouped(readings: Readings, data: SensorsData) -> dict[str | None, int]:
    """Which part each group is in, by its place in PARTS."""
    names = [str(name) for name in readings.group_names]
    test = data.test_groups or (data.named.test_groups if data.named else ())
    unknown = sorted(set(test) - set(names))
    if unknown:
        raise InputError(
            f"--test-groups must be groups of the data, which has {', '.join(sorted(names)[:20])}; "
            f"got {unknown[0]!r}"
        )
    rest = [name for name in names if name not in test]
    shares = [data.validation_share] if data.validation_share else []
    if not test:
        shares = [(1 - data.test_share) * share for share in shares] + [data.test_share]
    try:
        drawn = by_group(rest, shares, data.split_seed) if shares else [rest]
    except ValueError as error:
        raise InputError(f"--group-column: {error}") from error
    validation = drawn[1] if data.validation_share else []
    tests = test or drawn[-1]
    return {
        name: 2 if str(name) in tests else 1 if str(name) in validation else 0
        for name in readings.group_names
    }


def _require_windows(part: str, runs: np.ndarray, config: WindowConfig) -> None:
    size = config.lookback + (config.horizon if config.task == "forecast" else 0)
    longest = int((runs[:, 1] - runs[:, 0]).max()) if len(runs) else 0
    if longest < size:
        raise InputError(
            f"--dataset must hold {size} readings in a row for {part}, which a window of the model "
            f"takes (--set lookback, horizon); the longest stretch without a gap has {longest}"
        )


def _require_variation(readings: Readings, runs: np.ndarray, info: SeriesInfo) -> Scaler:
    scaler = Scaler.fit(readings.values, runs)
    for channel in scaler.constant:
        if info.channels[channel] not in CALENDAR:
            raise InputError(
                f"--features must vary in the training part, {info.channels[channel]!r} is "
                f"{readings.values[runs[0, 0], channel]:g} throughout"
            )
    # A calendar that stands still in a short training part says nothing, and does no harm.
    scaler.scale[scaler.constant] = 1.0
    return scaler


def training_scaler(work: Path) -> Scaler:
    """Means and deviations over the training part."""
    info = SeriesInfo.model_validate_json((work / SERIES).read_text(encoding="utf-8"))
    with np.load(work / SPANS) as spans:
        return _require_variation(open_readings(work), spans["train_runs"], info)


def training_digest(work: Path) -> str:
    """The SHA-256, in hexadecimal, of all that `prepare_series` left to train on."""
    sums = "".join(sha256(work / name) for name in (VALUES, RUNS, SERIES, SPANS))
    return hashlib.sha256(sums.encode()).hexdigest()


def _write_test(readings: Readings, runs: np.ndarray, info: SeriesInfo, path: Path) -> None:
    """The readings of the test part, with what their windows reach back to, as a file to score."""
    own = [(i, name) for i, name in enumerate(info.channels) if name not in CALENDAR]
    of_run = np.searchsorted(readings.runs[:, 1], runs[:, 0], "right")
    group = info.group_column
    schema: dict[str, Any] = {info.time_column: pa.timestamp("us", "UTC")}
    schema |= {group: pa.string()} if group else {}
    schema |= {name: pa.float32() for _, name in own}
    with pq.ParquetWriter(path, pa.schema(list(schema.items()))) as writer:
        for (start, stop), run in zip(runs.tolist(), of_run, strict=True):
            for first in range(start, stop, CHUNK):
                rows = slice(first, min(first + CHUNK, stop))
                times = pa.array(readings.times[rows], pa.timestamp("us", "UTC"))
                columns: dict[str, Any] = {info.time_column: times}
                if group:
                    name = readings.group_names[readings.groups[run]]
                    columns[group] = pa.array([name] * len(times), pa.string())
                columns |= {name: readings.values[rows, i] for i, name in own}
                writer.write_table(pa.table(columns, schema=writer.schema))
