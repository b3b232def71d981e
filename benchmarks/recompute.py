"""A training step with gates computed anew in the backward pass (`recompute=True`) beside one that stores them."""

from dataclasses import asdict
from typing import Any

import torch

from benchmarks import parity
from benchmarks.cases import Case, Shape, draw
from benchmarks.peers import ours
from benchmarks.timing import interleaved

CELLS = ("GRU", "LSTM")
"""Those that store gates at all."""


def measure(cell: str, shape: list[int], rounds: int | None) -> dict[str, Any]:
    """Seconds of the training step both ways.

    Raises:
        MismatchError: they do not give the same.
    """
    torch.set_num_threads(1)
    case = Case(cell, "training", Shape(*shape))
    data = draw(case)
    stored, recomputed = (ours.prepare(case, data, recompute=choice) for choice in (False, True))
    parity.check(
        case,
        "rnnfast with recompute",
        stored.results(stored.call()),
        recomputed.results(recomputed.call()),
    )
    timings = interleaved([stored.call, recomputed.call], rounds)
    return {
        "cell": cell,
        "shape": shape,
        "stored": asdict(timings[0]),
        "recomputed": asdict(timings[1]),
        "ratio": timings[1].median / timings[0].median,
    }
