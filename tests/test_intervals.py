"""Intervals keep to the share that they are asked for when errors change, and know no truth before its time."""

import numpy as np
import pytest
import torch

from rnnfast.evaluation.intervals import MarginTracker, TrackedIntervals, conformal_margins
from rnnfast.models import WindowConfig, build_window_model


@pytest.mark.parametrize("size", [0.3, 1.0, 4.0])
@pytest.mark.parametrize("horizon", [1, 12])
def test_the_share_inside_comes_to_what_was_asked_for(size: float, horizon: int) -> None:
    rng = np.random.default_rng(0)
    calibrating, errors = rng.normal(0, 1, (2, 2000, horizon, 2))
    zero = np.zeros_like(errors)
    margins = conformal_margins(calibrating, zero, zero, 0.9)
    tracker = MarginTracker(margins, coverage=0.9)
    low, high = tracker.update(zero, zero, size * errors)
    inside = ((low <= size * errors) & (size * errors <= high))[300:]
    assert 0.87 < inside.mean() < 0.93
    assert inside.mean(0).min() > 0.85


def test_a_truth_counts_after_its_time_alone() -> None:
    """The ends of a window are the same whatever comes after its last reading."""
    rng = np.random.default_rng(1)
    horizon, now = 5, 40
    series = rng.normal(0, 1, 100)
    truth = np.stack([series[row : row + horizon] for row in range(80)])[..., None]
    other = np.stack(
        [np.append(series[:now], series[now:] + 9)[row : row + horizon] for row in range(80)]
    )
    zero = np.zeros_like(truth)
    # A window of row t foretells t and what follows: all before t is known.
    first = MarginTracker(np.ones((horizon, 1)), 0.9).update(zero, zero, truth)
    second = MarginTracker(np.ones((horizon, 1)), 0.9).update(zero, zero, other[..., None])
    assert (first[1][: now + 1] == second[1][: now + 1]).all()
    assert (first[1][now + 1 :] != second[1][now + 1 :]).any()


def test_batches_and_unknown_truths_change_nothing() -> None:
    rng = np.random.default_rng(2)
    truth = rng.normal(0, 2, (60, 3, 1))
    low, high = truth - 1 - rng.random(truth.shape), truth + rng.normal(0, 0.5, truth.shape)
    whole = MarginTracker(np.full((3, 1), -0.1), 0.8).update(low, high, truth)
    parts = MarginTracker(np.full((3, 1), -0.1), 0.8)
    first = parts.update(low[:1], high[:1], truth[:1])
    assert first[0][0, 0, 0] == pytest.approx(low[0, 0, 0] + 0.1)
    unknown = MarginTracker(np.ones((3, 1)), 0.8).update(
        0 * low, 0 * low, np.full_like(truth, np.nan)
    )
    assert unknown[1] == pytest.approx(np.ones_like(truth))
    rest = parts.update(low[1:], high[1:], truth[1:])
    for place in (0, 1):
        assert np.concatenate([first[place], rest[place]]) == pytest.approx(whole[place])
    assert (np.diff(whole[1] - high, axis=0) != 0).any()


def test_each_series_starts_from_the_calibrated_margins() -> None:
    config = WindowConfig(cell="persistence", lookback=4, horizon=2)
    model = build_window_model(config, 1, (0,)).eval()
    model.margins.fill_(1.0)
    output, truth = torch.zeros(30, 2, 1, 1), np.full((30, 2, 1), 5.0)
    series = np.repeat([3, 7], 15)
    low, high = TrackedIntervals(model).ends(series, output, truth)
    assert high[[0, 15]] == pytest.approx(np.ones((2, 2, 1)))
    assert high[14].min() > 1.5
    assert (high == -low).all()
