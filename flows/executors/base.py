"""What an executor is, and what it is given: the work and its items."""

import os
from collections.abc import Callable, Iterable, Iterator
from typing import Literal, Protocol, TypeVar

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
