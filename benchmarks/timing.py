"""Medians of interleaved runs, which hold on a machine whose speed drifts: every contender sees the same drift."""

import gc
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import quantiles
from time import perf_counter

BURST = 0.01
"""Seconds: a shorter call is repeated up to this within a round, after an untimed one that fills caches."""
LONG = 1.0
"""Seconds: of calls above this, fewer rounds must do."""
LEAST, LEAST_LONG, MOST = 7, 5, 31
"""Rounds."""


@dataclass(frozen=True)
class Timing:
    """Seconds of one call."""

    median: float
    lower_quartile: float
    upper_quartile: float
    rounds: int


Call = Callable[[], object]


def interleaved(
    calls: Sequence[Call],
    rounds: int | None = None,
    seconds: float = 2.0,
    clock: Callable[[Call, int], float] | None = None,
) -> list[Timing]:
    """Times the calls in turn, each once a round (short ones in a burst); all must have run before.

    Args:
        calls: what to time.
        rounds: at least 2; None: as many as fit into `seconds`, within :data:`LEAST` and :data:`MOST`.
        seconds: that all the rounds together should take.
        clock: the seconds of a call that is made so many times, of each time; None: on the clock of the host.
    """
    if rounds is not None and rounds < 2:
        raise ValueError(f"rounds must be at least 2, got: {rounds}")
    clock = clock or _seconds
    expected = [clock(call, 1) for call in calls]
    bursts = [math.ceil(BURST / once) if once < BURST else 0 for once in expected]
    if rounds is None:
        least = LEAST_LONG if max(expected) > LONG else LEAST
        round_ = sum(once * max(1, burst + 1) for once, burst in zip(expected, bursts, strict=True))
        rounds = min(max(least, int(seconds / round_)), MOST)
    times: list[list[float]] = [[] for _ in calls]
    gc.collect()
    gc.disable()
    try:
        for _ in range(rounds):
            for call, burst, found in zip(calls, bursts, times, strict=True):
                if burst:
                    call()
                found.append(clock(call, max(1, burst)))
    finally:
        gc.enable()
    return [_summary(found) for found in times]


def _seconds(call: Call, repeats: int) -> float:
    start = perf_counter()
    for _ in range(repeats):
        call()
    return (perf_counter() - start) / repeats


def _summary(times: list[float]) -> Timing:
    lower, median, upper = quantiles(times, n=4, method="inclusive")
    return Timing(median, lower, upper, len(times))
