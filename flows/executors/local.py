"""Processes of this machine, and this process itself.

A worker is a new interpreter, which starts with nothing of this one's but its environment, and gets its items through
a pipe: where that is closed, because this process has ended, however it did, the worker ends at once.
"""

import os
import pickle
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice
from multiprocessing.connection import Connection, wait
from threading import Lock
from typing import Any

from flows.errors import WorkerError
from flows.executors import AHEAD, DEATHS, Item, Result, Work, cores
from flows.unfinished import at_end


@dataclass(frozen=True)
class InProcess:
    """Does one item after the other in this process, with all its cores."""

    workers: int = 1

    def run(self, work: Work[Item, Result], items: Iterable[Item]) -> Iterator[Result]:
        """The results, in the order of the items."""
        with ThreadPoolExecutor(AHEAD) as pool:
            do = work.start(cores())
            items = iter(items)
            started = deque(pool.submit(do, item) for item in islice(items, AHEAD))
            try:
                while started:
                    result = started.popleft().result()
                    started += (pool.submit(do, item) for item in islice(items, 1))
                    yield result
            finally:
                for each in started:
                    each.cancel()


@dataclass(frozen=True)
class Processes:
    """So many workers, each with its share of the cores; one alone is not worth a process of its own."""

    workers: int

    def run(self, work: Work[Item, Result], items: Iterable[Item]) -> Iterator[Result]:
        """The results, in the order in which they come."""
        items = iter(items)
        first = list(islice(items, 2))
        items = chain(first, items)
        if len(first) < 2:
            yield from InProcess().run(work, items)
            return
        crew = _Crew(pickle.dumps((work, max(1, cores() // self.workers))))
        with at_end(crew.end):
            yield from _shared_out(crew, self.workers, items)


@dataclass
class _Task:
    """An item, and how many workers it has cost."""

    item: Any
    deaths: int = 0


@dataclass(eq=False)
class _Worker:
    process: subprocess.Popen[bytes]
    pipe: Connection
    tasks: dict[int, _Task] = field(default_factory=dict)  # by number: those that it has

    def fileno(self) -> int:
        return self.pipe.fileno()

    def give(self, number: int, task: _Task) -> None:
        self.tasks[number] = task
        with suppress(OSError):  # it has died, which shows when it is read from
            self.pipe.send((number, task.item))

    def wait(self) -> str:
        """Ends it, and says how it ended."""
        self.pipe.close()
        self.process.kill()
        code = self.process.wait()
        return f"signal {-code}" if code < 0 else f"code {code}"


@dataclass
class _Crew:
    """The workers that there are."""

    start: bytes
    workers: list[_Worker] = field(default_factory=list)

    def hire(self) -> _Worker:
        ours, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-c", "from flows.executors.local import serve; serve()"]
            process = subprocess.Popen(
                [*command, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                # Ctrl-C is for this process, which ends its workers.
                process_group=0,
            )
        worker = _Worker(process, Connection(ours.detach()))
        self.workers.append(worker)
        with suppress(OSError):
            worker.pipe.send_bytes(self.start)
        return worker

    def end(self) -> None:
        for worker in self.workers:
            worker.wait()
        self.workers.clear()


def _shared_out(crew: _Crew, count: int, items: Iterator[Any]) -> Iterator[Any]:
    again: list[tuple[int, _Task]] = []  # those whose worker has died
    tasks = enumerate(map(_Task, items))
    # No more workers than items; each has one before any has two.
    for number, task in islice(tasks, count):
        crew.hire().give(number, task)
    while any(worker.tasks for worker in crew.workers):
        for worker in crew.workers:
            room = AHEAD - len(worker.tasks)
            for number, task in islice(chain(_drained(again), tasks), room):
                worker.give(number, task)
        ready: list[_Worker] = wait(crew.workers)  # type: ignore[assignment, arg-type]
        for worker in ready:
            try:
                number, error, result = worker.pipe.recv()
            except (EOFError, OSError):
                crew.workers.remove(worker)
                again += _left_by(worker)
                for number, task in islice(_drained(again), 1):
                    crew.hire().give(number, task)
                continue
            if error is not None:
                raise error
            del worker.tasks[number]
            yield result


def _drained(tasks: list[tuple[int, _Task]]) -> Iterator[tuple[int, _Task]]:
    while tasks:
        yield tasks.pop(0)


def _left_by(worker: _Worker) -> list[tuple[int, _Task]]:
    """What a dead worker had.

    Raises:
        WorkerError: too many workers died over it.
    """
    how = worker.wait()
    for task in worker.tasks.values():
        task.deaths += 1
        if task.deaths == DEATHS:
            raise WorkerError(
                f"{DEATHS} workers ended over {task.item}, the last with {how}; signal 9 may mean that the system "
                f"was short of memory: --memory-limit, or fewer --shard-rows, may help"
            )
    return list(worker.tasks.items())


def serve() -> None:
    """A worker: its pipe is the file descriptor that the command names."""
    pipe, sending = Connection(int(sys.argv[1])), Lock()
    with suppress(EOFError, OSError):
        work, threads = pickle.loads(pipe.recv_bytes())
        try:
            do = work.start(threads)
        except Exception as error:
            pipe.send((None, _picklable(error), None))
            return
        pool = ThreadPoolExecutor(AHEAD)
        while True:
            number, item = pipe.recv()
            pool.submit(partial(_answer, pipe, sending, do, number, item))
    # Whatever it still does is nobody's.
    os._exit(0)


def _answer(pipe: Connection, sending: Lock, do: Any, number: int, item: Any) -> None:
    answer: tuple[int, BaseException | None, Any]
    try:
        answer = number, None, do(item)
    except BaseException as error:
        answer = number, _picklable(error), None
    with sending, suppress(OSError):
        pipe.send(answer)


def _picklable(error: BaseException) -> BaseException:
    """The error, or what it says where it cannot be sent."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
