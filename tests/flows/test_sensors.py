import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
import torch
from jobs import score_files
from pydantic import ByteSize
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from typer.testing import Result

from flows import sensors as sensors_flow
from flows.accounts import Rejected
from flows.datasets import SENSORS, hapt, szeged
from flows.datasets.series_columns import find_numbers, first_rows
from flows.datasets.series_files import SeriesColumns, read_series
from flows.errors import ArchiveError, InputError
from flows.executors import Executor
from flows.parameters import Execution, SensorsData
from flows.steps.prepare.gather import gather
from flows.steps.prepare.series import part_windows, prepare_series
from flows.steps.score.readings import GATHERING_MEMORY
from flows.store import storage
from rnnfast.models.window_config import WindowConfig
from rnnfast.scoring.scorers import SensorScorer
from rnnfast.training.run_folder import SeriesInfo

RunCli = Callable[..., Result]
TINY = [
    "--epochs", "1", "--horizon", "4",
    *(w for s in ("lookback=12", "hidden_size=4", "segment=1", "period=6") for w in ("--set", s)),
]  # fmt: skip
FILES = [
    "config.json",
    "metrics.json",
    "model.safetensors",
    "profile.json",
    "report.html",
    "scores",
]
SMALL = WindowConfig(lookback=12, horizon=4, hidden_size=4)


def write_csv(path: Path, rows: int = 400, devices: int = 2) -> Path:
    """Hourly readings of some devices, which are busy every other day."""
    lines = ["when,device,temp,load,state"]
    for device in range(devices):
        for i in range(rows):
            stamp = (datetime(2024, 1, 1) + timedelta(hours=i)).isoformat(" ")
            busy = i // 24 % 2
            temp = 20 + 5 * np.sin(i * 2 * np.pi / 24) + device
            load = np.sin(i * (0.4 + busy)) + 3
            lines.append(f"{stamp},d{device},{temp:.4f},{load:.4f},{('idle', 'busy')[busy]}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


OWN = ["--time-column", "when", "--group-column", "device"]


def assert_refused(result: Result, folder: Path, *parts: str) -> None:
    """Code 2, one message with all of the parts and no traceback, and nothing left in the folder."""
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.stderr
    for part in parts:
        assert part in result.stderr
    assert [p.name for p in folder.iterdir() if p.name == "run" or ".partial" in p.name] == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--memory-limit", "500MB"], "--memory-limit must be at least"),
        (["--address", "h:1"], "--address must go with --engine ray, got: h:1 for local"),
    ],
)
def test_what_the_scoring_cannot_use_is_refused_before_the_training(
    server: None,
    run_cli: RunCli,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    message: str,
) -> None:
    monkeypatch.setattr(sensors_flow.train_task, "fn", None)
    path = write_csv(tmp_path / "x.csv")
    result = run_cli(
        "sensors", "--dataset", path, *OWN, *TINY, *options, "--output", tmp_path / "run"
    )
    assert_refused(result, tmp_path, message)


