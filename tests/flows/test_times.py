"""Time stamps in every form that spreadsheets and loggers write, and the columns that hold them."""

import time
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.datasets.series_columns import find_numbers, find_time, first_rows
from flows.datasets.series_files import SeriesColumns, read_series
from flows.errors import InputError
from flows.store.file_options import FileOptions
from flows.tables.numbers import Marks
from flows.tables.times import find_form, parse_times

START = datetime(2021, 3, 1, 13, 5, tzinfo=UTC)


def read(values: list[Any], form: str | None = None) -> tuple[str, list[Any]]:
    """The form of a column, and its times."""
    column = pa.chunked_array([pa.array(values)])
    found = form or find_form([column], "t")
    times = parse_times(column, found).cast(pa.timestamp("us", "UTC"))
    return found, times.to_pylist()


@pytest.mark.parametrize(
    ("values", "form", "first"),
    [
        ([20210301, 20210302], "digits", datetime(2021, 3, 1)),
        (["20210301", "20210302"], "digits", datetime(2021, 3, 1)),
        ([202103, 202104], "digits", datetime(2021, 3, 1)),
        ([2021, 2022], "digits", datetime(2021, 1, 1)),
        ([2021030113, 2021030114], "digits", datetime(2021, 3, 1, 13)),
        ([202103011305, 202103011306], "digits", datetime(2021, 3, 1, 13, 5)),
        ([20210301130507, 20210301130508], "digits", datetime(2021, 3, 1, 13, 5, 7)),
        ([1614603900, 1614603960], "s", datetime(2021, 3, 1, 13, 5)),
        ([1614603900.5, 1614603960.5], "s", datetime(2021, 3, 1, 13, 5, 0, 500_000)),
        ([1614603900000, 1614603960000], "ms", datetime(2021, 3, 1, 13, 5)),
        (["1614603900000"], "ms", datetime(2021, 3, 1, 13, 5)),
        ([1614603900000000], "us", datetime(2021, 3, 1, 13, 5)),
        ([1614603900123456789], "ns", datetime(2021, 3, 1, 13, 5, 0, 123_456)),
        (["1614603900123456789"], "ns", datetime(2021, 3, 1, 13, 5, 0, 123_456)),
        (["19500401", "19500402"], "digits", datetime(1950, 4, 1)),
        ([1950040113], "digits", datetime(1950, 4, 1, 13)),
        ([1949.0, 1949.083333, 1949.1666667], "years", datetime(1949, 1, 1)),
        (["1949.25", "1949.5"], "years", datetime(1949, 4, 1)),
        ([1, 2, 3], "count", datetime(1970, 1, 1, 0, 0, 1)),
        (["1", "2"], "count", datetime(1970, 1, 1, 0, 0, 1)),
    ],
)
def test_numbers_are_dates_or_counts_by_their_size(
    values: list[Any], form: str, first: datetime
) -> None:
    found, times = read(values)
    assert (found, times[0]) == (form, first.replace(tzinfo=UTC))


@pytest.mark.parametrize(
    "stamp",
    [
        "2021/03/01 13:05", "2021-3-1 13:05", "2021-03-01 13:05:00 UTC", "2021-03-01 13:05:00 GMT",
        "2021-03-01T13:05Z", "2021-03-01T13:05:00.000000000Z", "2021-03-01 13:05:00,000", "20210301T130500",
        "20210301 130500", "2021-03-01 14:05:00+01:00", "2021-03-01 14:05+01", "2021-03-01 8:05 -0500",
        "2021.03.01 13:05", "1-Mar-2021 13:05", "01 March 2021 13:05", "Mar 1, 2021 1:05 PM",
        "Monday, 1 March 2021 1:05 pm", "Mon, 01 Mar 2021 13:05:00 GMT", "2021-Mar-01 13:05", "March 01 2021 13:05",
        "01MAR2021:13:05:00", "01/Mar/2021:13:05:00 +0000", "2021-03-01_13:05", "2021-03-01, 13:05",
    ],
)  # fmt: skip
def test_a_form_of_text_is_found_by_itself(stamp: str) -> None:
    assert read([stamp])[1] == [START]


