"""What the flows take: typed, checked before anything starts, one line of explanation each."""

import logging
import os
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    Field,
    model_validator,
)
from pydantic_core import PydanticCustomError

from flows.datasets import DATASETS, SENSORS
from flows.datasets.base import Archive, SensorDataset
from flows.datasets.labels import MISSING, LabelRule
from flows.datasets.series_files import KINDS
from flows.errors import InputError
from flows.executors import Engine, Executor, executor, usual_workers
from flows.store.file_options import FOUND, FileOptions
from flows.tables.columns import Columns
from flows.tables.readers import READERS
from flows.tables.steps import parse_step
from flows.tables.times import require_form
from flows.wording import counted
from rnnfast.models.choices import SplitChoice, Task

DRIVER_MEMORY = 400 << 20  # bytes: of the process that plans, with Prefect and its server

TEST_SHARE = 0.2

logger = logging.getLogger(__name__)


class JobData(BaseModel):
    """What every job needs to know of its data."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str = Field("sample", description="A name, or a file or glob.")
    mirror: str | None = Field(
        default_factory=lambda: os.environ.get("RNNFAST_MIRROR") or None,
        description="Folder or address to download from; by default RNNFAST_MIRROR.",
    )
    kinds: ClassVar[tuple[str, ...]] = ()
    """What the user's own files may be."""

    test_share: float = Field(
        TEST_SHARE,
        gt=0,
        lt=1,
        description="Share of the rows for testing where nothing says which.",
    )
    split_seed: int = Field(0, ge=0, description="Of the splits; the same gives the same rows.")
    reading: FileOptions = Field(
        FOUND,
        description="How the user's own files are read; what is not given is found from each file.",
    )

    def _require_no_share(self, why: str) -> None:
        """Raises ValueError where a share for testing is given, and something else says which rows these are."""
        if self.test_share != TEST_SHARE:
            raise ValueError(f"test_share must be left out {why}, got: {self.test_share:g}")


def _names(value: object) -> object:
    """Names as the command line has them, parted by commas."""
    return tuple(name.strip() for name in value.split(",")) if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], BeforeValidator(_names)]


def _sentinels(value: object) -> object:
    """Numbers parted by commas; `none` are none."""
    is_none = isinstance(value, str) and value.strip().lower() in ("", "none")
    return () if is_none else _names(value)


def _step(value: object) -> object:
    """A step by its name, or as seconds."""
    text = str(value).strip()
    try:
        parse_step(text)
    except ValueError as error:
        raise PydanticCustomError("step", "{rule}", {"rule": str(error)}) from None
    return text


Sentinels = Annotated[tuple[float, ...], BeforeValidator(_sentinels)]
Step = Annotated[str, BeforeValidator(_step)]


class LabelledData(JobData):
    """Data with labels, and how these are read."""

    join_labels: bool = Field(
        False, description="Whether labels that differ in case or in spaces alone are one."
    )
    missing_labels: Names = Field(
        MISSING, description="Spellings, in any case, that mean that there is no label."
    )

    @property
    def label_rule(self) -> LabelRule:
        """How labels are read."""
        return LabelRule(self.join_labels, tuple(each.lower() for each in self.missing_labels))


class ReviewsData(LabelledData):
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
    unlabelled: float = Field(
        0.1,
        ge=0,
        le=1,
        description="Largest share of the rows that may have no label; these are left out.",
    )
    split_by: SplitChoice = Field(
        "auto",
        description="What parts words: spaces, or characters in scripts without spaces; auto looks at the texts.",
    )

    kinds: ClassVar[tuple[str, ...]] = tuple(READERS)

    @property
    def own_files(self) -> dict[str, str]:
        """The addresses of the user's own files, by the option that gives them."""
        if self.is_named:
            return {}
        tests = {} if self.test_dataset is None else {"--test-dataset": self.test_dataset}
        return {"--dataset": self.dataset, **tests}

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
        if self.is_named:
            self._require_no_share(f"for {self.dataset!r}, whose test rows are published")
        if self.test_dataset is not None:
            self._require_no_share("where test_dataset has the test rows")
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


class SensorsData(LabelledData):
    """Readings of sensors: a data set by its name, or files of one's own."""

    task: Task | None = Field(
        None, description="forecast or classify; by default what a named data set is for."
    )
    time_column: str | None = Field(
        None,
        description="Column of a file with the time stamp, or several parted by commas, such as year,month,day,hour; "
        "by default the one that is found to hold times.",
    )
    time_format: str | None = Field(
        None,
        description="How the time is written: a pattern such as '%d/%m/%Y %H:%M', 'day first', 'month first', "
        "digits (20210131), s, ms, us or ns since 1970, count or excel; by default found from the files.",
    )
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
    step: Step | None = Field(
        None,
        description="Of the grid: seconds, or such as 15min, 1h, day, week, month, quarter, year or business day; by "
        "default found from the time stamps.",
    )
    carry: int = Field(
        6, ge=0, description="Steps for which a missing value takes the last one before it."
    )
    sentinels: Sentinels | None = Field(
        None,
        description="Values that mean a missing one, parted by commas, or none; by default -9999, and those that are "
        "found far outside of all others again and again.",
    )
    test_groups: Names = Field((), description="Groups to test on; else they are drawn.")
    validation_share: float = Field(
        0.1, ge=0, lt=1, description="Share of the training rows that choose the epoch; 0: none do."
    )

    kinds: ClassVar[tuple[str, ...]] = KINDS

    @property
    def own_files(self) -> dict[str, str]:
        """The address of the user's own files, by the option that gives it."""
        return {} if self.named else {"--dataset": self.dataset}

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
        if self.time_format is not None:
            require_form(self.time_format)
        if self.named and self.chosen_task not in self.named.tasks:
            raise ValueError(
                f"task must be {' or '.join(self.named.tasks)} for {self.dataset!r}, "
                f"got: {self.task!r}"
            )
        if not self.named and self.task == "classify" and self.label_column is None:
            raise ValueError("label_column must be given to classify, got none")
        if self.named and (
            (self.named.cuts and self.order == "time")
            or (self.named.test_groups and self.chosen_task == "classify")
        ):
            self._require_no_share(f"for {self.dataset!r}, whose test rows are published")
        if self.test_groups and self.chosen_task == "classify":
            self._require_no_share("where test_groups are those to test on")
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
