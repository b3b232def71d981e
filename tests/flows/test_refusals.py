"""What cannot be used is refused before anything heavy is loaded: in seconds, in little memory, in a line."""

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

# On a machine that is busy with other tests the clock may run three times as long as on a free one; the CPU's does not.
SECONDS, MEBIBYTES = 3.0, 300
BUSY = 3.0
HEAVY = ("torch", "prefect", "matplotlib", "sklearn", "ray")

# Runs a command as `rnnfast` does, and tells what it took.
MEASURED = """
import atexit, json, os, resource, sys
from flows.__main__ import main
def tell():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    loaded = [name for name in {heavy} if name in sys.modules]
    # Not ru_maxrss, in which the process that started this one has a part.
    lines = open("/proc/self/status").read().splitlines()
    peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    told = [usage.ru_utime + usage.ru_stime, peak / 1024, loaded]
    open({told!r}, "w").write(json.dumps(told))
atexit.register(tell)
main()
"""


@dataclass(frozen=True)
class Refusal:
    """How a command ended: its code, what it said, seconds on the clock and on the CPU, MiB, and what was loaded."""

    code: int
    stdout: str
    stderr: str
    seconds: float
    cpu: float
    mebibytes: float
    loaded: list[str]


def refused(*arguments: object, **environment: str) -> Refusal:
    with tempfile.NamedTemporaryFile() as told:
        code = MEASURED.format(heavy=HEAVY, told=told.name)
        started = time.monotonic()
        ended = subprocess.run(
            [sys.executable, "-c", code, *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=60,
            env=os.environ | {"COLUMNS": "500"} | environment,
        )
        seconds = time.monotonic() - started
        took = json.load(told)
    return Refusal(ended.returncode, ended.stdout, ended.stderr, seconds, *took)


def assert_light(refusal: Refusal, *parts: str) -> None:
    """Refused with code 2, and one line of error that has the parts, after little time and memory."""
    assert refusal.code == 2, refusal
    errors = [line for line in refusal.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1, refusal.stderr
    others = [line for line in refusal.stderr.splitlines() if line != errors[0]]
    assert all(": CSV, separator" in line for line in others), refusal.stderr
    for part in parts:
        assert part in errors[0]
    assert refusal.loaded == []
    assert refusal.cpu < SECONDS, refusal
    assert refusal.seconds < BUSY * SECONDS, refusal
    assert refusal.mebibytes < MEBIBYTES, refusal


GOOD = "text,label\n" + "a good one,pos\na bad one,neg\n" * 30
TIMES = "time,load\n" + "".join(f"2026-01-01T{hour:02}:00:00,{hour}\n" for hour in range(24))
TRAININGS: dict[str, tuple[list[str], list[str]]] = {
    "no such file": (["--dataset", "no.csv"], ["--dataset must name a file that exists", "no.csv"]),
    "no such column": (
        ["--dataset", "good.csv", "--text-column", "body"],
        ["--text-column", "'body'"],
    ),
    "no such label": (["--dataset", "good.csv", "--label-column", "x"], ["--label-column", "'x'"]),
    "no such group": (["--dataset", "good.csv", "--group-column", "x"], ["--group-column", "'x'"]),
    "an empty file": (["--dataset", "empty.csv"], ["--dataset must hold at least one row"]),
    "a header alone": (["--dataset", "header.csv"], ["--dataset must hold at least one row"]),
    "a wrong extension": (["--dataset", "good.xlsx"], ["good.xlsx", "save the sheet as CSV"]),
    "no Parquet": (["--dataset", "good.parquet"], ["good.parquet", "parquet"]),
    "no text": (["--dataset", "bytes"], ["bytes", "no text"]),
    "bad test rows": (["--dataset", "good.csv", "--test-dataset", "other.csv"], ["--text-column"]),
    "a bad number": (["--dataset", "good.csv", "--epochs", "0"], ["--epochs", "'0'"]),
    "a bad preset": (["--dataset", "good.csv", "--preset", "best"], ["--preset", "'best'"]),
    "a bad cell": (["--dataset", "good.csv", "--cell", "x"], ["--cell", "'x'"]),
    "a bad field": (["--dataset", "good.csv", "--set", "width=3"], ["--set", "width=3"]),
    "too many workers": (["--dataset", "good.csv", "--workers", "99"], ["--workers", "99"]),
    "no such mirror": (["--dataset", "imdb", "--mirror", "/no/such"], ["--mirror", "/no/such"]),
    "a mirror without it": (["--dataset", "imdb", "--mirror", "."], ["--mirror must hold"]),
    "a folder in a file": (
        ["--dataset", "good.csv", "--output", "other.csv/run"],
        ["--output", "other.csv is no folder"],
    ),
    "a folder that is taken": (["--dataset", "good.csv", "--output", "taken"], ["--output"]),
}


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with files, good and bad, in which commands are called."""
    contents = {"good.csv": GOOD, "good.xlsx": GOOD, "good.parquet": GOOD, "times.csv": TIMES,
                "empty.csv": "", "header.csv": "text,label\n", "other.csv": "a,b\n1,2\n"}  # fmt: skip
    for name, content in contents.items():
        (tmp_path / name).write_text(content)
    (tmp_path / "bytes").write_bytes(bytes(range(256)) * 9)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "thesis.tex").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", TRAININGS)
def test_a_training_is_refused_before_anything_heavy_is_loaded(files: Path, name: str) -> None:
    options, parts = TRAININGS[name]
    output = [] if "--output" in options else ["--output", "run"]
    assert_light(refused("reviews", *options, *output), *parts)
    assert not (files / "run").exists()


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["--dataset", "good.csv"], ["--time-column"]),
        (["--dataset", "times.csv", "--target", "price"], ["--features or --target", "'price'"]),
        (["--dataset", "times.csv", "--time-column", "when"], ["--time-column", "'when'"]),
        (["--dataset", "times.csv", "--horizon", "0"], ["--horizon", "'0'"]),
        (["--dataset", "etth1", "--features", "x"], ["--features and --target", "'x'"]),
        (["--dataset", "empty.csv"], ["--"]),
    ],
)
def test_so_is_one_on_readings(files: Path, options: list[str], parts: list[str]) -> None:
    assert_light(refused("sensors", *options, "--output", "run"), *parts)


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["--model", "no/run"], ["--model must be the folder of a run", "no/run"]),
        (["--input", "no.csv"], ["--input must name a file that exists"]),
        (["--input", "other.csv"], ["--text-column", "'text'"]),
        (["--input", "header.csv"], ["--input must hold at least one row"]),
        (["--id-column", "key"], ["--id-column", "'key'"]),
        (["--shard-rows", "few"], ["--shard-rows", "'few'"]),
        (["--output", "."], ["--output"]),
        (["--output", "other.csv/out"], ["--output", "other.csv is no folder"]),
    ],
)
def test_so_is_a_scoring(files: Path, run_dir: Path, options: list[str], parts: list[str]) -> None:
    good = ["--model", run_dir, "--input", "good.csv", "--output", "out"]
    assert_light(refused("score", *good, *options), *parts)
    assert not (files / "out").exists()


@pytest.mark.parametrize("missing", ["model.safetensors", "vocabulary.txt"])
def test_a_run_that_is_not_whole_is_refused(files: Path, run_dir: Path, missing: str) -> None:
    (run_dir / missing).unlink()
    score = refused("score", "--model", run_dir, "--input", "good.csv", "--output", "out")
    assert_light(score, "--model: ", f"it has no {missing}")


@pytest.mark.skipif(
    os.getuid() != 0, reason="mounts a folder that cannot be written, which takes root"
)
def test_a_folder_that_cannot_be_written(files: Path) -> None:
    (files / "fixed").mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", "fixed"]
    if subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("mounting is not allowed here")
    try:
        training = refused("reviews", "--dataset", "good.csv", "--output", "fixed/run")
        assert_light(training, "--output", "fixed cannot be written")
    finally:
        subprocess.run(["umount", "fixed"], check=True)


def test_other_commands(files: Path) -> None:
    assert_light(refused("inspect", "empty.csv"), "FILE must hold at least one row")
    assert_light(refused("models", "list"), "--registry must be a folder that exists")


def test_what_is_left_for_later_comes_when_it_is_asked_for() -> None:
    code = """
import sys
from flows.cli.light import load_lightly
load_lightly()
from rnnfast.evaluation import checks
from rnnfast.reports import wording
import rnnfast.training.run_folder
assert "torch" not in sys.modules
assert rnnfast.GRU(2, 3).hidden_size == 3
assert sys.modules["torch"]
from rnnfast.models import build_model
from rnnfast import LSTM, evaluation
"""
    subprocess.run([sys.executable, "-c", code], check=True)