def test_from_readings_to_forecasts(
    server: None, run_cli: RunCli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = []

    def executor(execution: Execution, worker_memory: int) -> Executor:
        used.append(execution)
        return make(execution, worker_memory)

    make = Execution.executor
    monkeypatch.setattr(Execution, "executor", executor)
    path, run = write_csv(tmp_path / "x.csv"), tmp_path / "run"
    options = ["--dataset", path, *OWN, "--features", "temp,load,calendar", "--target", "temp"]
    options += [
        "--task",
        "forecast",
        "--label-column",
        "state",
        "--yardstick",
    ]  # labels are nothing to a forecast
    options += ["--shard-rows", "7", "--memory-limit", "4GB"]
    result = run_cli("sensors", *options, *TINY, "--output", run)
    assert result.exit_code == 0, result.output
    assert "test mse" in result.stdout
    assert "baseline linear" in result.stdout
    # The test readings were scored as the options of scale say.
    assert set(used) == {Execution(shard_rows=7, memory_limit=ByteSize(4_000_000_000))}
    assert len(used) == 1
    assert sorted(p.name for p in run.iterdir()) == FILES
    metrics = json.loads((run / "metrics.json").read_text())
    stages = ["download", "prepare", "check", "train", "baselines", "choose", "precision", "evaluate", "score",
              "describe", "total"]  # fmt: skip
    assert list(metrics["seconds"]) == stages
    assert list(metrics["baseline"]) == [
        "persistence", "linear", "nlinear", "dlinear", "seasonal", "mlp", "cnn"
    ]  # fmt: skip
    # A test window forecasts readings of the last fifth: 80 hours of each device.
    assert metrics["test"]["rows"] == 2 * (80 - 3)
    assert list(metrics["test"]["by_channel"]) == ["temp"]
    assert len(metrics["test"]["by_horizon"]["mse"]) == 4
    persistence = metrics["baseline"]["persistence"]
    assert persistence["skill"] == pytest.approx(0)
    assert metrics["test"]["skill"] == pytest.approx(
        1 - metrics["test"]["mse"] / persistence["mse"]
    )
    config = json.loads((run / "config.json").read_text())
    assert config["series"]["channels"][:2] == ["temp", "load"]
    assert config["series"]["step"] == 3_600_000_000
    page = (run / "report.html").read_text()
    assert "Error by step ahead" in page
    assert "Large error" in page

    # Scoring takes the same file, and says what comes after its last reading.
    result = run_cli("score", "--model", run, "--input", path, "--output", tmp_path / "out")
    assert result.exit_code == 0, result.output
    [scored] = (tmp_path / "out").glob("*.parquet")
    rows = pq.read_table(scored).to_pylist()
    assert len(rows) == 2 * 4
    assert [row["group"] for row in rows[::4]] == ["d0", "d1"]
    last = datetime(2024, 1, 1) + timedelta(hours=399)
    assert [row["time"].replace(tzinfo=None) - last for row in rows[:4]] == [
        timedelta(hours=i) for i in (1, 2, 3, 4)
    ]
    assert all(row["low"] <= row["forecast"] <= row["high"] for row in rows)
    result = run_cli("score", "--model", run, "--input", path, "--output", tmp_path / "out")
    assert "1 of them done before" in result.stdout


@pytest.mark.parametrize(("share", "hours"), [("0.5", 200), ("0.1", 40)])
def test_the_share_of_the_test_readings(
    run_cli: RunCli, tmp_path: Path, share: str, hours: int
) -> None:
    path = write_csv(tmp_path / "x.csv")
    data = SensorsData(dataset=str(path), time_column="when", group_column="device",
                       test_share=float(share), validation_share=0.3)  # fmt: skip
    config = WindowConfig(lookback=12, horizon=4)
    (tmp_path / "work").mkdir()
    counts = prepare_series(data, None, lambda _: config, tmp_path / "work").rows
    assert counts["test_readings"] == 2 * hours
    assert counts["validation_readings"] == pytest.approx(2 * 0.3 * (400 - hours), abs=2)
    shown = run_cli("sensors", "--dataset", path, *OWN, "--set", f"test_share={share}",
                    "--set", "validation_share=0.3", "--dry-run").stdout  # fmt: skip
    assert re.search(rf"data test_share +{share}\s", shown)
    assert re.search(r"data validation_share +0.3\s", shown)


def test_from_readings_to_labels(server: None, run_cli: RunCli, tmp_path: Path) -> None:
    path, run = write_csv(tmp_path / "x.csv", 240, devices=5), tmp_path / "run"
    options = ["--dataset", path, *OWN, "--task", "classify", "--label-column", "state"]
    options += [
        "--set",
        "pooling=mean+max",
        "--set",
        "stride=1",
        *TINY,
        "--epochs",
        20,
        "--learning-rate",
        0.02,
    ]
    result = run_cli("sensors", *options, "--features", "temp,load", "--output", run)
    assert result.exit_code == 0, result.output
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["test"]["accuracy"] > 0.9
    assert np.sum(metrics["test"]["confusion_matrix"]) == metrics["test"]["rows"]
    assert "Macro F1" in (run / "report.html").read_text()
    [scored] = (run / "scores").glob("*.parquet")
    rows = pq.read_table(scored).to_pylist()
    assert {row["label"] for row in rows} == {"busy", "idle"}
    assert {row["end"] - row["start"] for row in rows} == {timedelta(hours=11)}


def test_same_seed_same_run(server: None, run_cli: RunCli, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "x.csv", 200)
    for name in "ab":
        options = ["--dataset", path, *OWN, *TINY, "--cell", "rnn", "--output", tmp_path / name]
        assert run_cli("sensors", *options).exit_code == 0
    for name in ("model.safetensors", "config.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


GOOD = "when,temp\n" + "".join(
    f"2024-01-{d:02} {h:02}:00,{h}.5\n" for d in range(1, 20) for h in range(24)
)
BAD_FILES: dict[str, tuple[str, list[str]]] = {
    "empty": ("", ["must hold at least one reading"]),
    "header only": ("when,temp\n", ["must hold at least one reading"]),
    "no time column": (GOOD.replace("when", "stamp"), ["--time-column", "'stamp'", "'when'"]),
    "no such feature": (GOOD.replace("temp", "heat"), ["--features", "'heat'", "'temp'"]),
    "no time stamp": (
        GOOD.replace("2024-01-02 03:00", "yesterday"),
        ["row 28", "'when' must be a time stamp, got 'yesterday'"],
    ),
    "an impossible date": (GOOD.replace("2024-01-02 03", "2024-02-30 03"), ["row 28", "time stamp"]),
    "no number": (GOOD.replace("3.5\n", "warm\n", 1), ["row 4", "'temp' must be a number, got 'warm'"]),
    "ragged": (GOOD.replace("3.5\n", "3.5,1\n", 1), ["row 4: 2 fields expected, found 3"]),
    "constant": ("".join(line.split(",")[0] + ",7\n" if "2024" in line else line + "\n"
                         for line in GOOD.splitlines()),
                 ["--features must vary in the training part, 'temp' is 7 throughout"]),
    "too few rows": ("\n".join(GOOD.splitlines()[:30]) + "\n", ["must hold 16 readings in a row"]),
    "long gaps": ("\n".join(line for i, line in enumerate(GOOD.splitlines()) if i % 24 < 12) + "\n",
                  ["must hold 16 readings in a row", "the longest stretch without a gap has"]),
    "nothing but sentinels": ("".join(line.split(",")[0] + ",-9999\n" if "2024" in line else line + "\n"
                                      for line in GOOD.splitlines()),
                              ["--features must have readings"]),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_FILES)
def test_files_that_cannot_be_used(tmp_path: Path, name: str) -> None:
    content, parts = BAD_FILES[name]
    (tmp_path / "bad.csv").write_text(content)
    data = SensorsData(dataset=str(tmp_path / "bad.csv"), time_column="when", features="temp")
    (tmp_path / "work").mkdir()
    with pytest.raises(InputError) as error:
        prepare_series(data, None, lambda _: SMALL, tmp_path / "work")
    for part in parts:
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["--dataset", "hapt", "--task", "forecast"], ["--task must be classify for 'hapt'"]),
        (
            ["--dataset", "x.csv", "--task", "classify"],
            ["--label-column must be given to classify"],
        ),
        (["--task", "guess"], ["--task", "'guess' is not one of 'forecast', 'classify'"]),
        (["--cell", "transformer"], ["--cell", "'transformer' is not one of 'auto', 'rnn'"]),
        (["--preset", "lecture"], ["--cell must be rnn for --preset lecture, got 'gru'"]),
        (["--horizon", "0"], ["--horizon must ", "got '0'"]),
        (["--set", "segment=5"], ["--set lookback must be a multiple of segment"]),
        (["--set", "colour=3"], ["--set must be NAME=VALUE", "lookback", "'colour=3'"]),
        (["--set", "lokback=3"], ["got 'lokback=3'; did you mean lookback"]),
        (["--epochs", "many"], ["--epochs must ", "got 'many'"]),
        (["--set", "test_share=1"], ["--set test_share must ", "less than 1", "got '1'"]),
        (
            ["--dataset", "etth1", "--set", "test_share=0.3"],
            [
                "--set test_share must be left out for 'etth1', whose test rows are published, got: 0.3"
            ],
        ),
        (
            ["--set", "test_share=0.3", "--set", "test_groups=a", "--task", "classify"],
            ["where test_groups are those"],
        ),
        (["--shard-rows", "few"], ["--shard-rows must ", "got 'few'"]),
        (["--memory-limit", "much"], ["--memory-limit: ", "got 'much'"]),
    ],
)
def test_options_are_checked_before_anything_starts(
    run_cli: RunCli, tmp_path: Path, options: list[str], parts: list[str]
) -> None:
    assert_refused(run_cli("sensors", *options, "--output", tmp_path / "run"), tmp_path, *parts)


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["--dataset", "szeged"], ["--mirror must be given for weatherHistory.csv"]),
        (["--dataset", "no/such.csv"], ["--dataset must name a file that exists"]),
        (["--features", "speed"], ["--features and --target must be of temperature, load"]),
    ],
)
def test_data_that_is_not_there(
    server: None, run_cli: RunCli, tmp_path: Path, options: list[str], parts: list[str]
) -> None:
    assert_refused(run_cli("sensors", *options, "--output", tmp_path / "run"), tmp_path, *parts)


