import numpy as np
import pytest
import torch

from rnnfast.series.calendar import calendar_features
from rnnfast.series.calendar_steps import CALENDAR, DAY
from rnnfast.series.grid import Regular, regular
from rnnfast.series.order import CHUNK, in_order
from rnnfast.series.scaling import Scaler
from rnnfast.series.splits import by_group, chronological
from rnnfast.series.windows import Windows, cut_runs, find_runs, windows

NAN = np.nan


def gridded(
    times: np.ndarray,
    values: np.ndarray,
    step: int,
    limit: int,
    sentinels: tuple[float, ...] = (),
    size: int = CHUNK,
) -> Regular:
    """All pieces of a regular series together."""
    pieces = list(regular(times, lambda a, b: values[a:b], step, limit, sentinels, size))
    arrays = (
        np.concatenate([getattr(p, n) for p in pieces]) for n in ("values", "times", "last_read")
    )
    return Regular(
        *arrays, *(sum(getattr(p, n) for p in pieces) for n in ("merged", "filled", "dropped"))
    )


def column(*values: float) -> np.ndarray:
    return np.array(values, np.float32)[:, None]


def test_rows_in_order_are_left_as_they_are() -> None:
    order = in_order(np.arange(5) * 10, np.zeros(5, int))
    assert order.rows is None
    assert (order.step, order.breaks, order.duplicates) == (10, 0, 0)


def test_rows_are_sorted_by_group_and_time_and_repeated_ones_dropped() -> None:
    times = np.array([30, 10, 20, 10, 20, 20, 40])
    groups = np.array([0, 0, 0, 1, 1, 0, 0])
    order = in_order(times, groups)
    assert order.rows is not None
    assert order.rows.tolist() == [1, 2, 0, 6, 3, 4]  # of the two at 20 the first
    assert (order.step, order.duplicates) == (10, 1)
    # In the file: 30 10 20 20 40 of the one, 10 20 of the other.
    assert order.breaks == 3


def test_no_row_and_one_row() -> None:
    for size in (0, 1):
        order = in_order(np.arange(size), np.zeros(size, int))
        assert (order.rows, order.step, order.breaks, order.duplicates) == (None, 0, 0, 0)


def test_the_order_of_many_rows_is_seen_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 3, 200)
    times = rng.integers(0, 90, 200) * 10
    whole = in_order(times, groups)
    monkeypatch.setattr("rnnfast.series.order.CHUNK", 7)
    parts = in_order(times, groups)
    assert whole.rows is not None
    assert np.array_equal(whole.rows, parts.rows)
    assert (whole.step, whole.breaks, whole.duplicates) == (
        parts.step, parts.breaks, parts.duplicates
    )  # fmt: skip
    assert whole.duplicates > 0
    kept = list(zip(groups[whole.rows], times[whole.rows], strict=True))
    assert kept == sorted(set(zip(groups, times, strict=True)))


def test_a_regular_series_stays_as_it_is() -> None:
    values = column(1, 2, 3)
    grid = gridded(np.array([105, 205, 305]), values, 100, limit=2)
    assert grid.values.tolist() == values.tolist()
    assert grid.times.tolist() == [105, 205, 305]
    assert (grid.merged, grid.filled, grid.dropped) == (0, 0, 0)


def test_short_gaps_take_the_last_value_and_long_ones_end_the_run() -> None:
    times = np.array([0, 10, 40, 50, 100, 110])
    grid = gridded(times, column(1, 2, 3, 4, 5, 6), 10, limit=2)
    assert grid.times.tolist() == [0, 10, 20, 30, 40, 50, 100, 110]
    assert grid.values[:, 0].tolist() == [1, 2, 2, 2, 3, 4, 5, 6]
    assert (grid.filled, grid.dropped) == (2, 4)
    assert find_runs(grid.times, 10).tolist() == [[0, 6], [6, 8]]


def test_sentinels_and_nan_are_missing_channel_by_channel() -> None:
    values = np.array([[1, -9999], [NAN, 5], [2, NAN], [NAN, NAN], [np.inf, 7], [3, 8]], np.float32)
    grid = gridded(np.arange(6), values, 1, limit=1, sentinels=(-9999,))
    # Row 0 has nothing to take for channel 1; row 4 of channel 0 is two steps from the last value.
    assert grid.times.tolist() == [1, 2, 5]
    assert grid.values.tolist() == [[1, 5], [2, 5], [3, 8]]
    assert grid.dropped == 2 + 1


