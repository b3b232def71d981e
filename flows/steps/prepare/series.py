"""Turns readings into the parts of a job: which windows are to train, to validate and to test on."""

import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from flows.datasets.series_columns import PRESENT
from flows.errors import InputError, RepeatedError
from flows.parameters import SensorsData
from flows.steps.prepare.download import sha256
from flows.steps.prepare.gather import (
    RUN_RECORD,
    VALUES,
    NoReadingsError,
    Readings,
    gather,
    open_readings,
)
from flows.steps.prepare.label_kinds import distinct_names
from flows.steps.prepare.reviews import PARTS, names_held
from flows.steps.prepare.series_source import source, told_apart
from flows.tables.steps import step_text
from flows.wording import counted
from rnnfast.labels.classes import Classes
from rnnfast.labels.numbers import Numbers
from rnnfast.labels.tags import Tags, split_tags
from rnnfast.labels.target import Target
from rnnfast.models.window_config import WindowConfig
from rnnfast.models.window_rules import SeriesFacts
from rnnfast.series.calendar_steps import CALENDAR, seconds_of
from rnnfast.series.order import CHUNK
from rnnfast.series.scaling import Scaler
from rnnfast.series.seasons import find_seasons
from rnnfast.series.splits import by_group, chronological
from rnnfast.series.windows import Windows
from rnnfast.training.run_folder import SeriesInfo

logger = logging.getLogger(__name__)

SPANS = "spans.npz"


@dataclass(frozen=True)
class PreparedSeries:
    """What is known of the readings of a job, beside the files that hold them.

    Attributes:
        facts: what they are like on their grid.
        info: what a model of them reads, and by which rules.
        scaler: means and deviations over the training part.
        source: where they come from, for the record.
        rows: how many there are, of each part and kind.
        target: what the labels are; None to forecast.
    """

    facts: SeriesFacts
    info: SeriesInfo
    scaler: Scaler
    source: Mapping[str, Any]
    rows: Mapping[str, Any]
    target: Target | None = None


def prepare_series(
    data: SensorsData,
    archive: Path | None,
    model: Callable[[SeriesFacts], WindowConfig],
    work: Path,
) -> PreparedSeries:
    """Writes the readings, the spans of each part, and the test readings.

    A forecast is of readings of its own part; what it is made from may lie in the part before. A
    window to classify lies within one label, and one of numbers has that of its last reading.

    Args:
        data: what to read.
        archive: of a data set that has one, downloaded.
        model: gives the model, when the readings are known; its windows have to fit into the parts.
        work: the folder to write into.

    Returns:
        What is known of the readings.

    Raises:
        InputError: the data cannot be used.
    """
    asked = data
    while True:
        counts: Counter[str] = Counter()
        batches, info = source(data, archive, counts)
        try:
            readings, info = gather(batches, info, work, find_missing=data.sentinels is None)
        except RepeatedError as error:
            raise told_apart(error, data, info.time_column) from error
        except NoReadingsError as error:
            if not (sparse := _sparse(error.report, info, asked)):
                raise
            data = _without(data, info, sparse)
            continue
        if sparse := _sparse(readings.report, info, asked):
            data = _without(data, info, sparse)
            continue
        target = _target(info, data)
        facts = _facts(readings, info, data)
        config = model(facts)
        spans = _spans(readings, info, data, config)
        for name, (runs, _) in spans.items():
            _require_windows(name, runs, config, readings, info)
        scaler = Scaler.fit(readings.values, spans["train"][0])
        constant = _constant(scaler, info, data)
        if not constant:
            break
        logger.warning(
            "left out, since they do not vary in the training part: %s",
            ", ".join(map(repr, constant)),
        )
        data = _without(data, info, constant)
    scaler = _varied(scaler, readings, spans["train"][0], info)
    arrays: dict[str, Any] = {f"{name}_runs": runs for name, (runs, _) in spans.items()}
    arrays |= {
        f"{name}_labels": _truth_of_runs(labels, info, target)
        for name, (_, labels) in spans.items()
    }
    if isinstance(target, Tags):
        info = info.model_copy(update={"labels": target.names})
    np.savez(work / SPANS, **arrays)
    _write_test(readings, spans["test"][0], info, work / "test.parquet")
    found = {name: part_windows(work, name, config) for name in spans}
    windows = {f"{name}_windows": len(each[0]) for name, each in found.items() if each}
    if target is not None:
        truths = {name: each[1].numpy() for name, each in found.items() if each}
        _require_labels(target, truths)
        target = target.known(truths["train"])
    parts = _readings_of_parts(readings, spans, config)
    about = {
        **asked.model_dump(exclude={"mirror"}, exclude_none=True, mode="json"),
        "about": data.named.about if data.named else "files of the user",
        "sha256": sha256(archive) if archive else None,
    }
    rows = {**windows, **parts, **readings.report, **counts}
    return PreparedSeries(facts, info, scaler, about, rows, target)


