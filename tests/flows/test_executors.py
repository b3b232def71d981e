"""What every executor does with items, on a work that does as an item tells it."""

import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ByteSize
from telling import (
    Other,
    Telling,
    dies,
    dies_once,
    no_model,
    process,
    raises,
    raises_unpicklable,
)

from flows.errors import InputError, WorkerError
from flows.executors import AHEAD, DEATHS, Executor, executor
from flows.parameters import Execution

pytest.importorskip("ray")

CPUS = 3


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of a Ray cluster, for which this folder is on the workers' path."""
    from ray.cluster_utils import Cluster

    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    started = Cluster(
        initialize_head=True, head_node_args={"num_cpus": CPUS, "object_store_memory": 80 << 20}
    )
    if before is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = before
    yield started.address
    started.shutdown()


@pytest.fixture(params=["local", "ray"])
def two(request: pytest.FixtureRequest) -> Executor:
    """An executor with two workers."""
    if request.param == "local":
        return executor("local", 2)
    return executor("ray", 2, request.getfixturevalue("cluster"))


@pytest.fixture
def work(tmp_path: Path) -> Telling:
    return Telling(tmp_path / "calls")


def test_each_item_once_on_all_workers(two: Executor, work: Telling) -> None:
    results = list(two.run(work, ((pow, 2, n) for n in range(40))))
    assert sorted(results) == [2**n for n in range(40)]
    assert len(work.calls.read_text().splitlines()) == 40
    # The second worker may still be starting when the first one is done with a short item.
    assert any(len(set(two.run(work, [(process, seconds)] * 2))) == 2 for seconds in (0.5, 2, 8))


def test_no_item_at_all(two: Executor, work: Telling) -> None:
    assert list(two.run(work, [])) == []
    assert list(two.run(work, [(int,)])) == [0]


def test_items_are_taken_when_there_is_room(two: Executor, work: Telling) -> None:
    taken: list[int] = []

    def items() -> Iterator[tuple[Any, ...]]:
        for number in range(100):
            taken.append(number)
            yield (pow, 2, number)

    results = two.run(work, items())
    for done in range(1, 10):
        next(results)
        assert len(taken) <= done + 2 * AHEAD
    results.close()  # type: ignore[attr-defined]


def test_large_items_and_results_pass_each_other(two: Executor, work: Telling) -> None:
    size = 4 << 20  # bytes, far more than a pipe holds
    results = list(two.run(work, [(bytes.lower, b"A" * size)] * 12))
    assert results == [b"a" * size] * 12


@pytest.mark.parametrize(
    ("item", "error", "message"),
    [
        ((raises, InputError("--input must be good")), InputError, "^--input must be good$"),
        ((raises, OSError(28, "No space left on device")), OSError, "No space left"),
        ((raises, SystemExit(3)), SystemExit, "^3$"),
        ((raises_unpicklable,), RuntimeError, "^UnpicklableError: ab$"),
        ((threading.Lock,), TypeError, "cannot pickle"),
    ],
)
def test_errors_of_the_work_come_out_as_they_are(
    two: Executor, work: Telling, item: tuple[Any, ...], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        list(two.run(work, [(pow, 2, 1), item, (pow, 2, 3)]))
    assert type(caught.value) is error


def test_errors_of_the_start(two: Executor, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no model"):
        list(two.run(Telling(tmp_path / "calls", no_model), [(int,)] * 3))


def test_errors_of_planning(two: Executor, work: Telling) -> None:
    def items() -> Iterator[tuple[Any, ...]]:
        yield from [(process, 60)] * 3
        raise InputError("row 4 is bad")

    started = time.monotonic()
    with pytest.raises(InputError, match="row 4 is bad"):
        list(two.run(work, items()))
    assert time.monotonic() - started < 30


def test_an_item_whose_worker_dies_is_done_by_another(
    two: Executor, work: Telling, tmp_path: Path
) -> None:
    items = [(dies_once, tmp_path / "died"), *((pow, 2, n) for n in range(20))]
    results = list(two.run(work, items))
    assert sorted(map(str, results)) == sorted(["done", *(str(2**n) for n in range(20))])
    again = len(work.calls.read_text().splitlines()) - len(items)
    assert 1 <= again <= AHEAD  # that item, and the one that its worker had beside it


def test_an_item_that_costs_too_many_workers(two: Executor, work: Telling) -> None:
    with pytest.raises(WorkerError, match=rf"{DEATHS} workers ended over \(<function dies"):
        list(two.run(work, [(dies,), (dies,)]))
    assert len(work.calls.read_text().splitlines()) <= 2 * DEATHS


def test_workers_that_die_while_they_start(two: Executor, tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match=f"{DEATHS} workers in a row ended before"):
        list(two.run(Telling(tmp_path / "calls", dies), [(int,)] * 3))


def test_no_worker_is_left(two: Executor, work: Telling) -> None:
    results = two.run(work, [(process, 0.0)] * 50)
    pids = {next(results), next(results)}
    results.close()  # type: ignore[attr-defined]
    deadline = time.monotonic() + 10
    while any(is_running(pid) for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_running(pid: int) -> bool:
    try:
        stat = Path("/proc", str(pid), "stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def test_local_workers_leave_no_file_descriptor(work: Telling) -> None:
    before = len(os.listdir("/proc/self/fd"))
    list(executor("local", 2).run(work, [(int,)] * 4))
    assert len(os.listdir("/proc/self/fd")) == before


def test_more_workers_than_a_cluster_has_room_for(cluster: str, work: Telling) -> None:
    with pytest.raises(InputError, match="--workers must be at most 3, got: 4; the cluster has 3"):
        list(executor("ray", 4, cluster).run(work, [(int,)]))
    with pytest.raises(InputError, match=r"--gpus must leave .*, got: 0\.5; .* 0 GPUs"):
        list(executor("ray", 2, cluster, 0.5).run(work, [(int,)]))


def test_a_cluster_that_others_use(
    cluster: str, work: Telling, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    from flows.executors import on_ray

    monkeypatch.setattr(on_ray, "START_PATIENCE", 2)
    with pytest.raises(WorkerError, match="no worker was up after 2 s; of the cluster 0 CPUs"):
        list(executor("ray", 1, cluster).run(work, occupied()))
    assert not ray.is_initialized()


def occupied() -> Iterator[tuple[Any, ...]]:
    """Before the first item another takes all CPUs of the cluster, in the same connection."""
    import ray

    other = ray.remote(num_cpus=CPUS)(Other).remote()
    ray.get(other.here.remote())
    yield (repr, other)  # which is kept as long as the item


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nowhere"])
def test_no_cluster_there(address: str, work: Telling) -> None:
    with pytest.raises(InputError, match=f"--address must be .*, got: {address}"):
        list(executor("ray", 1, address).run(work, [(int,)]))


def test_without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "flows.executors.on_ray", raising=False)
    with pytest.raises(InputError, match=r"pip install 'rnnfast\[ray\]'"):
        executor("ray", 1)


def test_memory_of_ray_is_not_limited_here() -> None:
    with pytest.raises(InputError, match="--memory-limit must go with --engine local, got: 4"):
        Execution(engine="ray", memory_limit=ByteSize(4 << 30)).executor(1)
