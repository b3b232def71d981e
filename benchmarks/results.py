"""The report on disk: JSON, Markdown and charts, all or none."""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import bars, charts, tables
from benchmarks.tables import Table


def closing_tables(report: dict[str, Any]) -> list[Table]:
    """What follows the tables of the cells: those parts that were measured, and the bars."""
    parts = {
        "scaling": tables.of_scaling,
        "memory": tables.of_memory,
        "recompute": tables.of_recompute,
    }
    found = [tables.of_precision(table) for table in report["precision"]]
    found += [table(report[part]) for part, table in parts.items() if report[part]]
    return [*found, tables.of_bars(bars.verdicts(report))]


def write(report: dict[str, Any], folder: Path) -> None:
    """cpu.json and cpu.md, and for the parts that were measured cpu.png and scaling.png, into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as name:
        made = Path(name)
        (made / "cpu.json").write_text(json.dumps(report, indent=1) + "\n")
        (made / "cpu.md").write_text(markdown(report))
        if report["rows"]:
            charts.shares(report, made / "cpu.png")
        if report["scaling"]:
            charts.scaling(report, made / "scaling.png")
        for file in made.iterdir():
            os.replace(file, folder / file.name)


def markdown(report: dict[str, Any]) -> str:
    """The report for a reader, beside the charts."""
    *closing, verdicts = closing_tables(report)
    sections = [
        "# Measured on the CPU",
        machine_line(report["machine"]),
        "float32 unless a table says otherwise. Medians of interleaved runs in one process for each cell and number of "
        "threads; means are geometric, "
        "over the grid, with the bar beside them. Packed: lengths uniform in 1..T, the share of the peak counted on "
        "real tokens.",
    ]
    if report["rows"]:
        sections.append("![Share of the FMA peak by shape](cpu.png)")
    shown = [verdicts, *map(tables.of_rows, report["rows"]), *closing]
    sections += map(tables.as_markdown, shown)
    if report["scaling"]:
        sections.append("![Time against T, N and H](scaling.png)")
    return "\n\n".join(sections) + "\n"


def machine_line(machine: dict[str, Any]) -> str:
    """The machine and the versions in a sentence."""
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_bytes'] / 2**30:.0f} GiB, {machine['system']}; "
        f"target {machine['target']}, compiled by {machine['compiler']}; Python {machine['python']}, {versions}; "
        f"{machine['date'][:10]}."
    )
