"""Default settings beside simple peers, on data sets of many kinds and sizes: `make bench-quality`, some hours."""

import argparse
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.quality import series, texts
from benchmarks.quality.case import Case, table

CASES: tuple[Case, ...] = (*texts.CASES, *series.CASES)


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the figures as a table, and which case is measured meanwhile."""
    parser = argparse.ArgumentParser(prog="benchmarks.quality", description=__doc__)
    parser.add_argument("--only", default="", help="cases whose names hold this")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--mirror", type=Path, default=os.environ.get("RNNFAST_MIRROR"))
    options = parser.parse_args(arguments)
    if options.mirror is None:
        parser.error("--mirror or RNNFAST_MIRROR must name the folder of the data")
    measured = []
    for case in CASES:
        if options.only not in case.name:
            continue
        runs = []
        for seed in range(options.seeds):
            print(f"{case.name}, seed {seed} ...", flush=True)
            with tempfile.TemporaryDirectory() as folder:
                runs.append(case.measure(Path(options.mirror), Path(folder), seed))
            print(f"{case.name}, seed {seed}: {dict(runs[-1])}", flush=True)
        measured.append((case, runs))
    print(table(measured))


if __name__ == "__main__":
    main()
