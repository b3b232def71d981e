"""The folders of Ray clusters that jobs start: what a killed one leaves goes, one in use stays."""

import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from flows.executors.ray_folder import ray_folder

HOLD = """
from flows.executors.ray_folder import ray_folder
with ray_folder() as folder:
    (folder / "session").mkdir()
    print(folder, flush=True)
    input()
"""

Started = tuple[subprocess.Popen[str], Path]


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Started]]:
    """Starts a process that holds a folder, in a place of their own: the process and the folder."""
    with tempfile.TemporaryDirectory() as parent, ExitStack() as stack:
        monkeypatch.setenv("RAY_TMPDIR", parent)

        def started() -> Started:
            pipe = subprocess.PIPE
            process = subprocess.Popen(
                [sys.executable, "-c", HOLD], stdin=pipe, stdout=pipe, text=True
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            assert process.stdout is not None
            return process, Path(process.stdout.readline().strip())

        yield started


def test_the_folder_of_a_killed_job_goes_and_no_other(start: Callable[[], Started]) -> None:
    killed, left = start()
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert (left / "session").is_dir()
    _, used = start()
    foreign = left.parent / "ray-of-somebody"
    foreign.mkdir()
    with ray_folder() as own:
        assert set(left.parent.iterdir()) == {used, foreign, own}
        assert (used / "session").is_dir()
    assert set(left.parent.iterdir()) == {used, foreign}


def test_a_folder_goes_with_its_job(start: Callable[[], Started]) -> None:
    process, folder = start()
    process.communicate("\n")
    assert process.returncode == 0
    assert not folder.exists()
