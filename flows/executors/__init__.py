"""Where the work of a job is done: in this process, in processes of this machine, or on a Ray cluster.

An executor knows nothing of what it runs. It is given a `Work`, which every worker starts once, and items, of which
it takes only as many as its workers have room for. An item whose worker dies is given to another one, so that what is
done with an item must come out the same when it is done twice. To add one: a file beside this one with a `run` as
`Executor` has it, for which `crew.shared_out` keeps account of the items, and its line in `executor`.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from typing import Literal, Protocol, TypeVar

from flows.errors import InputError

Item = TypeVar("Item")
Result = TypeVar("Result")
ItemIn = TypeVar("ItemIn", contravariant=True)
ResultOut = TypeVar("ResultOut", covariant=True)
Engine = Literal["local", "ray"]

AHEAD = 2  # items a worker has at a time: one that it works at, one that it reads already
THREADS = 4  # cores that a process is worth
DEATHS = 3  # workers that an item may cost before it is given up


class Work(Protocol[ItemIn, ResultOut]):
    """What is to be done with each item: a recipe, which is pickled and sent to every worker."""

    def start(self, threads: int) -> Callable[[ItemIn], ResultOut]:
        """Gets ready in a worker, and returns what does an item.

        That function is called from `AHEAD` threads at a time; it sees to it itself that only one of them computes,
        with `threads` threads, while the others read.
        """


class Executor(Protocol):
    """Does the work of some items."""

    def run(self, work: Work[Item, Result], items: Iterable[Item]) -> Iterator[Result]:
        """The results, in the order in which they come.

        Raises whatever the work raises, and WorkerError where an item's workers die again and again.
        """


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def usual_workers() -> int:
    """How many processes of this machine work where nobody says how many.

    Their threads share the cores. Up to `THREADS` of them go nearly as far in one process as in several, which has the
    libraries and the model in memory once; with more, what a process does in one thread would hold them up.
    """
    return max(1, cores() // THREADS)


def executor(
    engine: Engine, workers: int | None, address: str | None = None, gpus: float = 0
) -> Executor:
    """The executor of that name.

    Args:
        engine: local or ray.
        workers: how many; None: as `usual_workers` says, or one for each CPU of the cluster.
        address: of a Ray cluster; None starts one on this machine.
        gpus: of each of Ray's workers.

    Raises:
        InputError: an argument that the engine has no use for, or Ray is not installed.
    """
    if workers is not None and workers < 1:
        raise InputError(f"--workers must be at least 1, got: {workers}")
    if engine == "ray":
        # Needed by this engine alone, and slow to import.
        from flows.executors.on_ray import OnRay

        return OnRay(workers, address, gpus)
    for name, value in (("address", address), ("gpus", gpus)):
        if value:
            raise InputError(f"--{name} must go with --engine ray, got: {value} for {engine}")
    from flows.executors.local import InProcess, Processes

    count = workers or usual_workers()
    return Processes(count) if count > 1 else InProcess()
