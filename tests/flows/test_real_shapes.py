"""Files in the shape of well-known data sets are read as they are downloaded, without an option."""

from pathlib import Path

import pytest
from series_shapes import SHAPES

from flows.errors import InputError
from flows.parameters import SensorsData
from flows.steps.prepare.gather import open_readings
from flows.steps.prepare.series import prepare_series
from flows.tables.steps import step_text
from rnnfast.models.windows import WindowConfig
from rnnfast.scoring.scorers import SeriesInfo

TINY = WindowConfig(cell="gru", task="forecast", lookback=8, horizon=2)
READ = {  # time, step, channels, rows on the grid
    "etth1": ("date", "1 hour", 7, 600),
    "weather_history": ("Formatted Date", "1 hour", 4, 800),
    "jena_climate": ("Date Time", "10 minutes", 5, 2000),
    "household_power": ("Date,Time", "1 minute", 5, 3000),
    "air_quality": ("Date,Time", "1 hour", 6, 800),
    "beijing_pm25": ("year,month,day,hour", "1 hour", 6, 876),
    "beijing_multi_site": ("year,month,day,hour", "1 hour", 4, 900),
    "daily_min_temperatures": ("Date", "1 day", 1, 1000),
    "airline_passengers": ("Month", "month", 1, 144),
    "air_passengers_of_r": ("time", "month", 1, 144),
    "exchange_rate_with_dates": ("date", "1 day", 8, 600),
    "yahoo_stock": ("Date", "business day", 6, 504),
    "nasdaq_stock": ("Date", "business day", 5, 504),
    "electricity_of_uci": ("c1", "15 minutes", 284, 300),
    "metro_traffic": ("date_time", "1 hour", 3, 850),
    "sunspots": ("Month", "month", 1, 600),
    "nab": ("timestamp", "5 minutes", 1, 891),
    "noaa_lcd": ("DATE", "1 hour", 3, 900),
    "google_trends": ("Week", "7 days", 2, 260),
    "energydata_complete": ("date", "10 minutes", 5, 900),
    "pjm_hourly": ("Datetime", "1 hour", 1, 2000),
    "bike_sharing": ("dteday,hr", "1 hour", 8, 900),
    "tetouan_power": ("DateTime", "10 minutes", 4, 2500),
    "steel_industry": ("date", "15 minutes", 3, 1801),
    "room_occupancy": ("date", "1 minute", 6, 900),
    "dwd_hourly": ("MESS_DATUM", "1 hour", 2, 900),
    "co2_mauna_loa": ("year,month", "month", 6, 350),
    "wind_turbine": ("Date/Time", "10 minutes", 4, 2500),
    "spain_energy": ("time", "1 hour", 2, 900),
    "fred": ("observation_date", "month", 1, 300),
    "crypto_download": ("date", "1 hour", 5, 900),
    "gas_sensors": ("Time (s)", "0.3 seconds", 3, 1500),
}
REFUSED = {
    "exchange_rate_without_header": "where there is none, --set order=file takes the rows",
    "m4_long": "--group-column unique_id: 600 readings of 900 have",
    "covid_by_country": "--group-column iso_code: 300 readings of 600 have",
}


def prepare(tmp_path: Path, name: str) -> SeriesInfo:
    path = tmp_path / "x.csv"
    path.write_text(SHAPES[name](), encoding="utf-8")
    data = SensorsData(dataset=str(path), mirror=None)
    return prepare_series(data, None, lambda _: TINY, tmp_path).info


@pytest.mark.parametrize("name", READ)
def test_a_file_as_it_is_downloaded_is_read(tmp_path: Path, name: str) -> None:
    info = prepare(tmp_path, name)
    rows = len(open_readings(tmp_path).times)
    assert (info.time_column, step_text(info.step, info.unit), len(info.own), rows) == READ[name]


@pytest.mark.parametrize("name", REFUSED)
def test_what_only_its_owner_knows_is_asked_for(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=REFUSED[name]):
        prepare(tmp_path, name)


def test_each_shape_is_expected_to_do_something() -> None:
    assert {*READ, *REFUSED} == {*SHAPES}