def _target(info: SeriesInfo, data: SensorsData) -> Target | None:
    """What the labels are, by the names that `gather` found; None to forecast.

    Raises:
        InputError: there are too few, too many, or two that are alike.
    """
    if not data.gives_labels:
        return None
    column = data.label_column or "label"
    if data.chosen_task == "regress":
        return Numbers(names=(column,))
    several = data.chosen_task == "tag"
    counts = {tag: 0 for name in info.labels for tag in (split_tags(name) if several else (name,))}
    if several:
        return Tags(names=distinct_names(counts, column, least=1))
    distinct_names(counts, column)
    return Classes(names=info.labels)


def _truth_of_runs(labels: np.ndarray, info: SeriesInfo, target: Target | None) -> np.ndarray:
    """The truth of runs (R,) or (R, K), of their places among the labels that were found."""
    if not isinstance(target, Tags):
        return labels
    of_each = target.encode(pa.chunked_array([pa.array(info.labels, pa.string())]))
    result: np.ndarray = target.truth(of_each)[labels]
    return result


def _require_labels(target: Target, truths: Mapping[str, np.ndarray]) -> None:
    """Says which labels windows of a part lack.

    Raises:
        InputError: those to train on, or to validate on, lack one that others have.
    """
    held = {name: names_held(target, truth) for name, truth in truths.items()}
    if isinstance(target, Numbers):
        without = [name for name, rows in held.items() if not rows[0]]
        if without:
            raise InputError(
                f"--label-column must hold numbers at the end of windows of the {without[0]} part, found none"
            )
        return
    for place, name in enumerate(target.names):
        counts = {part: int(rows[place]) for part, rows in held.items()}
        others = counts["test"] + counts.get("validation", 0)
        if not counts["train"] and others:
            logger.warning(
                "no window to train on has the label %r, which %s has; the model cannot give it",
                name,
                counted(others, "other window"),
            )
        elif not others:
            logger.warning("no window to validate or test on has the label %r", name)
    if int((held["train"] > 0).sum()) < min(2, len(target.names)):
        raise InputError(
            "--label-column must hold two labels or more in windows to train on; give more readings, or a shorter "
            "window by --set lookback"
        )


def _facts(readings: Readings, info: SeriesInfo, data: SensorsData) -> SeriesFacts:
    """What the rules of `rnnfast.models.window_rules` look at; seasons are those of the training part."""
    lengths = readings.runs[:, 1] - readings.runs[:, 0]
    facts = SeriesFacts(
        len(readings.times), int(lengths.max()), len(info.channels), info.step, info.unit
    )
    if data.gives_labels:
        labelled = lengths[readings.labels >= 0] if data.chosen_task != "regress" else lengths
        usual = int(np.quantile(labelled, 0.25)) if len(labelled) else 0
        return replace(facts, training=int(labelled.sum()), stretches=(usual,))
    parts = list(_by_time(readings, readings.runs, data, 0).values())
    runs = parts[0][0]
    targets = info.target_places
    seconds = seconds_of(info.step, info.unit) if info.order == "time" else 0.0
    seasons = find_seasons(readings.values[:, targets], runs, seconds)
    logger.info("seasons: %s", ", ".join(map(str, seasons)) or "none found")
    return replace(
        facts,
        targets=len(targets),
        training=int((runs[:, 1] - runs[:, 0]).sum()),
        stretches=tuple(int((cut[:, 1] - cut[:, 0]).max(initial=0)) for cut, _ in parts),
        seasons=seasons,
    )


def part_windows(
    work: Path, part: str, config: WindowConfig, stride: int = 0
) -> tuple[Windows, torch.Tensor, Readings] | None:
    """The windows of a part, the truth of each (empty to forecast), and all readings; None without that part.

    A `stride` of 0 takes all windows to forecast, and half a window to give labels, of numbers an eighth. Numbers are
    those at the end of a window, and windows that have none there are left out.
    """
    readings = open_readings(work)
    with np.load(work / SPANS) as spans:
        if f"{part}_runs" not in spans:
            return None
        runs, labels = spans[f"{part}_runs"], spans[f"{part}_labels"]
    windows = _windows(readings, runs, config, stride)
    if config.task == "forecast":
        return windows, torch.empty(0), readings
    numbers = torch.arange(len(windows))
    if config.task == "regress":
        assert readings.numbers is not None
        last = windows.starts(numbers) + config.lookback - 1
        truth = torch.from_numpy(readings.numbers[last.numpy()].astype(np.float64))
        known = truth.isfinite()
        return windows.only(numbers[known]), truth[known], readings
    long_enough = runs[:, 1] - runs[:, 0] >= windows.size
    of_runs = torch.from_numpy(labels[long_enough])
    return windows, of_runs[windows.run_of(numbers)], readings


