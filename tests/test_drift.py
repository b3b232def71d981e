import json
import math
from itertools import pairwise

import numpy as np
import pytest

from rnnfast.evaluation.drift import (
    COUNTS,
    DEVIATIONS,
    SHARES,
    Histogram,
    Tally,
    chance_index,
    drift,
    stability_index,
)


def histogram(values: np.ndarray, edges: np.ndarray = DEVIATIONS) -> Histogram:
    result = Histogram.over(edges)
    result.add(values)
    return result


def test_a_bin_holds_what_is_from_its_edge_to_the_next() -> None:
    found = histogram(np.array([0, 1, 1.99, 2, 7]), np.array([1.0, 2.0, 3.0]))
    assert found.counts.tolist() == [1, 2, 1, 1]
    assert (found.low, found.high, found.total) == (0, 7, 5)


@pytest.mark.parametrize("edges", [COUNTS, SHARES, DEVIATIONS])
def test_edges_rise(edges: np.ndarray) -> None:
    assert all(low < high for low, high in pairwise(edges.tolist()))


def test_parts_add_up_to_the_whole() -> None:
    values = np.random.default_rng(0).normal(size=1000)
    parts = [histogram(values[:10]), histogram(values[10:]), histogram(values[:0])]
    whole = Histogram.over(DEVIATIONS)
    for part in parts:
        whole.include(part)
    assert whole.as_json() == histogram(values).as_json()
    with pytest.raises(ValueError, match=r"edges must be those of this histogram, 120|121"):
        whole.include(Histogram.over(SHARES))


def test_a_tally_survives_json_and_merging() -> None:
    first, second = Tally(), Tally()
    first.counts.update(rows=3, blank=1)
    first.add("words", np.array([1, 2, 3]), COUNTS)
    second.counts.update(rows=1)
    second.add("score", np.array([0.5]), SHARES)
    merged = Tally.from_json(json.loads(json.dumps(first.as_json())))
    merged.include(Tally.from_json(json.loads(json.dumps(second.as_json()))))
    assert merged.counts == {"rows": 4, "blank": 1}
    assert merged.share("blank", "rows") == 0.25
    assert merged.share("blank", "words") is None
    assert {name: each.total for name, each in merged.features.items()} == {"words": 3, "score": 1}
    assert first.features.keys() == {"words"}  # what was merged is left as it was


def test_an_empty_histogram_survives_json() -> None:
    empty = Histogram.from_json(json.loads(json.dumps(Histogram.over(SHARES).as_json())))
    assert (empty.total, empty.low, empty.high) == (0, math.inf, -math.inf)
    assert empty.quantile(0.5) is None


def test_quantiles_are_near_those_of_the_values() -> None:
    values = np.random.default_rng(1).normal(size=20_000)
    found = histogram(values)
    for share in (0.0, 0.01, 0.25, 0.5, 0.75, 0.99, 1.0):
        assert found.quantile(share) == pytest.approx(np.quantile(values, share), abs=0.1)


def test_the_index_is_that_of_the_formula() -> None:
    # 0.3 and 0.7 against 0.5 and 0.5: -0.2 ln 0.6 + 0.2 ln 1.4; large counts, so that half a row is nothing.
    expected = -0.2 * math.log(0.6) + 0.2 * math.log(1.4)
    found = stability_index(np.array([5e9, 5e9]), np.array([3e9, 7e9]))
    assert found == pytest.approx(expected, rel=1e-6)
    assert stability_index(np.array([10, 20]), np.array([10, 20])) == pytest.approx(0, abs=1e-9)
    assert math.isfinite(stability_index(np.array([10, 0]), np.array([0, 10])))


def test_a_bin_that_few_training_rows_leave_empty_counts_as_half_a_row() -> None:
    # 2 of 100 rows now lie where none of 40 was: with half a row there, that is hardly a change.
    few = stability_index(np.array([40, 0]), np.array([98, 2]))
    many = stability_index(np.array([40_000, 0]), np.array([98, 2]))
    assert few < 0.02 < 0.1 < many


@pytest.mark.parametrize(("training", "now"), [(5000, 3), (5000, 30), (2000, 200), (3000, 999)])
def test_rows_that_have_not_changed_stay_below_chance(training: int, now: int) -> None:
    rng = np.random.default_rng(2)
    beyond = 0
    for _ in range(200):
        moved = drift(histogram(rng.normal(size=training)), histogram(rng.normal(size=now)))
        assert sum(share > 0 for share in moved.training) == 10
        beyond += moved.index > moved.chance
    assert beyond <= 2


def test_chance_is_the_published_quantile() -> None:
    # The 99.9 % point of chi-squared with 9 degrees of freedom is 27.877.
    assert chance_index(10, 1000, 500) == pytest.approx(27.877 * 0.003, rel=1e-2)
    assert chance_index(1, 1000, 500) == 0


def test_a_shift_is_found_and_measured() -> None:
    rng = np.random.default_rng(3)
    before = histogram(rng.normal(size=50_000))
    # The index of a normal distribution that moves by d is about d squared.
    for distance in (0.2, 0.5):
        moved = drift(before, histogram(rng.normal(distance, size=50_000)))
        assert moved.index == pytest.approx(distance**2, rel=0.15)
        assert moved.beyond_chance == moved.index
        assert sum(moved.now) == pytest.approx(1)
    assert drift(before, before).beyond_chance == 0


def test_what_lies_beyond_the_range_of_training_is_counted() -> None:
    before = histogram(np.linspace(-1, 1, 100))
    assert drift(before, histogram(np.array([-2.0, 0.0, 0.5, 3.0]))).outside == 0.5
    assert drift(before, before).outside == 0


def test_a_feature_of_one_value_has_one_bin() -> None:
    same = drift(histogram(np.zeros(50)), histogram(np.zeros(20)))
    assert same.index == same.outside == 0
    assert (same.edges, same.training, same.now) == ([0.0, 0.1], [0.0, 1.0, 0.0], [0.0, 1.0, 0.0])
    other = drift(histogram(np.zeros(500)), histogram(np.full(200, 3.0)))
    assert other.outside == 1
    assert other.beyond_chance > 10


def test_nothing_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="values must be there to compare, got: 0 and 1"):
        drift(Histogram.over(SHARES), histogram(np.array([0.5]), SHARES))
