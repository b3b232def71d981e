"""The report as pictures."""

from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, PercentFormatter

from benchmarks.bars import BARS
from benchmarks.cases import MODES
from benchmarks.figures import figures, group, mean_share
from benchmarks.peers import MODULES, OURS

matplotlib.use("Agg")

# Okabe and Ito's colours, which people who are colour-blind tell apart.
COLOURS = {
    "rnnfast": "#0072B2",
    "torch.nn": "#E69F00",
    "torch.compile": "#999999",
    "ONNX Runtime": "#009E73",
    "JAX": "#CC79A7",
}
SHOWN_MODES = tuple(mode for mode in MODES if mode != "packed-training")
MARKERS = {"RNN": "o", "GRU": "s", "LSTM": "^"}
CELL_COLOURS = {"RNN": "#0072B2", "GRU": "#D55E00", "LSTM": "#009E73"}


def shares(report: dict[str, Any], path: Path) -> None:
    """Share of the FMA peak of each contender: a panel for each cell and mode, at the least number of threads."""
    least = min(table["threads"] for table in report["rows"])
    tables = [table for table in report["rows"] if table["threads"] == least]
    measured = {row["mode"] for table in tables for row in table["rows"]}
    modes = [mode for mode in SHOWN_MODES if mode in measured]
    figure = Figure(figsize=(6.0 * len(modes) + 0.3, 3.1 * len(tables) + 1.0), layout="constrained")
    panels = figure.subplots(len(tables), len(modes), squeeze=False, sharey=True)
    for line, table in zip(panels, tables, strict=True):
        for panel, mode in zip(line, modes, strict=True):
            _panel(panel, table, mode)
    handles: dict[str, Any] = {}
    for panel in panels.flat:
        handles |= dict(zip(*reversed(panel.get_legend_handles_labels()), strict=True))
    order = [name for name in (*MODULES, BAR_LABEL) if name in handles]
    figure.legend(
        [handles[name] for name in order],
        order,
        loc="outside lower center",
        ncols=6,
        frameon=False,
        fontsize=11,
    )
    machine = report["machine"]
    figure.suptitle(
        f"Recurrent layers on {machine['cpu']} ({machine['target']}), "
        f"{least} thread{'' if least == 1 else 's'}, float32: share of the FMA peak (higher is better)",
        fontsize=14,
    )
    figure.savefig(path, dpi=110)


BAR_LABEL = "bar for rnnfast's mean over the grid"


def _panel(panel: Axes, table: dict[str, Any], mode: str) -> None:
    rows = [row for row in table["rows"] if row["mode"] == mode]
    rows.sort(key=lambda row: row["shape"][1] == 1)  # batch 1 to the right
    found = [figures(row).share for row in rows]
    names = [name for name in MODULES if any(name in share for share in found)]
    width = 0.84 / len(names)
    for index, name in enumerate(names):
        places = [place + (index - (len(names) - 1) / 2) * width for place in range(len(rows))]
        panel.bar(
            places,
            [share.get(name, 0) for share in found],
            width,
            color=COLOURS[name],
            label=name,
            zorder=2,
        )
    for place, share in enumerate(found):
        panel.text(
            place - (len(names) - 1) / 2 * width,
            share[OURS] + 0.015,
            f"{share[OURS]:.0%}",
            ha="center",
            fontsize=7.5,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.4},
            zorder=4,
        )
    grid = group(table, mode)
    title = f"{table['cell']}, {mode}"
    if grid:
        title += f": rnnfast {mean_share(grid):.0%} in the mean"
        bar = BARS.get((table["cell"], mode, False))
        if bar and table["threads"] in bar.shares:
            least = bar.shares[table["threads"]]
            title += f", bar {least:.0%}"
            panel.hlines(
                least, -0.5, len(grid) - 0.5, "black", "dashed", lw=1.2, label=BAR_LABEL, zorder=3
            )
    if 0 < len(grid) < len(rows):
        panel.axvline(len(grid) - 0.5, color="#bbbbbb", lw=1)
    panel.set_title(title, fontsize=11, loc="left")
    labels = ["{}, {},\n{}, {}".format(*row["shape"]) for row in rows]
    panel.set_xticks(range(len(rows)), labels, fontsize=7.5)
    panel.set_xlabel("T, N, I, H", fontsize=8)
    panel.set_xlim(-0.6, len(rows) - 0.4)
    panel.set_ylim(0, 1)
    panel.yaxis.set_major_formatter(PercentFormatter(1))
    panel.grid(axis="y", color="#e5e5e5", zorder=0)
    panel.spines[["top", "right"]].set_visible(False)


def scaling(report: dict[str, Any], path: Path) -> None:
    """Time against T, N and H, both axes logarithmic, with the slopes."""
    dimensions = list(dict.fromkeys(series["dimension"] for series in report["scaling"]))
    figure = Figure(figsize=(5.2 * len(dimensions), 4.6), layout="constrained")
    panels = figure.subplots(1, len(dimensions), squeeze=False, sharey=True)[0]
    meanings = {"T": "time steps, T", "N": "batch rows, N", "H": "hidden size, H"}
    for panel, dimension in zip(panels, dimensions, strict=True):
        lines = [one for one in report["scaling"] if one["dimension"] == dimension]
        for one in lines:
            panel.plot(
                one["sizes"],
                [timing["median"] * 1e3 for timing in one["seconds"]],
                marker=MARKERS[one["cell"]],
                color=CELL_COLOURS[one["cell"]],
                linestyle="-" if one["mode"] == "forward" else "--",
                label=f"{one['cell']} {one['mode']}: slope {one['slope']:.2f}",
            )
        sizes = lines[0]["sizes"]
        panel.set_xscale("log", base=2)
        panel.set_yscale("log")
        panel.yaxis.set_major_formatter("{x:g}")
        panel.yaxis.set_minor_formatter(NullFormatter())
        panel.set_xticks(sizes, [str(size) for size in sizes])
        panel.set_xlabel(meanings[dimension])
        fixed = zip("TNIH", lines[0]["shapes"][0], strict=True)
        others = ", ".join(f"{name} = {size}" for name, size in fixed if name != dimension)
        panel.set_title(others, fontsize=10)
        panel.grid(which="major", color="#e5e5e5")
        panel.legend(fontsize=8, frameon=False)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("milliseconds")
    figure.suptitle(f"rnnfast on {report['machine']['cpu']}, 1 thread: time against size")
    figure.savefig(path, dpi=110)
