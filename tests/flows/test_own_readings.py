"""Readings of one's own as they are: devices, steps of the calendar, sentinels, gaps, columns of no use."""

from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from flows.errors import InputError
from flows.parameters import SensorsData
from flows.steps.prepare.gather import Readings, gather, open_readings
from flows.steps.prepare.series import part_windows, prepare_series
from flows.tables.steps import parse_step
from rnnfast.models.window_config import WindowConfig
from rnnfast.series.calendar_steps import STEP, advance, find_unit, from_places, to_places
from rnnfast.training.run_folder import SeriesInfo

START = datetime(2021, 1, 1)
SHORT = WindowConfig(cell="gru", task="forecast", lookback=4, horizon=2)


def micros(*times: datetime | date) -> np.ndarray:
    return np.array([np.datetime64(time) for time in times], "datetime64[us]").astype(np.int64)


def shown(times: np.ndarray) -> list[str]:
    return [str(time) for time in times.astype("datetime64[us]").astype("datetime64[D]").ravel()]


def prepared(
    tmp_path: Path, header: str, rows: Sequence[str], config: WindowConfig = SHORT, **options: Any
) -> tuple[Readings, SeriesInfo]:
    """What a training makes of a file."""
    (tmp_path / "x.csv").write_text("\n".join([header, *rows, ""]))
    work = tmp_path / "work"
    work.mkdir(exist_ok=True)
    data = SensorsData(dataset=str(tmp_path / "x.csv"), mirror=None, **options)
    info = prepare_series(data, None, lambda _: config, work).info
    return open_readings(work), info


def series(count: int, stamp: Callable[[int], object], *more: Callable[[int], object]) -> list[str]:
    value = np.sin(np.arange(count)) * 5 + np.arange(count) % 7
    return [
        ",".join(map(str, (stamp(i), f"{value[i]:.3f}", *(m(i) for m in more))))
        for i in range(count)
    ]


def hour(number: int) -> str:
    return f"{START + timedelta(hours=number):%Y-%m-%d %H:%M}"


