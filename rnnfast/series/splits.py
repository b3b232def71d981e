"""Parts of readings to train, validate and test on: by time, or by device."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def chronological(times: np.ndarray, shares: Sequence[float]) -> list[int]:
    """Times that cut rows into consecutive parts: the last part's start comes last.

    Args:
        times: (T,) int64, in any order; the same cut holds for every device.
        shares: of the rows, for each part but the first.

    Returns the first time of each part but the first. Raises ValueError unless the shares leave
    rows for every part.
    """
    rest = 1 - sum(shares)
    if min(shares) <= 0 or rest <= 0:
        raise ValueError(f"shares must be above 0 and below 1 together, got: {list(shares)}")
    places = [round(len(times) * s) for s in np.cumsum([rest, *shares[:-1]])]
    cuts = np.partition(times, [min(p, len(times) - 1) for p in places])
    return [int(cuts[min(p, len(times) - 1)]) for p in places]


def by_group(groups: Sequence[str], shares: Sequence[float], seed: int) -> list[list[str]]:
    """Draws whole groups for each part; at least one each.

    Returns the groups of the first part, which gets the rest, then those of the others. Raises
    ValueError where there are fewer groups than parts.
    """
    names = sorted(set(groups))
    if len(names) <= len(shares):
        raise ValueError(f"groups must be at least {len(shares) + 1}, got: {len(names)}")
    drawn = [names[i] for i in np.random.default_rng(seed).permutation(len(names))]
    parts = []
    for i, share in enumerate(shares):
        left = len(shares) - i  # so many groups the other parts need
        count = min(max(1, round(share * len(names))), len(drawn) - left)
        parts.append(sorted(drawn[:count]))
        drawn = drawn[count:]
    return [sorted(drawn), *parts]