def _windows(readings: Readings, runs: np.ndarray, config: WindowConfig, stride: int) -> Windows:
    if config.task == "forecast":
        return Windows(readings.tensor(), runs, config.lookback + config.horizon, stride or 1)
    # Numbers differ from window to window, of one label all windows are alike.
    usual = config.lookback // (8 if config.task == "regress" else 2)
    stride = stride or max(1, usual)
    if config.task == "regress":  # the last window of a run ends where it ends
        spare = np.maximum(0, runs[:, 1] - runs[:, 0] - config.lookback) % stride
        runs = runs + np.stack([spare, 0 * spare], 1)
    return Windows(readings.tensor(), runs, config.lookback, stride)


def _spans(
    readings: Readings, info: SeriesInfo, data: SensorsData, config: WindowConfig
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Of each part the runs (R, 2) that windows are cut from, and their labels (R,)."""
    named = config.task in ("classify", "tag")
    labelled = readings.labels >= 0 if named else np.ones(len(readings.runs), bool)
    runs, labels = readings.runs[labelled], readings.labels[labelled]
    groups = readings.groups[labelled]
    if config.gives_labels and len(readings.group_names) > 1:
        of_group = _grouped(readings, data)
        part_of = np.array([of_group[name] for name in readings.group_names])[groups]
        return {
            name: (runs[part_of == i], labels[part_of == i])
            for i, name in enumerate(PARTS)
            if data.share_to_validate or name != "validation"
        }
    reach = config.lookback if config.task == "forecast" else 0
    return {
        name: (cut, labels[kept])
        for name, (cut, kept) in _by_time(readings, runs, data, reach).items()
    }


def _by_time(
    readings: Readings, runs: np.ndarray, data: SensorsData, reach: int
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Of each part what lies in it of runs (R, 2), with so many rows before it, and which of them these are (R,)."""
    cuts = _cuts(readings, data)
    spans = {}
    for name, start, stop in zip(PARTS, cuts[:-1], cuts[1:], strict=True):
        if stop <= start:
            continue
        cut = np.array(
            [
                _cut(readings.times[first:last], start, stop, reach) + first
                for first, last in runs.tolist()
            ]
        ).reshape(-1, 2)
        kept = cut[:, 1] > cut[:, 0]
        spans[name] = cut[kept], kept
    return spans


def _readings_of_parts(
    readings: Readings, spans: dict[str, tuple[np.ndarray, np.ndarray]], config: WindowConfig
) -> dict[str, int]:
    """How many readings the windows of each part hold, what they reach back to in the one before not counted again.

    What is on the grid and in no window, and what is not on the grid for want of a value, is counted as well.
    """
    own, report = readings.own, readings.report
    assert own is not None
    size = _window_size(config)
    runs = sorted(
        (start, stop, name)
        for name, (found, _) in spans.items()
        for start, stop in found.tolist()
        if stop - start >= size
    )
    counts, done = Counter({f"{name}_readings": 0 for name in PARTS}), 0
    for start, stop, name in runs:
        counts[f"{name}_readings"] += int(np.count_nonzero(own[max(start, done) : stop]))
        done = max(done, stop)
    on_grid = int(np.count_nonzero(own))
    of_cells = report["readings"] - report["duplicates_dropped"] - report["readings_merged"]
    return dict(counts) | {
        "readings_in_no_window": on_grid - sum(counts.values()),
        "readings_without_a_value": of_cells - on_grid,
    }


def _window_size(config: WindowConfig) -> int:
    return config.lookback + (config.horizon if config.task == "forecast" else 0)


def _cut(times: np.ndarray, start: int, stop: int, reach: int) -> np.ndarray:
    """Of a run the rows of a part, and so many before them; none where the run has none in the part."""
    first, last = np.searchsorted(times, [start, stop])
    return np.array([max(0, first - reach) if first < last else last, last])


def _cuts(readings: Readings, data: SensorsData) -> list[int]:
    """Times at which the parts start, and at which the last one ends."""
    ends = [np.iinfo(np.int64).min, np.iinfo(np.int64).max]
    if data.named and data.named.cuts and data.has_time:
        last = min(data.named.cuts[2], len(readings.times)) - 1
        starts = [int(readings.times[cut]) for cut in data.named.cuts[:2]]
        return [ends[0], *starts, int(readings.times[last]) + 1]
    validation = (1 - data.test_share) * data.share_to_validate
    if not validation:
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
    shares = [data.share_to_validate] if data.share_to_validate else []
    if not test:
        shares = [(1 - data.test_share) * share for share in shares] + [data.test_share]
    try:
        drawn = by_group(rest, shares, data.split_seed) if shares else [rest]
    except ValueError as error:
        raise InputError(f"--group-column: {error}") from error
    validation = drawn[1] if data.share_to_validate else []
    tests = test or drawn[-1]
    return {
        name: 2 if str(name) in tests else 1 if str(name) in validation else 0
        for name in readings.group_names
    }


def _require_windows(
    part: str, runs: np.ndarray, config: WindowConfig, readings: Readings, info: SeriesInfo
) -> None:
    size = _window_size(config)
    longest = int((runs[:, 1] - runs[:, 0]).max()) if len(runs) else 0
    if longest < size:
        missing = readings.report["missing"]
        worst = max(missing, key=lambda name: missing[name])
        cause = ""
        if missing[worst]:
            cause = (
                f"; {worst!r} cuts it most often, it misses {missing[worst]:,} of {readings.report['readings']:,} "
                "values: leave it out of --features, or raise --set carry"
            )
        raise InputError(
            f"--dataset must hold {size} readings in a row for {part}, which a window of the model "
            f"takes (--set lookback, horizon); the longest stretch without a gap has {longest}, with a step of "
            f"{step_text(info.step, info.unit)}{cause}"
        )


def _sparse(report: Mapping[str, Any], info: SeriesInfo, asked: SensorsData) -> list[str]:
    """The channels with hardly any value that nobody asked for, unless nothing is left; each is logged."""
    if asked.features or asked.named or report["readings"] == 0:
        return []
    shares = {name: count / report["readings"] for name, count in report["missing"].items()}
    found = [name for name in info.own if shares[name] > 1 - PRESENT and name not in asked.target]
    if not found or len(found) == len(info.own):
        return []
    shown = ", ".join(f"{name!r} ({shares[name]:.0%} missing)" for name in found)
    logger.warning("columns left out of the features, mostly missing: %s", shown)
    return found


def _without(data: SensorsData, info: SeriesInfo, channels: list[str]) -> SensorsData:
    """What to read instead: the same without some channels, and with all that was found, so that it is said once."""
    features = [name for name in info.own if name not in channels]
    found = {
        "features": (*features, *(["calendar"] if info.calendar else [])),
        "time_column": info.time_column or None,
        "time_format": info.time_format or None,
        "sentinels": info.sentinels,
    }
    return data.model_copy(update=found)


def _constant(scaler: Scaler, info: SeriesInfo, data: SensorsData) -> list[str]:
    """The channels that do not vary in the training part, unless nothing is left or one is a target by name."""
    found = [info.channels[i] for i in scaler.constant if info.channels[i] not in CALENDAR]
    wanted = {*data.target, *(info.targets if data.named else ())}
    is_needed = wanted & {*found} or len(found) == len(info.own)
    return [] if is_needed else found


def _varied(scaler: Scaler, readings: Readings, runs: np.ndarray, info: SeriesInfo) -> Scaler:
    """The scaler to divide by; raises InputError where a channel does not vary."""
    for channel in scaler.constant:
        if info.channels[channel] not in CALENDAR:
            raise InputError(
                f"--features must vary in the training part, {info.channels[channel]!r} is "
                f"{readings.values[runs[0, 0], channel]:g} throughout"
            )
    # A calendar that stands still in a short training part says nothing, and does no harm.
    return Scaler(scaler.mean, np.where(scaler.scale == 0, 1.0, scaler.scale))


def training_digest(work: Path) -> str:
    """The SHA-256, in hexadecimal, of the files that `prepare_series` left to train on."""
    sums = "".join(sha256(work / name) for name in (VALUES, RUN_RECORD, SPANS))
    return hashlib.sha256(sums.encode()).hexdigest()


def _write_test(readings: Readings, runs: np.ndarray, info: SeriesInfo, path: Path) -> None:
    """The readings of the test part, with what their windows reach back to, as a file to score."""
    own = [(i, name) for i, name in enumerate(info.channels) if name not in CALENDAR]
    of_run = np.searchsorted(readings.runs[:, 1], runs[:, 0], "right")
    group = info.group_column
    time = info.time_column or "time"
    schema: dict[str, Any] = {time: pa.timestamp("us", "UTC")}
    schema |= {group: pa.string()} if group else {}
    schema |= {name: pa.float32() for _, name in own}
    with pq.ParquetWriter(path, pa.schema(list(schema.items()))) as writer:
        for (start, stop), run in zip(runs.tolist(), of_run, strict=True):
            for first in range(start, stop, CHUNK):
                rows = slice(first, min(first + CHUNK, stop))
                times = pa.array(readings.times[rows], pa.timestamp("us", "UTC"))
                columns: dict[str, Any] = {time: times}
                if group:
                    name = readings.group_names[readings.groups[run]]
                    columns[group] = pa.array([name] * len(times), pa.string())
                columns |= {name: readings.values[rows, i] for i, name in own}
                writer.write_table(pa.table(columns, schema=writer.schema))
