"""What does the work of a job: the processes of a training, and the workers of its shards."""

import logging
from typing import Literal

from pydantic import BaseModel, ByteSize, ConfigDict, Field, model_validator

from flows.errors import InputError
from flows.executors import Engine, Executor, executor, usual_workers
from flows.wording import counted, size
from rnnfast.models.choices import DeviceChoice

DRIVER_MEMORY = 400 << 20  # bytes: of the process that plans, with Prefect and its server


# Cells of models that are solved at once, or have nothing to learn.
NOT_BY_STEPS = ("ngrams", "linear", "persistence", "seasonal")


logger = logging.getLogger(__name__)


class Processes(BaseModel):
    """The processes that train a model together."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    workers: int = Field(1, ge=1, description="How many processes train together on each machine.")
    nodes: int = Field(
        1, ge=1, description="How many machines train together, each with as many processes."
    )
    device: DeviceChoice = Field(
        "auto",
        description="Where the model is trained: cpu, cuda, or auto for the GPU, where there is one.",
    )
    rendezvous: str | None = Field(
        None,
        pattern=r"^[^\s:]+:[0-9]+$|^\[[^\s\]]+\]:[0-9]+$",
        description="The HOST:PORT of one of the machines, at which all of them meet.",
    )

    @property
    def count(self) -> int:
        """All of them."""
        return self.workers * self.nodes

    @property
    def alone(self) -> "Processes":
        """One process, on the same device."""
        return Processes(device=self.device)

    def require_use(self, cell: str, batch_size: int) -> None:
        """Raises InputError where some would have nothing to do, or there is no such device."""
        require_device(self.device)
        by_steps = cell not in NOT_BY_STEPS
        if self.nodes > 1 and not by_steps:
            raise InputError(
                f"--nodes must be 1 for --cell {cell}, which is not trained by steps, got {self.nodes}"
            )
        if self.count > batch_size and by_steps:
            raise InputError(
                f"--workers times --nodes must be at most the batch size, {batch_size}, "
                f"got {self.count}"
            )

    @model_validator(mode="after")
    def _fits_together(self) -> "Processes":
        if (self.nodes > 1) != (self.rendezvous is not None):
            raise ValueError(
                "rendezvous must be given for nodes above 1, and for these alone, "
                f"got: {self.rendezvous or 'none'} for nodes {self.nodes}"
            )
        return self


ONE_PROCESS = Processes()


def require_device(choice: DeviceChoice) -> None:
    """Raises InputError where a GPU was asked for, and there is none that rnnfast computes on."""
    if choice != "cuda":
        return
    # Loads torch, for which nobody else shall wait.
    from rnnfast.models.precision import DeviceError, find_device

    try:
        find_device(choice)
    except DeviceError as error:
        raise InputError(f"--{error}") from error


class Execution(BaseModel):
    """Where the shards of a job are done, and how."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    engine: Engine = Field(
        "local",
        description="Where the work is done: local in processes of this machine, ray on a cluster.",
    )
    workers: int | None = Field(
        None,
        ge=1,
        description="Processes, which share the cores; by default one for every 4 of them, of a cluster one a CPU.",
    )
    address: str | None = Field(
        None,
        description="The host:port of a Ray cluster; by default the job starts one of its own.",
    )
    gpus: float = Field(
        0,
        ge=0,
        description="How many GPUs Ray sets aside for each worker, which computes on them.",
    )
    device: DeviceChoice = Field(
        "auto",
        description="Where the rows are scored: cpu, cuda, or auto for the GPU, where the worker has one.",
    )
    shard_rows: int = Field(
        65_536,
        ge=1,
        description="How many rows of a file make one shard, which a worker does at once.",
    )
    memory_limit: ByteSize | None = Field(
        None,
        description="The memory that all processes of this machine may take together, such as 4GB.",
    )

    def executor(self, worker_memory: int) -> Executor:
        """The executor, with no more workers than the memory is enough for.

        Args:
            worker_memory: bytes that a worker takes at the most.

        Raises:
            InputError: there is not enough memory for one, it is limited for Ray's workers, or Ray
                is not installed.
        """
        chosen = self._executor(worker_memory)
        if self.engine == "local":
            workers = self.fitting_workers(worker_memory)
            peak = size(DRIVER_MEMORY + workers * worker_memory)
            logger.info("%s, at most %s of memory in all", counted(workers, "worker"), peak)
        return chosen

    def require_use(self, worker_memory: int) -> None:
        """Raises InputError where `executor` or `workers_device` would, before there is something to do."""
        self._executor(worker_memory)
        _ = self.workers_device

    def require_place(self) -> None:
        """Raises InputError where a GPU was asked for, and the workers have none."""
        if self.engine == "local":
            require_device(self.device)
        elif self.device == "cuda" and not self.gpus:
            raise InputError("--device cuda must go with --gpus for --engine ray, got no --gpus")

    @property
    def device_here(self) -> DeviceChoice:
        """Where this process computes; Ray's workers may have what it has not."""
        return self.device if self.engine == "local" else "auto"

    @property
    def workers_device(self) -> Literal["cpu", "cuda"]:
        """Where the workers compute.

        Raises:
            InputError: what was chosen is not there.
        """
        self.require_place()
        if self.engine == "ray":  # which hides the GPUs that it has not set aside
            return "cuda" if self.gpus and self.device != "cpu" else "cpu"
        if self.device == "cpu":
            return "cpu"
        from rnnfast.models.precision import find_device

        return "cuda" if find_device(self.device).type == "cuda" else "cpu"

    def _executor(self, worker_memory: int) -> Executor:
        if self.engine == "local":
            workers: int | None = self.fitting_workers(worker_memory)
        elif self.memory_limit is not None:
            raise InputError(
                f"--memory-limit must go with --engine local, got: {size(self.memory_limit)} for "
                f"{self.engine}; leave it out, or leave out --engine"
            )
        else:
            workers = self.workers
        return executor(self.engine, workers, self.address, self.gpus)

    def fitting_workers(self, worker_memory: int) -> int:
        """How many local workers the memory is enough for, of those that are wanted.

        Raises:
            InputError: not even one.
        """
        wanted = self.workers or usual_workers()
        if self.memory_limit is None:
            return wanted
        fitting = (self.memory_limit - DRIVER_MEMORY) // worker_memory
        if fitting < 1:
            least = size(DRIVER_MEMORY + worker_memory)
            raise InputError(
                f"--memory-limit must be at least {least} for one worker, got: {size(self.memory_limit)}"
            )
        return min(wanted, fitting)