@pytest.mark.parametrize(
    ("values", "form", "first"),
    [
        (["01/03/2021 13:05", "13/03/2021 13:05"], "day first", START),
        (["03/01/2021 1:05 PM", "03/13/2021 1:05 PM"], "month first", START),
        (["01.03.2021 13:05", "31.03.2021 13:05"], "day first", START),
        (["1/3/21 13:05", "31/3/21 13:05"], "day first", START),
        (["01-03-2021 13.05.00", "31-03-2021 13.05.00"], "day first", START),
    ],
)
def test_a_day_above_12_decides(values: list[str], form: str, first: datetime) -> None:
    # However late it comes, and whatever else could be read from the rows before it.
    found, times = read(values[:1] * 50 + values[1:])
    assert (found, times[0]) == (form, first)
    assert (
        find_form([pa.chunked_array([values[:1] * 9]), pa.chunked_array([values[1:]])], "t") == form
    )


def test_what_may_be_read_in_two_ways_is_refused() -> None:
    with pytest.raises(InputError, match="give --time-format 'day first' or 'month first'"):
        read(["01/02/2021", "02/02/2021"])
    assert read(["01/02/2021"], "month first")[1] == [datetime(2021, 1, 2, tzinfo=UTC)]
    assert read(["01/02/2021"], "day first")[1] == [datetime(2021, 2, 1, tzinfo=UTC)]
    with pytest.raises(InputError, match="give --time-format excel or count"):
        read([44256.5, 44257.5])
    assert read([44256.5], "excel")[1] == [datetime(2021, 3, 1, 12, tzinfo=UTC)]
    with pytest.raises(InputError, match="give --time-format excel or count"):
        read([44256, 44257])
    with pytest.raises(InputError, match="give --time-format years or count"):
        read([1949.01, 1949.02])
    with pytest.raises(InputError, match="give --time-format s, ms, us or ns"):
        read([20_000_000_000, 20_000_000_001])


def test_midnight_weeks_quarters_months_and_patterns() -> None:
    assert read(["2021-02-28 24:00", "2021-03-01 01:00"])[1][0] == datetime(2021, 3, 1, tzinfo=UTC)
    assert read(["2021-W09", "2021-W10"])[1][0] == datetime(2021, 3, 1, tzinfo=UTC)
    assert read(["2021-W09-2"])[1][0] == datetime(2021, 3, 2, tzinfo=UTC)
    assert read(["2021Q2", "2021Q3"])[1][0] == datetime(2021, 4, 1, tzinfo=UTC)
    for month in ("Mar 2021", "March-2021", "03/2021", "2021M03", "2021/03"):
        assert read([month])[1][0] == datetime(2021, 3, 1, tzinfo=UTC)
    assert read(["Q2 2021"])[1][0] == datetime(2021, 4, 1, tzinfo=UTC)
    assert read(["3/13/2021 1:05\u202fPM"])[1][0] == datetime(2021, 3, 13, 13, 5, tzinfo=UTC)
    assert read(["1949-01", "1949-02"])[1][0] == datetime(1949, 1, 1, tzinfo=UTC)
    assert read(["2021|60|13"], "%Y|%j|%H")[1] == [datetime(2021, 3, 1, 13, tzinfo=UTC)]
    assert read(["12:30 AM 2021-03-01"], "%I:%M %p %Y-%m-%d")[1] == [
        datetime(2021, 3, 1, 0, 30, tzinfo=UTC)
    ]


@pytest.mark.parametrize(
    "stamp",
    [
        "2021-02-30",
        "2021-13-01",
        "30/02/2021",
        "2021-03-01 25:00",
        "2021-03-01 12:60",
        "Foo 1, 2021",
        "13:00 PM",
    ],
)
def test_a_date_that_is_none_is_none(stamp: str) -> None:
    for form in ("iso", "year first", "day first", "month first"):
        assert read([stamp], form)[1] == [None]


def test_a_million_rows_of_iso_take_less_than_a_second() -> None:
    column = pa.chunked_array(
        [pa.array(np.arange(1_000_000)).cast(pa.timestamp("s")).cast(pa.string())]
    )
    start = time.perf_counter()
    times = parse_times(column, find_form([column], "t"))
    assert time.perf_counter() - start < 1
    assert times[-1].as_py() == 999_999_000_000


def written(tmp_path: Path, text: str) -> str:
    (tmp_path / "x.csv").write_text(text)
    return str(tmp_path / "x.csv")


