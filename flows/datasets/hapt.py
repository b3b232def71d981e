"""HAPT: what a phone at the waist measures of 30 people's activities (Reyes-Ortiz et al., 2016).

The raw recordings at 50 Hz are read, three axes of acceleration (in g) and three of turning (in
radians a second), straight from the archive. Left out on purpose: the changes between postures, and
the windows with 561 features that are in the archive as well.
"""

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import csv

from flows.datasets.base import Archive, SensorDataset
from flows.errors import ArchiveError
from flows.progress import bar
from flows.tables.unfolded import BROKEN_ZIP

CHANNELS = ("acc_x", "acc_y", "acc_z", "gyro_x", "gyro_y", "gyro_z")
ACTIVITIES = ("walking", "walking_upstairs", "walking_downstairs", "sitting", "standing", "laying")
SAMPLING = 20_000  # microseconds between readings
RECORDING_GAP = (
    1_000_000  # microseconds set between two recordings of a person, enough to part them
)
_RECORDING = re.compile(r"RawData/acc_(exp\d\d_user(\d\d))\.txt")


def read(archive: Path | None) -> Iterator[pa.Table]:
    """Reads the archive, a recording at a time.

    Raises:
        ArchiveError: the archive is broken, or lacks a recording or its labels.
    """
    assert archive is not None
    try:
        with zipfile.ZipFile(archive) as members:
            names = sorted(filter(_RECORDING.fullmatch, members.namelist()))
            if not names:
                raise ArchiveError(f"{archive} must hold RawData/acc_exp01_user01.txt, it does not")
            labels = _numbers(members, "RawData/labels.txt").astype(np.int64)
            starts: dict[str, int] = {}
            with bar("reading recordings", len(names)) as advance:
                for name in names:
                    match = _RECORDING.fullmatch(name)
                    assert match is not None
                    person = str(int(match[2]))
                    table = _recording(members, match[1], person, labels, starts.get(person, 0))
                    starts[person] = table["time"][-1].as_py() + RECORDING_GAP
                    yield table
                    advance(1)
    # An OSError comes of places before the beginning, a RuntimeError of a password.
    except (*BROKEN_ZIP, OSError, RuntimeError, LookupError, pa.ArrowInvalid, ValueError) as error:
        raise ArchiveError(f"{archive} must be the whole archive of HAPT: {error}") from error


def _recording(
    members: zipfile.ZipFile, name: str, person: str, labels: np.ndarray, start: int
) -> pa.Table:
    sensors = [_numbers(members, f"RawData/{sensor}_{name}.txt") for sensor in ("acc", "gyro")]
    readings = np.hstack(sensors)
    activity = np.zeros(len(readings), np.int64)
    experiment = int(name[3:5])
    for first, last, number in labels[labels[:, 0] == experiment][:, [3, 4, 2]]:
        if number <= len(ACTIVITIES):
            activity[first - 1 : last] = number
    names = pa.array([None, *ACTIVITIES])
    return pa.table(
        {
            "time": pa.array(start + SAMPLING * np.arange(len(readings))),
            "group": pa.array([person] * len(readings)),
            "label": names.take(pa.array(activity)),
            **{c: pa.array(readings[:, i], pa.float32()) for i, c in enumerate(CHANNELS)},
        }
    )


def _numbers(members: zipfile.ZipFile, name: str) -> np.ndarray:
    """The numbers of a file, lines by columns, which single spaces part."""
    with members.open(name) as file:
        table = csv.read_csv(
            file,
            csv.ReadOptions(autogenerate_column_names=True, use_threads=False),
            csv.ParseOptions(delimiter=" "),
        )
    return np.stack([column.to_numpy() for column in table.columns], 1)


DATASET = SensorDataset(
    name="hapt",
    about="activities of 30 people by a phone at the waist, 50 readings a second",
    archive=Archive(
        name="HAPT Data Set.zip",
        url="http://archive.ics.uci.edu/ml/machine-learning-databases/00341/HAPT%20Data%20Set.zip",
        sha256=None,
    ),
    read=read,
    channels=CHANNELS,
    features=CHANNELS,
    test_groups=("2", "4", "9", "10", "12", "13", "18", "20", "24"),
    tasks={
        "classify": (
            {
                "lookback": 128,
                "segment": 8,
                "hidden_size": 64,
                "num_layers": 2,
                "bidirectional": True,
                "pooling": "mean+max",
                "dropout": 0.5,
                "rotation": 0.3,
            },
            {"epochs": 12, "stride": 32},
        )
    },
)
