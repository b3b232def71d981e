"""Files of readings in the shape of well-known public data sets, as these are downloaded; the numbers are made up."""

import math
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta, timezone

SHAPES: dict[str, Callable[[], str]] = {}
Line = Callable[[int], str]


def _shape(make: Callable[[], Iterator[str]]) -> Callable[[], Iterator[str]]:
    SHAPES[make.__name__] = lambda: "\n".join(make()) + "\n"
    return make


def wave(number: int, channel: int = 0) -> float:
    """A reading with a daily season."""
    return 20 + channel + 5 * math.sin(number / 24 * 2 * math.pi + channel) + (number * 7 % 11) / 10


def times(count: int, start: datetime, **step: float) -> list[datetime]:
    return [start + i * timedelta(**step) for i in range(count)]


def months(count: int, year: int) -> list[date]:
    return [date(year + i // 12, i % 12 + 1, 1) for i in range(count)]


def workdays(count: int, start: date) -> list[date]:
    days = (start + timedelta(days=i) for i in range(2 * count))
    # A few holidays.
    found = [
        day
        for day in days
        if day.weekday() < 5 and (day.month, day.day) not in ((1, 1), (7, 4), (12, 25))
    ]
    return found[:count]


@_shape
def etth1() -> Iterator[str]:
    yield "date,HUFL,HULL,MUFL,MULL,LUFL,LULL,OT"
    for i, t in enumerate(times(600, datetime(2016, 7, 1), hours=1)):
        yield f"{t},{','.join(f'{wave(i, c):.15f}' for c in range(7))}"


@_shape
def weather_history() -> Iterator[str]:
    yield (
        "Formatted Date,Summary,Precip Type,Temperature (C),Humidity,Wind Bearing (degrees),Loud Cover,"
        "Pressure (millibars),Daily Summary"
    )
    summer = times(400, datetime(2006, 4, 1, tzinfo=timezone(timedelta(hours=2))), hours=1)
    winter = times(400, datetime(2006, 1, 1, tzinfo=timezone(timedelta(hours=1))), hours=1)
    for i, t in enumerate(summer + winter):
        stamp = f"{t:%Y-%m-%d %H:%M:%S.000 %z}"
        rain = ("rain", "null", "snow")[i % 3]
        numbers = f"{wave(i):.10f},0.{i % 89 + 10},{i * 37 % 360}.0,0.0,{1000 + wave(i)}"
        yield f'{stamp},Partly Cloudy,{rain},{numbers},"Partly cloudy, dry."'


@_shape
def jena_climate() -> Iterator[str]:
    yield '"Date Time","p (mbar)","T (degC)","Tpot (K)","wv (m/s)","wd (deg)"'
    for i, t in enumerate(times(2000, datetime(2009, 1, 1, 0, 10), minutes=10)):
        wind = "-9999.00" if i in (500, 501, 502) else f"{i % 7}.03"
        yield f"{t:%d.%m.%Y %H:%M:%S},{990 + wave(i):.2f},{wave(i, 1):.2f},{260 + wave(i):.2f},{wind},{i % 360}.00"


@_shape
def household_power() -> Iterator[str]:
    yield (
        "Date;Time;Global_active_power;Global_reactive_power;Voltage;Global_intensity;Sub_metering_1;Sub_metering_2;"
        "Sub_metering_3"
    )
    for i, t in enumerate(times(3000, datetime(2006, 12, 16, 17, 24), minutes=1)):
        stamp = f"{t.day}/{t.month}/{t.year};{t:%H:%M:%S}"
        if i % 500 in (100, 101):
            yield f"{stamp};?;?;?;?;?;?;"
        else:
            yield f"{stamp};{wave(i):.3f};0.{i % 900 + 100};234.{i % 90 + 10};18.{i % 9}00;0.000;{i % 3}.000;17.000"


@_shape
def air_quality() -> Iterator[str]:
    yield "Date;Time;CO(GT);PT08.S1(CO);NMHC(GT);C6H6(GT);T;RH;AH;;"
    for i, t in enumerate(times(800, datetime(2004, 3, 10, 18), hours=1)):
        stamp = f"{t:%d/%m/%Y;%H.%M.%S}"
        co = "-200" if i % 5 == 4 else f"{wave(i) / 10:.1f}".replace(".", ",")
        nmhc = 150 + i % 40 if i < 80 else -200
        numbers = ";".join(f"{wave(i, c):.1f}".replace(".", ",") for c in range(3))
        yield f"{stamp};{co};{1360 + i % 50};{nmhc};{numbers};0,7{i % 900 + 100};;"
    yield from [";" * 10] * 114


@_shape
def beijing_pm25() -> Iterator[str]:
    yield "No,year,month,day,hour,pm2.5,DEWP,TEMP,PRES,cbwd,Iws,Is,Ir"
    for i, t in enumerate(times(900, datetime(2010, 1, 1), hours=1)):
        pm = "NA" if i < 24 or i % 97 == 3 else i * 13 % 300
        stamp = f"{i + 1},{t.year},{t.month},{t.day},{t.hour}"
        yield f"{stamp},{pm},-{i % 21},{wave(i):.0f},{1000 + i % 30},{('NW', 'cv')[i % 2]},{i % 40}.79,0,{i % 3}"


@_shape
def beijing_multi_site() -> Iterator[str]:
    yield '"No","year","month","day","hour","PM2.5","SO2","TEMP","wd","WSPM","station"'
    for i, t in enumerate(times(900, datetime(2013, 3, 1), hours=1)):
        stamp = f"{i + 1},{t.year},{t.month},{t.day},{t.hour}"
        yield f'{stamp},{i * 13 % 300},{"NA" if i % 50 == 9 else i % 30},{wave(i):.1f},"NNW",{i % 5}.4,"Aotizhongxin"'


@_shape
def daily_min_temperatures() -> Iterator[str]:
    yield '"Date","Temp"'
    for i, t in enumerate(times(1000, datetime(1981, 1, 1), days=1)):
        yield f'"{t:%Y-%m-%d}",{wave(i):.1f}'


@_shape
def airline_passengers() -> Iterator[str]:
    yield '"Month","Passengers"'
    for i, t in enumerate(months(144, 1949)):
        yield f'"{t:%Y-%m}",{wave(i) * 10 + i:.0f}'


@_shape
def air_passengers_of_r() -> Iterator[str]:
    yield '"","time","value"'
    for i in range(144):
        yield f'"{i + 1}",{1949 + i / 12:.15g},{wave(i) * 10 + i:.0f}'


@_shape
def exchange_rate_without_header() -> Iterator[str]:
    for i in range(600):
        yield ",".join(f"{wave(i, c) / 20:.6f}" for c in range(8))


@_shape
def exchange_rate_with_dates() -> Iterator[str]:
    yield "date,0,1,2,3,4,5,6,OT"
    for i, t in enumerate(times(600, datetime(1990, 1, 1), days=1)):
        yield f"{t.year}/{t.month}/{t.day} 0:00," + ",".join(
            f"{wave(i, c) / 20:.6f}" for c in range(8)
        )


@_shape
def yahoo_stock() -> Iterator[str]:
    yield "Date,Open,High,Low,Close,Adj Close,Volume"
    for i, t in reversed(list(enumerate(workdays(500, date(2018, 1, 2))))):
        yield f"{t},{wave(i)},{wave(i) + 1},{wave(i) - 1},{wave(i) + 0.5},{wave(i) + 0.4},{1_000_000 + i * 971 % 7919}"


@_shape
def nasdaq_stock() -> Iterator[str]:
    yield "Date,Close/Last,Volume,Open,High,Low"
    for i, t in reversed(list(enumerate(workdays(500, date(2018, 1, 2))))):
        price = ",".join(f"${wave(i, c):.2f}" for c in range(3))
        yield f"{t:%m/%d/%Y},${wave(i):.2f},{1_000_000 + i * 971 % 7919},{price}"


@_shape
def electricity_of_uci() -> Iterator[str]:
    yield ";".join(['""', *(f'"MT_{i:03}"' for i in range(1, 321))])
    for i, t in enumerate(times(300, datetime(2011, 1, 1, 0, 15), minutes=15)):
        numbers = ";".join(
            "0" if c % 9 == 0 else f"{wave(i, c):.13f}".replace(".", ",") for c in range(320)
        )
        yield f'"{t}";{numbers}'


@_shape
def metro_traffic() -> Iterator[str]:
    yield "holiday,temp,rain_1h,snow_1h,clouds_all,weather_main,weather_description,date_time,traffic_volume"
    for i, t in enumerate(times(900, datetime(2012, 10, 2, 9), hours=1)):
        if 400 <= i < 450:
            continue
        numbers = f"{270 + wave(i):.2f},0.0,0.0,{i % 100}"
        for sky in range(2 if i % 6 == 0 else 1):
            weather = f"Clouds {i % 11 + sky},scattered clouds {i % 13}"
            yield f"{'Columbus Day' if i % 99 == 0 else 'None'},{numbers},{weather},{t},{wave(i) * 100:.0f}"


@_shape
def sunspots() -> Iterator[str]:
    yield '"Month","Sunspots"'
    for i, t in enumerate(months(600, 1749)):
        yield f'"{t:%Y-%m}",{wave(i):.1f}'


@_shape
def nab() -> Iterator[str]:
    yield "timestamp,value"
    for i, t in enumerate(times(900, datetime(2014, 2, 14, 14, 30), minutes=5)):
        if not 700 < i < 710:
            yield f"{t},{wave(i)}"


@_shape
def m4_long() -> Iterator[str]:
    yield "unique_id,ds,y"
    for series in ("H1", "H2", "H3"):
        for i in range(300):
            yield f"{series},{i + 1},{wave(i, int(series[1])):.1f}"


@_shape
def noaa_lcd() -> Iterator[str]:
    yield (
        '"STATION","DATE","REPORT_TYPE","HourlyDryBulbTemperature","HourlyPrecipitation","HourlyRelativeHumidity",'
        '"HourlyWindDirection","HourlyWindSpeed","DailySnowDepth"'
    )
    for i, t in enumerate(times(900, datetime(2018, 1, 1, 0, 53), hours=1)):
        rain = ("T", "0.00", "", "0.02s")[i % 4]
        numbers = f'"{wave(i):.0f}","{rain}","{i % 50 + 40}"'
        wind = "VRB" if i % 7 == 0 else f"{i * 10 % 360:03}"
        yield f'"72505394728","{t:%Y-%m-%dT%H:%M:%S}","FM-15",{numbers},"{wind}","{i % 20}",""'
        if t.hour == 23:
            yield f'"72505394728","{t:%Y-%m-%dT23:59:00}","SOD  ","","","","","","2"'


@_shape
def google_trends() -> Iterator[str]:
    yield from ("Category: All categories", "")
    yield "Week,python: (United States),java: (United States)"
    for i, t in enumerate(times(260, datetime(2018, 1, 7), weeks=1)):
        yield f"{t:%Y-%m-%d},{wave(i):.0f},{wave(i, 2):.0f}"


@_shape
def energydata_complete() -> Iterator[str]:
    yield '"date","Appliances","lights","T1","RH_1","rv1"'
    for i, t in enumerate(times(900, datetime(2016, 1, 11, 17), minutes=10)):
        yield f'"{t}","{i % 9 * 10}","{i % 4 * 10}","{wave(i)}","{wave(i, 1)}","{i * 7 % 13}.5"'


@_shape
def pjm_hourly() -> Iterator[str]:
    yield "Datetime,PJME_MW"
    hours = times(2000, datetime(2014, 10, 1, 1), hours=1)
    rows = [
        f"{t},{wave(i) * 1000:.1f}" for i, t in enumerate(hours) if t != datetime(2014, 10, 20, 3)
    ]
    rows.insert(700, "2014-11-02 02:00:00,22935.0")
    yield from reversed(rows)


@_shape
def bike_sharing() -> Iterator[str]:
    yield "instant,dteday,season,yr,mnth,hr,holiday,weekday,workingday,weathersit,temp,hum,casual,registered,cnt"
    hours = [t for i, t in enumerate(times(900, datetime(2011, 1, 1), hours=1)) if i % 53 != 3]
    for i, t in enumerate(hours):
        yield (
            f"{i + 1},{t:%Y-%m-%d},1,0,{t.month},{t.hour},0,{t.isoweekday() % 7},{int(t.weekday() < 5)},{i % 3 + 1},"
            f"0.{i % 70 + 10},0.{i % 50 + 30},{i % 9},{wave(i):.0f},{wave(i) + i % 9:.0f}"
        )


@_shape
def tetouan_power() -> Iterator[str]:
    yield "DateTime,Temperature,Humidity,Zone 1 Power Consumption,Zone 2  Power Consumption"
    for i, t in enumerate(times(2500, datetime(2017, 1, 1), minutes=10)):
        stamp = f"{t.month}/{t.day}/{t.year} {t.hour}:{t:%M}"
        yield f"{stamp},{wave(i):.3f},{wave(i, 1):.1f},{wave(i) * 999},{wave(i, 2) * 999}"


@_shape
def steel_industry() -> Iterator[str]:
    yield "date,Usage_kWh,CO2(tCO2),NSM,WeekStatus,Day_of_week,Load_Type"
    for i, t in enumerate(times(1800, datetime(2018, 1, 1, 0, 15), minutes=15)):
        # The midnight of a day has the date of the day before.
        day = t - timedelta(days=1) if (t.hour, t.minute) == (0, 0) else t
        seconds = t.hour * 3600 + t.minute * 60
        yield f"{day:%d/%m/%Y} {t:%H:%M},{wave(i):.2f},0.0{i % 3},{seconds},Weekday,Monday,Light_Load"


@_shape
def room_occupancy() -> Iterator[str]:
    yield '"date","Temperature","Humidity","Light","CO2","HumidityRatio","Occupancy"'
    for i, t in enumerate(times(900, datetime(2015, 2, 4, 17, 51), minutes=1)):
        late = t - timedelta(seconds=(0, 1, 0, 0, 1)[i % 5])
        numbers = f"{wave(i)},{wave(i, 1)},{i % 500},{wave(i, 2) * 20},0.00{i % 900 + 100}"
        yield f'"{i + 1}","{late}",{numbers},{i // 100 % 2}'


@_shape
def dwd_hourly() -> Iterator[str]:
    yield "STATIONS_ID;MESS_DATUM;QN_9;TT_TU;RF_TU;eor"
    for i, t in enumerate(times(900, datetime(1950, 4, 1, 1), hours=1)):
        warm = "-999" if i % 200 == 150 else f"{wave(i):.1f}"
        yield f"{3:11};{t:%Y%m%d%H};{5:5};{warm:>7};{wave(i, 2):>6.1f};eor"


@_shape
def co2_mauna_loa() -> Iterator[str]:
    yield from (
        "# Use of these data implies an agreement to reciprocate.",
        "#",
        '# "average", monthly mean, ppm',
    )
    yield "year,month,decimal date,average,deseasonalized,ndays,sdev,unc"
    for i, t in enumerate(months(500, 1958)):
        few = i < 150
        quality = "-1,-9.99,-0.99" if few else f"{i % 31},0.{i % 60 + 10},0.{i % 30 + 10}"
        year = f"{t.year},{t.month},{t.year + (t.month - 0.5) / 12:.4f}"
        yield f"{year},{300 + wave(i):.2f},{300 + i / 9:.2f},{quality}"


@_shape
def wind_turbine() -> Iterator[str]:
    yield "Date/Time,LV ActivePower (kW),Wind Speed (m/s),Theoretical_Power_Curve (KWh),Wind Direction (°)"
    for i, t in enumerate(times(2500, datetime(2018, 1, 1), minutes=10)):
        yield f"{t:%d %m %Y %H:%M},{wave(i) * 20},{wave(i) / 4},{wave(i, 1) * 20},{i % 360}.99"


@_shape
def spain_energy() -> Iterator[str]:
    yield "time,generation biomass,generation fossil coal-derived gas,generation hydro aggregated,price actual"
    for i, t in enumerate(
        times(900, datetime(2015, 1, 1, tzinfo=timezone(timedelta(hours=1))), hours=1)
    ):
        yield f"{t},{wave(i):.1f},0.0,,{wave(i, 3):.2f}"


@_shape
def fred() -> Iterator[str]:
    yield "observation_date,UNRATE"
    for i, t in enumerate(months(300, 1998)):
        yield f"{t},{'.' if i == 77 else f'{wave(i) / 4:.1f}'}"


@_shape
def crypto_download() -> Iterator[str]:
    yield "https://www.CryptoDataDownload.com"
    yield "unix,date,symbol,open,high,low,close,Volume BTC"
    for i, t in reversed(list(enumerate(times(900, datetime(2021, 1, 1), hours=1)))):
        yield f"{1609459200 + 3600 * i},{t},BTC/USD,{wave(i)},{wave(i) + 1},{wave(i) - 1},{wave(i)},{i * 7 % 13}.25"


@_shape
def gas_sensors() -> Iterator[str]:
    yield "Time (s),CO (ppm),Humidity (%r.h.),R1 (MOhm)"
    for i in range(1500):
        yield f"{i * 0.3:.4f},{i // 100 % 5},{wave(i):.4f},{wave(i, 2):.4f}"


@_shape
def covid_by_country() -> Iterator[str]:
    yield "iso_code,continent,location,date,total_cases,new_cases"
    for code, name in (("AFG", "Afghanistan"), ("ALB", "Albania")):
        for i, t in enumerate(times(300, datetime(2020, 2, 24), days=1)):
            yield f"{code},Asia,{name},{t:%Y-%m-%d},{i * i + len(name)}.0,{wave(i, len(name)):.1f}"
