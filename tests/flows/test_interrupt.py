"""Jobs that signals end, each in a process of its own."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from tests.flows.homes import prefect_home

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}

Process = subprocess.Popen[str]
Start = Callable[..., Process]

# Makes a file and starts a process, neither of which may stay, and swallows every exception.
SMALL = """
import contextlib, signal, subprocess, sys, time
from functools import partial
from pathlib import Path
from flows.orchestration.interrupt import ended_by_signals
from flows.unfinished import at_end
{before}
temporary = Path(sys.argv[1])
with ended_by_signals(), at_end(partial(temporary.unlink, missing_ok=True)):
    temporary.touch()
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    {after}
    print("ready", flush=True)
    while True:
        with contextlib.suppress(BaseException):
            time.sleep(600)
"""


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts Python; what still runs after the test, which has failed then, is killed."""
    processes: list[Process] = []

    def call(*arguments: object, **environment: str) -> Process:
        process = subprocess.Popen(
            [sys.executable, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=heed_signals,
            env=os.environ | environment,
            start_new_session=True,
        )
        processes.append(process)
        return process

    yield call
    for process in processes:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def heed_signals() -> None:
    """A shell that started the tests in the background has them, and so these, ignore SIGINT."""
    for number in CODES:
        signal.signal(number, signal.SIG_DFL)


@pytest.fixture
def start_small(start: Start, tmp_path: Path) -> Start:
    """Starts the small job, and waits until it is at its endless work."""

    def call(*, before: str = "", after: str = "") -> Process:
        code = SMALL.format(before=before, after=after)
        process = start("-c", code, tmp_path / "temporary")
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    return call


def assert_ended(process: Process, number: signal.Signals) -> None:
    """Ended by this signal: its code, and one line that says so, the last on stderr."""
    # Returns only when what the job started has ended too, which holds the other end.
    _, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr.splitlines()[-1:]) == (
        CODES[number],
        [f"Error: interrupted by {number.name}"],
    ), stderr
    assert stderr.count("Error") == 1, stderr  # nor a traceback, whose last line has the word


@pytest.mark.parametrize("number", CODES)
def test_a_job_that_swallows_exceptions(
    start_small: Start, tmp_path: Path, number: signal.Signals
) -> None:
    process = start_small()
    process.send_signal(number)
    assert_ended(process, number)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("work", ["pass", "print('ready', flush=True); time.sleep(600)"])
def test_a_library_that_takes_the_signal_and_raises(
    start_small: Start, tmp_path: Path, work: str
) -> None:
    # Which is swallowed, or comes through everything.
    take = "signal.signal(signal.SIGTERM, signal.default_int_handler)"
    process = start_small(after=f"{take}; {work}")
    process.send_signal(signal.SIGTERM)
    assert_ended(process, signal.SIGTERM)
    assert list(tmp_path.iterdir()) == []


def test_more_signals_while_the_first_is_obeyed(start_small: Start, tmp_path: Path) -> None:
    process = start_small(after="slow = at_end(lambda: time.sleep(0.5)); slow.__enter__()")
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    line = process.stderr.readline()
    for number in CODES:
        process.send_signal(number)
    assert line == "Error: interrupted by SIGINT\n"
    assert process.communicate(timeout=60)[1] == ""
    assert process.returncode == 130
    assert list(tmp_path.iterdir()) == []


def test_what_is_ignored_from_the_start_stays_so(start_small: Start) -> None:
    process = start_small(before="signal.signal(signal.SIGHUP, signal.SIG_IGN)")
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGTERM)
    assert_ended(process, signal.SIGTERM)


def test_an_interrupted_run_leaves_nothing(start: Start, tmp_path: Path) -> None:
    # Side by side, since each spends most of its time on starting up. After each of these lines
    # Prefect is about to set up a task, and fails over an exception that comes then.
    moments = {signal.SIGINT: "vocabulary", signal.SIGTERM: "download"}
    for number in moments:
        prefect_home(tmp_path / number.name / "prefect")
    runs = {number: start_run(start, tmp_path / number.name) for number in moments}
    starting = start_run(start, tmp_path / "starting")
    server = tmp_path / "starting" / "prefect"
    while not any(server.glob("*.db")):  # then the server runs, and the flow waits for it
        assert starting.poll() is None, starting.communicate(timeout=60)
        time.sleep(0.05)
    starting.send_signal(signal.SIGTERM)

    for number, line in moments.items():
        read_until(line, runs[number])
        runs[number].send_signal(number)
        assert_ended(runs[number], number)
        with closing(sqlite3.connect(tmp_path / number.name / "prefect" / "prefect.db")) as runs_db:
            assert runs_db.execute("SELECT state_name FROM flow_run").fetchall() == [("Crashed",)]
    assert_ended(starting, signal.SIGTERM)
    for folder in tmp_path.iterdir():
        assert [path.name for path in folder.iterdir() if "run" in path.name] == []


def start_run(start: Start, folder: Path) -> Process:
    folder.mkdir(exist_ok=True)
    options = ["--epochs", "1000", "--output", folder / "run"]
    home = {"PREFECT_HOME": str(folder / "prefect")}
    return start("-m", "flows", "reviews", *options, OMP_NUM_THREADS="1", **home)


def read_until(line: str, process: Process) -> None:
    """Waits for a line on stderr that starts like this."""
    said = ""
    assert process.stderr is not None
    for each in process.stderr:
        said += each
        if each.startswith(line):
            return
    raise AssertionError(f"ended with code {process.wait()} before {line!r}, after:\n{said}")
