"""Actors of a Ray cluster: one that runs, or one that is started on this machine for the time of the job.

What a cluster must be like:

- each machine has the same versions of Python, Ray and rnnfast, and this one belongs to the cluster too, with
  `ray start --address=HEAD:6379` (`--num-cpus=0` where it shall not work itself);
- the folder of the model, the input and the output are at the same paths everywhere, or the latter two at `s3://`,
  with what it takes to read them in the environment of `ray start`.

A machine that is lost in the midst of it costs its items, which others do again; they go on with what workers are
left. Ray's head may not be lost: then the job ends, and another start does what is missing. Where this process is
killed, the workers go with it; two small agents of a cluster of its own go a minute or so later, and its folder of
logs when the next job starts one (`flows.executors.ray_folder`).
"""

import _thread
import logging
import pickle
import signal
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from flows.errors import InputError, WorkerError
from flows.executors.base import AHEAD, Item, Result, Work, cores
from flows.executors.crew import Answer, Ended, Runner, shared_out
from flows.executors.ray_folder import ray_folder
from flows.unfinished import at_end

try:
    import ray
    from ray.exceptions import RayError
except ImportError as error:
    raise InputError("--engine ray needs Ray: pip install 'rnnfast[ray]'") from error

START_PATIENCE = 120.0  # seconds in which one worker at least must be up
SHUTDOWN = 20.0  # seconds in which Ray must be gone, else what it started is killed
OBJECT_STORE = 80 << 20  # bytes, of its own cluster: little passes, and Ray takes no less


@dataclass(frozen=True)
class OnRay:
    """Actors, each with one CPU and `gpus` GPUs; see the module for what the cluster must be like.

    Attributes:
        workers: how many; None: one for each CPU, and as many as there are GPUs for.
        address: `host:port` of a cluster that runs, which this machine belongs to; None: one of its own is started,
            with as many CPUs as workers, and ended after the job.
        gpus: that Ray sets aside for each worker, and names to it by CUDA_VISIBLE_DEVICES; what it does with them is
            the work's own.
    """

    workers: int | None
    address: str | None
    gpus: float

    def run(self, work: Work[Item, Result], items: Iterable[Item]) -> Iterator[Result]:
        """The results, in the order in which they come.

        Raises:
            InputError: there is no such cluster, or it has fewer CPUs or GPUs than the workers need.
            WorkerError: no worker is up within `START_PATIENCE`, since others use the cluster.
        """
        with _connected(self.address, self.workers or cores()):
            count = self._count(ray.cluster_resources())
            threads = 1 if self.address else max(1, cores() // count)
            actor = ray.remote(Runner).options(
                num_cpus=1, num_gpus=self.gpus, max_concurrency=AHEAD, max_restarts=0
            )
            crew = _ActorCrew(actor, (pickle.dumps(work), threads))
            yield from shared_out(crew, count, items)

    def _count(self, resources: dict[str, float]) -> int:
        """The workers that the cluster has room for, where nobody else uses it."""
        cpus = int(resources.get("CPU", 0))
        most = min(cpus, int(resources.get("GPU", 0) / self.gpus)) if self.gpus else cpus
        has = f"the cluster has {cpus} CPUs and {resources.get('GPU', 0):g} GPUs"
        if most < 1:
            raise InputError(f"--gpus must leave room for one worker, got: {self.gpus:g}; {has}")
        if self.workers is not None and self.workers > most:
            raise InputError(f"--workers must be at most {most}, got: {self.workers}; {has}")
        return self.workers or most


@dataclass
class _ActorCrew:
    """The actors that there are; Ray ends them with the connection."""

    actor: Any
    start: tuple[bytes, int]  # for `Runner.start`
    # What each answer that is awaited will be of: who sends it, and the number of the item, None of the start.
    awaited: dict[Any, tuple[Any, int | None]] = field(default_factory=dict)

    def hire(self) -> Any:
        worker = self.actor.remote()
        self.awaited[worker.start.remote(*self.start)] = worker, None
        return worker

    def give(self, worker: Any, number: int, item: Any) -> None:
        self.awaited[worker.do.remote(item)] = worker, number

    def hear(self) -> Iterator[tuple[Any, Answer | Ended]]:
        ready = self._ready()
        worker, number = self.awaited.pop(ready)
        news: Answer | Ended
        try:
            news = Answer(number, ray.get(ready))
        except RayError as error:
            news = Ended(f"{type(error).__name__}: {error}")
            # It may still be there, where it cannot be reached. No more is heard of it.
            self.awaited = {ref: of for ref, of in self.awaited.items() if of[0] != worker}
            ray.kill(worker)
        yield worker, news

    def _ready(self) -> Any:
        """Waits for one of the answers."""
        nobody_is_up = all(number is None for _, number in self.awaited.values())
        deadline = time.monotonic() + START_PATIENCE
        while not (ready := ray.wait(list(self.awaited), timeout=1)[0]):
            if nobody_is_up and time.monotonic() > deadline:
                free = ray.available_resources()
                raise WorkerError(
                    f"no worker was up after {START_PATIENCE:.0f} s; of the cluster {free.get('CPU', 0):g} "
                    f"CPUs and {free.get('GPU', 0):g} GPUs are free"
                )
        return ready[0]


@contextmanager
def _connected(address: str | None, cpus: int) -> Iterator[None]:
    """Ray, in the block: the cluster at the address, or one of its own with so many CPUs."""
    if address is None:
        with ray_folder() as folder, at_end(_shut_down):
            _connect(
                "local",
                num_cpus=cpus,
                object_store_memory=OBJECT_STORE,
                include_dashboard=False,
                _temp_dir=str(folder),
            )
            yield
        return
    with at_end(_shut_down):
        try:
            host, _, port = address.rpartition(":")
            # Ray itself would try for minutes.
            socket.create_connection((host, int(port)), timeout=10).close()
            _connect(address)
        except (OSError, ValueError, RuntimeError) as error:
            raise InputError(
                f"--address must be the host:port of a Ray cluster that this machine belongs to "
                f"(`ray start --address={address}`), got: {address}: {error}"
            ) from error
        yield


def _connect(address: str, **options: Any) -> None:
    handler = signal.getsignal(signal.SIGTERM)
    ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **options)
    # In place of Ray's, which prints what its C++ was at.
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)


def _shut_down() -> None:
    """Leaves the cluster, or ends that of its own, in a bare thread: a signal may have come in a call of Ray's."""
    done = _thread.allocate_lock()
    done.acquire()

    def shut_down() -> None:
        try:
            ray.shutdown()
        finally:
            done.release()

    _thread.start_new_thread(shut_down, ())
    done.acquire(timeout=SHUTDOWN)
