"""What rnnfast has to reach, and whether it does: float32, on a machine with AVX-512."""

from typing import Any, NamedTuple

from benchmarks.cases import GATES
from benchmarks.figures import every, group, mean_against_torch, mean_share


class Bar(NamedTuple):
    """For the geometric mean over a group of rows."""

    shares: dict[int, float]
    """Of the FMA peak, by the number of threads."""
    torch: float
    """Times as fast as torch.nn, with one thread."""


BARS = {
    ("RNN", "forward", False): Bar({1: 0.80, 2: 0.72}, 3.8),
    ("RNN", "training", False): Bar({1: 0.68, 2: 0.60}, 3.8),
    ("RNN", "packed", False): Bar({1: 0.75, 2: 0.65}, 4.0),
    ("GRU", "forward", False): Bar({1: 0.75, 2: 0.67}, 3.2),
    ("GRU", "training", False): Bar({1: 0.62, 2: 0.55}, 3.5),
    ("LSTM", "forward", False): Bar({1: 0.75, 2: 0.67}, 1.15),  # torch has oneDNN here
    ("LSTM", "training", False): Bar({1: 0.62, 2: 0.55}, 1.2),
    **{(cell, "forward", True): Bar({1: 0.33}, 3.4) for cell in GATES},
}
"""By cell, mode, and whether the rows are those of batch 1."""

AGAINST_BEST = 0.95
"""Least ratio to the fastest peer, in every single row."""
SLOPES = (0.9, 1.1)
"""Of time against T and against N, both logarithmic: the cost grows linearly."""
RECOMPUTE = 4 / 3
"""Most that a training step with recomputed gates may take, over one with stored gates."""


class Verdict(NamedTuple):
    """A bar beside what was reached."""

    what: str
    bar: str
    reached: str
    holds: bool


def verdicts(report: dict[str, Any]) -> list[Verdict]:
    """All bars that the report has figures for."""
    found: list[Verdict | None] = []
    for table in report["rows"]:
        for cell, mode, one_row in BARS:
            if cell == table["cell"]:
                found += of_mean(table, mode, one_row)
    found += map(of_worst_row, report["rows"])
    found += map(of_slope, report["scaling"])
    found += map(of_recompute, report["recompute"])
    return [verdict for verdict in found if verdict is not None]


def of_mean(
    table: dict[str, Any], mode: str, one_row: bool = False
) -> tuple[Verdict | None, Verdict | None]:
    """Share of the peak and ratio to torch.nn of a group of rows; None: there is no bar for it, or no figure."""
    rows, bar = group(table, mode, one_row), BARS.get((table["cell"], mode, one_row))
    if not rows or bar is None:
        return None, None
    where = f"{table['cell']} {mode}, {'batch 1, ' if one_row else ''}{threads(table)}"
    share = ratio = None
    least, reached = bar.shares.get(table["threads"]), mean_share(rows)
    if least is not None:
        what = f"{where}: of the FMA peak"
        share = Verdict(what, f"{least:.0%}", f"{reached:.1%}", reached >= least)
    against = mean_against_torch(rows)
    if against is not None and table["threads"] == 1:
        what = f"{where}: times torch.nn"
        ratio = Verdict(what, times(bar.torch), times(against), against >= bar.torch)
    return share, ratio


def of_worst_row(table: dict[str, Any]) -> Verdict | None:
    """The row of a table in which rnnfast does worst against the fastest peer; None: no peer took part."""
    ratios = [row.best for row in every(table) if row.best is not None]
    if not ratios:
        return None
    what = f"{table['cell']}, {threads(table)}: times the best peer, worst row"
    return Verdict(what, times(AGAINST_BEST), times(min(ratios)), min(ratios) >= AGAINST_BEST)


def of_slope(series: dict[str, Any]) -> Verdict | None:
    """Of one of `benchmarks.scaling`; None: for H, whose cost grows between linearly and with the square."""
    if series["dimension"] == "H":
        return None
    low, high = SLOPES
    what = f"{series['cell']} {series['mode']}: slope of time against {series['dimension']}"
    slope = series["slope"]
    return Verdict(what, f"{low:g} to {high:g}", f"{slope:.2f}", low <= slope <= high)


def of_recompute(found: dict[str, Any]) -> Verdict:
    what = f"{found['cell']} training, gates recomputed: time over that with stored ones"
    ratio = found["ratio"]
    return Verdict(what, f"at most {RECOMPUTE:.2f}", times(ratio), ratio <= RECOMPUTE)


def times(ratio: float) -> str:
    return f"{ratio:.2f}"


def threads(table: dict[str, Any]) -> str:
    return "1 thread" if table["threads"] == 1 else f"{table['threads']} threads"