def test_a_value_is_not_carried_over_a_long_gap() -> None:
    grid = gridded(np.array([0, 50, 60]), np.array([[1, 1], [NAN, 2], [3, 3]]), 10, limit=2)
    assert grid.times.tolist() == [0, 60]


def test_readings_off_the_grid_are_averaged_in_its_cells() -> None:
    grid = gridded(np.array([0, 4, 11, 12, 25]), column(1, 3, 5, NAN, 7), 10, limit=0)
    assert grid.times.tolist() == [0, 10, 20]
    assert grid.values[:, 0].tolist() == [2, 5, 7]
    assert grid.merged == 2


@pytest.mark.parametrize("size", [1, 2, 5, 30])
@pytest.mark.parametrize("limit", [0, 1, 3])
def test_pieces_of_any_size_give_the_same_grid(size: int, limit: int) -> None:
    rng = np.random.default_rng(limit)
    times = 3 + np.sort(rng.choice(1500, 150, replace=False))  # steps of 10: shared cells, and gaps
    values = np.where(rng.random((150, 2)) < 0.3, NAN, rng.normal(0, 1, (150, 2)))
    whole, pieces = (gridded(times, values, 10, limit, size=n) for n in (CHUNK, size))
    for name in ("values", "times", "last_read"):
        assert np.array_equal(getattr(whole, name), getattr(pieces, name))
    for name in ("merged", "filled", "dropped"):
        assert getattr(whole, name) == getattr(pieces, name)
        assert getattr(whole, name) > 0 or (name, limit) == ("filled", 0)
    assert (times[whole.last_read] < whole.times + 10).all()


def test_a_series_of_nothing_but_missing_values() -> None:
    grid = gridded(np.arange(3), column(NAN, NAN, NAN), 1, limit=5)
    assert grid.values.shape == (0, 1)
    assert grid.dropped == 3


