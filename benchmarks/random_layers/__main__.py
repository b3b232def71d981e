"""Random layers beside `torch.nn`: `make bench-random`, which prints each that is slower.

Every layer is one that somebody may have: any cell, one step of one row as well as hundreds, stacks, both directions,
both layouts, inference and training. The same seed draws the same layers. Both contenders hold the same weights, their
results are compared, and then they run in turn; the fastest of many runs count. What seems slower is measured once
more, for longer, and that counts.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import fmean, geometric_mean
from typing import Any

from benchmarks import isolation, machine, parity
from benchmarks.random_layers.layers import WORST, drawn
from benchmarks.random_layers.measuring import BOUNDS, SLOWER, measure

SLOW = 0.9
"""Times torch's speed below which a layer must never be."""


def main(arguments: Sequence[str]) -> int:
    """Measures and prints.

    Returns:
        The exit code: 0; 1 where the results differ; 2 for a bad option.
    """
    options = _options(arguments)
    layers = WORST if options.worst else tuple(drawn(options.count, options.seed, options.threads))
    layers = tuple(replace(layer, precision=options.precision) for layer in layers)
    cores = len(isolation.cores())
    found: dict[str, Any] = {
        "machine": isolation.call(machine.describe, 1, names=["torch.nn"], cores=cores),
        "seed": None if options.worst else options.seed,
        "layers": [],
    }
    try:
        for threads in sorted({layer.threads for layer in layers} & set(range(cores + 1))):
            of_these = [asdict(layer) for layer in layers if layer.threads == threads]
            found["layers"] += isolation.call(measure, threads, layers=of_these)
    except parity.MismatchError as mismatch:
        print(f"Refused: {mismatch}")
        return 1
    found["summary"] = summary([each["speed"] for each in found["layers"]])
    print(", ".join(f"{name} {value}" for name, value in found["summary"].items()))
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps(found, indent=1) + "\n")
    return 0


def summary(speeds: Sequence[float]) -> dict[str, float]:
    """Of the layers' speeds, each as times torch's."""
    return {
        "layers": len(speeds),
        "mean": round(fmean(speeds), 3),
        "geometric mean": round(geometric_mean(speeds), 3),
        "least": round(min(speeds), 3),
        f"below {SLOWER}": sum(speed < SLOWER for speed in speeds),
        f"below {SLOW}": sum(speed < SLOW for speed in speeds),
    }


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    available = len(isolation.cores())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.random_layers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--count", type=int, default=100, help="of layers, default: 100")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--worst", action="store_true", help="the layers that were once slower, not random ones"
    )
    parser.add_argument(
        "--threads",
        nargs="+",
        type=int,
        default=[1, 2][:available],
        help="default: 1, and 2 if there are 2 cores",
    )
    parser.add_argument("--precision", choices=BOUNDS, default="float32")
    parser.add_argument("--output", type=Path, help="a JSON file for all that was measured")
    options = parser.parse_args(arguments)
    if options.count < 1:
        parser.error(f"--count must be at least 1, got: {options.count}")
    for threads in options.threads:
        if not 1 <= threads <= available:
            parser.error(f"--threads must be in 1..{available}, the cores here, got: {threads}")
    return options


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
