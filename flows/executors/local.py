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
from itertools import chain, islice
from multiprocessing.connection import Connection, wait
from threading import Lock
from typing import Any

from flows.executors.base import AHEAD, Item, Result, Work, cores
from flows.executors.crew import Answer, Ended, Runner, shared_out
from flows.unfinished import at_end


@dataclass(frozen=True)
class InProcess:
    """Does one item after the other in this process, with all its cores."""

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
class WorkerProcesses:
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
        crew = _ProcessCrew((pickle.dumps(work), max(1, cores() // self.workers)))
        try:
            with at_end(crew.kill):
                yield from shared_out(crew, self.workers, items)
        finally:
            crew.wait()


@dataclass(eq=False)
class _Worker:
    process: subprocess.Popen[bytes]
    pipe: Connection

    def fileno(self) -> int:
        return self.pipe.fileno()

    def send(self, message: tuple[Any, ...]) -> None:
        with suppress(OSError):  # it has died, which shows when it is read from
            self.pipe.send(message)

    def kill(self) -> None:
        self.pipe.close()
        self.process.kill()

    def wait(self) -> str:
        """How it ended, once it was killed."""
        code = self.process.wait()
        if code == -9:
            return (
                "signal 9, which may mean that the system was short of memory: --memory-limit, "
                "or fewer --shard-rows, may help"
            )
        return f"signal {-code}" if code < 0 else f"code {code}"


@dataclass
class _ProcessCrew:
    """The workers that there are."""

    start: tuple[bytes, int]  # for `Runner.start`
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
        worker.send(self.start)
        return worker

    def give(self, worker: _Worker, number: int, item: Any) -> None:
        worker.send((number, item))

    def hear(self) -> Iterator[tuple[_Worker, Answer | Ended]]:
        ready: list[_Worker] = wait(self.workers)  # type: ignore[assignment, arg-type]
        for worker in ready:
            news: Answer | Ended
            try:
                news = Answer(*worker.pipe.recv())
            except (EOFError, OSError):
                self.workers.remove(worker)
                worker.kill()
                news = Ended(worker.wait())
            yield worker, news

    def kill(self) -> None:
        """Also called where a signal ends the job, which may be in the midst of `wait`.

        Once they are dead, what they were writing is nobody's. They stay for `wait` to ask how they ended.
        """
        for worker in self.workers:
            worker.kill()
        for worker in self.workers:
            with suppress(ChildProcessError):  # somebody has asked
                os.waitid(os.P_PID, worker.process.pid, os.WEXITED | os.WNOWAIT)

    def wait(self) -> None:
        for worker in self.workers:
            worker.wait()


def serve() -> None:
    """A worker: its pipe is the file descriptor that the command names."""
    pipe, sending, runner = Connection(int(sys.argv[1])), Lock(), Runner()

    def answer(number: int | None, content: bytes) -> None:
        with sending, suppress(OSError):
            pipe.send((number, content))

    with suppress(EOFError, OSError):
        answer(None, runner.start(*pipe.recv()))
        pool = ThreadPoolExecutor(AHEAD)
        while True:
            number, item = pipe.recv()
            pool.submit(lambda number, item: answer(number, runner.do(item)), number, item)
    # Whatever it still does is nobody's.
    os._exit(0)
