"""What is shown of a file before anything is trained on it, and the command that it leads to."""

import json
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from series_shapes import SHAPES
from test_real_shapes import READ, REFUSED, prepare
from typer.testing import Result

from flows.errors import InputError
from flows.steps.inspect.files import Inspection, inspect

RunCli = Callable[..., Result]


def write_reviews(path: Path, header: str = "id,text,label", rows: int = 60) -> Path:
    lines = [
        f'r{i},"A review of some length, number {i}",{("pos", "neg")[i % 2]}\n' for i in range(rows)
    ]
    path.write_text(header + "\n" + "".join(lines))
    return path


def kinds(found: Inspection) -> dict[str, str]:
    return {each.name: each.kind for each in found.columns}


def test_reviews(tmp_path: Path) -> None:
    path = write_reviews(tmp_path / "a b.csv", "id,review,sentiment")
    found = inspect(str(path))
    assert kinds(found) == {"id": "id", "review": "text", "sentiment": "label"}
    assert found.columns[2].labels == {"pos": 30, "neg": 30}
    assert (found.files, found.rows, found.is_all, found.odd) == (1, 60, True, ())
    assert found.head[0] == ("r0", "A review of some length, number 0", "pos")
    assert found.command == ("rnnfast", "reviews", "--dataset", str(path),
                             "--text-column", "review", "--label-column", "sentiment")  # fmt: skip
    assert inspect(str(write_reviews(tmp_path / "b.csv"))).command[4:] == ()


