"""One table: every mode and shape of a cell at a thread count, all contenders in one process."""

from collections.abc import Callable
from dataclasses import asdict
from statistics import median
from typing import Any

import torch

from benchmarks import parity, peers
from benchmarks.cases import Case, Data, Shape, draw, operations
from benchmarks.isolation import say
from benchmarks.timing import interleaved
from rnnfast.nn import ops

PEAK_SECONDS = 0.02
_PEAK = "FMA peak"


def measure(
    cell: str,
    threads: int,
    modes: list[str],
    shapes: list[list[int]],
    names: list[str],
    rounds: int | None,
) -> dict[str, Any]:
    """The rows of a table, each with the FMA peak of the threads.

    The peak is the median of what was measured in every round, after rnnfast's turn: a processor's clock falls under
    such work, and changes from minute to minute on a machine that others use.

    Args:
        cell: RNN, GRU or LSTM.
        threads: for the libraries and the peak; the process must be limited to as many cores.
        modes: of :data:`benchmarks.cases.MODES`.
        shapes: (T, N, I, H) each; a packed mode leaves out those of one row.
        names: of the peers.
        rounds: None: as many as :func:`benchmarks.timing.interleaved` finds.

    Raises:
        MismatchError: a peer's result is not ours.
    """
    torch.set_num_threads(threads)
    rows = []
    for mode in modes:
        for shape in (Shape(*sizes) for sizes in shapes):
            case = Case(cell, mode, shape)
            if case.packed and shape.batch == 1:
                continue
            say(f"{case}, {threads} thread(s)")
            rows.append(_row(case, draw(case), names, rounds))
    return {"cell": cell, "threads": threads, "rows": rows}


def _row(case: Case, data: Data, names: list[str], rounds: int | None) -> dict[str, Any]:
    ours = peers.load(peers.OURS).prepare(case, data)
    right = ours.results(ours.call())
    peaks: list[float] = []
    calls: dict[str, Callable[[], object]] = {
        peers.OURS: ours.call,
        _PEAK: lambda: peaks.append(ops.cpu_peak(PEAK_SECONDS)),
    }
    errors = {}
    for name in names:
        peer = peers.load(name)
        if peer.takes(case):
            theirs = peer.prepare(case, data)
            errors[name] = parity.check(case, name, right, theirs.results(theirs.call()))
            calls[name] = theirs.call
    timings = dict(zip(calls, interleaved(list(calls.values()), rounds), strict=True))
    del timings[_PEAK]
    return {
        "mode": case.mode,
        "shape": case.shape,
        "tokens": data.tokens,
        "operations": operations(case, data),
        "peak": median(peaks),
        "seconds": {name: asdict(timing) for name, timing in timings.items()},
        "largest_difference": errors,
    }
