"""The weather of Szeged in Hungary, hourly from 2006 to 2016: from a mirror only.

The file is not in the order of time, and has 24 time stamps twice. Its column of clouds is zero
throughout and is left out; a pressure of zero is a missing one.
"""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from flows.datasets.base import Archive, SensorDataset
from flows.datasets.series_files import SeriesColumns, read_series

TEMPERATURE, PRESSURE = "Temperature (C)", "Pressure (millibars)"
CHANNELS = (
    TEMPERATURE, "Apparent Temperature (C)", "Humidity", "Wind Speed (km/h)",
    "Wind Bearing (degrees)", "Visibility (km)", PRESSURE,
)  # fmt: skip


def read(archive: Path | None) -> Iterator[pa.Table]:
    """Reads the file; a pressure of zero is null."""
    assert archive is not None
    columns = SeriesColumns("Formatted Date", CHANNELS)
    for table in read_series(str(archive), columns, "--mirror"):
        place = table.column_names.index(PRESSURE)
        measured = pc.greater(table[PRESSURE], 0)
        yield table.set_column(place, PRESSURE, pc.if_else(measured, table[PRESSURE], None))


DATASET = SensorDataset(
    name="szeged",
    about="hourly weather of Szeged, 2006 to 2016",
    archive=Archive(
        name="weatherHistory.csv",
        url=None,  # it is to be had with an account at Kaggle
        sha256=None,
    ),
    read=read,
    channels=CHANNELS,
    targets=(TEMPERATURE,),
    features=(*CHANNELS, "calendar"),
    tasks={"forecast": ({"horizon": 1}, {})},
)