def test_two_devices_without_a_group_column_are_an_error_that_names_it(tmp_path: Path) -> None:
    rows = series(120, lambda i: hour(i // 2), lambda i: "ab"[i % 2], lambda i: i % 2 + 0.5)
    with pytest.raises(
        InputError, match="--group-column sensor: 60 readings of 120 have a time stamp"
    ):
        prepared(tmp_path, "time,x,sensor,y", rows)
    rooms = series(
        240, lambda i: hour(i // 4), lambda i: "ab"[i % 2], lambda i: f"room {i // 2 % 2}"
    )
    with pytest.raises(InputError, match="which 'site' and 'room' do together: join them in one"):
        prepared(tmp_path, "time,x,site,room", rooms)
    readings, _ = prepared(tmp_path, "time,x,sensor,y", rows, group_column="sensor")
    assert readings.group_names == ["a", "b"]
    assert len(readings.times) == 120
    assert readings.report["duplicates_dropped"] == 0
    # Device after device in the file.
    with pytest.raises(InputError, match="--group-column sensor"):
        prepared(tmp_path, "time,x,sensor,y", sorted(rows, key=lambda row: row.split(",")[2]))
    with pytest.raises(InputError, match="and no column was found that does"):
        prepared(tmp_path, "time,x", series(120, lambda i: hour(i // 2)))


@pytest.mark.parametrize("late", [lambda i: 1, lambda i: 7, lambda i: i * 13 % 50 // 10 + 3])
def test_devices_that_never_have_the_same_stamp_are_told_apart_as_well(
    tmp_path: Path, late: Callable[[int], int]
) -> None:
    def stamp(i: int) -> datetime:
        return START + timedelta(minutes=i // 2, seconds=i % 2 * late(i))

    rows = series(200, stamp, lambda i: "ab"[i % 2], lambda i: i % 2)
    with pytest.raises(InputError, match="--group-column dev: the stamps of each are regular"):
        prepared(tmp_path, "time,x,dev,code", rows)
    readings, _ = prepared(tmp_path, "time,x,dev,code", rows, group_column="dev")
    assert len(readings.times) == 200


def test_repeated_rows_that_are_alike_are_dropped_and_counted_and_a_few_others_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = series(100, hour)
    readings, _ = prepared(tmp_path, "time,x", [*rows, *rows[:50]])
    assert (readings.report["duplicates_dropped"], len(readings.times)) == (50, 100)
    assert "other values" not in caplog.text
    assert "50 time stamps are there again with the same values, and dropped" in caplog.text
    with caplog.at_level("WARNING"):
        prepared(tmp_path, "time,x", [*rows, f"{hour(7)},99.5"])
    assert "1 reading of 101 has a time stamp" in caplog.text
    assert "the first is 2021-01-01 07:00:00" in caplog.text


def month(number: int) -> date:
    return date(1950 + number // 12, number % 12 + 1, 1)


def month_end(number: int) -> date:
    return month(number + 1) - timedelta(days=1)


def last_business_day(number: int) -> date:
    day = month_end(number)
    return day - timedelta(days=max(0, day.weekday() - 4))


def business_day(number: int) -> date:
    return date(2021, 1, 4) + timedelta(days=number // 5 * 7 + number % 5)


@pytest.mark.parametrize(
    ("stamp", "unit", "step", "following"),
    [
        (month, "month", 1, ["1955-01-01", "1955-02-01"]),
        (month_end, "month", 1, ["1955-01-31", "1955-02-28"]),
        (last_business_day, "month", 1, ["1955-01-31", "1955-02-28"]),
        (lambda i: month(3 * i), "month", 3, ["1965-01-01", "1965-04-01"]),
        (lambda i: month(12 * i), "month", 12, ["2010-01-01", "2011-01-01"]),
        (lambda i: f"{month(i):%Y-%m}", "month", 1, ["1955-01-01", "1955-02-01"]),
        (lambda i: 1950 + i, "month", 12, ["2010-01-01", "2011-01-01"]),
        (lambda i: f"{1950 + i // 4}Q{i % 4 + 1}", "month", 3, ["1965-01-01", "1965-04-01"]),
        (business_day, "business day", 1, ["2021-03-29", "2021-03-30"]),
        (
            lambda i: f"{business_day(i)} 00:00:00-0{5 - (i > 50)}:00",
            "business day",
            1,
            ["2021-03-29", "2021-03-30"],
        ),
        (
            lambda i: date(2021, 1, 1) + timedelta(30 * i),
            "",
            30 * 86_400,
            ["2025-12-06", "2026-01-05"],
        ),
        (lambda i: date(2021, 1, 1) + timedelta(i), "", 86_400, ["2021-03-02", "2021-03-03"]),
        (
            lambda i: date(2021, 1, 1) + timedelta(7 * i),
            "",
            7 * 86_400,
            ["2022-02-25", "2022-03-04"],
        ),
    ],
)
def test_steps_of_the_calendar_are_found_and_nothing_is_merged_or_carried(
    tmp_path: Path, stamp: Callable[[int], object], unit: str, step: int, following: list[str]
) -> None:
    readings, info = prepared(tmp_path, "time,x", series(60, stamp))
    assert (info.unit, info.step) == (unit, step * (STEP if unit else 1_000_000))
    assert len(readings.times) == 60
    assert readings.runs.tolist() == [[0, 60]]
    assert [
        readings.report[name]
        for name in ("readings_merged", "values_carried_forward", "steps_left_out")
    ] == [0] * 3
    after = advance(readings.times[-1:], info.step, 2, info.unit, info.anchor)
    assert shown(after) == following
    # The readings of the test part, read again as scoring does, are the same.
    again, _ = gather([table_of(readings)], info.model_copy(update={"labels": ()}))
    assert np.array_equal(again.times, readings.times)


def table_of(readings: Readings) -> pa.Table:
    count = len(readings.times)
    empty = pa.nulls(count, pa.string())
    return pa.table(
        {"time": readings.times, "group": empty, "label": empty, "x": readings.values[:, 0]}
    )


def test_a_month_or_a_day_that_is_not_there_is_a_gap(tmp_path: Path) -> None:
    rows = series(60, month)
    readings, info = prepared(tmp_path, "time,x", rows[:20] + rows[30:], carry=3, config=SHORT)
    assert info.unit == "month"
    assert readings.runs.tolist() == [[0, 20], [20, 50]]
    assert readings.report["steps_left_out"] == 10


@pytest.mark.parametrize(
    ("name", "unit", "step"),
    [("month", "month", 1), ("1M", "month", 1), ("MS", "month", 1), ("QS-OCT", "month", 3), ("W-SUN", "", 604_800),
     ("BME", "month", 1), ("B", "business day", 1), ("D", "", 86_400),
     ("YE-DEC", "month", 12), ("quarter", "month", 3), ("year", "month", 12),
     ("business day", "business day", 1), ("15min", "", 900), ("1h", "", 3600), ("1d", "", 86_400),
     ("day", "", 86_400), ("week", "", 604_800), ("90", "", 90), (2.5, "", 2.5)],
)  # fmt: skip
def test_steps_are_asked_for_by_name(tmp_path: Path, name: object, unit: str, step: float) -> None:
    data = SensorsData(dataset="sample", mirror=None, step=name)  # type: ignore[arg-type]
    assert data.step is not None
    assert parse_step(data.step) == (step * (STEP if unit else 1_000_000), unit)
    with pytest.raises(ValueError, match="must be seconds, a length such as 15min"):
        SensorsData(dataset="sample", mirror=None, step="fortnightish")


def test_days_are_put_into_months_where_that_is_asked_for(tmp_path: Path) -> None:
    rows = series(700, lambda i: date(2021, 1, 1) + timedelta(i))
    readings, info = prepared(tmp_path, "time,x", rows, step="month")
    assert (info.unit, len(readings.times)) == ("month", 24)
    assert shown(readings.times[:2]) == ["2021-01-01", "2021-02-01"]
    of_march = [float(row.split(",")[1]) for row in rows if row.startswith("2021-03")]
    assert readings.values[2, 0] == pytest.approx(np.mean(of_march), rel=1e-5)


def test_places_of_the_calendar() -> None:
    ends = micros(date(2024, 1, 31), date(2024, 2, 29), date(2024, 3, 31))
    assert np.array_equal(from_places(to_places(ends, "month"), "month", int(ends[0])), ends)
    friday = micros(date(2021, 1, 1))
    assert shown(advance(friday, STEP, 2, "business day", int(friday[0]))) == [
        "2021-01-04",
        "2021-01-05",
    ]
    assert find_unit(ends, np.zeros(3)) == ""  # too few to tell


def test_a_jitter_of_a_second_merges_and_carries_nothing(tmp_path: Path) -> None:
    late = (0, -1, 0, 0, 0, 1)
    rows = series(600, lambda i: START + timedelta(minutes=i, seconds=late[i % 6]))
    readings, info = prepared(tmp_path, "time,x", rows)
    assert info.step == 60_000_000
    assert len(readings.times) == 600
    assert (np.diff(readings.times) == 60_000_000).all()
    assert readings.report["readings_merged"] == readings.report["values_carried_forward"] == 0
    assert [f"{value:.3f}" for value in readings.values[:, 0]] == [
        row.split(",")[1] for row in rows
    ]


@pytest.mark.parametrize("sentinel", [-999.9, 9999, -200, -99999])
def test_a_value_far_outside_many_times_is_a_missing_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, sentinel: float
) -> None:
    rows = series(400, hour, lambda i: sentinel if i % 40 == 7 else 20 + i % 11)
    with caplog.at_level("WARNING"):
        readings, info = prepared(tmp_path, "time,x,y", rows)
    assert sentinel in info.sentinels
    assert readings.report["missing"] == {"x": 0, "y": 10}
    assert np.abs(readings.values).max() < 50
    assert f"{sentinel:g} is taken for a missing value: it is there 10 times in 'y'" in caplog.text
    # A wide range and few values do not hide what is written as a missing value usually is.
    wide = series(400, hour, lambda i: -999 if i % 40 == 7 else i * 53 % 1000)
    assert -999 in prepared(tmp_path, "time,x,y", wide)[1].sentinels
    few = series(400, hour, lambda i: -99 if i % 40 == 7 else i % 4)
    assert -99 in prepared(tmp_path, "time,x,y", few)[1].sentinels
    readings, info = prepared(tmp_path, "time,x,y", rows, sentinels="none")
    assert info.sentinels == ()
    assert np.float32(sentinel) in readings.values


def test_what_may_be_a_sentinel_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    # As in the weather of Szeged: a pressure of 0, which is a usual value of other columns.
    rows = series(400, hour, lambda i: 0 if i % 40 == 7 else 1000 + i % 50)
    with caplog.at_level("WARNING"):
        _, info = prepared(tmp_path, "time,x,pressure", rows)
    assert info.sentinels == (-9999,)
    assert "0 is there 10 times in 'pressure', far outside of the other values" in caplog.text


def test_what_is_no_sentinel(tmp_path: Path) -> None:
    humid = series(300, hour, lambda i: min(99, 60 + i % 60))
    assert prepared(tmp_path, "time,x,humidity", humid)[1].sentinels == (-9999,)
    switch = series(300, hour, lambda i: int(i % 50 > 46), lambda i: 0 if i % 30 else 500 + i)
    readings, info = prepared(tmp_path, "time,x,on,burst", switch)
    assert info.sentinels == (-9999,)
    assert readings.values[:, 1].sum() == 18


def test_a_time_stamp_far_away_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("WARNING"):
        prepared(tmp_path, "time,x", [*series(300, hour), "2099-01-01 00:00,1"])
        assert "1 reading is far from all others: 2099-01-01 00:00:00" in caplog.text
        wrong = ["1970-01-01 00:00,1", "0001-01-01 00:00,2"]
        prepared(tmp_path, "time,x", [*series(300, hour), *wrong])
        assert "2 readings are far from all others: 0001-01-01 00:00:00, 1970-01-01" in caplog.text
        rows = series(300, hour)
        prepared(tmp_path, "time,x", [*rows[:99], "2021-01-05 02:17,1", *rows[99:]])
        assert (
            "shares a step with the one before, a step has their mean; the first is 2021-01-05 02:17:00"
            in caplog.text
        )
        prepared(tmp_path, "time,x", series(300, lambda i: hour(i + 9999 * (i > 150))))
        assert (
            "9,999 steps without a reading, most of them from 2021-01-07 06:00:00 to 2022-"
            in caplog.text
        )


def test_numbers_beyond_32_bits_have_their_own_message(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"must hold numbers below 3.4e38.*all of big are beyond"):
        prepared(tmp_path, "time,x,big", series(50, hour, lambda i: "1e39"))
    with pytest.raises(
        InputError, match=r"must vary in the training part, 'big' is 1e\+30 throughout"
    ):
        prepared(tmp_path, "time,big", [f"{hour(i)},1e30" for i in range(50)])


def test_a_feature_that_does_not_vary_is_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = series(100, hour, lambda i: 54511)
    with caplog.at_level("WARNING"):
        _, info = prepared(tmp_path, "time,x,station", rows)
    assert info.channels == info.targets == ("x",)
    assert "left out, since they do not vary in the training part: 'station'" in caplog.text
    assert prepared(tmp_path, "time,x,station", rows, features="x,station", target="x")[
        1
    ].channels == ("x",)
    with pytest.raises(InputError, match="'station' is 54511 throughout"):
        prepared(tmp_path, "time,x,station", rows, target="station")


def test_the_column_that_cuts_the_series_is_named(tmp_path: Path) -> None:
    rows = series(100, hour, lambda i: i % 9 if i % 3 else "")
    with pytest.raises(
        InputError, match=r"3 in a row|'gappy' cuts it most often, it misses 34 of 100 values"
    ):
        prepared(tmp_path, "time,x,gappy", rows, carry=0)


def test_the_test_part_holds_rows_of_its_own_period(tmp_path: Path) -> None:
    rows = series(2000, hour)
    readings, _ = prepared(tmp_path, "time,x", rows[:500] + rows[520:], carry=0)
    found = part_windows(tmp_path / "work", "test", SHORT)
    assert found is not None
    runs = np.load(tmp_path / "work" / "spans.npz")["test_runs"]
    assert len(runs) == 1
    assert runs[0].tolist() == [round(1980 * 0.8) - SHORT.lookback, 1980]
    assert len(found[0]) == 1980 - round(1980 * 0.8) - SHORT.horizon + 1
    assert len(readings.runs) == 2


def test_scoring_goes_by_what_training_found() -> None:
    # An info of an older version, without what is new, is read as it was.
    old = SeriesInfo.model_validate({"channels": ["x"], "step": 60_000_000})
    assert (old.unit, old.nearest, old.time_format) == ("", False, "")
    times = np.array([0, 59, 121]) * 1_000_000
    empty = pa.nulls(3, pa.string())
    table = pa.table(
        {"time": times, "group": empty, "label": empty, "x": pa.array([1, 2, 3], pa.float32())}
    )
    readings, _ = gather([table], old)
    assert readings.report["readings_merged"] == 1
    readings, _ = gather([table], old.model_copy(update={"nearest": True}))
    assert readings.report["readings_merged"] == 0
    assert readings.times.tolist() == [0, 60_000_000, 120_000_000]
