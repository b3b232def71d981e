"""The report as tables, once: for the terminal by rich, for the README as Markdown."""

from statistics import geometric_mean
from typing import Any, NamedTuple

from rich.table import Table as RichTable

from benchmarks import bars, precision
from benchmarks.bars import Verdict
from benchmarks.cases import MODES
from benchmarks.figures import (
    Figures,
    figures,
    group,
    mean_against_best,
    mean_against_torch,
    mean_share,
    rows_of,
)
from benchmarks.peers import OURS

Line = tuple[str, ...]


class Table(NamedTuple):
    """Cells of text; lines of one section belong together."""

    title: str
    columns: Line
    sections: list[list[Line]]


def as_rich(table: Table) -> RichTable:
    shown = RichTable(title=table.title, title_justify="left")
    for index, column in enumerate(table.columns):
        shown.add_column(column, justify="right" if index else "left", no_wrap=not index)
    for section in table.sections:
        for line in section:
            shown.add_row(*line)
        shown.add_section()
    return shown


def as_markdown(table: Table) -> str:
    lines = [table.columns, tuple("---" for _ in table.columns)]
    lines += [line for section in table.sections for line in section]
    return "\n".join([f"{table.title}:", "", *(f"| {' | '.join(line)} |" for line in lines)])


def of_rows(table: dict[str, Any]) -> Table:
    """One of `benchmarks.rows`: a section for each mode and for batch 1 in it, means last, with the bars."""
    peaks = [row["peak"] / 1e9 for row in table["rows"]]
    title = (
        f"{table['cell']}, {bars.threads(table)}, float32, "
        f"FMA peak {min(peaks):.0f} to {max(peaks):.0f} GFLOP/s, measured in every round"
    )
    columns = ("T, N, I, H", "time", "of peak", "x torch.nn", "x best peer", "best peer", "rounds")
    sections = []
    for mode in MODES:
        for one_row in (False, True):
            rows = rows_of(table, mode, one_row)
            if not rows:
                continue
            name = f"{mode}, batch 1" if one_row else mode
            lines = [(f"{name}", *[""] * (len(columns) - 1))]
            lines += [_line(row, figures(row)) for row in rows]
            sections.append([*lines, _mean_line(table, mode, one_row)])
    return Table(title, columns, sections)


def _line(row: dict[str, Any], found: Figures) -> Line:
    behind = found.best is not None and found.best < bars.AGAINST_BEST
    return (
        f"  {', '.join(map(str, row['shape']))}",
        milliseconds(found.seconds),
        f"{found.share[OURS]:.0%}",
        _ratio(found.torch),
        _ratio(found.best) + (f" (bar {bars.AGAINST_BEST}: no)" if behind else ""),
        found.best_peer,
        str(row["seconds"][OURS]["rounds"]),
    )


def _mean_line(table: dict[str, Any], mode: str, one_row: bool) -> Line:
    rows = group(table, mode, one_row)
    share, ratio = bars.of_mean(table, mode, one_row)
    return (
        "  geometric mean",
        "",
        _beside(f"{mean_share(rows):.1%}", share),
        _beside(_ratio(mean_against_torch(rows)), ratio),
        _ratio(mean_against_best(rows)),
        "",
        "",
    )


def _beside(reached: str, verdict: Verdict | None) -> str:
    return reached if verdict is None else f"{reached} (bar {verdict.bar}: {_yes(verdict.holds)})"


def of_precision(table: dict[str, Any]) -> Table:
    """One of `benchmarks.precision`: a section for each mode, with geometric means over its shapes."""
    there = {name for row in table["rows"] for name in row["seconds"]}
    others = [name for name in precision.OTHERS if name in there]
    sections = []
    for mode in precision.MODES:
        lines: list[Line] = [(mode, *[""] * (len(others) + 1))]
        ratios = []
        for row in (row for row in table["rows"] if row["mode"] == mode):
            seconds = {name: timing["median"] for name, timing in row["seconds"].items()}
            # Of int8 there is no training.
            ratios.append(
                {
                    name: seconds[name] / seconds[precision.OURS]
                    for name in others
                    if name in seconds
                }
            )
            shown = (bars.times(ratios[-1][n]) if n in ratios[-1] else "" for n in others)
            lines.append((f"  {_shape(row)[1:-1]}", milliseconds(seconds[precision.OURS]), *shown))
        means = [[each[name] for each in ratios if name in each] for name in others]
        if ratios:
            shown = (bars.times(geometric_mean(column)) if column else "" for column in means)
            sections.append([*lines, ("  geometric mean", "", *shown)])
    title = f"{table['cell']}, narrow precisions, target {table['target']}, 1 thread"
    return Table(title, ("T, N, I, H", "time", *(f"x {name}" for name in others)), sections)


def of_scaling(found: list[dict[str, Any]]) -> Table:
    lines: list[Line] = []
    for series in found:
        lines.append(
            (
                f"{series['cell']} {series['mode']}, {series['dimension']} "
                f"from {series['sizes'][0]} to {series['sizes'][-1]}",
                f"{series['slope']:.2f}",
            )
        )
    title = "Slope of the logarithm of time against that of T, N and H, 1 thread"
    return Table(title, ("series", "slope"), [lines])


def of_memory(found: list[dict[str, Any]]) -> Table:
    lines: list[Line] = [
        (
            f"{one['cell']} {one['mode']}",
            one["package"],
            mebibytes(one["needed"]),
            mebibytes(one["above"]),
        )
        for one in found
    ]
    columns = ("call", "layer", "input, weights, results", "peak above these")
    return Table(f"Peak memory at {_shape(found[0])}, 1 thread", columns, [lines])


def of_recompute(found: list[dict[str, Any]]) -> Table:
    lines: list[Line] = []
    for one in found:
        for gates in ("stored", "recomputed"):
            median = one[gates]["median"]
            lines.append(
                (
                    f"{one['cell']}, gates {gates}",
                    milliseconds(median),
                    bars.times(median / one["stored"]["median"]),
                    mebibytes(one[gates]["memory"]["above"]),
                )
            )
    columns = ("training step", "time", "ratio", "peak above input, weights, results")
    return Table(f"Recomputed gates at {_shape(found[0])}, 1 thread", columns, [lines])


def of_bars(verdicts: list[Verdict]) -> Table:
    lines: list[Line] = [(one.what, one.bar, one.reached, _yes(one.holds)) for one in verdicts]
    title = f"Bars: {sum(one.holds for one in verdicts)} of {len(verdicts)} hold"
    return Table(title, ("what", "bar", "reached", "holds"), [lines])


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.2f} ms" if seconds < 0.1 else f"{seconds * 1e3:.0f} ms"


def mebibytes(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"


def _shape(measured: dict[str, Any]) -> str:
    return f"({', '.join(map(str, measured['shape']))})"


def _ratio(value: float | None) -> str:
    return "" if value is None else bars.times(value)


def _yes(holds: bool) -> str:
    return "yes" if holds else "no"