def test_json_and_parquet_are_seen_as_csv_is(tmp_path: Path) -> None:
    rows = [
        {"text": f"some longer text {i}", "label": i % 2, "stars": 1.5 * (i % 4)} for i in range(50)
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    for name in ("a.jsonl", "a.parquet"):
        found = inspect(str(tmp_path / name))
        assert kinds(found) == {"text": "text", "label": "number", "stars": "number"}
        assert found.columns[1].labels == {"0": 25, "1": 25}
        assert found.command == ("rnnfast", "reviews", "--dataset", str(tmp_path / name))


def test_reviews_without_a_label(tmp_path: Path) -> None:
    lines = "".join(f"a text of some length {i}\n" for i in range(60))
    (tmp_path / "a.csv").write_text("text\n" + lines)
    found = inspect(str(tmp_path / "a.csv"))
    assert found.odd == ("no column looks like a label; put the name of one in place of LABEL",)
    assert found.command[4:] == ("--label-column", "LABEL")


def test_only_so_many_rows_are_looked_at(tmp_path: Path) -> None:
    path = write_reviews(tmp_path / "a.csv", rows=3000)
    found = inspect(str(path), 100)
    assert (found.rows, found.is_all) == (100, False)
    pq.write_table(
        pa.table({"text": ["some longer text"] * 100, "label": ["a", "b"] * 50}),
        tmp_path / "a.parquet",
    )
    assert not inspect(str(tmp_path / "a.parquet"), 10).is_all
    assert inspect(str(tmp_path / "a.parquet"), 200).is_all


def test_labels_that_are_odd(tmp_path: Path) -> None:
    lines = "".join(
        f"a text of some length {i},{('Pos', 'neg', 'pos')[i % 3]}\n" for i in range(60)
    )
    (tmp_path / "a.csv").write_text("text,label\n" + lines)
    found = inspect(str(tmp_path / "a.csv"))
    assert "labels 'Pos' and 'pos' are alike; --join-labels makes one of them" in found.odd
    assert found.command[-1] == "--join-labels"


def write_readings(path: Path, devices: int = 1, broken: float | None = None) -> Path:
    """Hourly readings with a gap of five hours."""
    lines = []
    for hour in range(200):
        for device in range(devices):
            if 50 <= hour < 55:
                continue
            value = broken if broken is not None and hour % 20 == 0 else 15 + hour % 9
            lines.append(
                f"2024-01-{1 + hour // 24:02} {hour % 24:02}:00:00,d{device},{value},{hour * 0.5},7\n"
            )
    path.write_text("when,device,temp,load,station\n" + "".join(lines))
    return path


def test_readings_of_devices(tmp_path: Path) -> None:
    path = write_readings(tmp_path / "a.csv", devices=3, broken=-999.9)
    found = inspect(str(path))
    assert kinds(found) == {
        "when": "time",
        "device": "label",
        "temp": "number",
        "load": "number",
        "station": "number",
    }
    assert found.times is not None
    assert (found.times.column, found.times.devices, found.times.series) == ("when", "device", 3)
    assert (found.times.step, found.times.gaps, found.times.repeated) == (3600, 3, 0)
    assert found.times.sentinels == (-999.9,)
    assert found.command == ("rnnfast", "sensors", "--dataset", str(path), "--time-column", "when",
                             "--group-column", "device", "--set", "sentinels=-999.9")  # fmt: skip
    odd = " ".join(found.odd)
    assert "-999.9 is taken for a missing value, it is there 30 times in 'temp'" in odd
    assert "column 'station' has one value alone, '7'" in odd
    assert "3 gaps in the time stamps" in odd


def test_the_command_runs(server: None, run_cli: RunCli, tmp_path: Path) -> None:
    readings = inspect(str(write_readings(tmp_path / "a.csv", devices=2))).command
    small = ["--set", "lookback=4", "--horizon", "2", "--set", "hidden_size=4", "--epochs", "1"]
    # A constant feature is odd, and named by what says so.
    small += ["--features", "temp,load"]
    assert run_cli(*readings[1:], *small, "--output", tmp_path / "r").exit_code == 0
    reviews = inspect(str(write_reviews(tmp_path / "b.csv", "id,words,mood", 200))).command
    tiny = [
        "--epochs",
        "1",
        "--set",
        "hidden_size=4",
        "--set",
        "embedding_size=4",
        "--set",
        "max_tokens=50",
    ]
    result = run_cli(*reviews[1:], *tiny, "--no-gate", "--output", tmp_path / "s")
    assert result.exit_code == 0, result.output


def test_missing_values_and_what_cannot_be_read(tmp_path: Path) -> None:
    lines = ["2024-01-01,1,\n", "2024-01-02,N/A,\n", "2024-01-03,-,NA\n", "2024-01-04,x,y,z\n"]
    (tmp_path / "a.csv").write_text("day,temp,nothing\n" + "".join(lines))
    found = inspect(str(tmp_path / "a.csv"))
    assert kinds(found)["nothing"] == "empty"
    assert found.columns[1].missing == 2
    assert "column 'temp' misses 2 of 3 values" in found.odd
    assert any(
        "1 row cannot be read; the first is row 4: 3 fields expected" in each for each in found.odd
    )


@pytest.mark.parametrize("content", ["", "a,b\n"])
def test_what_holds_nothing_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.csv").write_text(content)
    with pytest.raises(InputError, match="FILE must hold at least one row"):
        inspect(str(tmp_path / "a.csv"))
    with pytest.raises(InputError, match="FILE must name a file that exists"):
        inspect(str(tmp_path / "no.csv"))


def test_a_folder_a_glob_and_an_object_store(bucket: str, tmp_path: Path) -> None:
    from pyarrow import fs

    for name in "ab":
        write_reviews(tmp_path / f"{name}.csv", rows=40)
    for pattern in (tmp_path, tmp_path / "*.csv"):
        found = inspect(str(pattern))
        assert (found.files, found.rows, found.command[3]) == (2, 80, str(pattern))
    system, path = fs.FileSystem.from_uri(f"{bucket}/inspect")
    rows = pa.table({"text": ["some longer text"] * 40, "label": ["a", "b"] * 20})
    pq.write_table(rows, f"{path}/a.parquet", filesystem=system)
    assert inspect(f"{bucket}/inspect/*.parquet").command == (
        "rnnfast", "reviews", "--dataset", f"{bucket}/inspect/*.parquet",
    )  # fmt: skip


def test_how_a_file_is_written_is_found(tmp_path: Path) -> None:
    lines = "".join(f"2024-01-{1 + i:02} 00:00:00;{i},5;{i % 3}\n" for i in range(28))
    (tmp_path / "a.csv").write_text("when;temp;load\n" + lines)
    found = inspect(str(tmp_path / "a.csv"))
    assert found.shape == "CSV, separator ';', UTF-8, decimal mark ',', header in line 1"
    assert kinds(found) == {"when": "time", "temp": "number", "load": "number"}
    assert (found.columns[1].low, found.columns[1].high) == ("0.5", "27.5")
    (tmp_path / "b.csv").write_text("1,2\n3,4\n5,6\n")
    assert "the first row looks like data" in inspect(str(tmp_path / "b.csv")).odd[0]


def test_it_is_printed_for_people_and_as_json(run_cli: RunCli, tmp_path: Path) -> None:
    path = write_reviews(tmp_path / "a b.csv", "id,review,sentiment")
    result = run_cli("inspect", path)
    assert result.exit_code == 0, result.output
    assert "looked at all 60 rows" in result.stdout
    assert "pos (30), neg (30)" in result.stdout
    last = result.stdout.splitlines()[-1]
    assert shlex.split(last.removeprefix("Next: ")) == list(inspect(str(path)).command)
    shown = json.loads(run_cli("inspect", path, "--json").stdout)
    assert shown["columns"][2]["labels"] == {"pos": 30, "neg": 30}
    assert shown["rows"] == 60
    refused = run_cli("inspect", tmp_path / "no.csv")
    assert (refused.exit_code, "Traceback" in refused.stderr) == (2, False)
    assert "FILE must name a file that exists" in refused.stderr


def test_it_loads_neither_torch_nor_prefect(tmp_path: Path) -> None:
    path = write_readings(tmp_path / "a.csv", devices=2)
    program = (
        "import sys; from flows.__main__ import app\n"
        "try: app(sys.argv[1:])\n"
        "except SystemExit as end: assert not end.code\n"
        "assert not {'torch', 'prefect', 'sklearn'} & set(sys.modules), 'slow'\n"
        # The kernel is the one that the package has.
        "import rnnfast.text.vocabulary; assert rnnfast.text.vocabulary._text is sys.modules['rnnfast._text']"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "inspect", str(path)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "Next: rnnfast sensors" in done.stdout


def test_the_command_has_a_name_and_a_version(run_cli: RunCli) -> None:
    scripts = tomllib.loads(Path("pyproject.toml").read_text())["project"]["scripts"]
    assert scripts == {"rnnfast": "flows.__main__:main"}
    assert run_cli("--version").stdout == "rnnfast 0.1.0\n"


@pytest.mark.parametrize("name", SHAPES)
def test_it_shows_what_a_training_reads(tmp_path: Path, name: str) -> None:
    path = tmp_path / "x.csv"
    path.write_text(SHAPES[name](), encoding="utf-8")
    found = inspect(str(path))
    if name == "exchange_rate_without_header":
        assert found.times is None
        assert "none of '1.0" in found.no_times
        assert "use --no-header" in found.odd[0]
        return
    assert found.times is not None
    assert found.command[1] == "sensors"
    if name in REFUSED:
        assert found.times.devices in REFUSED[name]
        return
    column, step, _, _ = READ[name]
    assert (found.times.column, found.times.step_name) == (column, step)
    assert found.times.devices == ""
    info = prepare(tmp_path, name)
    assert {*info.own} <= {*found.times.features}
    assert {*found.times.sentinels, -9999} == {*info.sentinels}


def test_reading_options_and_what_is_odd_are_those_of_a_training(
    tmp_path: Path, run_cli: RunCli
) -> None:
    lines = "".join(f"2024-01-{1 + i:02},{'bad' if i == 9 else i % 7},{i % 5}\n" for i in range(28))
    (tmp_path / "a.csv").write_text("when,temp,load\n" + lines + "2099-01-01,5,5\n")
    found = inspect(str(tmp_path / "a.csv"))
    assert "row 10 cannot be read: 'temp' must be a number, got 'bad'" in found.odd
    assert "1 reading is far from all others, the first at 2099-01-01 00:00:00" in found.odd
    shown = run_cli("inspect", tmp_path / "a.csv", "--missing", "bad").stdout
    assert "cannot be read" not in shown
    assert "Time: 'when' (ISO 8601), step: 1 day, 1 gap, 1 series" in shown
    assert "Numbers: 'temp', 'load'" in shown
    (tmp_path / "b.csv").write_text(
        "when,temp\n" + "".join(f"01/0{i}/2024,{i % 3}\n" for i in range(1, 9))
    )
    unclear = inspect(str(tmp_path / "b.csv"))
    assert "give --time-format 'day first' or 'month first'" in unclear.no_times
    shown = run_cli("inspect", tmp_path / "b.csv", "--time-format", "day first").stdout
    assert "Time: 'when' (dates with the day first), step: month, 0 gaps, 1 series" in shown
    assert "--time-format 'day first'" in shown.splitlines()[-1]
    assert run_cli("inspect", tmp_path / "b.csv", "--time-format", "dmy").exit_code == 2