def columns(**kinds: str) -> SeriesColumns:
    return SeriesColumns("t", ("x",), **kinds)


@pytest.mark.parametrize(
    "stamp",
    [
        "2006-04-01 00:30:00.000 +0200",
        "2006-03-31T22:30:00Z",
        "2006-03-31 22:30:00",
        "2006-03-31 22:30",
        "1143844200",
        "1143844200.0",
        "2006-04-01T00:30:00+02:00",
    ],
)
def test_time_stamps_of_many_kinds_are_one_time(tmp_path: Path, stamp: str) -> None:
    (tmp_path / "x.csv").write_text(f"t,x\n{stamp},1.5\n")
    [table] = read_series(str(tmp_path / "x.csv"), columns(), "--dataset")
    assert table["time"].to_pylist() == [1_143_844_200_000_000]
    assert table["x"].to_pylist() == [1.5]


def test_csv_and_parquet_give_the_same_readings(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "x.csv", 50)
    table = pa_csv.read_csv(path)
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=30)
    wanted = SeriesColumns("when", ("load", "temp"), "device", "state")
    csv, parquet = (
        pa.concat_tables(read_series(str(tmp_path / name), wanted, "--dataset"))
        for name in ("x.csv", "x.parquet")
    )
    assert csv.equals(parquet)
    for name in ("x.csv", "x.parquet"):
        rows, mark = first_rows(str(tmp_path / name), "--dataset")
        assert find_numbers(rows, mark, {"load"})[0] == ("temp",)


