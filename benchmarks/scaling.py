"""Time against T, N and H: a doubling series each, in one process of one thread."""

import math
from dataclasses import asdict
from statistics import linear_regression
from typing import Any

import torch

from benchmarks import peers
from benchmarks.cases import Case, Shape, draw
from benchmarks.timing import interleaved

SERIES = {
    "T": [Shape(steps, 64, 128, 128) for steps in (64, 128, 256, 512, 1024)],
    "N": [Shape(128, batch, 128, 128) for batch in (32, 64, 128, 256, 512)],
    "H": [Shape(64, 64, 128, hidden) for hidden in (64, 128, 256, 512, 1024)],
}
QUICK = {
    "T": [Shape(steps, 8, 16, 16) for steps in (32, 64, 128)],
    "N": [Shape(32, batch, 16, 16) for batch in (8, 16, 32)],
    "H": [Shape(32, 8, 16, hidden) for hidden in (16, 32, 64)],
}
MODES = ("forward", "training")


def measure(cell: str, quick: bool, rounds: int | None) -> list[dict[str, Any]]:
    """For each series and mode the sizes, the seconds, and the slope of their logarithms."""
    torch.set_num_threads(1)
    ours = peers.load(peers.OURS)
    found = []
    for dimension, shapes in (QUICK if quick else SERIES).items():
        for mode in MODES:
            cases = [Case(cell, mode, shape) for shape in shapes]
            calls = [ours.prepare(case, draw(case)).call for case in cases]
            for call in calls:
                call()
            timings = interleaved(calls, rounds)
            sizes = [shape["TNIH".index(dimension)] for shape in shapes]
            found.append(
                {
                    "cell": cell,
                    "dimension": dimension,
                    "mode": mode,
                    "shapes": shapes,
                    "sizes": sizes,
                    "seconds": [asdict(timing) for timing in timings],
                    "slope": slope(sizes, [timing.median for timing in timings]),
                }
            )
    return found


def slope(sizes: list[int], seconds: list[float]) -> float:
    """By which power of the size the time grows: the least squares' slope of the logarithms."""
    return linear_regression([math.log(n) for n in sizes], [math.log(s) for s in seconds]).slope
