"""How far rows are from those of training: histograms that add up, and an index of how much they differ.

Bins are fine and do not depend on the data. So anyone may count a part of the rows, and the sum is the same
whoever counted what; only a comparison joins neighbouring bins until each has its share of the training rows.

Dimensions: K bins, N values.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

COUNTS = np.unique(np.ceil(2.0 ** (np.arange(81) / 4)))
"""Edges for counts, such as words of a text: 1, 2, 3, ..., then four to each doubling, to a million."""

SHARES = np.array(
    [0.001, 0.002, 0.005, *(n / 100 for n in range(1, 100)), 0.995, 0.998, 0.999], np.float64
)
"""Edges for shares and probabilities, closer together at both ends."""

DEVIATIONS = np.round(np.linspace(-6, 6, 121), 1)
"""Edges for standardised values: tenths of a standard deviation of the training rows."""

ERRORS = 2.0 ** (np.arange(-40, 17) / 4)
"""Edges for errors, in standard deviations of the training rows: four to each doubling, from a thousandth to 16."""

GROUPS = 10
"""Bins of a comparison, each with about that part of the training rows."""

_LEAST = 1e-4  # the share that a bin without a row is taken to have, which is the usual one
_HALF_ROW = 0.5  # that such a bin of few training rows is taken to have instead

_SURE = 3.090232  # the 99.9 % point of the standard normal distribution


@dataclass(eq=False)
class Histogram:
    """How many values lie between the edges.

    Attributes:
        edges: (K - 1,) rising; bin k holds ``edges[k - 1] <= value < edges[k]``, the outer two what is left.
        counts: (K,) int64.
        low: the least value; infinite where there is none.
        high: the largest value, likewise.
    """

    edges: np.ndarray
    counts: np.ndarray
    low: float = np.inf
    high: float = -np.inf

    @classmethod
    def over(cls, edges: np.ndarray) -> Histogram:
        """One without a value."""
        return cls(np.asarray(edges, np.float64), np.zeros(len(edges) + 1, np.int64))

    @property
    def total(self) -> int:
        """How many values there are."""
        return int(self.counts.sum())

    def add(self, values: np.ndarray) -> None:
        """Counts values (N,), all finite."""
        if len(values):
            bins = np.searchsorted(self.edges, values, "right")
            self.counts += np.bincount(bins, minlength=len(self.counts))
            self.low = min(self.low, float(values.min()))
            self.high = max(self.high, float(values.max()))

    def include(self, other: Histogram) -> None:
        """Adds what another one has counted; raises ValueError for other edges."""
        if not np.array_equal(self.edges, other.edges):
            raise ValueError(
                f"edges must be those of this histogram, {len(self.edges)} from {self.edges[:3]}, "
                f"got: {len(other.edges)} from {other.edges[:3]}"
            )
        self.counts = self.counts + other.counts
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)

    def joined(self, edges: np.ndarray) -> np.ndarray:
        """The counts between fewer edges (J - 1,): (J,) int64. Raises ValueError unless each is one of its own."""
        places = np.searchsorted(self.edges, edges)
        known = places < len(self.edges)
        if not known.all() or not np.array_equal(self.edges[places], edges):
            raise ValueError(f"edges must be some of this histogram's, got: {list(edges)}")
        return np.add.reduceat(self.counts, [0, *(places + 1)])

    def quantile(self, share: float) -> float | None:
        """The value that a share of the values lies below, as if they were even within a bin."""
        if not self.total:
            return None
        ends = np.clip([-np.inf, *self.edges, np.inf], self.low, self.high)
        below = np.cumsum([0, *self.counts])
        return float(np.interp(share * below[-1], below, ends))

    def as_json(self) -> dict[str, Any]:
        """All that it is, as JSON has it."""
        empty = not self.total
        return {
            "low": None if empty else self.low,
            "high": None if empty else self.high,
            "edges": self.edges.tolist(),
            "counts": self.counts.tolist(),
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Histogram:
        """What ``as_json`` gave."""
        low, high = content["low"], content["high"]
        return cls(
            np.array(content["edges"], np.float64),
            np.array(content["counts"], np.int64),
            np.inf if low is None else low,
            -np.inf if high is None else high,
        )


@dataclass(eq=False)
class Tally:
    """What is counted of some rows: ``counts`` by name, and a histogram of each of the ``features``."""

    counts: Counter[str] = field(default_factory=Counter)
    features: dict[str, Histogram] = field(default_factory=dict)

    def add(self, feature: str, values: np.ndarray, edges: np.ndarray) -> None:
        """Counts values (N,) of a feature, which always has the same edges."""
        self.features.setdefault(feature, Histogram.over(edges)).add(values)

    def include(self, other: Tally) -> None:
        """Adds what another one has counted."""
        self.counts.update(other.counts)
        for name, histogram in other.features.items():
            empty = Histogram.over(histogram.edges)
            self.features.setdefault(name, empty).include(histogram)

    def share(self, part: str, of: str) -> float | None:
        """One count divided by another; None where that is 0."""
        return self.counts[part] / self.counts[of] if self.counts[of] else None

    def as_json(self) -> dict[str, Any]:
        """All that it is, as JSON has it."""
        features = {name: histogram.as_json() for name, histogram in self.features.items()}
        return {"counts": dict(self.counts), "features": features}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Tally:
        """What ``as_json`` gave."""
        features = content["features"].items()
        return cls(
            Counter(content["counts"]),
            {name: Histogram.from_json(histogram) for name, histogram in features},
        )


def stability_index(training: np.ndarray, now: np.ndarray) -> float:
    """The population stability index of two histograms over the same bins.

    ``sum((a - e) * ln(a / e))`` over the bins, e the share of the training rows in a bin and a that of the rows
    now: the symmetric Kullback-Leibler divergence. Below 0.1 there is little change, above 0.25 much (Siddiqi,
    "Credit Risk Scorecards", 2006). So that an empty bin gives a finite index, a share below _LEAST counts as
    that, or below half a training row as half a row. To the rows now are added, spread like those of training, half a
    row for each bin. Few rows say little.

    Args:
        training: (K,) counts.
        now: (K,) likewise.
    """
    rows = np.sum(training)
    least = max(_LEAST, _HALF_ROW / rows)
    expected = np.maximum(training / rows, least)
    prior = len(expected) / 2
    actual = np.maximum((now + prior * expected) / (np.sum(now) + prior), least)
    return float(((actual - expected) * np.log(actual / expected)).sum())


def chance_index(bins: int, training: int, now: int) -> float:
    """What the index of rows that have not changed stays below, 999 times of 1,000.

    The index divided by ``1 / training + 1 / now`` follows a chi-squared distribution of ``bins - 1`` degrees of
    freedom (Yurdakul and Naranjo, "Statistical properties of the population stability index", 2020); its
    quantile is approximately that of Wilson and Hilferty (1931). It holds for independent rows: readings that
    follow each other differ more than that.

    Args:
        bins: K.
        training: rows of the training data.
        now: rows that are compared with them.
    """
    if bins < 2 or not training or not now:
        return 0.0
    spread = 2 / (9 * (bins - 1))
    quantile = (bins - 1) * (1 - spread + _SURE * spread**0.5) ** 3
    return float(quantile * (1 / training + 1 / now))


@dataclass(frozen=True)
class Drift:
    """How far a feature is from the training rows.

    Attributes:
        index: the population stability index.
        chance: what it may be by chance alone, for so many rows.
        edges: (K - 1,) of the bins that were compared: some GROUPS of them, and what lies beyond the training rows.
        training: (K,) shares of the training rows.
        now: (K,) shares of the rows that were compared with them.
        outside: share of these surely beyond the training rows, in bins above or below all of these.
    """

    index: float
    chance: float
    edges: list[float]
    training: list[float]
    now: list[float]
    outside: float

    @property
    def beyond_chance(self) -> float:
        """The index, or 0 where chance alone explains it."""
        return self.index if self.index > self.chance else 0.0


def drift(training: Histogram, now: Histogram) -> Drift:
    """Compares a feature of some rows with that of training.

    Raises ValueError for other edges, and where either has no value.
    """
    if not np.array_equal(training.edges, now.edges):
        raise ValueError(
            f"edges must be those of training, {len(training.edges)}, got: {len(now.edges)}"
        )
    if not training.total or not now.total:
        raise ValueError(f"values must be there to compare, got: {training.total} and {now.total}")
    starts = _joined(training.counts)
    expected = np.add.reduceat(training.counts, starts)
    actual = np.add.reduceat(now.counts, starts)
    outside = actual[expected == 0].sum()
    return Drift(
        stability_index(expected, actual),
        chance_index(int((expected > 0).sum()), training.total, now.total),
        training.edges[starts[1:] - 1].tolist(),
        (expected / training.total).tolist(),
        (actual / now.total).tolist(),
        float(outside / now.total),
    )


def _joined(counts: np.ndarray) -> np.ndarray:
    """Where bins begin that each hold about the same part of the counts, or that lie beyond all: (K,) places."""
    before = np.concatenate([[0], np.cumsum(counts)[:-1]])
    group = np.floor(before * GROUPS / counts.sum())
    [full] = np.nonzero(counts)
    starts = [int(full[0])]
    for place in full.tolist():
        if group[place] > group[starts[-1]]:
            starts.append(place)
    ends = [0] if starts[0] else [], [int(full[-1]) + 1] if full[-1] + 1 < len(counts) else []
    return np.array([*ends[0], *starts, *ends[1]])
