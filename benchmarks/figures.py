"""From medians to what a reader compares: share of the peak, ratios, means."""

from collections.abc import Iterable
from statistics import geometric_mean
from typing import Any, NamedTuple

from benchmarks.peers import OURS


class Figures(NamedTuple):
    """Of one row."""

    seconds: float
    share: dict[str, float]
    """Of the FMA peak, that each contender reaches."""
    torch: float | None
    """torch.nn's time over ours; None: it did not take part."""
    best: float | None
    """The fastest peer's time over ours; None: there is no peer."""
    best_peer: str


def figures(row: dict[str, Any]) -> Figures:
    """Those of a row of `benchmarks.rows`."""
    medians = {name: timing["median"] for name, timing in row["seconds"].items()}
    share = {name: row["operations"] / seconds / row["peak"] for name, seconds in medians.items()}
    ours = medians.pop(OURS)
    torch = medians["torch.nn"] / ours if "torch.nn" in medians else None
    best_peer = min(medians, key=medians.__getitem__, default="")
    return Figures(ours, share, torch, medians[best_peer] / ours if medians else None, best_peer)


def every(table: dict[str, Any]) -> list[Figures]:
    """Those of all rows of a table."""
    return [figures(row) for row in table["rows"]]


def group(table: dict[str, Any], mode: str, one_row: bool = False) -> list[Figures]:
    """Those of the rows of a mode: of the grid, or of batch 1."""
    return [figures(row) for row in rows_of(table, mode, one_row)]


def rows_of(table: dict[str, Any], mode: str, one_row: bool = False) -> list[dict[str, Any]]:
    return [
        row for row in table["rows"] if row["mode"] == mode and (row["shape"][1] == 1) == one_row
    ]


def mean_share(rows: list[Figures]) -> float:
    return geometric_mean(row.share[OURS] for row in rows)


def mean_against_torch(rows: list[Figures]) -> float | None:
    return _mean(row.torch for row in rows)


def mean_against_best(rows: list[Figures]) -> float | None:
    return _mean(row.best for row in rows)


def _mean(values: Iterable[float | None]) -> float | None:
    """The geometric mean, or None without a value."""
    known = [value for value in values if value is not None]
    return geometric_mean(known) if known else None
