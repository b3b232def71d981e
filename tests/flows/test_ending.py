"""Jobs that are done end: within a limit, with their own code, whatever hangs."""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from flows.executors import cores
from flows.orchestration.ending import PATIENCE
from tests.flows.homes import prefect_home

# Imports what it ends by, does its work, and then something does not let go.
SMALL = """
import atexit, signal, subprocess, sys, threading, time
from flows.orchestration import ending
from flows.orchestration.ending import surely_ended
from flows.orchestration.interrupt import ended_by_signals
ending.PATIENCE = 1.0
{hanging}
with ended_by_signals(), surely_ended():
    print("report", end="")
    {end}
"""
HANGING = {
    "nothing": "",
    "a thread": "threading.Thread(target=time.sleep, args=(600,)).start()",
    "a queue that is flushed": "threading._register_atexit(time.sleep, 600)",
    "the stop of the server": "atexit.register(time.sleep, 600)",
    "a destructor": "class Never:\n    def __del__(self): time.sleep(600)\nnever = sys.never = Never()",
    "a process that heeds no signal": "subprocess.Popen([sys.executable, '-c', "
    "'import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)'])\n"
    "atexit.register(time.sleep, 600)",
}
ENDS = {0: "pass", 2: "sys.exit(2)", 1: "raise ValueError('bug')"}
SOON = 30  # seconds, on a machine that is busy


@pytest.mark.parametrize("code", ENDS)
@pytest.mark.parametrize("name", HANGING)
def test_whatever_hangs_the_process_ends_with_its_code(name: str, code: int) -> None:
    started = time.monotonic()
    script = SMALL.format(hanging=HANGING[name], end=ENDS[code])
    # Returns only when what it started has ended too, which holds the other end.
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=SOON
    )
    assert (ended.returncode, ended.stdout) == (code, "report"), ended.stderr
    assert time.monotonic() - started < SOON
    hung = name not in ("nothing", "a destructor")  # before which the process has ended
    assert ("something hung for 1 s" in ended.stderr) == hung
    assert ("ValueError: bug" in ended.stderr) == (code == 1)


def test_output_that_cannot_be_written_is_no_success() -> None:
    script = SMALL.format(hanging="", end="pass")
    with Path("/dev/full").open("w") as full:
        buffered = os.environ | {"PYTHONUNBUFFERED": ""}
        ended = subprocess.run(
            [sys.executable, "-c", script], stdout=full, timeout=SOON, env=buffered
        )
    assert ended.returncode == 120


# Prefect's server stops to answer when the scores are there, so that neither its stop nor what is to be sent works.
STUCK = """
import os, signal, sys
from flows.__main__ import main
from flows.cli import score
from flows.orchestration.interrupt import children
def show(done):
    print("Report: there")
    for process in children(os.getpid()):
        os.kill(process, signal.SIGSTOP)
score.show_account = show
main()
"""


def test_a_server_that_hangs_holds_up_no_job(run_dir: Path, tmp_path: Path) -> None:
    started = time.monotonic()
    ended = run_score(["-c", STUCK], run_dir, tmp_path, timeout=60 + 2 * PATIENCE)
    assert ended.returncode == 0, ended.stderr
    assert "Report: there" in ended.stdout
    assert "Traceback" not in ended.stderr
    assert time.monotonic() - started < 60 + PATIENCE


def starts(count: int, run_dir: Path, tmp_path: Path) -> None:
    """Starts so many jobs, each with a server of its own, as many at a time as there are cores."""

    def job(number: int) -> subprocess.CompletedProcess[str]:
        folder = tmp_path / str(number)
        folder.mkdir()
        return run_score(["-m", "flows"], run_dir, folder, timeout=120)

    with ThreadPoolExecutor(cores()) as pool:
        for number, ended in enumerate(pool.map(job, range(count))):
            assert ended.returncode == 0, (number, ended.stderr)
            assert "Report: " in ended.stdout
            assert "hung" not in ended.stderr, number
            if number % 50 == 49:
                print(f"{number + 1} starts")


def test_starts_and_ends(run_dir: Path, tmp_path: Path) -> None:
    starts(2, run_dir, tmp_path)


@pytest.mark.soak
def test_a_thousand_starts_and_ends(run_dir: Path, tmp_path: Path) -> None:
    starts(int(os.environ.get("RNNFAST_SOAK_STARTS", "1000")), run_dir, tmp_path)


def run_score(
    command: list[str], run_dir: Path, folder: Path, timeout: float
) -> subprocess.CompletedProcess[str]:
    """Scores two reviews in a process of its own, with a home of its own for Prefect."""
    (folder / "in.csv").write_text("text\na good one\na bad one\n")
    files = ["--model", run_dir, "--input", folder / "in.csv", "--output", folder / "out"]
    return subprocess.run(
        [sys.executable, *command, "score", *map(str, files)],
        capture_output=True,
        text=True,
        timeout=timeout,
        env=os.environ
        | {"PREFECT_HOME": str(prefect_home(folder / "prefect")), "OMP_NUM_THREADS": "1"},
    )