@pytest.mark.parametrize(
    ("times", "step", "limit", "message"),
    [
        ([0, 1], 0, 0, "step must be at least 1 microsecond, got: 0"),
        ([0, 1], 1, -1, "limit must be at least 0, got: -1"),
        ([1, 1], 1, 0, "times must rise"),
    ],
)
def test_a_grid_that_cannot_be(times: list[int], step: int, limit: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        gridded(np.array(times), column(1, 2), step, limit)


def test_runs_end_where_a_key_changes() -> None:
    runs = find_runs(np.arange(6), 1, np.array([0, 0, 1, 1, 1, 1]), np.array([0, 0, 0, 0, 1, 1]))
    assert runs.tolist() == [[0, 2], [2, 4], [4, 6]]
    assert cut_runs(runs, 1, 5).tolist() == [[1, 2], [2, 4], [4, 5]]
    assert find_runs(np.array([], int), 1).shape == (0, 2)


def test_windows_are_a_view() -> None:
    values = torch.arange(12.0).view(6, 2)
    view = windows(values, 3)
    assert view.shape == (4, 3, 2)
    assert torch.equal(view[2], values[2:5])
    assert view.untyped_storage().data_ptr() == values.untyped_storage().data_ptr()
    with pytest.raises(ValueError, match="size must be from 1 to the 6 rows, got: 7"):
        windows(values, 7)


def test_no_window_crosses_the_end_of_a_run() -> None:
    values = torch.arange(22.0).view(11, 2)
    found = Windows(values, np.array([[0, 4], [4, 6], [6, 11]]), size=3)
    assert len(found) == 2 + 0 + 3
    assert found.starts(torch.arange(5)).tolist() == [0, 1, 6, 7, 8]
    assert found.run_of(torch.arange(5)).tolist() == [0, 0, 1, 1, 1]
    taken = found.take(torch.tensor([4, 0]))
    assert torch.equal(taken, torch.stack([values[8:11], values[0:3]]))
    assert [n.tolist() for n in found.batches(2)] == [[0, 1], [2, 3], [4]]


def test_windows_some_steps_apart() -> None:
    found = Windows(torch.zeros(10, 1), np.array([[0, 10]]), size=4, step=3)
    assert found.starts(torch.arange(len(found))).tolist() == [0, 3, 6]


def test_no_window_at_all() -> None:
    found = Windows(torch.zeros(3, 1), np.array([[0, 3]]), size=4)
    assert len(found) == 0
    assert list(found.batches(8)) == []


def test_windows_of_a_year_at_one_hertz_are_not_copied() -> None:
    year = torch.zeros(1).expand(365 * 86_400, 1)  # one number, seen as a year
    found = Windows(year, np.array([[0, len(year)]]), size=64)
    assert len(found) == len(year) - 63


@pytest.mark.parametrize(
    ("runs", "size", "step", "message"),
    [
        ([[0, 9]], 1, 1, "runs must lie within the 8 rows"),
        ([[0, 8]], 0, 1, "size and step must be at least 1"),
        ([[0, 8]], 1, 0, "size and step must be at least 1"),
    ],
)
def test_windows_that_cannot_be(runs: list[list[int]], size: int, step: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Windows(torch.zeros(8, 1), np.array(runs), size, step)


def test_chronological_parts_follow_each_other() -> None:
    times = np.random.default_rng(0).permutation(1000)
    assert chronological(times, [0.1, 0.2]) == [700, 800]
    assert chronological(times, [0.2]) == [800]
    with pytest.raises(ValueError, match="shares must be above 0"):
        chronological(times, [0.5, 0.5])


def test_groups_are_on_one_side_only() -> None:
    names = [f"d{i}" for i in range(10)]
    train, validation, test = by_group(names * 3, [0.1, 0.2], seed=1)
    assert (len(train), len(validation), len(test)) == (7, 1, 2)
    assert sorted(train + validation + test) == names
    assert by_group(names, [0.1, 0.2], seed=1) == [train, validation, test]
    assert by_group(["a", "b", "c"], [0.01, 0.01], seed=0)[1:] != [[], []]
    with pytest.raises(ValueError, match="groups must be at least 3, got: 2"):
        by_group(["a", "b"], [0.1, 0.2], seed=0)


def test_the_scaler_sees_the_runs_and_nothing_else() -> None:
    values = np.array([[1, 5], [3, 5], [1000, 5], [5, 5]], np.float32)
    scaler = Scaler.fit(values, np.array([[0, 2], [3, 4]]))
    assert scaler.mean.tolist() == [3, 5]
    assert scaler.scale[0] == pytest.approx(np.std([1, 3, 5]))
    assert scaler.constant == [1]
    with pytest.raises(ValueError, match="runs must hold a row"):
        Scaler.fit(values, np.empty((0, 2), int))


def test_the_calendar_turns_once_a_day_week_and_year() -> None:
    midnight = 20_000 * DAY
    features = calendar_features(np.array([midnight, midnight + DAY // 4, midnight + 7 * DAY]))
    assert features.shape == (3, len(CALENDAR))
    assert features[0, :2] == pytest.approx([0, 1], abs=1e-6)
    assert features[1, :2] == pytest.approx([1, 0], abs=1e-6)
    assert features[2, :4] == pytest.approx(features[0, :4], abs=1e-6)
    assert np.square(features).reshape(3, 3, 2).sum(2) == pytest.approx(1, abs=1e-6)


def test_the_step_of_stamps_that_jitter_is_a_round_one_amid_them() -> None:
    def step(times: np.ndarray) -> int:
        return in_order(np.asarray(times, np.int64), np.zeros(len(times), np.int64)).step

    late = np.arange(600) * 37 % 90 * 1000
    assert step(np.arange(600) * 1_000_000 + late) == 1_000_000
    assert step(np.arange(600) * 60_000_000 - np.arange(600) % 3 // 2 * 1_000_000) == 60_000_000
    # What keeps its own step keeps it, and a change of the step is no jitter.
    assert step(np.arange(600) * 1_037_000) == 1_037_000
    assert step(np.cumsum(np.where(np.arange(600) < 350, 60, 62)) * 1_000_000) == 60_000_000
