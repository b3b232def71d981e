"""What the flows take: typed, checked before anything starts, one line of explanation each."""

import logging
import os
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    Field,
    model_validator,
)

from flows.datasets import DATASETS, SENSORS
from flows.datasets.base import Archive, SensorDataset
from flows.datasets.readers import Columns
from flows.errors import InputError
from flows.executors import Engine, Executor, executor, usual_workers

DRIVER_MEMORY = 400 << 20  # bytes: of the process that plans, with Prefect and its server

logger = logging.getLogger(__name__)


class JobData(BaseModel):
    """What every job needs to know of its data."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str = Field("sample", description="A name, or a file or glob.")
    mirror: str | None = Field(
        default_factory=lambda: os.environ.get("RNNFAST_MIRROR") or None,
        description="Folder or address to download from; by default RNNFAST_MIRROR.",
    )
    test_share: float = Field(
        0.2, gt=0, lt=1, description="Share of the rows for testing where nothing says which."
    )
    split_seed: int = Field(0, ge=0, description="Of the splits; the same gives the same rows.")


class ReviewsData(JobData):
    """Labelled reviews: a data set by its name, or files of one's own."""

    text_column: str = Field("text", description="Column of a file that holds the text.")
    label_column: str = Field("label", description="Column of a file with one of two labels.")
    group_column: str | None = Field(
        None, description="Column of a file; rows of one group stay on one side of a split."
    )
    id_column: str | None = Field(None, description="Column of a file that names the row.")
    test_dataset: str | None = Field(
        None, description="Files with the test rows; else they are split off."
    )
    validation_share: float = Field(
        0.1, gt=0, lt=1, description="Share of the training rows that choose the epoch."
    )

    @property
    def is_named(self) -> bool:
        """Whether the data set is one that has a name."""
        return self.dataset in DATASETS

    @property
    def archive(self) -> Archive | None:
        """What has to be downloaded."""
        return DATASETS[self.dataset].archive if self.is_named else None

    @property
    def suggested(self) -> Mapping[str, Any]:
        """Fields of a model's configuration that suit the data set."""
        return DATASETS[self.dataset].model if self.is_named else {}

    @property
    def columns(self) -> Columns:
        """The columns of the user's own files."""
        return Columns(self.text_column, self.label_column, self.group_column, self.id_column)

    @model_validator(mode="after")
    def _fits_together(self) -> "ReviewsData":
        if self.is_named and self.test_dataset is not None:
            raise ValueError(f"test_dataset must not be given for {self.dataset!r}, which has one")
        return self


# Cells of models that are solved at once, or have nothing to learn.
NOT_BY_STEPS = ("ngrams", "linear", "persistence", "seasonal")


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


def _names(value: object) -> object:
    """Names as the command line has them, parted by commas."""
    return tuple(name.strip() for name in value.split(",")) if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], BeforeValidator(_names)]
Numbers = Annotated[tuple[float, ...], BeforeValidator(_names)]


class SensorsData(JobData):
    """Readings of sensors: a data set by its name, or files of one's own."""

    task: Literal["forecast", "classify"] | None = Field(
        None, description="forecast or classify; by default what a named data set is for."
    )
    time_column: str = Field("time", description="Column of a file with the time stamp.")
    target: Names = Field(
        (), description="Channels to forecast, parted by commas; by default all features."
    )
    features: Names = Field(
        (),
        description="Channels to read, parted by commas, and calendar for the hour, day and season; "
        "by default all columns of numbers, or in the order of the file the target alone.",
    )
    label_column: str | None = Field(None, description="Column of a file with the label.")
    group_column: str | None = Field(None, description="Column of a file: the device or person.")
    order: Literal["time", "file"] = Field(
        "time", description="file takes the rows as they come, a step apart, whatever their time."
    )
    step: float | None = Field(
        None, gt=0, description="Seconds of the grid; by default the most frequent distance."
    )
    carry: int = Field(
        6, ge=0, description="Steps for which a missing value takes the last one before it."
    )
    sentinels: Numbers = Field((-9999.0,), description="Values that mean a missing one.")
    test_groups: Names = Field((), description="Groups to test on; else they are drawn.")
    validation_share: float = Field(
        0.1, ge=0, lt=1, description="Share of the training rows that choose the epoch; 0: none do."
    )

    @property
    def named(self) -> SensorDataset | None:
        """The data set, where it is one that has a name."""
        return SENSORS.get(self.dataset)

    @property
    def archive(self) -> Archive | None:
        """What has to be downloaded."""
        return self.named.archive if self.named else None

    @property
    def chosen_task(self) -> str:
        """The task, the usual one of a named data set where none was chosen."""
        return self.task or (next(iter(self.named.tasks)) if self.named else "forecast")

    @property
    def suggested(self) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """Fields of the model's and of the training's configuration that suit the data set."""
        return self.named.tasks[self.chosen_task] if self.named else ({}, {})

    @model_validator(mode="after")
    def _fits_together(self) -> "SensorsData":
        if self.named and self.chosen_task not in self.named.tasks:
            raise ValueError(
                f"task must be {' or '.join(self.named.tasks)} for {self.dataset!r}, "
                f"got: {self.task!r}"
            )
        if not self.named and self.task == "classify" and self.label_column is None:
            raise ValueError("label_column must be given to classify, got none")
        if self.order == "file" and "calendar" in self.features:
            raise ValueError(
                "features must not hold 'calendar' for order 'file', which has no time"
            )
        return self


class Registration(BaseModel):
    """Under which name a trained model is registered, and what it must beat to come into production."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", description="Of the model in the registry."
    )
    registry: Path = Field(Path("models"), description="Folder of the registry.")
    margin: float = Field(
        0.005,
        ge=0,
        lt=1,
        description="Least gain over the version in production: in accuracy, or by which share of its mean squared "
        "error that of forecasts must be lower.",
    )


class Selection(BaseModel):
    """Which of the files that an input names are taken.

    A file's date is the last one in its path below the input's folder, be it `2026/01/05`, `date=2026-01-05` or part
    of a name, else the day, in UTC, on which it was modified.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    new: bool = Field(
        False,
        description="Those alone whose content no run before has taken into the output folder.",
    )
    settle: float = Field(
        60, ge=0, description="Seconds that a new file must have been left unmodified to be taken."
    )
    since: date | None = Field(None, description="The first day, such as 2026-01-01.")
    until: date | None = Field(None, description="The day after the last one.")

    @model_validator(mode="after")
    def _fits_together(self) -> "Selection":
        if self.since and self.until and self.since >= self.until:
            raise ValueError(f"until must be later than since {self.since}, got: {self.until}")
        return self


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
            logger.info("%d workers, at most %s of memory", workers, peak)
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
