"""What an executor promises, whatever it runs: every item once, whoever dies."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from flows.errors import InputError, WorkerError
from flows.executors import AHEAD, executor
from flows.executors.local import InProcess, Processes


@dataclass(frozen=True)
class Squares:
    """Squares numbers; what else happens to some of them, the fields say."""

    folder: Path
    slow: float = 0
    deadly: int | None = None  # ends the worker, as often as `lives` says
    lives: int = 0
    wrong: int | None = None

    def start(self, threads: int) -> Callable[[int], int]:
        (self.folder / f"worker-{os.getpid()}").write_text(str(threads))
        return self.square

    def square(self, number: int) -> int:
        time.sleep(self.slow)
        with (self.folder / f"{number}").open("a") as file:
            file.write("x")
        if number == self.wrong:
            raise InputError(f"--number must not be {number}")
        if number == self.deadly and (self.folder / f"{number}").stat().st_size <= self.lives:
            os.kill(os.getpid(), signal.SIGKILL)
        return number * number

    def workers(self) -> int:
        return len(list(self.folder.glob("worker-*")))


EXECUTORS = [InProcess(), Processes(2), Processes(5)]


@pytest.mark.parametrize("chosen", EXECUTORS, ids=str)
def test_every_item_once(chosen: InProcess | Processes, tmp_path: Path) -> None:
    work = Squares(tmp_path)
    assert sorted(chosen.run(work, range(20))) == [n * n for n in range(20)]
    assert all((tmp_path / f"{n}").read_text() == "x" for n in range(20))
    assert work.workers() == chosen.workers


@pytest.mark.parametrize("items", [0, 1])
def test_processes_are_not_started_for_one_item(items: int, tmp_path: Path) -> None:
    work = Squares(tmp_path)
    assert list(Processes(3).run(work, range(items))) == [0] * items
    assert (tmp_path / f"worker-{os.getpid()}").exists()


def test_no_more_processes_than_items(tmp_path: Path) -> None:
    work = Squares(tmp_path)
    assert sorted(Processes(5).run(work, range(3))) == [0, 1, 4]
    assert work.workers() == 3


@pytest.mark.parametrize("chosen", EXECUTORS, ids=str)
def test_items_are_taken_as_there_is_room(chosen: InProcess | Processes, tmp_path: Path) -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for number in range(1000):
            taken += 1
            yield number

    results = chosen.run(Squares(tmp_path), items())
    next(results)
    assert taken <= chosen.workers * AHEAD + 2
    results.close()  # type: ignore[attr-defined]
    assert taken <= chosen.workers * AHEAD + 2


@pytest.mark.parametrize("chosen", EXECUTORS, ids=str)
def test_an_error_of_the_work_is_raised_as_it_is(
    chosen: InProcess | Processes, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="--number must not be 3"):
        list(chosen.run(Squares(tmp_path, wrong=3), range(10)))


def test_an_error_of_the_plan_ends_the_workers(tmp_path: Path) -> None:
    def items() -> Iterator[int]:
        yield from range(9)
        raise InputError("--plan must be whole")

    with pytest.raises(InputError, match="--plan must be whole"):
        list(Processes(2).run(Squares(tmp_path), items()))
    assert_ended(tmp_path)


def assert_ended(folder: Path) -> None:
    """That no worker is left of those that wrote their number into a folder."""
    deadline = time.monotonic() + 10
    left = [int(path.name.split("-")[1]) for path in folder.glob("worker-*")]
    while left := [pid for pid in left if pid != os.getpid() and Path(f"/proc/{pid}").exists()]:
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def test_what_a_dead_worker_had_is_done_again_and_no_more(tmp_path: Path) -> None:
    work = Squares(tmp_path, deadly=7, lives=2)
    assert sorted(Processes(2).run(work, range(20))) == [n * n for n in range(20)]
    runs = {n: len((tmp_path / f"{n}").read_text()) for n in range(20)}
    assert runs[7] == 3
    # Beside it at most what its worker had at the same time, each time it died.
    assert sum(runs.values()) <= 20 + 2 * AHEAD
    assert work.workers() == 4


def test_an_item_that_every_worker_dies_of_is_given_up(tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match=r"3 workers ended over \d, the last with signal 9"):
        list(Processes(2).run(Squares(tmp_path, deadly=1, lives=99), range(5)))
    assert_ended(tmp_path)


def test_workers_end_with_their_driver_however_it_ends(tmp_path: Path) -> None:
    program = (
        "from pathlib import Path; from tests.flows.test_executors import Squares;"
        "from flows.executors.local import Processes;"
        f"list(Processes(2).run(Squares(Path({str(tmp_path)!r}), slow=0.2), range(1000)))"
    )
    driver = subprocess.Popen([sys.executable, "-c", program])
    while len(list(tmp_path.glob("worker-*"))) < 2 or not (tmp_path / "1").exists():
        assert driver.poll() is None
        time.sleep(0.02)
    driver.kill()
    driver.wait()
    assert_ended(tmp_path)


def test_large_items_and_results_do_not_block_each_other(tmp_path: Path) -> None:
    items = [bytes(3_000_000)] * 8
    assert [len(r) for r in Processes(2).run(Echo(), items)] == [3_000_000] * 8


@dataclass(frozen=True)
class Echo:
    """Gives back what it gets."""

    def start(self, threads: int) -> Callable[[bytes], bytes]:
        return bytes


def test_an_executor_by_name() -> None:
    assert executor("local", 3).workers == 3
    assert executor("local", 1) == InProcess()
    assert executor("local", None).workers >= 1
    with pytest.raises(InputError, match="--workers must be at least 1, got: 0"):
        executor("local", 0)
    with pytest.raises(InputError, match="--address must go with --engine ray, got: x for local"):
        executor("local", 1, "x")
    with pytest.raises(InputError, match=r"--gpus must go with --engine ray, got: 0\.5 for local"):
        executor("local", 1, gpus=0.5)