def readings(path: str, time_column: str, *channels: str) -> list[dict[str, Any]]:
    tables = read_series(path, SeriesColumns(time_column, channels), "--dataset")
    table = pa.concat_tables(tables)
    return table.set_column(0, "time", table["time"].cast(pa.timestamp("us", "UTC"))).to_pylist()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (
            "No,year,month,day,hour,pm2.5\n1,2021,3,1,13,NA\n2,2021,3,1,14,129\n",
            "year,month,day,hour",
        ),
        ("Date;Time;power\n1/3/2021;13:00:00;?\n16/3/2021;14:00:00;4.2\n", "Date,Time"),
        ("Date Time,p (mbar)\n01.03.2021 13:00:00,996.5\n31.03.2021 13:00:00,997\n", "Date Time"),
        (',"date","Light"\n"1","2021-03-01 13:00:00",5\n"2","2021-03-01 13:01:00",6\n', "date"),
        ("station,stamp,x\n7,2021-03-01 13:00,1\n7,2021-03-01 14:00,2\n", "stamp"),
        ("dteday,hr,hum\n2021-03-01,0,0.80\n2021-03-01,1,0.60\n2021-03-01,5,0.31\n", "dteday,hr"),
        ("date,time,x\n20210301,0000,8\n20210303,1300,6\n20210302,1305,3\n", "date,time"),
        ("STN;MESS_DATUM;T\n3;1950040101;5\n3;1950040102;6\n3;1950040103;7\n", "MESS_DATUM"),
        ("t,state\n2021-03-01,1\n2021-03-02,2\n2021-03-03,Error\n", "t"),
        ("year,doy,hour,x\n2021,60,1,1\n2021,60,2,3\n2021,60,3,2\n", "year"),
        ("n,x\n0,5\n1,7\n2,9.5\n", "n"),
        ("date,unix,x\n2021-03-01,1614556800,5\n2021-03-02,1614643200,7\n", "date"),
        ("x,seconds,ts\n1,1,1614603600\n2,2,1614607200\n", "ts"),
        ("x,index\n5,1\n6,2\n", "index"),
    ],
)
def test_the_column_with_the_time_is_found(tmp_path: Path, text: str, found: str) -> None:
    rows, _ = first_rows(written(tmp_path, text), "--dataset")
    assert find_time(rows) == found


def test_no_column_with_a_time_and_two_of_them_are_errors_that_name_the_columns(
    tmp_path: Path,
) -> None:
    rows, _ = first_rows(written(tmp_path, "x,y\n1.5,a\n2.5,b\n"), "--dataset")
    with pytest.raises(InputError, match="none of 'x', 'y'"):
        find_time(rows)
    text = "begin,end,x\n2021-03-01,2021-03-02,1\n2021-03-02,2021-03-03,2\n"
    rows, _ = first_rows(written(tmp_path, text), "--dataset")
    with pytest.raises(InputError, match="'begin' and 'end' may each be it"):
        find_time(rows)


def test_time_in_several_columns_and_marks_of_missing_numbers(tmp_path: Path) -> None:
    marks = [
        "n.a.",
        "--",
        "No Data",
        "\\N",
        "#DIV/0!",
        "NA",
        "N/A",
        "NULL",
        "None",
        "-",
        "?",
        "#N/A",
        "nan",
        ".",
        "",
        "null",
    ]
    lines = [f"2021,3,1,{hour},{mark}\n" for hour, mark in enumerate(marks)]
    path = written(tmp_path, "year,month,day,hour,x\n" + "".join(lines) + "2021,12,31,23,1e-3\n")
    rows = readings(path, "year,month,day,hour", "x")
    assert [row["time"].hour for row in rows] == [*range(16), 23]
    assert rows[-1]["time"] == datetime(2021, 12, 31, 23, tzinfo=UTC)
    assert [row["x"] for row in rows[:-1] if row["x"] is not None and row["x"] == row["x"]] == []
    assert rows[-1]["x"] == pytest.approx(1e-3)
    keys = {"year", "month", "day", "hour"}
    assert find_numbers(first_rows(path, "--dataset")[0], Marks(), keys)[0] == ()


