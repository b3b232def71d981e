"""Oil temperature and loads of two electricity transformers in China (Zhou et al., "Informer", 2021).

Seven channels, hourly or every 15 minutes from July 2016. The split that results are published for is
12 months of 30 days to train on, 4 to validate and 4 to test; the rest is not used.
"""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from flows.datasets.base import Archive, SensorDataset
from flows.datasets.series_files import SeriesColumns, read_series

CHANNELS = ("HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT")
_ADDRESS = "https://raw.githubusercontent.com/zhouhaoyi/ETDataset/main/ETT-small"


def read(archive: Path | None) -> Iterator[pa.Table]:
    """Reads the file."""
    assert archive is not None
    return read_series(str(archive), SeriesColumns("date", CHANNELS), "--mirror")


def _dataset(name: str, file: str, sha256: str, hourly: int, about: str) -> SensorDataset:
    """`hourly` is the number of readings in an hour."""
    return SensorDataset(
        name=name,
        about=about,
        archive=Archive(file, f"{_ADDRESS}/{file}", sha256),
        read=read,
        channels=CHANNELS,
        targets=CHANNELS,
        features=CHANNELS,
        cuts=tuple(months * 30 * 24 * hourly for months in (12, 16, 20)),
        standardised=True,
        tasks={"forecast": ({"horizon": 96}, {})},
    )


ETTH1 = _dataset(
    "etth1",
    "ETTh1.csv",
    "f18de3ad269cef59bb07b5438d79bb3042d3be49bdeecf01c1cd6d29695ee066",
    1,
    "hourly loads and oil temperature of a transformer",
)
ETTM1 = _dataset(
    "ettm1",
    "ETTm1.csv",
    "6ce1759b1a18e3328421d5d75fadcb316c449fcd7cec32820c8dafda71986c9e",
    4,
    "loads and oil temperature of a transformer, every 15 minutes",
)
