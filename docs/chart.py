"""The chart of speed in README.md, from `benchmarks/results/cpu.json`."""

import json
import math
from pathlib import Path

from matplotlib.figure import Figure

from benchmarks.charts import COLOURS
from benchmarks.peers import MODULES, OURS

ROOT = Path(__file__).parent.parent


def speeds() -> dict[tuple[str, str], dict[str, float]]:
    """Of each cell and mode, how many times as fast as `torch.nn` each contender is, one thread.

    Geometric means over the shapes with more than one row in which all contenders were measured.
    """
    report = json.loads((ROOT / "benchmarks/results/cpu.json").read_text())
    found: dict[tuple[str, str], dict[str, float]] = {}
    for table in report["rows"]:
        for mode in ("forward", "training"):
            rows = [
                row["seconds"]
                for row in table["rows"]
                if row["mode"] == mode and row["shape"][1] > 1
            ]
            if table["threads"] > 1 or not rows:
                continue
            found[table["cell"], mode] = {
                name: math.exp(
                    sum(math.log(row["torch.nn"]["median"] / row[name]["median"]) for row in rows)
                    / len(rows)
                )
                for name in MODULES
                if all(name in row for row in rows)
            }
    return found


def draw(path: Path) -> None:
    """Writes the chart as a PNG."""
    found = speeds()
    figure = Figure(figsize=(9.4, 3.3), layout="constrained", facecolor="white")
    panels = figure.subplots(1, 2, sharey=True)
    for panel, mode in zip(panels, ("forward", "training"), strict=True):
        cells = [cell for cell, of in found if of == mode]
        names = [name for name in MODULES if any(name in found[cell, mode] for cell in cells)]
        width = 0.86 / len(names)
        for index, name in enumerate(names):
            values = [found[cell, mode].get(name, 0) for cell in cells]
            places = [place + (index - (len(names) - 1) / 2) * width for place in range(len(cells))]
            panel.bar(places, values, width * 0.92, color=COLOURS[name], label=name, zorder=2)
            for place, value in zip(places, values, strict=True):
                if value:
                    panel.annotate(
                        f"{value:.1f}", (place, value), ha="center", va="bottom", fontsize=8,
                        fontweight="bold" if name == OURS else "normal",
                    )  # fmt: skip
        panel.set_xticks(range(len(cells)), cells, fontsize=11)
        panel.set_title({"forward": "inference", "training": "training step"}[mode], fontsize=11)
        panel.axhline(1, color="#666666", linewidth=0.8, zorder=1)
        panel.spines[["top", "right"]].set_visible(False)
        panel.tick_params(axis="x", length=0)
    panels[0].set_ylabel("times as fast as torch.nn")
    handles: dict[str, object] = {}
    for panel in panels:
        for handle, name in zip(*panel.get_legend_handles_labels(), strict=True):
            handles.setdefault(name, handle)
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=5, frameon=False)
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=130)
