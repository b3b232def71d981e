"""A sample of made-up sensors: eight machines that heat up at work, drift, hum, fall silent and fail.

Everything here is generated from a fixed seed: no figure that is measured on it says anything about real
sensors. Each machine gives its temperature and its load every ten minutes. The load has a season of a
day and a hum; it heats the machine until a fan starts, which stops only when the machine is a good deal
cooler. So what comes next depends on what was before, and on no sum of it: the fan is not measured. The
temperature drifts slowly. For some hours a machine gives nothing or -9999, some readings come twice and
out of order, and now and then it has a fault: its load hums faster, and no louder.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from flows.datasets.base import SensorDataset

MACHINES, DAYS, PER_DAY = 8, 30, 144
INTERVAL = 600_000_000  # microseconds
START = 1_704_067_200_000_000  # 2024-01-01
FAULT = -9999.0
HUM, FAULTY_HUM = 8.0, 5.0  # steps of a swing
FAN_STARTS, FAN_STOPS, COOLING = 36.0, 32.0, 24.0  # degrees


def _machine(rng: np.random.Generator, number: int) -> pa.Table:
    size = DAYS * PER_DAY
    day = 2 * np.pi * np.arange(size) / PER_DAY + rng.uniform(-0.3, 0.3)
    fault = np.zeros(size, bool)
    for start in rng.integers(PER_DAY, size - 60, 10):
        fault[start : start + int(rng.integers(36, 60))] = True
    swings = 1 / np.where(fault, FAULTY_HUM, HUM) + rng.normal(0, 0.05, size)
    hum = 0.6 * np.sin(2 * np.pi * np.cumsum(swings))
    load = 5 + 2 * np.sin(day - 1) + 0.5 * np.sin(2 * day) + 0.5 * _wander(rng, size)
    outside = 20 + 4 * np.sin(day - 1.6)
    drift = np.cumsum(rng.normal(0, 0.02, size))
    temperature = number + drift + _heat(outside + 4 * load, rng.normal(0, 0.1, size))
    values = np.stack([temperature, load + hum], 1) + rng.normal(0, 0.1, (size, 2))
    present = np.ones(size, bool)
    for start in rng.integers(0, size - 40, 3):
        present[start : start + int(rng.integers(1, 40))] = False
    for start in rng.integers(0, size - 10, 3):
        values[start : start + int(rng.integers(1, 10)), 0] = FAULT
    order = np.flatnonzero(present)
    order[100:110] = order[100:110][::-1].copy()  # a buffer that was sent backwards
    order = np.append(order, order[-3:])  # and one that was sent twice
    return pa.table(
        {
            "time": pa.array(START + order * INTERVAL),
            "group": pa.array([f"machine-{number}"] * len(order)),
            "label": pa.array(np.where(fault[order], "fault", "normal")),
            "temperature": pa.array(values[order, 0], pa.float32()),
            "load": pa.array(values[order, 1], pa.float32()),
        }
    )


def _wander(rng: np.random.Generator, size: int) -> np.ndarray:
    """What strays, and comes back: a first-order autoregression around zero."""
    wander = np.zeros(size)
    for i, push in enumerate(rng.normal(0, 0.15, size - 1), 1):
        wander[i] = 0.95 * wander[i - 1] + push
    return wander


def _heat(aim: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Temperatures that follow an aim with a delay, held by a fan with two thresholds."""
    temperature, fan = np.full(len(aim), aim[0]), False
    for i in range(1, len(aim)):
        before = temperature[i - 1]
        fan = before > (FAN_STOPS if fan else FAN_STARTS)
        temperature[i] = before + (aim[i] - COOLING * fan - before) / 8 + noise[i]
    return temperature


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
                "lookback": 144,
                "horizon": 12,
                "form": "direct",
                "wide": False,
                "hidden_size": 32,
                "normalise": "residual",
                "quantiles": True,
            },
            {"epochs": 6, "learning_rate": 0.01},
        ),
        "classify": (
            {"lookback": 24, "segment": 1, "hidden_size": 32, "pooling": "mean+max"},
            {"epochs": 20, "batch_size": 32, "stride": 3, "learning_rate": 0.01},
        ),
    },
)
