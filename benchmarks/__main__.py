"""rnnfast beside its peers, over a grid of shapes: `make bench`.

One process for each cell and number of threads, bound to that many cores. In it the contenders run in turn and their
medians are compared. The share is that of the FMA peak that the same cores sustain, measured in every round. Nothing is
written unless all contenders give the same results.
"""

import argparse
import itertools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks import (
    isolation,
    machine,
    memory,
    peers,
    precision,
    recompute,
    results,
    rows,
    scaling,
    tables,
)
from benchmarks.cases import BATCH_1, GATES, GRID, MODES, Shape, shape_of
from benchmarks.parity import MismatchError

PARTS = ("rows", "precision", "scaling", "memory", "recompute")
RESULTS = isolation.ROOT / "benchmarks" / "results"
QUICK = (Shape(32, 8, 16, 32), Shape(64, 16, 32, 32), Shape(64, 1, 16, 32))


def main(arguments: Sequence[str]) -> int:
    """Measures, prints and writes.

    Returns:
        The exit code: 0; 1 where a peer's result is not ours, and then nothing is written; 2 for a bad option.
    """
    options = _options(arguments)
    console = Console(width=None if sys.stdout.isatty() else 130)
    try:
        report = measure(options, console)
    except MismatchError as mismatch:
        console.print(f"Refused, nothing is written: {mismatch}", markup=False, soft_wrap=True)
        return 1
    for table in results.closing_tables(report):
        _show(console, table)
    if options.output:
        results.write(report, options.output)
        console.print(f"Written to {options.output}", markup=False, soft_wrap=True)
    return 0


def measure(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    """The whole report; tables are printed as they come.

    Raises:
        MismatchError: a peer's result is not ours.
    """
    report: dict[str, Any] = {
        "machine": isolation.call(
            machine.describe, 1, names=options.peers, cores=len(isolation.cores())
        ),
        **{part: [] for part in PARTS},
    }
    console.print(results.machine_line(report["machine"]), markup=False, soft_wrap=True)
    parts, rounds = options.parts, options.rounds
    if "rows" in parts:
        for cell, threads in itertools.product(options.cells, options.threads):
            table = isolation.call(
                rows.measure,
                threads,
                cell=cell,
                threads=threads,
                modes=options.modes,
                shapes=options.shapes,
                names=options.peers,
                rounds=rounds,
            )
            report["rows"].append(table)
            _show(console, tables.of_rows(table))
    if "precision" in parts:
        for cell in options.cells:
            table = isolation.call(
                precision.measure,
                1,
                cell=cell,
                modes=[mode for mode in precision.MODES if mode in options.modes],
                shapes=[shape for shape in options.shapes if shape not in BATCH_1],
                rounds=rounds,
            )
            report["precision"].append(table)
    if "scaling" in parts:
        for cell in options.cells:
            report["scaling"] += isolation.call(
                scaling.measure, 1, cell=cell, quick=options.quick, rounds=rounds
            )
    shape = memory.QUICK if options.quick else memory.SHAPE
    if "memory" in parts:
        for cell, mode, package in itertools.product(
            options.cells, ("forward", "training"), memory.PACKAGES
        ):
            report["memory"].append(
                isolation.call(
                    memory.measure, 1, package=package, cell=cell, mode=mode, shape=shape
                )
            )
    if "recompute" in parts:
        report["recompute"] = [
            _recompute(cell, shape, rounds) for cell in options.cells if cell in recompute.CELLS
        ]
    return report


def _recompute(cell: str, shape: Shape, rounds: int | None) -> dict[str, Any]:
    """Time and memory of a training step, with stored and with recomputed gates."""
    found: dict[str, Any] = isolation.call(
        recompute.measure, 1, cell=cell, shape=shape, rounds=rounds
    )
    for name, choice in (("stored", False), ("recomputed", True)):
        found[name]["memory"] = isolation.call(
            memory.measure,
            1,
            package=peers.OURS,
            cell=cell,
            mode="training",
            shape=shape,
            recompute=choice,
        )
    return found


def _show(console: Console, table: tables.Table) -> None:
    isolation.say("")
    console.print(tables.as_rich(table), "")


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    available = len(isolation.cores())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        epilog="Without any option the results go to benchmarks/results; with one, only where --output says.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--cells", nargs="+", choices=GATES)
    parser.add_argument(
        "--threads", nargs="+", type=int, help="default: 1, and 2 if there are 2 cores"
    )
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument(
        "--shapes",
        nargs="+",
        type=shape_of,
        metavar="T,N,I,H",
        help="default: the grid, and two of batch 1",
    )
    parser.add_argument(
        "--peers",
        nargs="*",
        choices=peers.PEERS,
        default=peers.installed(),
        help="default: those that are installed",
    )
    parser.add_argument("--rounds", type=int, help="default: by the time that a round takes")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument(
        "--quick", action="store_true", help="GRU, 1 thread, tiny shapes, 3 rounds: does it run"
    )
    parser.add_argument("--output", type=Path, help="folder for the JSON, the charts, the Markdown")
    options = parser.parse_args(arguments)
    options.cells = options.cells or (["GRU"] if options.quick else list(GATES))
    if not options.threads:
        options.threads = [1] if options.quick or available == 1 else [1, 2]
    for threads in options.threads:
        if not 1 <= threads <= available:
            parser.error(f"--threads must be in 1..{available}, the cores here, got: {threads}")
    if options.rounds is not None and options.rounds < 2:
        parser.error(f"--rounds must be at least 2, got: {options.rounds}")
    missing = [name for name in options.peers if name not in peers.installed()]
    if missing:
        parser.error(f"--peers must be installed, got: {', '.join(missing)} (make bench has all)")
    if options.quick and options.rounds is None:
        options.rounds = 3
    if not options.shapes:
        options.shapes = QUICK if options.quick else GRID + BATCH_1
    if not arguments:
        options.output = RESULTS
    return options


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
