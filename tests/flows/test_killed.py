"""Scoring whose workers and whose own process are killed at random moments: the output is that of an undisturbed run.

`make soak` does it over and over and prints a table; the plain tests do it once for each executor.
"""

import random
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from jobs import Job, Running, content, is_running, kill, records

from flows.executors import AHEAD
from tests.faults import kills
from tests.flows.homes import prefect_home

pytest.importorskip("ray")

ENGINES = ("local", "ray")
# Workers of Ray's that die are in tests/flows/test_executors.py as well.
ONCE = ("local", pytest.param("ray", marks=pytest.mark.soak))
MOMENTS = 20  # of each kind, in the long form


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    made = Job(tmp_path_factory.mktemp("job"))
    made.make()
    return made


@pytest.fixture(scope="module")
def undisturbed(job: Job) -> dict[str, bytes]:
    return job.undisturbed()


@pytest.fixture(scope="module")
def draw() -> random.Random:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"moments drawn with seed {seed}")  # which pytest shows where a test fails
    return random.Random(seed)


@pytest.mark.parametrize("engine", ONCE)
def test_a_worker_and_then_the_job_are_killed(
    engine: str, job: Job, undisturbed: dict[str, bytes], tmp_path: Path, draw: random.Random
) -> None:
    running = job.start(tmp_path / "out", engine)
    wait_for_moment(running, draw, draw.randrange(job.shards // 2))
    kill(draw.choice(running.workers()))
    running.wait_for_records(draw.randrange(job.shards // 2, job.shards * 3 // 4))
    running.end(signal.SIGKILL)
    assert_resumes(job, engine, tmp_path / "out", undisturbed)


@pytest.mark.parametrize("engine", ONCE)
def test_it_is_interrupted(
    engine: str, job: Job, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    running = job.start(tmp_path / "out", engine)
    running.wait_for_records(job.shards // 4)
    number = signal.SIGINT if engine == "local" else signal.SIGTERM
    stderr = running.end(number)
    assert (running.process.returncode, stderr) == (
        128 + number,
        f"Error: interrupted by {number.name}\n",
    )
    assert content(tmp_path / "out").keys() < undisturbed.keys()
    assert not list(Path("/tmp").glob(f"ray-*/session_*_{running.process.pid}"))


def test_the_command_is_killed(
    job: Job, undisturbed: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_HOME", str(prefect_home(tmp_path / "home")))
    output = tmp_path / "out"
    words = [sys.executable, "-m", "flows", "score", *job.options, "--output", str(output)]
    words += ["--workers", "2", "--shard-rows", "64"]
    running = Running(words, output)
    running.wait_for_records(job.shards // 4)
    workers = running.workers()
    servers = set(running.all()) - set(workers)
    running.process.kill()
    running.process.wait()
    while any(map(is_running, workers)):
        time.sleep(0.01)
    for pid in servers:  # Prefect's, which outlive it
        kill(pid)
    done = records(output)
    assert 0 < len(done) < job.shards
    again = Running(words, output)
    stdout, stderr = again.process.communicate(timeout=240)
    assert again.process.returncode == 0, stderr
    assert f"40, {len(done)} of them done before" in stdout
    assert content(output) == undisturbed


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.soak
def test_the_same_bytes_from_any_number_of_workers(
    engine: str, workers: int, job: Job, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    running = job.start(tmp_path / "out", engine, workers=workers)
    assert running.result() == (job.shards, 0)
    assert content(tmp_path / "out") == undisturbed


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.soak
def test_workers_are_killed(
    engine: str, job: Job, undisturbed: dict[str, bytes], tmp_path: Path, draw: random.Random
) -> None:
    seen: Counter[str] = Counter()
    for number in range(MOMENTS):
        running = job.start(tmp_path / str(number), engine)
        wait_for_moment(running, draw, draw.randrange(-1, job.shards))
        workers = running.workers()
        if workers:
            kill(draw.choice(workers))
            seen["killed"] += 1
        shards, skipped = running.result()
        seen["shards done by the dead worker, not reported"] += skipped
        assert shards == job.shards
        assert skipped <= AHEAD
        assert content(running.output) == undisturbed
        seen["identical"] += 1
    show(engine, "worker", seen)


@pytest.mark.parametrize(
    ("engine", "moments"),
    [
        pytest.param("local", kills("scoring"), marks=pytest.mark.faults),
        pytest.param("ray", MOMENTS),
    ],
)
@pytest.mark.soak
def test_jobs_are_killed(
    engine: str,
    moments: int,
    job: Job,
    undisturbed: dict[str, bytes],
    tmp_path: Path,
    draw: random.Random,
) -> None:
    seen: Counter[str] = Counter()
    for number in range(moments):
        output = tmp_path / str(number)
        running = job.start(output, engine)
        wait_for_moment(running, draw, draw.randrange(-1, job.shards))
        seen["killed"] += running.process.poll() is None
        running.end(signal.SIGKILL)
        done = assert_resumes(job, engine, output, undisturbed)
        seen["shards kept"] += done
        seen["shards done again"] += job.shards - done
        seen["identical"] += 1
    show(engine, "job", seen)


def wait_for_moment(running: Running, draw: random.Random, shards: int) -> None:
    """Waits for a moment after so many shards are done; -1: while the job or its workers start."""
    if shards < 0:
        time.sleep(draw.uniform(0, 6))
        return
    running.wait_for(running.workers)
    running.wait_for_records(shards)
    time.sleep(draw.uniform(0, 0.05))


def assert_resumes(job: Job, engine: str, output: Path, undisturbed: dict[str, bytes]) -> int:
    """A second run does what is missing and nothing else; returns how many shards were there."""
    done = records(output)
    assert job.start(output, engine).result() == (job.shards, len(done))
    assert content(output) == undisturbed
    after = records(output)
    assert {path: after[path] for path in done} == done
    return len(done)


def show(engine: str, whom: str, seen: Counter[str]) -> None:
    print(f"\n{engine:6} {whom:7}" + "".join(f"  {name}: {n}" for name, n in seen.items()))
