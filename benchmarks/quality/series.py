"""Readings: published series at several horizons, and generated ones with steps and seasons of many kinds."""

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.quality.case import Case, Figures

START = datetime(2020, 1, 6)  # a Monday
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
MONTH = timedelta(days=30.4375)


def hours(rng: np.random.Generator) -> np.ndarray:
    """A day and a week in a year of hours, with noise that lasts."""
    time = np.arange(8760)[:, None]
    phase, size = rng.uniform(0, 2 * np.pi, (2, 3)), rng.uniform(0.5, 2, (2, 3))
    day, week = (
        size[i] * np.sin(2 * np.pi * time / period + phase[i]) for i, period in enumerate((24, 168))
    )
    values: np.ndarray = np.add(day + week, _lasting(rng, (8760, 3), 0.8, 0.4))
    return values


def quarters(rng: np.random.Generator) -> np.ndarray:
    """Light by day, cut off at night, less at the weekend, every 15 minutes."""
    time = np.arange(20_000)[:, None]
    light = np.maximum(0, np.sin(2 * np.pi * (time - 24) / 96))
    week = 1 - 0.5 * (time // 96 % 7 > 4)
    values: np.ndarray = np.add(10 * light * week, rng.normal(0, 0.5, (20_000, 2)) * (0.2 + light))
    return values


def days(rng: np.random.Generator) -> np.ndarray:
    """Counts of four years of days: a week, a year."""
    time = np.arange(1460)[:, None]
    week = np.array([1, 1.1, 1.15, 1.1, 1.3, 0.6, 0.4])[time % 7]
    mean = 50 * (1 + 0.3 * np.sin(2 * np.pi * time / 365.25)) * week
    return np.asarray(rng.poisson(mean))


def weeks(rng: np.random.Generator) -> np.ndarray:
    """Ten years of weeks: a year, and a level that wanders."""
    time = np.arange(520)[:, None]
    level = np.cumsum(rng.normal(0, 0.3, time.shape), 0)
    values: np.ndarray = np.add(
        20 + 5 * np.sin(2 * np.pi * time / 52.18) + level, rng.normal(0, 1, time.shape)
    )
    return values


def months(rng: np.random.Generator) -> np.ndarray:
    """Thirty years of months: a trend, and a year that grows with it."""
    time = np.arange(360)[:, None]
    year = (10 + 0.03 * time) * np.sin(2 * np.pi * time / 12)
    values: np.ndarray = np.add(100 + 0.3 * time + year, rng.normal(0, 3, time.shape))
    return values


def shifts(rng: np.random.Generator) -> np.ndarray:
    """A day in hours, whose level jumps every few weeks."""
    jumps = (rng.random((6000, 2)) < 1 / 400) * rng.normal(0, 4, (6000, 2))
    day = np.sin(2 * np.pi * np.arange(6000) / 24)[:, None]
    return np.cumsum(jumps, 0) + day + rng.normal(0, 0.3, (6000, 2))


def walk(rng: np.random.Generator) -> np.ndarray:
    """A random walk, of which nothing can be known but the last value."""
    return np.cumsum(rng.normal(0, 1, (4000, 2)), 0)


def led(rng: np.random.Generator) -> np.ndarray:
    """Two channels that follow a third with a delay, one of them by its square."""
    leader = _lasting(rng, (6000, 1), 0.95, 0.3)
    follower = np.roll(leader, 12, 0) + rng.normal(0, 0.1, leader.shape)
    squared = np.roll(leader, 12, 0) ** 2 + rng.normal(0, 0.1, leader.shape)
    return np.hstack([leader, follower, squared])


def _lasting(
    rng: np.random.Generator, shape: tuple[int, int], factor: float, noise: float
) -> np.ndarray:
    """A first-order autoregression around zero."""
    found = rng.normal(0, noise, shape)
    for row in range(1, shape[0]):
        found[row] += factor * found[row - 1]
    return found


def measure_generated(
    make: Callable[[np.random.Generator], np.ndarray],
    step: timedelta,
    mirror: Path,
    work: Path,
    seed: int,
) -> Figures:
    """Our figures on generated readings, another draw for each seed; the rules settle what follows."""
    values = make(np.random.default_rng(seed))
    with (work / "readings.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["time", *(f"channel {i}" for i in range(values.shape[1]))])
        for number, row in enumerate(values.tolist()):
            rows.writerow([_stamp(number, step).isoformat(" "), *row])
    return _ours(["--dataset", str(work / "readings.csv")], mirror, work, seed)


def _stamp(number: int, step: timedelta) -> datetime:
    if step == MONTH:
        return START.replace(year=START.year - 30 + number // 12, month=1 + number % 12, day=1)
    return START + number * step


def measure_published(name: str, horizon: int, mirror: Path, work: Path, seed: int) -> Figures:
    """Our figures on a published series, on its published split where it has one."""
    return _ours(["--dataset", name, "--horizon", str(horizon)], mirror, work, seed)


def remaining_life(rng: np.random.Generator) -> tuple[list[str], list[list[object]], str]:
    """The readings left of 60 engines, whose wear shows more and more: columns, rows and the column of labels."""
    rows: list[list[object]] = []
    for engine in range(60):
        speed, wear, own = rng.uniform(0.004, 0.012), 0.0, []
        while wear < 1:
            wear += speed * rng.uniform(0.5, 1.5)
            load = rng.uniform()
            own.append([0.3 + wear**2 + rng.normal(0, 0.1), 50 + 20 * wear * load, load])
        rows += [[at, f"engine {engine}", *each, len(own) - 1 - at] for at, each in enumerate(own)]
    return ["time", "device", "vibration", "heat", "load", "remaining"], rows, "remaining"


def states(rng: np.random.Generator) -> tuple[list[str], list[list[object]], str]:
    """Which of eight speeds each of 15 machines turns at, by two noisy sensors; likewise."""
    rows: list[list[object]] = []
    periods = (3, 4, 5, 6, 8, 10, 12, 15)
    for machine in range(15):
        at = 0
        for _ in range(24):
            state, length = int(rng.integers(8)), int(rng.integers(40, 80))
            turn = 2 * np.pi * np.arange(length) / periods[state] + rng.uniform(0, 6)
            noise = rng.normal(0, 0.4, (2, length))
            for x, y in zip(np.sin(turn) + noise[0], np.cos(turn) + noise[1], strict=True):
                rows.append([at, f"machine {machine}", x, y, f"state {state}"])
                at += 1
    return ["time", "device", "x", "y", "state"], rows, "state"


Labelled = Callable[[np.random.Generator], tuple[list[str], list[list[object]], str]]


def measure_labelled(make: Labelled, figure: str, mirror: Path, work: Path, seed: int) -> Figures:
    """Our figures on generated windows with labels, and those of what stands beside them."""
    names, rows, label = make(np.random.default_rng(seed))
    with (work / "readings.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerows([names, *rows])
    asked = ["--dataset", str(work / "readings.csv"), "--group-column", "device"]
    return _ours([*asked, "--label-column", label], mirror, work, seed, figure)


def measure_activities(mirror: Path, work: Path, seed: int) -> Figures:
    """Our figures on the six activities of HAPT, on people that were not trained on."""
    return _ours(["--dataset", "hapt"], mirror, work, seed, "accuracy")


def _ours(asked: list[str], mirror: Path, work: Path, seed: int, figure: str = "mse") -> Figures:
    run = work / "run"
    command = [sys.executable, "-m", "flows", "sensors", *asked, "--mirror", str(mirror)]
    command += ["--seed", str(seed), "--no-gate", "--output", str(run)]
    subprocess.run(command, check=True, capture_output=True)
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    beside = {name: each[figure] for name, each in metrics["baseline"].items()}
    inside = metrics["test"].get("coverage")
    shown = "" if inside is None else f"; {inside:.1%} inside the intervals"
    print(f"{run}: {metrics['choice']['summary']}{shown}")
    return {"auto": metrics["test"][figure], **beside}


def _case(name: str, about: str, measure: Callable[[Path, Path, int], Figures]) -> Case:
    return Case(name, about, "mse", -1, measure, ("auto",))


CASES = (
    *(
        _case(f"etth1-{ahead}", f"to {ahead} hours", partial(measure_published, "etth1", ahead))
        for ahead in (96, 192, 336, 720)
    ),
    *(
        _case(f"ettm1-{ahead}", f"to {ahead} quarters", partial(measure_published, "ettm1", ahead))
        for ahead in (96, 192)
    ),
    *(
        _case(f"szeged-{ahead}", f"to {ahead} hours", partial(measure_published, "szeged", ahead))
        for ahead in (1, 24, 96)
    ),
    *(
        _case(
            make.__name__, (make.__doc__ or "").rstrip("."), partial(measure_generated, make, step)
        )
        for make, step in (
            (hours, HOUR),
            (quarters, HOUR / 4),
            (days, DAY),
            (weeks, 7 * DAY),
            (months, MONTH),
            (shifts, HOUR),
            (walk, HOUR),
            (led, HOUR),
        )
    ),
    Case("life", "readings left of 60 engines", "mae", -1,
         partial(measure_labelled, remaining_life, "mae"), ("auto",)),
    Case("states", "windows of 15 machines, eight classes", "accuracy", 1,
         partial(measure_labelled, states, "accuracy"), ("auto",)),
    Case("hapt", "windows of six activities", "accuracy", 1, measure_activities, ("auto",)),
)  # fmt: skip
