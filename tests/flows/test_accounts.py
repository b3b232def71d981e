"""Each row that is read is used, rejected or left out; the last lines of every run say so, and the counts add up."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import Result

from flows.accounts import (
    Account,
    account_of_scoring,
    account_of_training,
    count_rejected,
    reason_kind,
)
from flows.wording import counted

RunCli = Callable[..., Result]
NUMBER = r"([\d,]+)"


def numbers(line: str) -> list[int]:
    return [int(found.replace(",", "")) for found in re.findall(NUMBER, line)]


def last_lines(result: Result) -> list[str]:
    """The account at the end of what a command printed: from the line that begins with Read."""
    lines = result.stdout.splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("Read "))
    read, *parts = numbers(lines[first])
    assert sum(parts) == read
    return lines[first:]


def test_lines_and_numbers() -> None:
    account = Account(
        1010,
        {"trained on": 1000, "validated on": 1},
        {"the text is missing": 6, "the line is not JSON": 1},
        {"without a label": 2, "without content": 0},
    )
    assert account.lines() == [
        "Read 1,010 rows: trained on 1,000, validated on 1, rejected 7, left out 2",
        "Rejected: 6 rows: the text is missing; 1 row: the line is not JSON",
        "Left out: 2 rows without a label",
    ]
    assert account.as_json() == {
        "read": 1010,
        "trained_on": 1000,
        "validated_on": 1,
        "rejected": 7,
        "left_out": 2,
        "why_rejected": {"the text is missing": 6, "the line is not JSON": 1},
        "why_left_out": {"without a label": 2},
    }
    assert Account(1, {"scored": 1}).lines() == ["Read 1 row: scored 1, rejected 0, left out 0"]


def test_counts_that_do_not_add_up_are_an_error() -> None:
    for used, left_out in (({"scored": 2}, {}), ({"scored": 5}, {"lost": -2})):
        with pytest.raises(ValueError, match="must add up to the 3 rows read"):
            Account(3, used, {}, left_out)


@given(*[st.integers(0, 1000)] * 4)
def test_an_account_of_scoring_adds_up(rows: int, rejected: int, blank: int, known: int) -> None:
    counts = {"rejected: the text is missing": min(known, rejected)}
    account = account_of_scoring(rows + rejected + blank, rows, rejected, counts)
    assert account.as_json()["left_out"] == blank
    assert sum(account.rejected.values()) == rejected


def test_plurals() -> None:
    assert [counted(n, "row") for n in (0, 1, 2, 2000)] == [
        "0 rows",
        "1 row",
        "2 rows",
        "2,000 rows",
    ]
    assert [counted(n, "match", "matches") for n in (1, 2)] == ["1 match", "2 matches"]


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("2 fields expected, found 3", "too few or too many fields"),
        ("the text is missing", "the text is missing"),
        ("the line is not JSON: Expecting value: line 1", "the line is not JSON"),
        ("the line is not UTF-8 (byte 12)", "the line is not UTF-8"),
        ("the text is 12, not a string", "the text is not a string"),
        ("'temp' must be a number, got 'x: y'", "'temp' must be a number"),
        (
            "'time' must be a time stamp, it is missing",
            "'time' must be a time stamp, it is missing",
        ),
    ],
)
def test_reasons_are_counted_by_their_kind(reason: str, kind: str) -> None:
    assert reason_kind(reason) == kind
    assert count_rejected([reason, reason]) == {f"rejected: {kind}": 2}


def test_reviews(
    server: None, run_cli: RunCli, tiny: list[str], reviews_csv: Path, tmp_path: Path
) -> None:
    with reviews_csv.open("a") as file:
        file.write("r120,no label,,m1\nr121,none either,nan,m2\n")
    options = ["--dataset", reviews_csv, *tiny, "--output", tmp_path / "run"]
    assert last_lines(run_cli("reviews", *options, "--dry-run")) == [
        "Read 0 rows: a dry run looks at no row; used 0, rejected 0, left out 0"
    ]
    result = run_cli("reviews", *options)
    assert result.exit_code == 0, result.output
    lines = last_lines(result)
    assert lines == [
        "Read 122 rows: trained on 86, validated on 10, tested on 24, rejected 0, left out 2",
        "Left out: 2 rows without a label",
    ]
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["account"]["read"] == 122
    assert metrics["account"]["why_left_out"] == {"without a label": 2}


def readings(path: Path) -> Path:
    """Hourly readings of two devices, one of them doubled, one half an hour after another, one that is no number."""
    lines = [
        f"2024-01-{1 + i // 24:02}T{i % 24:02}:00:00,d{d},{i % 5},{i % 7}\n"
        for d in range(2)
        for i in range(96)
    ]
    lines += ["2024-01-01T05:00:00,d1,9,9\n", "2024-01-02T05:30:00,d1,9,9\n"]
    path.write_text("when,device,temp,load\n" + "".join(lines))
    return path


def test_sensors(server: None, run_cli: RunCli, tmp_path: Path) -> None:
    options = ["--dataset", readings(tmp_path / "a.csv"), "--time-column", "when", "--group-column", "device",
               "--horizon", "2", "--set", "lookback=4", "--set", "hidden_size=4", "--epochs", "1",
               "--output", tmp_path / "run"]  # fmt: skip
    result = run_cli("sensors", *options)
    assert result.exit_code == 0, result.output
    lines = last_lines(result)
    assert lines == [
        "Read 194 readings: trained on 138, validated on 16, tested on 38, rejected 0, left out 2",
        "Left out: 1 reading closer to the one before than a step; 1 reading with the time stamp of another one",
        "Windows of these readings: 128 for training, 14 for validation, 36 for testing",
    ]
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["account"]["read"] == 194


def test_readings_that_no_part_uses(tmp_path: Path) -> None:
    from flows.parameters import SensorsData
    from flows.steps.prepare.series import prepare_series
    from rnnfast.models.windows import WindowConfig

    hours = [i for i in range(300) if i not in (100, 104) and not 110 <= i < 130]
    lines = [
        f"2024-01-{1 + i // 24:02}T{i % 24:02}:00,{i % 7},{'' if i == 200 else i % 5}"
        for i in hours
    ]
    (tmp_path / "a.csv").write_text("\n".join(["t,x,y", *lines, ""]))
    data = SensorsData(dataset=str(tmp_path / "a.csv"), mirror=None, carry=0)
    config = WindowConfig(cell="gru", task="forecast", lookback=4, horizon=2)
    rows = prepare_series(data, None, lambda _: config, tmp_path).rows
    account = account_of_training(rows)
    assert account.left_out == {
        "closer to the one before than a step": 0,
        "with the time stamp of another one": 0,
        "without a value for every channel": 1,
        "in no window: too short a stretch between gaps, or no label": 8,
    }
    assert sum(account.used.values()) == len(hours) - 9


def test_score_of_reviews(server: None, run_cli: RunCli, run_dir: Path, tmp_path: Path) -> None:
    lines = ['{"text": "good"}', "", '{"text": "bad"}', '{"text": null}', "{", '{"text": 3}', " "]
    (tmp_path / "a.jsonl").write_text("\n".join([*lines, *lines]) + "\n")
    options = ["--model", run_dir, "--input", tmp_path / "a.jsonl", "--output", tmp_path / "out"]
    options += ["--shard-rows", "5"]
    assert last_lines(run_cli("score", *options, "--dry-run"))[0].startswith("Read 0 rows")
    for _ in range(2):  # the second time all of it was done before
        result = run_cli("score", *options)
        assert result.exit_code == 0, result.output
        assert last_lines(result) == [
            "Read 14 rows: scored 4, rejected 6, left out 4",
            "Rejected: 2 rows: the line is not JSON; 2 rows: the text is missing; 2 rows: the text is not a string",
            "Left out: 4 rows without content",
        ]
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["account"]["rejected"] == manifest["rejected"] == 6
    assert manifest["account"]["read"] == 14


def test_score_of_what_is_new(server: None, run_cli: RunCli, run_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.csv").write_text("text,n\ngood,1\n,2\n")
    options = [
        "--model",
        run_dir,
        "--input",
        tmp_path / "in",
        "--output",
        tmp_path / "out",
        "--new",
    ]
    options += ["--settle", "0"]
    assert last_lines(run_cli("score", *options)) == [
        "Read 2 rows: scored 1, rejected 1, left out 0",
        "Rejected: 1 row: the text is missing",
    ]
    assert last_lines(run_cli("score", *options)) == [
        "Read 0 rows: scored 0, rejected 0, left out 0"
    ]
    (tmp_path / "in" / "b.csv").write_text("text,n\nbad,1\n")
    assert last_lines(run_cli("score", *options)) == [
        "Read 1 row: scored 1, rejected 0, left out 0"
    ]
    # A file that cannot be read ends the run; what was scored is accounted for all the same.
    (tmp_path / "in" / "c.csv").write_text("text,n\nfine,1\n")
    (tmp_path / "in" / "d.parquet").write_bytes(b"no Parquet")
    result = run_cli("score", *options)
    assert result.exit_code == 2
    assert "Read 1 row: scored 1, rejected 0, left out 0" in result.stderr


def test_a_closed_gate_has_its_account(
    server: None, run_cli: RunCli, run_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "a.csv").write_text("text\nstrange\nodd\n")
    result = run_cli(
        "score",
        "--model",
        run_dir,
        "--input",
        tmp_path / "a.csv",
        "--output",
        tmp_path / "out",
        "--gate",
    )
    assert result.exit_code == 2
    assert "Read 2 rows: scored 2, rejected 0, left out 0" in result.stderr


def test_score_of_readings(server: None, run_cli: RunCli, forecaster: Path, tmp_path: Path) -> None:
    path = readings(tmp_path / "a.csv")
    with path.open("a") as file:
        file.write("2024-01-04T00:00:00,d1,x,1\nsoon,d1,1,1\n2024-01-04T00:00:00,d9,1,1\n")
    result = run_cli("score", "--model", forecaster, "--input", path, "--output", tmp_path / "out")
    assert result.exit_code == 0, result.output
    lines = last_lines(result)
    assert lines[0].startswith("Read 197 readings: used ")
    assert "rejected 2" in lines[0]
    assert "'temp' must be a number" in lines[1]
    assert (
        "No forecast after the last reading of 1 device: too few readings since the last gap"
        in lines
    )
    account = json.loads((tmp_path / "out" / "manifest.json").read_text())["account"]
    assert account["read"] == account["used"] + account["rejected"] + account["left_out"] == 197


def test_parquet(server: None, run_cli: RunCli, run_dir: Path, tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["good", None, "bad"]}), tmp_path / "a.parquet")
    result = run_cli(
        "score", "--model", run_dir, "--input", tmp_path / "a.parquet", "--output", tmp_path / "out"
    )
    assert last_lines(result)[0] == "Read 3 rows: scored 2, rejected 1, left out 0"