def test_bad_rows_are_set_aside_where_they_may_be(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("t,x\n2024-01-01 00:00,1\n?,2\n2024-01-01 02:00,three\n,4\n")
    rejected: list[object] = []
    [table] = read_series(str(tmp_path / "x.csv"), columns(), "--input", rejected)  # type: ignore[arg-type]
    assert table["x"].to_pylist() == [1]
    assert [row.place for _, row in rejected] == [2, 3, 4]  # type: ignore[attr-defined]
    assert "got '?'" in str(rejected[0])


def read_readings_of(path: Path, columns: SeriesColumns) -> tuple[pa.Table, list[tuple[int, str]]]:
    """The readings of a file, and the place and reason of each row that cannot be read."""
    rejected: list[tuple[str, Rejected]] = []
    tables = list(read_series(str(path), columns, "--input", rejected))
    return pa.concat_tables(tables), [(row.place, row.reason) for _, row in rejected]


NO_TIMES = [float("nan"), float("inf"), 1.7e15, -1.7e15]


def test_numbers_that_are_no_time_are_set_aside(tmp_path: Path) -> None:
    times = [1.7e9, *NO_TIMES, 1.7e9 + 60]
    pq.write_table(pa.table({"t": times, "x": range(6)}), tmp_path / "x.parquet")
    lines = [f"{time:f},{row}\n" for row, time in enumerate(times)]
    (tmp_path / "x.csv").write_text("".join(["t,x\n", *lines]))
    for name in ("x.parquet", "x.csv"):
        table, bad = read_readings_of(tmp_path / name, columns())
        assert table["time"].to_pylist() == [1_700_000_000_000_000, 1_700_000_060_000_000]
        assert table["x"].to_pylist() == [0, 5]
        assert [place for place, _ in bad] == [2, 3, 4, 5]
        shown = [reason.partition("'t' must be a time stamp, got ")[2] for _, reason in bad]
        assert [float(value.strip("'")) for value in shown] == pytest.approx(NO_TIMES, nan_ok=True)


@pytest.mark.parametrize("kind", [pa.int64(), pa.timestamp("ms", "UTC")])
def test_times_beyond_64_bits_are_set_aside(tmp_path: Path, kind: pa.DataType) -> None:
    times = pa.array([0, 1 << 61, 1, None]).cast(kind)
    pq.write_table(pa.table({"t": times, "x": range(4)}), tmp_path / "x.parquet")
    table, bad = read_readings_of(tmp_path / "x.parquet", columns())
    assert table["x"].to_pylist() == [0, 2]
    assert [place for place, _ in bad] == [2, 4]
    assert "must be a time stamp, got" in bad[0][1]
    assert "it is missing" in bad[1][1]


def test_a_time_before_those_of_python_beside_one_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("t,x\n0000-01-01,1\n?,2\n")
    table, bad = read_readings_of(tmp_path / "x.csv", columns())
    assert table["time"].to_pylist() == [-62_167_219_200_000_000]
    assert bad == [(2, "'t' must be a time stamp, got '?'")]


@pytest.mark.parametrize("kind", [pa.date32(), pa.date64()])
def test_days_in_parquet_are_those_in_csv(tmp_path: Path, kind: pa.DataType) -> None:
    days = [date(2024, 1, 1), date(2024, 1, 2)]
    pq.write_table(pa.table({"t": pa.array(days, kind), "x": [1, 2]}), tmp_path / "x.parquet")
    (tmp_path / "x.csv").write_text("t,x\n2024-01-01,1\n2024-01-02,2\n")
    parquet, csv = (
        read_readings_of(tmp_path / f"x.{end}", columns()) for end in ("parquet", "csv")
    )
    assert parquet[0].equals(csv[0])
    assert parquet[1] == csv[1] == []


def test_rows_that_are_not_utf_8_cost_no_other_row(tmp_path: Path) -> None:
    good = b"2024-01-01,1,a,b\n"
    bad = [b"\xe9,1,a,b\n", b"2024-01-01,\xe9,a,b\n", b"2024-01-01,1,\xe9,b\n",
           b"2024-01-01,1,a,\xe9\n"]  # fmt: skip
    (tmp_path / "x.csv").write_bytes(b"t,x,device,state\n" + b"".join(row + good for row in bad))
    names = ["t", "x", "device", "state"]
    raw = [line.split(b",") for row in bad for line in (row[:-1], good[:-1])]
    fields = [pa.array(list(column)) for column in zip(*raw, strict=True)]
    strings = [pa.Array.from_buffers(pa.string(), 8, field.buffers()) for field in fields]
    pq.write_table(pa.table(strings, names), tmp_path / "x.parquet")
    wanted = SeriesColumns("t", ("x",), "device", "state")
    for name in ("x.csv", "x.parquet"):
        table, rejected = read_readings_of(tmp_path / name, wanted)
        assert table["group"].to_pylist() == ["a"] * 4
        assert rejected == [
            (1, "'t' is not UTF-8"),
            (3, "'x' is not UTF-8"),
            (5, "'device' is not UTF-8"),
            (7, "'state' is not UTF-8"),
        ]


def test_disorder_is_put_right_and_reported(tmp_path: Path) -> None:
    times = np.array([3, 1, 2, 2, 4, 9]) * 1_000_000
    table = pa.table(
        {
            "time": times,
            "group": pa.array(["a"] * 6),
            "label": pa.nulls(6, pa.string()),
            "x": pa.array([30, 10, 20, 21, -9999, 90], pa.float32()),
        }
    )
    info = SeriesInfo(channels=("x",), step=0, carry=1, sentinels=(-9999,))
    readings, info = gather([table], info, tmp_path)
    assert info.step == 1_000_000
    assert readings.values[:, 0].tolist() == [10, 20, 30, 30, 90]
    assert readings.runs.tolist() == [[0, 4], [4, 5]]
    assert readings.report["duplicates_dropped"] == 1
    assert readings.report["breaks_in_order"] == 4
    assert readings.report["values_carried_forward"] == 1
    assert readings.report["steps_left_out"] == 4


def test_no_reading_to_foretell_is_in_two_parts(tmp_path: Path) -> None:
    data = SensorsData(dataset=str(write_csv(tmp_path / "x.csv")), time_column="when",
                       group_column="device", features="temp,load")  # fmt: skip
    prepare_series(data, None, lambda _: SMALL, tmp_path)
    ahead = {}
    for part in ("train", "validation", "test"):
        windows, _, readings = part_windows(tmp_path, part, SMALL)  # type: ignore[misc]
        starts = windows.starts(torch.arange(len(windows))).numpy()
        rows = (starts[:, None] + 12 + np.arange(4)).ravel()
        ahead[part] = {(int(r >= 400), int(readings.times[r])) for r in rows}
    assert not ahead["train"] & ahead["validation"]
    assert not ahead["validation"] & ahead["test"]
    for device in (0, 1):
        last = [max(t for d, t in ahead[p] if d == device) for p in ahead]
        assert last == sorted(last)
    assert len(ahead["test"]) == 2 * 80


def test_groups_stay_on_one_side(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "x.csv", 100, devices=5)
    config = WindowConfig(task="classify", lookback=12, hidden_size=4)
    data = SensorsData(dataset=str(path), task="classify", time_column="when", features="load",
                       group_column="device", label_column="state", test_groups="d3")  # fmt: skip
    prepare_series(data, None, lambda _: config, tmp_path)
    seen = {}
    for part in ("train", "validation", "test"):
        windows, labels, readings = part_windows(tmp_path, part, config)  # type: ignore[misc]
        runs = np.searchsorted(readings.runs[:, 1], windows.runs[:, 0], "right")
        seen[part] = {readings.group_names[g] for g in readings.groups[runs]}
        of_windows = runs[windows.run_of(torch.arange(len(windows)))]
        assert torch.equal(labels, torch.from_numpy(readings.labels[of_windows]))
    assert seen["test"] == {"d3"}
    assert len(seen["train"] | seen["validation"]) == 4
    assert not seen["train"] & seen["validation"]
    wrong = data.model_copy(update={"test_groups": ("d9",)})
    with pytest.raises(InputError, match=r"--test-groups must be groups of the data.*'d9'"):
        prepare_series(wrong, None, lambda _: config, tmp_path)


def test_scores_are_those_of_the_windows(forecaster: Path, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "x.csv", 30)
    summary = score_files(forecaster, str(path), None, tmp_path / "out", every=6)
    # Of 30 readings, windows of 12 that end at 30, 24, 18 and 12.
    assert summary.rows == 2 * 4 * 4
    [scored] = (tmp_path / "out").glob("*.parquet")
    rows = [r for r in pq.read_table(scored).to_pylist() if r["group"] == "d1"]
    table = pa_csv.read_csv(path).slice(30, 30)
    values = np.stack([table["temp"].to_numpy(), table["load"].to_numpy()], 1)[None, 12:24]
    scorer = SensorScorer.load(forecaster)
    with torch.inference_mode():
        expected = scorer.model(torch.from_numpy(values.astype(np.float32)))[0, :, 0, 0]
    found = [r["forecast"] for r in rows if r["made_at"].hour == 23 and r["made_at"].day == 1]
    assert found == pytest.approx(expected.tolist(), abs=1e-5)
    assert all(r["low"] is None for r in rows)  # it was never calibrated


def test_bad_rows_and_other_columns_when_scoring(forecaster: Path, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "x.csv", 30)
    lines = path.read_text().splitlines()
    lines[5] = "soon,d0,1,2,idle"
    path.write_text("\n".join(lines) + "\n")
    summary = score_files(forecaster, str(path), None, tmp_path / "out")
    assert (summary.rows, summary.rejected) == (8, 1)
    [side] = (tmp_path / "out" / "rejected").glob("*.jsonl")
    assert json.loads(side.read_text())["row"] == 5
    without = "\n".join(line.replace("load", "weight") for line in lines) + "\n"
    path.write_text(without)
    with pytest.raises(InputError, match=r"must name a column of .*'weight'.*got 'load'"):
        score_files(forecaster, str(path), None, tmp_path / "out2")
    path.write_text("\n".join(lines[:4]) + "\n")
    with pytest.raises(InputError, match="--input must hold a row that can be scored"):
        score_files(forecaster, str(path), None, tmp_path / "out3")


def test_columns_that_the_model_does_not_know_are_named(
    forecaster: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = write_csv(tmp_path / "x.csv", 30)
    monkeypatch.setattr(storage, "BLOCK", 100)
    with caplog.at_level("INFO", logger="flows"):
        score_files(forecaster, str(path), None, tmp_path / "out")
    assert caplog.text.count("x.csv: columns that are not read: state") == 1


def test_a_forecast_goes_on_over_a_change_of_label(tmp_path: Path) -> None:
    info = SeriesInfo(channels=("temperature", "load"), targets=("load",), step=0, carry=6)
    readings, _ = gather(SENSORS["sample"].read(None), info, tmp_path)
    parted, _ = gather(
        SENSORS["sample"].read(None), info.model_copy(update={"targets": ()}), tmp_path
    )
    assert len(readings.runs) < len(parted.runs)
    assert np.diff(parted.labels).any()


_PEAK_OF_GATHERING = """
import sys, threading, time
from pathlib import Path
from flows.datasets.series_columns import find_numbers, first_rows
from flows.datasets.series_files import SeriesColumns, read_series
from flows.steps.prepare.gather import gather
from rnnfast.training.run_folder import SeriesInfo

def own() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))

def watch() -> None:
    while True:
        seen.append(own())
        time.sleep(0.005)

columns = SeriesColumns("time", ("a", "b", "c"))
info = SeriesInfo(channels=columns.channels, targets=("a",), step=0, carry=6)
seen = [own()]
threading.Thread(target=watch, daemon=True).start()
gather(read_series(sys.argv[1], columns, "--dataset"), info, Path(sys.argv[2]))
print(max(seen) - seen[0])
"""


def _peak_of_gathering(rows: int, folder: Path) -> int:
    """The bytes that gathering a series of `rows` readings in three channels takes at its peak."""
    piece = 500_000
    fields = [("time", pa.timestamp("s")), *((name, pa.float32()) for name in "abc")]
    values = np.random.default_rng(0).random((3, piece), np.float32)
    (folder / "out").mkdir(parents=True)
    with pq.ParquetWriter(folder / "x.parquet", pa.schema(fields)) as writer:
        for start in range(0, rows, piece):
            columns = [pa.array(np.arange(start, start + piece)).cast(pa.timestamp("s"))]
            columns += [pa.array(channel) for channel in values]
            writer.write_table(pa.table(columns, schema=writer.schema))
    command = [sys.executable, "-c", _PEAK_OF_GATHERING, folder / "x.parquet", folder / "out"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    # Gathered in pieces, it is one run all the same.
    assert json.loads((folder / "out" / "runs.json").read_text())["runs"] == [[0, rows]]
    return int(done.stdout) * 1024


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells the memory")
def test_a_long_series_is_gathered_in_the_memory_of_a_short_one(tmp_path: Path) -> None:
    short, long = 2_000_000, 8_000_000
    peaks = [_peak_of_gathering(rows, tmp_path / str(rows)) for rows in (short, long)]
    columns = 3 * 4 * (long - short)  # the bytes that only the long one's float32 columns take
    assert peaks[1] - peaks[0] < columns / 2
    assert peaks[1] < GATHERING_MEMORY


def test_the_sample_is_the_same_each_time_and_has_what_it_promises(tmp_path: Path) -> None:
    sample = SENSORS["sample"]
    first, second = (pa.concat_tables(sample.read(None)) for _ in range(2))
    assert first.equals(second)
    assert {"fault", "normal"} == set(first["label"].to_pylist())
    data = SensorsData()
    rows = prepare_series(data, None, lambda _: WindowConfig(lookback=24, horizon=6), tmp_path).rows
    for name in (
        "duplicates_dropped",
        "breaks_in_order",
        "values_carried_forward",
        "steps_left_out",
    ):
        assert rows[name] > 0
    assert rows["groups"] == 8


def test_faults_of_the_sample_are_known_by_the_order_of_readings() -> None:
    features: dict[str, list[np.ndarray]] = {"sorted": [], "swings": []}
    faulty = []
    for table in SENSORS["sample"].read(None):
        load = table["load"].to_numpy()
        fault = table["label"].to_numpy(zero_copy_only=False) == "fault"
        for start in range(200, len(load) - 24, 12):
            window = load[start : start + 24]
            if fault[start : start + 24].sum() in (0, 24):
                faulty.append(fault[start])
                features["sorted"].append(np.sort(window - window.mean()))
                features["swings"].append(np.abs(np.fft.rfft(window - window.mean())))
    found = {}
    for name, rows in features.items():
        model = LogisticRegression(max_iter=1000).fit(rows[::2], faulty[::2])
        found[name] = balanced_accuracy_score(faulty[1::2], model.predict(rows[1::2]))
    assert found["sorted"] < 0.6
    assert found["swings"] > 0.9


def hapt_archive(path: Path, labels: str = "1 2 5 2 60\n1 2 7 61 80\n2 3 1 1 70\n") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("RawData/labels.txt", labels)
        for recording in ("exp01_user02", "exp02_user03"):
            for sensor in ("acc", "gyro"):
                lines = "".join(f"{i} {i + 0.5} {-i}\n" for i in range(90))
                archive.writestr(f"RawData/{sensor}_{recording}.txt", lines)
    return path


def test_hapt_gives_recordings_with_their_activities(tmp_path: Path) -> None:
    tables = list(hapt.read(hapt_archive(tmp_path / "a.zip")))
    assert [table["group"][0].as_py() for table in tables] == ["2", "3"]
    labels = tables[0]["label"].to_pylist()
    assert labels[0] is None
    assert set(labels[1:60]) == {"standing"}
    assert set(labels[60:]) == {None}  # a change of posture, and what nobody labelled
    assert tables[1]["label"].to_pylist()[0] == "walking"
    assert tables[0]["gyro_z"].to_pylist()[:3] == [0, -1, -2]
    assert np.diff(tables[0]["time"].to_numpy()).tolist() == [20_000] * 89


def test_hapt_refuses_another_archive(tmp_path: Path) -> None:
    path = hapt_archive(tmp_path / "a.zip")
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ArchiveError, match=r"a\.zip must be the whole archive of HAPT"):
        list(hapt.read(path))
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr("README.txt", "nothing")
    with pytest.raises(ArchiveError, match=r"must hold RawData/acc_exp01_user01\.txt"):
        list(hapt.read(tmp_path / "b.zip"))


def test_szeged_is_put_in_order(sensor_mirror: Path, tmp_path: Path) -> None:
    info = SeriesInfo(channels=szeged.CHANNELS, step=0, carry=6)
    readings, _ = gather(szeged.read(sensor_mirror / "weatherHistory.csv"), info, tmp_path)
    assert readings.report["readings"] == 96_453
    assert readings.report["breaks_in_order"] == 903
    assert readings.report["duplicates_dropped"] == 24
    assert readings.report["step_seconds"] == 3600


def test_the_published_split_of_ett(sensor_mirror: Path, tmp_path: Path) -> None:
    config = WindowConfig(form="segments", lookback=720, horizon=96, segment=48)
    prepared = prepare_series(
        SensorsData(dataset="etth1"), sensor_mirror / "ETTh1.csv", lambda _: config, tmp_path
    )
    rows = prepared.rows
    found = [rows[f"{part}_windows"] for part in ("train", "validation", "test")]
    assert found == [8640 - 720 - 95, 2880 - 95, 2880 - 95]


def test_the_people_of_hapt(sensor_mirror: Path, tmp_path: Path) -> None:
    config = WindowConfig(task="classify", lookback=128, bidirectional=True)
    data = SensorsData(dataset="hapt")
    rows = prepare_series(
        data, sensor_mirror / "HAPT Data Set.zip", lambda _: config, tmp_path
    ).rows
    assert rows["groups"] == 30
    assert rows["test_windows"] == 2996
