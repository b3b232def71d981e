"""Scoring of readings that are spread over files, in partitions and on several workers."""

import json
import os
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
from jobs import content, score_files
from typer.testing import Result

from flows.datasets.partitions import partition_of
from flows.errors import InputError, TransferError
from flows.parameters import Execution, SensorsData
from flows.steps.prepare import gather as gather_step
from flows.steps.prepare import partition as partition_step
from flows.steps.prepare.partition import PARTITIONS
from flows.steps.prepare.series import prepare_series
from flows.steps.score import job as scoring_job
from flows.steps.score.files import Summary
from flows.steps.score.readings import ReadingsWork
from flows.store.outputs import DRIFT, Outputs
from rnnfast.models.window_config import WindowConfig
from rnnfast.scoring.scorers import SensorScorer

RunCli = Callable[..., Result]
DEVICES, DAYS, BAD = 7, 4, 3
ONE, TWO, THREE = (Execution(workers=count) for count in (1, 2, 3))


@pytest.fixture
def daily(tmp_path: Path) -> Path:
    """A folder with a file of all devices for each day, hour after hour, and bad rows in two of the files."""
    folder = tmp_path / "in"
    folder.mkdir()
    for day in range(DAYS):
        lines = ["when,device,temp,load"]
        for hour in range(24):
            stamp = (datetime(2024, 1, 1 + day) + timedelta(hours=hour)).isoformat(" ")
            for device in range(DEVICES):
                x = day * 24 + hour + device
                lines.append(f"{stamp},p{device},{20 + np.sin(x):.4f},{np.cos(x):.4f}")
        if day == 1:
            lines[3] = lines[3].replace("2024", "soon")
        if day == 3:
            lines[5:5] = ["2024-01-04 00:00,p1,warm,1", "2024-01-04 00:00,p1,1"]
        (folder / f"day{day}.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The days' 25 KB are three partitions of two parts each day."""
    monkeypatch.setattr(partition_step, "PARTITION_BYTES", 10_000)
    monkeypatch.setattr(partition_step, "PART_ROWS", 100)


def rows(output: Path) -> pa.Table:
    tables = [pq.read_table(path) for path in sorted(output.glob("*.parquet"))]
    return pa.concat_tables(tables).sort_by([("group", "ascending"), ("time", "ascending")])


def manifest(output: Path) -> dict[str, object]:
    return json.loads((output / "manifest.json").read_text())  # type: ignore[no-any-return]


def score(model: Path, daily: Path, output: Path, execution: Execution = ONE) -> Summary:
    return score_files(model, f"{daily}/*.csv", None, output, every=12, execution=execution)


def test_a_device_is_one_series_wherever_its_readings_are(
    forecaster: Path, daily: Path, tmp_path: Path
) -> None:
    days = [pa_csv.read_csv(path) for path in sorted(daily.glob("*.csv"))[:1]]
    for path in sorted(daily.glob("*.csv"))[1:]:
        good = [line for line in path.read_text().splitlines() if line.startswith("2024")]
        good = [line for line in good if line.count(",") == 3 and "warm" not in line]
        content = "\n".join([",".join(days[0].column_names), *good]).encode()
        days.append(pa_csv.read_csv(pa.BufferReader(content), convert_options=pa_csv.ConvertOptions(
            column_types=days[0].schema)))  # fmt: skip
    together = pa.concat_tables(days)
    pq.write_table(together.sort_by([("device", "descending")]), tmp_path / "one.parquet")
    summary = score(forecaster, daily, tmp_path / "days")
    score_files(forecaster, str(tmp_path / "one.parquet"), None, tmp_path / "one", every=12)
    assert rows(tmp_path / "days").equals(rows(tmp_path / "one"))
    # 96 hours of each device: windows that end with hours 12, 24, ... 96, the lost hour carried over.
    assert summary.rows == DEVICES * 8 * 4
    [shard] = manifest(tmp_path / "days")["shards"]  # type: ignore[misc]
    assert (shard["input"], shard["first_row"]) == ("4 files", None)
    [shard] = manifest(tmp_path / "one")["shards"]  # type: ignore[misc]
    assert (shard["input"], shard["first_row"]) == ("one.parquet", 1)


@pytest.mark.usefixtures("small_parts")
def test_readings_are_split_in_ranges_of_many_shards(
    forecaster: Path, daily: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "flows")
    for shard_rows, ranges in ((100, 8), (2, 24)):
        execution = Execution(workers=1, shard_rows=shard_rows)
        score(forecaster, daily, tmp_path / str(shard_rows), execution)
        assert f"3 partitions of {ranges} ranges of rows" in caplog.text
    assert rows(tmp_path / "100").equals(rows(tmp_path / "2"))


@pytest.mark.usefixtures("small_parts")
def test_the_same_bytes_from_one_worker_and_three(
    forecaster: Path, daily: Path, tmp_path: Path
) -> None:
    whole = tmp_path / "whole"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(partition_step, "PARTITION_BYTES", 1 << 20)
        score(forecaster, daily, whole)
    found = []
    for execution in (ONE, THREE):
        output = tmp_path / f"out{execution.workers}"
        summary = score(forecaster, daily, output, execution)
        assert (summary.shards, summary.rejected) == (3, BAD)
        found.append(content(output))
    assert found[0] == found[1]
    assert not (tmp_path / "out1" / PARTITIONS).exists()
    expected, parted = rows(whole), rows(tmp_path / "out1")
    assert parted.drop_columns("forecast").equals(expected.drop_columns("forecast"))
    np.testing.assert_allclose(parted["forecast"], expected["forecast"], rtol=1e-5)
    for path in (tmp_path / "out1").glob("*.parquet"):
        table = pq.read_table(path, columns=["group", "made_at", "time"]).to_pylist()
        keys = [tuple(row.values()) for row in table]
        assert keys == sorted(keys)
        number = int(path.name.split("-")[1]) - 1
        assert {partition_of(row["group"], 3) for row in table} == {number}


@pytest.mark.usefixtures("small_parts")
def test_the_manifest_is_of_partitions(forecaster: Path, daily: Path, tmp_path: Path) -> None:
    score(forecaster, daily, tmp_path / "out")
    listed = manifest(tmp_path / "out")
    shards: list[dict[str, object]] = listed["shards"]  # type: ignore[assignment]
    assert [s["input"] for s in shards] == [f"partition {i} of 3" for i in (1, 2, 3)]
    assert {s["first_row"] for s in shards} == {None}
    assert sum(s["input_rows"] for s in shards) == DEVICES * DAYS * 24 + 2  # type: ignore[misc]
    assert listed["rows"] == DEVICES * 8 * 4
    assert listed["rejected"] == BAD


@pytest.mark.usefixtures("small_parts")
def test_bad_rows_are_told_once_with_their_file_and_place(
    forecaster: Path, daily: Path, tmp_path: Path
) -> None:
    for _ in range(2):
        summary = score(forecaster, daily, tmp_path / "out")
        assert summary.rejected == BAD
        paths = (tmp_path / "out" / "rejected").iterdir()
        lines = [json.loads(line) for path in paths for line in path.read_text().splitlines()]
        assert sorted((line["input"], line["row"]) for line in lines) == [
            ("day1.csv", 3), ("day3.csv", 5), ("day3.csv", 6)
        ]  # fmt: skip
    assert summary.skipped == summary.shards


@dataclass(frozen=True)
class DiesOnce(ReadingsWork):
    """Ends its worker with the first shard, if no worker has ended before."""

    def do(self, scorer, computing, shard):  # type: ignore[no-untyped-def]
        marker = Path(os.environ["DIES_ONCE"])
        if shard.number == 0 and not marker.exists():
            marker.touch()
            os._exit(9)
        return super().do(scorer, computing, shard)


@pytest.mark.usefixtures("small_parts")
def test_a_worker_that_dies_costs_nothing(
    forecaster: Path, daily: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    score(forecaster, daily, tmp_path / "out")
    monkeypatch.setenv("DIES_ONCE", str(tmp_path / "died"))
    monkeypatch.setattr(scoring_job, "ReadingsWork", DiesOnce)
    score(forecaster, daily, tmp_path / "again", TWO)
    assert (tmp_path / "died").exists()
    assert content(tmp_path / "again") == content(tmp_path / "out")


class FailsAt:
    """Writes shards up to one of them."""

    def __init__(self, last: int) -> None:
        self.left, self.write = last, Outputs.write

    def __call__(self, *arguments: object) -> object:
        if self.left == 0:
            raise OSError(28, "No space left on device")
        self.left -= 1
        return self.write(*arguments)  # type: ignore[arg-type]


@pytest.mark.usefixtures("small_parts")
def test_started_again_it_does_what_is_missing(
    forecaster: Path, daily: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clean, output = tmp_path / "clean", tmp_path / "out"
    score(forecaster, daily, clean)
    with monkeypatch.context() as patch:
        fails = FailsAt(1)
        patch.setattr(Outputs, "write", lambda *arguments: fails(*arguments))
        with pytest.raises(OSError, match="No space"):
            score(forecaster, daily, output)
    left = sorted(p.name for p in (output / PARTITIONS).iterdir())
    assert Counter(name.rpartition(".")[2] for name in left) == {"arrow": 8, "jsonl": 2}
    # A part is missing, another one is of an input that is no more.
    (output / PARTITIONS / left[0]).unlink()
    (output / PARTITIONS / "part-0123456789abcdef.arrow").write_bytes(b"")
    written, write = [], partition_step.write_part

    def counted(folder, key, *rest):  # type: ignore[no-untyped-def]
        written.append(key)
        write(folder, key, *rest)

    monkeypatch.setattr(partition_step, "write_part", counted)
    summary = score(forecaster, daily, output)
    assert written == [left[0].removesuffix(".arrow")]
    assert (summary.shards, summary.skipped) == (3, 1)
    assert content(output) == content(clean)
    assert not (output / PARTITIONS).exists()


@pytest.mark.usefixtures("small_parts")
def test_partitions_go_only_where_the_input_is_of_no_use(
    forecaster: Path, daily: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(error: Exception) -> Callable[..., object]:
        def write(*_: object) -> object:
            raise error

        return write

    output = tmp_path / "out"
    for error in (InputError("--model must stay as it is"), TransferError("AWS Error")):
        with monkeypatch.context() as patch:
            patch.setattr(Outputs, "write", fails(error))
            with pytest.raises(type(error)):
                score(forecaster, daily, output)
        assert len(list((output / PARTITIONS).glob("*.arrow"))) == 8
    (daily / "z.csv").write_text("no,such,columns\n1,2,3\n")
    with pytest.raises(InputError, match=r"must name a column of .*z\.csv"):
        score(forecaster, daily, output)
    assert not (output / PARTITIONS).exists()


@pytest.mark.usefixtures("small_parts")
def test_a_file_that_was_changed_is_split_again(
    forecaster: Path, daily: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        fails = FailsAt(0)
        patch.setattr(Outputs, "write", lambda *arguments: fails(*arguments))
        with pytest.raises(OSError, match="No space"):
            score(forecaster, daily, tmp_path / "out")
    path = daily / "day2.csv"
    path.write_text(path.read_text().replace(",p0,", ",p9,"))
    score(forecaster, daily, tmp_path / "out")
    score(forecaster, daily, tmp_path / "clean")
    assert content(tmp_path / "out") == content(tmp_path / "clean")


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("workers", [1, 2])
def test_a_column_that_one_file_lacks_leaves_nothing(
    server: None, run_cli: RunCli, forecaster: Path, daily: Path, tmp_path: Path, workers: int
) -> None:
    path = daily / "day3.csv"
    path.write_text(path.read_text().replace("load", "weight", 1))
    options = ["--model", forecaster, "--input", daily, "--output", tmp_path / "out"]
    result = run_cli("score", *options, "--workers", workers)
    assert result.exit_code == 2
    assert "day3.csv, which has 'when', 'device', 'temp', 'weight'; got 'load'" in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("small_parts")
def test_a_partition_may_hold_nothing_to_score(
    forecaster: Path, daily: Path, tmp_path: Path
) -> None:
    silent = next(name for name in (f"p{i}" for i in range(DEVICES)) if partition_of(name, 3) == 1)
    for path in daily.glob("*.csv"):
        lines = path.read_text().splitlines()
        kept = [
            ",".join([*line.split(",")[:3], ""]) if line.split(",")[1] == silent else line
            for line in lines
            if line == lines[0] or partition_of(line.split(",")[1], 3) == 0 or f",{silent}," in line
        ]
        path.write_text("\n".join(kept) + "\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(partition_step, "partition_count", lambda files: 3)
        score(forecaster, daily, tmp_path / "out")
    shards: list[dict[str, int]] = manifest(tmp_path / "out")["shards"]  # type: ignore[assignment]
    assert [shard["rows"] > 0 for shard in shards] == [True, False, False]
    assert [shard["input_rows"] > 0 for shard in shards] == [True, True, False]


def test_what_a_worker_writes_in_between_has_no_name_that_could_be_left(
    forecaster: Path, daily: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    seen = []

    def noting(call: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*arguments: Any) -> Any:
            seen.append([path.name for path in temporary.rglob("*")])
            return call(*arguments)

        return noted

    # While the readings are collected, put on their grid, and read by the model.
    moments = (pc, "fill_null"), (gather_step, "regular"), (SensorScorer, "forecasts")
    for module, name in moments:
        monkeypatch.setattr(module, name, noting(getattr(module, name)))
    score(forecaster, daily, tmp_path / "out")
    assert len(seen) >= len(moments)
    assert not any(seen)


def test_no_forecast_from_before_the_last_gap(
    forecaster: Path, daily: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = daily / "day3.csv"
    # Of two devices the last day is 5 hours, after a gap of 19, and the model reads 12.
    gone = tuple(f"2024-01-04 {hour:02}:00:00,p{d}," for hour in range(19) for d in "13")
    kept = [line for line in path.read_text().splitlines() if not line.startswith(gone)]
    path.write_text("\n".join(kept) + "\n")
    score_files(forecaster, str(daily), None, tmp_path / "last", execution=ONE)
    assert set(rows(tmp_path / "last")["group"].to_pylist()) == {"p0", "p2", "p4", "p5", "p6"}
    assert (
        "of 2 of 7 devices: p1 has 5 readings since its last gap, the model reads 12" in caplog.text
    )
    score(forecaster, daily, tmp_path / "all")
    made_at = rows(tmp_path / "all")
    for name, windows in (("p0", 8), ("p1", 6), ("p3", 6)):
        own = made_at.filter(pc.equal(made_at["group"], name))
        assert len(own["made_at"].unique()) == windows
    for output in ("last", "all"):
        checks = json.loads((tmp_path / output / DRIFT).read_text())["checks"]
        assert [each["value"] for each in checks if each["rule"] == "short"] == [2 / 7]


@pytest.mark.usefixtures("small_parts")
def test_readings_without_a_group_are_one_series(
    forecaster: Path, daily: Path, tmp_path: Path
) -> None:
    config = json.loads((forecaster / "config.json").read_text())
    config["series"]["group_column"] = None
    (forecaster / "config.json").write_text(json.dumps(config))
    with pytest.raises(
        InputError, match="--group-column must name the column that tells the devices apart"
    ):
        score(forecaster, daily, tmp_path / "out")
    for path in daily.glob("*.csv"):
        lines = path.read_text().splitlines()
        path.write_text("\n".join([lines[0], *(line for line in lines if ",p1," in line)]) + "\n")
    summary = score(forecaster, daily, tmp_path / "out")
    assert summary.shards == 1
    assert set(rows(tmp_path / "out")["group"].to_pylist()) == {None}


def test_a_group_is_in_the_same_partition_everywhere() -> None:
    names = ("pump 1", "Pumpe \u00e4", "", None)
    assert [partition_of(name, 1000) for name in names] == [525, 851, 876, 876]


def test_training_reads_folders_and_addresses(daily: Path, tmp_path: Path) -> None:
    for path in (daily / "day1.csv", daily / "day3.csv"):
        path.unlink()
    reports = []
    for number, dataset in enumerate((str(daily), daily.as_uri(), f"{daily.as_uri()}/day*.csv")):
        data = SensorsData(dataset=dataset, time_column="when", group_column="device")
        work = tmp_path / str(number)
        work.mkdir()
        config = WindowConfig(lookback=2, horizon=1)
        reports.append(prepare_series(data, None, lambda _, config=config: config, work).rows)
    assert reports[0] == reports[1] == reports[2]
    assert reports[0]["readings"] == 2 * 24 * DEVICES
