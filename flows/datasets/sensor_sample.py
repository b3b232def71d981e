"""A sample of made-up sensors: eight machines that are warm by day, drift, hum, fall silent and fail.

Everything here is generated from a fixed seed: no figure that is measured on it says anything about real
sensors. Each machine gives its temperature and its load every ten minutes, with a season of a day, a slow
drift and noise; for some hours it gives nothing or -9999, some readings come twice and out of order, and
now and then it has a fault: its load swings faster than it should and its temperature creeps up.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from flows.datasets.base import SensorDataset

MACHINES, DAYS, PER_DAY = 8, 30, 144
STEP = 600_000_000  # microseconds
START = 1_704_067_200_000_000  # 2024-01-01
MISSING = -9999.0


def _machine(rng: np.random.Generator, number: int) -> pa.Table:
    size = DAYS * PER_DAY
    day = 2 * np.pi * np.arange(size) / PER_DAY + rng.uniform(-0.3, 0.3)
    drift = np.cumsum(rng.normal(0, 0.02, size))
    wander = np.zeros(size)
    for i in range(1, size):
        wander[i] = 0.95 * wander[i - 1] + rng.normal(0, 0.15)
    load = 5 + 2 * np.sin(day - 1) + 0.5 * np.sin(2 * day) + 0.5 * wander
    temperature = 20 + number + 4 * np.sin(day - 1.6) + drift + wander
    fault = np.zeros(size, bool)
    for start in rng.integers(PER_DAY, size - 60, 10):
        stop = start + int(rng.integers(36, 60))
        fault[start:stop] = True
        steps = np.arange(stop - start)
        load[start:stop] += np.sin(2 * np.pi * steps / 5) * 1.2
        temperature[start:stop] += 0.03 * steps
    values = np.stack([temperature, load], 1) + rng.normal(0, 0.1, (size, 2))
    present = np.ones(size, bool)
    for start in rng.integers(0, size - 40, 3):
        present[start : start + int(rng.integers(1, 40))] = False
    for start in rng.integers(0, size - 10, 3):
        values[start : start + int(rng.integers(1, 10)), 0] = MISSING
    order = np.flatnonzero(present)
    order[100:110] = order[100:110][::-1].copy()  # a buffer that was sent backwards
    order = np.append(order, order[-3:])  # and one that was sent twice
    return pa.table(
        {
            "time": pa.array(START + order * STEP),
            "group": pa.array([f"machine-{number}"] * len(order)),
            "label": pa.array(np.where(fault[order], "fault", "normal")),
            "temperature": pa.array(values[order, 0], pa.float32()),
            "load": pa.array(values[order, 1], pa.float32()),
        }
    )


def read(archive: Path | None = None) -> Iterator[pa.Table]:
    """Generates the sample: the same readings on every machine."""
    rng = np.random.default_rng(20_260_101)
    for number in range(MACHINES):
        yield _machine(rng, number)


DATASET = SensorDataset(
    name="sample",
    about="8 generated machines for 30 days, with drift, gaps and faults; not real data",
    archive=None,
    read=read,
    channels=("temperature", "load"),
    targets=("temperature", "load"),
    features=("temperature", "load"),
    tasks={
        "forecast": (
            {
                "form": "segments",
                "lookback": 144,
                "horizon": 36,
                "segment": 12,
                "hidden_size": 32,
                "normalise": "last",
                "period": PER_DAY,
                "quantiles": True,
            },
            {"epochs": 3, "loss": "huber"},
        ),
        "classify": (
            {"lookback": 24, "segment": 1, "hidden_size": 32, "pooling": "mean+max"},
            {"epochs": 8, "stride": 3, "learning_rate": 0.01},
        ),
    },
)
