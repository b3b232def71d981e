"""What the training flows learn from: named data sets, or files of one's own."""

import os
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from flows.datasets import DATASETS, SENSORS
from flows.datasets.base import Archive, SensorDataset
from flows.datasets.labels import MISSING_LABELS, LabelRule
from flows.datasets.series_files import KINDS
from flows.store.file_options import FOUND, FileOptions
from flows.tables.columns import Columns, label_columns
from flows.tables.readers import READERS
from flows.tables.steps import parse_step
from flows.tables.times import require_form
from rnnfast.models.choices import LabelTask, SplitChoice, Task

TEST_SHARE, VALIDATION_SHARE = 0.2, 0.1
NUMBERS_SHARE = (
    0.2  # to validate on, where windows have numbers: few devices say little of another one
)


class JobData(BaseModel):
    """What every job needs to know of its data."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str = Field(
        "sample", description="The name of a known data set, or a file, folder or glob of your own."
    )
    mirror: str | None = Field(
        default_factory=lambda: os.environ.get("RNNFAST_MIRROR") or None,
        description="The folder or address to take archives from; by default what RNNFAST_MIRROR names.",
    )
    kinds: ClassVar[tuple[str, ...]] = ()
    """What the user's own files may be."""

    test_share: float = Field(
        TEST_SHARE,
        gt=0,
        lt=1,
        description="The share of the rows to test on, from 0 to 1, where nothing says which rows these are.",
    )
    split_seed: int = Field(
        0, ge=0, description="The seed of the random splits; the same seed gives the same rows."
    )
    reading: FileOptions = Field(
        FOUND,
        description="How your own files are read; what is not given is found from each file.",
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

    task: Task | None = Field(
        None,
        description="What the labels are: one of some classes (classify), several at once (tag), or a number "
        "(regress); of readings also forecast, without labels. By default what the label column says.",
    )
    join_labels: bool = Field(
        False, description="Whether labels count as one that differ in case or in spaces alone."
    )
    missing_labels: Names = Field(
        MISSING_LABELS,
        description="The spellings, in upper or lower case, that mean that a row has no label.",
    )

    @property
    def label_rule(self) -> LabelRule:
        """How labels are read."""
        return LabelRule(self.join_labels, tuple(each.lower() for each in self.missing_labels))


class ReviewsData(LabelledData):
    """Labelled reviews: a data set by its name, or files of one's own."""

    text_column: str = Field(
        "text", description="The column of your own files that holds the text."
    )
    label_column: str = Field(
        "label",
        description="The column of your own files that holds the label, or several that hold 0 and 1, parted by "
        "commas.",
    )
    group_column: str | None = Field(
        None,
        description="The column that says which rows belong together; they stay on one side of every split.",
    )
    id_column: str | None = Field(
        None, description="The column that names each row; by default rows are numbered."
    )
    test_dataset: str | None = Field(
        None,
        description="The files with the rows to test on; by default a share of the data set is split off.",
    )
    validation_share: float = Field(
        VALIDATION_SHARE,
        gt=0,
        lt=1,
        description="The share of the training rows, from 0 to 1, that decides which epoch is kept.",
    )
    unlabelled: float = Field(
        0.1,
        ge=0,
        le=1,
        description="The largest share of rows without a label, from 0 to 1; these rows are left out.",
    )
    split_by: SplitChoice = Field(
        "auto",
        description="What separates words: spaces, or characters for scripts without spaces; auto looks at the texts.",
    )
    pseudo_labels: str | None = Field(
        None,
        description="Files with texts without labels: the model labels them, and learns again with those that it is "
        "surest of.",
    )
    sure_share: float = Field(
        0.5,
        gt=0,
        le=1,
        description="The share of these texts, from 0 to 1, that it learns from: the surest of each class.",
    )

    kinds: ClassVar[tuple[str, ...]] = tuple(READERS)

    @property
    def wanted_task(self) -> LabelTask | None:
        """What the labels are to be; None where their column says it."""
        return None if self.task == "forecast" else self.task

    @property
    def own_files(self) -> dict[str, str]:
        """The addresses of the user's own files, by the option that gives them."""
        found = {
            "--dataset": None if self.is_named else self.dataset,
            "--test-dataset": None if self.is_named else self.test_dataset,
            "--pseudo-labels": self.pseudo_labels,
        }
        return {option: address for option, address in found.items() if address is not None}

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

    def columns_of(self, option: str) -> Columns:
        """The columns of the files that an option of `own_files` gives."""
        return Columns(self.text_column) if option == "--pseudo-labels" else self.columns

    @model_validator(mode="after")
    def _fits_together(self) -> "ReviewsData":
        if self.task == "forecast" or (self.is_named and self.task not in (None, "classify")):
            allowed = "classify" if self.is_named else "classify, tag or regress"
            of = f"for {self.dataset!r}" if self.is_named else "for reviews"
            raise ValueError(f"task must be {allowed} {of}, got: {self.task!r}")
        if self.text_column in label_columns(self.label_column):
            raise ValueError(
                f"label_column must be another one than text_column, got: {self.label_column!r}"
            )
        if self.is_named and self.test_dataset is not None:
            raise ValueError(f"test_dataset must not be given for {self.dataset!r}, which has one")
        if self.is_named:
            self._require_no_share(f"for {self.dataset!r}, whose test rows are published")
        if self.test_dataset is not None:
            self._require_no_share("where test_dataset has the test rows")
        return self


class SensorsData(LabelledData):
    """Readings of sensors: a data set by its name, or files of one's own."""

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
        (), description="The channels to forecast, parted by commas; by default all features."
    )
    features: Names = Field(
        (),
        description="Channels to read, parted by commas, and calendar for the hour, day and season; "
        "by default all columns of numbers, or in the order of the file the target alone.",
    )
    label_column: str | None = Field(
        None,
        description="The column of your own files that holds the label, or several that hold 0 and 1, parted by "
        "commas; needed for all but forecasts, and never read as a feature.",
    )
    group_column: str | None = Field(
        None, description="The column that says which device or person a reading is of."
    )
    order: Literal["time", "file"] | None = Field(
        None,
        description="file takes the rows as they come, a step apart, whatever their time; by default time, and file "
        "with the preset lecture.",
    )
    step: Step | None = Field(
        None,
        description="Of the grid: seconds, or such as 15min, 1h, day, week, month, quarter, year or business day; by "
        "default found from the time stamps.",
    )
    carry: int = Field(
        6,
        ge=0,
        description="For how many steps a missing value is replaced by the last one before it.",
    )
    sentinels: Sentinels | None = Field(
        None,
        description="Values that mean a missing one, parted by commas, or none; by default -9999, and those that are "
        "found far outside of all others again and again.",
    )
    test_groups: Names = Field(
        (), description="The groups to test on, parted by commas; by default they are drawn."
    )
    validation_share: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="The share of the training rows, from 0 to 1, that decides which epoch is kept; 0 holds none "
        "back; by default 0.1, for windows with numbers 0.2, and 0 with the preset lecture.",
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
    def label_columns(self) -> list[str]:
        """The columns of labels."""
        return label_columns(self.label_column)

    @property
    def gives_labels(self) -> bool:
        """Whether a model of the readings gives labels, of any kind, and no forecasts."""
        return self.chosen_task != "forecast"

    @property
    def chosen_task(self) -> str:
        """The task, the usual one of a named data set where none was chosen."""
        return self.task or (next(iter(self.named.tasks)) if self.named else "forecast")

    @property
    def suggested(self) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """Fields of the model's and of the training's configuration that suit the data set."""
        return self.named.tasks[self.chosen_task] if self.named else ({}, {})

    @property
    def has_time(self) -> bool:
        """Whether the readings are in the order of their time, and not in that of the file."""
        return self.order != "file"

    @property
    def share_to_validate(self) -> float:
        """Share of the training rows that choose the epoch."""
        if self.validation_share is not None:
            return self.validation_share
        return NUMBERS_SHARE if self.chosen_task == "regress" else VALIDATION_SHARE

    def with_defaults(self, usual: Mapping[str, Any]) -> "SensorsData":
        """The same with all that was left open: as `usual` says, or else by the defaults."""
        values = {"order": "time", "validation_share": self.share_to_validate, **usual}
        given = {name: value for name, value in self if value is not None}
        return SensorsData(**values | given)

    @model_validator(mode="after")
    def _fits_together(self) -> "SensorsData":
        if self.time_format is not None:
            require_form(self.time_format)
        if self.named and self.chosen_task not in self.named.tasks:
            raise ValueError(
                f"task must be {' or '.join(self.named.tasks)} for {self.dataset!r}, "
                f"got: {self.task!r}"
            )
        if not self.named and self.gives_labels and self.label_column is None:
            raise ValueError(f"label_column must be given to {self.task}, got none")
        if self.named and (
            (self.named.cuts and self.order == "time")
            or (self.named.test_groups and self.gives_labels)
        ):
            self._require_no_share(f"for {self.dataset!r}, whose test rows are published")
        if self.test_groups and self.gives_labels:
            self._require_no_share("where test_groups are those to test on")
        if not self.has_time and "calendar" in self.features:
            raise ValueError(
                "features must not hold 'calendar' for order 'file', which has no time"
            )
        return self
