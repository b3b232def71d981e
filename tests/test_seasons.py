"""Seasons are found in steps of the data, and not where there are none."""

import numpy as np
import pytest

from rnnfast.series import find_seasons
from rnnfast.series.seasons import autocorrelation

HOUR, DAY = 3600.0, 86_400.0


def found(values: np.ndarray, seconds: float) -> list[tuple[str, int]]:
    seasons = find_seasons(values, np.array([[0, len(values)]]), seconds)
    return [(season.name, season.steps) for season in seasons]


def waves(rows: int, *periods: float) -> np.ndarray:
    rng = np.random.default_rng(0)
    time = np.arange(rows)[:, None]
    return sum(np.sin(2 * np.pi * time / each) for each in periods) + rng.normal(0, 0.5, (rows, 1))


@pytest.mark.parametrize(
    ("values", "seconds", "expected"),
    [
        (waves(2000, 24), HOUR, [("day", 24)]),
        (waves(4000, 96), HOUR / 4, [("day", 96)]),
        (waves(4000, 24, 168), HOUR, [("day", 24), ("week", 168)]),
        (waves(3000, 168), HOUR, [("week", 168)]),
        (waves(500, 7), DAY, [("week", 7)]),
        (waves(2000, 7, 365.25), DAY, [("week", 7), ("year", 365)]),
        (waves(400, 52.18), 7 * DAY, [("year", 52)]),
        (waves(120, 12), 30.4375 * DAY, [("year", 12)]),
        (waves(1000, 17), HOUR, [("cycle", 17)]),
        (waves(1000, 17), 0.0, [("cycle", 17)]),
        (waves(50, 24), HOUR, []),  # two days are too few
    ],
)
def test_seasons_are_in_steps_of_the_data(
    values: np.ndarray, seconds: float, expected: list[tuple[str, int]]
) -> None:
    assert found(values, seconds) == expected


def test_a_trend_or_a_walk_is_no_season() -> None:
    rng = np.random.default_rng(1)
    noise = rng.normal(0, 1, (20, 1000, 1))
    for values in (*noise, *np.cumsum(noise, 1)):
        assert len(found(values, HOUR)) == 0
    assert found(np.arange(500.0)[:, None], DAY) == []
    assert found(np.ones((500, 2)), DAY) == []


def test_a_trend_hides_no_season() -> None:
    assert found(waves(2000, 24) + 0.01 * np.arange(2000)[:, None], HOUR) == [("day", 24)]


def test_runs_are_looked_at_by_themselves() -> None:
    values = waves(1200, 24)
    runs = np.array([[0, 300], [310, 700], [711, 1200]])
    assert [each.steps for each in find_seasons(values, runs, HOUR)] == [24]
    assert find_seasons(values, runs[:0], HOUR) == ()


def test_the_autocorrelation_is_that_of_the_textbook() -> None:
    values = np.random.default_rng(2).normal(0, 1, (300, 1)).cumsum(0)
    centred = (values - values.mean()).ravel()
    lag = 7
    expected = (centred[lag:] @ centred[:-lag] / (300 - lag)) / (centred @ centred / 300)
    assert autocorrelation(values, 10)[lag] == pytest.approx(expected)
    assert autocorrelation(values, 10)[0] == pytest.approx(1)