def test_decimal_commas_are_numbers_and_thousands_are_not(tmp_path: Path) -> None:
    path = written(tmp_path, "Date;Time;CO\n10/03/2004;18.00.00;2,6\n13/03/2004;19.00.00;-200\n")
    rows = readings(path, "Date,Time", "CO")
    assert [row["CO"] for row in rows] == pytest.approx([2.6, -200])
    assert rows[0]["time"] == datetime(2004, 3, 10, 18, tzinfo=UTC)
    path = written(tmp_path, "t;x;y\n2021-03-01;2,6;1,5\n2021-03-02;1.234,5;2,5\n")
    with pytest.raises(InputError, match="row 2: 'x' must be a number"):
        readings(path, "t", "x")
    path = written(tmp_path, "t,x\n2021-03-01,5 kW\n2021-03-02,6\n")
    with pytest.raises(InputError, match="'x' must be a number, got '5 kW'; correct the row or"):
        readings(path, "t", "x")
    path = written(tmp_path, "t,x,y,z\n2021-03-01,$5.25,7%,bad\n2021-03-02,-$6.50,+8 %,2\n")
    options = FileOptions(missing="bad,worse")  # type: ignore[arg-type]
    [table] = read_series(path, SeriesColumns("t", ("x", "y", "z")), "--dataset", options=options)
    assert table.select("xyz").to_pylist() == [
        {"x": 5.25, "y": 7, "z": None},
        {"x": -6.5, "y": 8, "z": 2},
    ]


def test_decimals_texts_and_truth_values_of_parquet_are_found_as_numbers(tmp_path: Path) -> None:
    table = pa.table(
        {
            "t": pa.array([1614603600, 1614607200]),
            "price": pa.array([Decimal("1.25"), Decimal("2.50")]),
            "text": ["3.5", "N/A"],
            "on": [True, False],
            "name": ["a", "b"],
        }
    )
    pq.write_table(table, tmp_path / "x.parquet")
    rows, mark = first_rows(str(tmp_path / "x.parquet"), "--dataset")
    assert find_numbers(rows, mark, {"t"})[0] == ("price", "text", "on")
    read_rows = readings(str(tmp_path / "x.parquet"), "t", "price", "text", "on")
    assert [(r["price"], r["text"], r["on"]) for r in read_rows] == [(1.25, 3.5, 1), (2.5, None, 0)]
    assert read_rows[0]["time"] == datetime(2021, 3, 1, 13, tzinfo=UTC)


def test_a_column_that_is_mostly_missing_is_left_out_and_named(tmp_path: Path) -> None:
    lines = [f"2021-03-{day:02},{day},{day if day == 5 else ''}\n" for day in range(1, 21)]
    path = written(tmp_path, "t,x,rare\n" + "".join(lines))
    found, told = find_numbers(first_rows(path, "--dataset")[0], Marks(), {"t"})
    assert found == ("x",)
    assert told == ("columns left out of the features, mostly missing: 'rare' (95% missing)",)
    lines = [
        f"2021-03-{day:02},{day % 7},{day if day % 3 else 'VRB'},{3 * day}\n"
        for day in range(1, 21)
    ]
    path = written(tmp_path, "t,x,wind,row\n" + "".join(lines))
    found, told = find_numbers(first_rows(path, "--dataset")[0], Marks(), {"t"})
    assert found == ("x",)
    assert told == (
        "columns left out of the features, the number of the row: 'row'",
        "columns left out of the features, not all numbers: 'wind' ('VRB')",
    )


def test_rows_of_separators_alone_are_as_empty_lines(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = written(tmp_path, "t;x;;\n2021-03-01;5;;\n2021-03-02;6;;\n;;;\n;;;\n")
    with caplog.at_level("WARNING"):
        assert len(readings(path, "t", "x")) == 2
    assert "2 rows without a value" in caplog.text
    with pytest.raises(InputError, match="row 3: 't' must be a time stamp, it is missing"):
        readings(written(tmp_path, "t;x\n2021-03-01;5\n2021-03-02;6\n;7\n"), "t", "x")


def test_counters_are_steps_in_csv_and_in_parquet(tmp_path: Path) -> None:
    path = written(tmp_path, "step,x\n1,5\n2,6\n3,7\n")
    pq.write_table(pa.table({"step": [1, 2, 3], "x": [5, 6, 7]}), tmp_path / "x.parquet")
    assert readings(path, "step", "x") == readings(str(tmp_path / "x.parquet"), "step", "x")
