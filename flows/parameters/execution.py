"""What does the work of a job: the processes of a training, and the workers of its shards."""

import logging

from pydantic import BaseModel, ByteSize, ConfigDict, Field, model_validator

from flows.errors import InputError
from flows.executors import Engine, Executor, executor, usual_workers
from flows.wording import counted

DRIVER_MEMORY = 400 << 20  # bytes: of the process that plans, with Prefect and its server


# Cells of models that are solved at once, or have nothing to learn.
NOT_BY_STEPS = ("ngrams", "linear", "persistence", "seasonal")


logger = logging.getLogger(__name__)


class Processes(BaseModel):
    """The processes that train a model together."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    workers: int = Field(1, ge=1, description="Processes on this machine.")
    nodes: int = Field(1, ge=1, description="Machines, each with as many processes.")
    rendezvous: str | None = Field(
        None,
        pattern=r"^[^\s:]+:[0-9]+$|^\[[^\s\]]+\]:[0-9]+$",
        description="HOST:PORT of one of the machines, where they meet.",
    )

    @property
    def count(self) -> int:
        """All of them."""
        return self.workers * self.nodes

    def require_use(self, cell: str, batch_size: int) -> None:
        """Raises InputError where some would have nothing to do."""
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
                "nodes above 1 and rendezvous must be given together, "
                f"got {self.nodes} and {self.rendezvous}"
            )
        return self


ALONE = Processes()


class Execution(BaseModel):
    """Where the shards of a job are done, and how."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    engine: Engine = Field("local", description="local: processes of this machine; ray: a cluster.")
    workers: int | None = Field(
        None,
        ge=1,
        description="Processes, which share the cores; by default one for every 4 of them, of a cluster one a CPU.",
    )
    address: str | None = Field(
        None, description="host:port of a Ray cluster; by default one of its own."
    )
    gpus: float = Field(
        0, ge=0, description="That Ray sets aside for each worker; the layers compute on the CPU."
    )
    shard_rows: int = Field(65_536, ge=1, description="Rows of a file that are done together.")
    memory_limit: ByteSize | None = Field(
        None, description="Of all processes of this machine together, such as 4GB."
    )

    def executor(self, worker_memory: int) -> Executor:
        """The executor, with no more workers than the memory is enough for.

        Args:
            worker_memory: bytes that a worker takes at the most.

        Raises:
            InputError: there is not enough memory for one, it is limited for Ray's workers, or Ray
                is not installed.
        """
        workers = self.workers
        if self.engine == "local":
            workers = self.fitting_workers(worker_memory)
            peak = ByteSize(DRIVER_MEMORY + workers * worker_memory).human_readable(decimal=True)
            logger.info("%s, at most %s of memory", counted(workers, "worker"), peak)
        elif self.memory_limit is not None:
            raise InputError(
                f"--memory-limit must go with --engine local, "
                f"got: {self.memory_limit.human_readable(decimal=True)} for {self.engine}"
            )
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
            least = ByteSize(DRIVER_MEMORY + worker_memory).human_readable(decimal=True)
            raise InputError(
                f"--memory-limit must be at least {least} for one worker, "
                f"got: {self.memory_limit.human_readable(decimal=True)}"
            )
        return min(wanted, fitting)
