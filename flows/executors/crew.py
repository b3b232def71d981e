"""Which worker does which item, and what becomes of the items whose worker dies; what a worker is, a `Crew` knows."""

import pickle
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Generic, Protocol, TypeVar

from flows.errors import WorkerError
from flows.executors.base import AHEAD, DEATHS

Worker = TypeVar("Worker", bound=Hashable)


@dataclass(frozen=True)
class Answer:
    """What a worker sends back of the item with this number, or, for None, of its start; see `Runner`."""

    number: int | None
    content: bytes


@dataclass(frozen=True)
class Ended:
    """A worker has died, or cannot be reached: `how`, in a few words."""

    how: str


class Crew(Protocol[Worker]):
    """The workers of a job."""

    def hire(self) -> Worker:
        """Starts a worker, without waiting for it."""

    def give(self, worker: Worker, number: int, item: Any) -> None:
        """Sends an item to a worker that has started. Where it has died, `hear` says so later on."""

    def hear(self) -> Iterable[tuple[Worker, Answer | Ended]]:
        """Waits until a worker says something: who, and what. Nothing is heard of one that has ended."""


class Runner:
    """What is in a worker: the work, and what it sends back, of which the pickled error and result are one each."""

    def start(self, work: bytes, threads: int) -> bytes:
        """Starts the pickled work; the result is None."""
        return _answer(self._start, (work, threads))

    def do(self, item: Any) -> bytes:
        """Does an item; from several threads at a time."""
        return _answer(self._do, item)

    def _start(self, given: tuple[bytes, int]) -> None:
        work, threads = given
        self._do = pickle.loads(work).start(threads)


def _answer(do: Callable[[Any], Any], argument: Any) -> bytes:
    try:
        return pickle.dumps((None, do(argument)))
    except BaseException as error:
        return pickle.dumps((_picklable(error), None))


def _picklable(error: BaseException) -> BaseException:
    """The error, or what it says where it cannot be sent."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def shared_out(crew: Crew[Worker], count: int, items: Iterable[Any]) -> Iterator[Any]:
    """Has items done by a crew, and yields the results as they come.

    Args:
        crew: without a worker; what it hires is left to it to end.
        count: workers at a time; no more are hired than there are items.
        items: taken when there is a worker for them.

    Raises:
        WorkerError: an item has cost `DEATHS` workers, or so many in a row did not even start.
    """
    return _Sharing(crew, enumerate(map(_Task, items))).run(count)


@dataclass
class _Task:
    """An item, and how many workers it has cost."""

    item: Any
    deaths: int = 0


@dataclass
class _Sharing(Generic[Worker]):
    crew: Crew[Worker]
    new: Iterator[tuple[int, _Task]]
    waiting: deque[tuple[int, _Task]] = field(default_factory=deque)  # taken, and with no worker
    starting: set[Worker] = field(default_factory=set)
    given: dict[Worker, dict[int, _Task]] = field(default_factory=dict)  # to those that are up
    failed_starts: int = 0  # in a row

    def run(self, count: int) -> Iterator[Any]:
        for task in islice(self.new, count):
            self.waiting.append(task)
            self.starting.add(self.crew.hire())
        while self.waiting or any(self.given.values()):
            for worker, news in self.crew.hear():
                if isinstance(news, Ended):
                    self._replace(worker, news.how)
                    continue
                error, result = pickle.loads(news.content)
                if error is not None:
                    raise error
                if news.number is None:
                    self.starting.remove(worker)
                    self.given[worker] = {}
                    self.failed_starts = 0
                    self._give(worker)
                else:
                    del self.given[worker][news.number]
                    self._give(worker)
                    yield result

    def _give(self, worker: Worker) -> None:
        """As much as it has room for."""
        tasks = self.given[worker]
        while len(tasks) < AHEAD and (found := self._next(ahead=bool(tasks))):
            number, task = found
            tasks[number] = task
            self.crew.give(worker, number, task.item)

    def _next(self, *, ahead: bool) -> tuple[int, _Task] | None:
        # Who is starting shall find something to do, so that of two items each worker gets one; but nobody is idle
        # until somebody has started.
        kept = len(self.starting) if ahead else 0
        return self.waiting.popleft() if len(self.waiting) > kept else next(self.new, None)

    def _replace(self, worker: Worker, how: str) -> None:
        if worker in self.starting:
            self.starting.remove(worker)
            self.failed_starts += 1
            if self.failed_starts == DEATHS:
                raise WorkerError(
                    f"{DEATHS} workers in a row ended before they were ready, the last with {how}"
                )
        for number, task in self.given.pop(worker, {}).items():
            task.deaths += 1
            if task.deaths == DEATHS:
                raise WorkerError(f"{DEATHS} workers ended over {task.item}, the last with {how}")
            self.waiting.append((number, task))
        for other, tasks in self.given.items():
            if not tasks:
                self._give(other)
        if found := self._next(ahead=False):
            self.waiting.appendleft(found)
            self.starting.add(self.crew.hire())
