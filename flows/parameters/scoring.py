"""What a scoring takes."""

from datetime import date
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, model_validator

from flows.parameters.execution import Execution
from flows.store.file_options import FOUND, FileOptions
from flows.tables.columns import Columns
from rnnfast.evaluation.checks import Limits
from rnnfast.models.choices import ScoringPrecision


class FileSelection(BaseModel):
    """Which of the files that an input names are taken.

    A file's date is the last one in its path below the input's folder, be it `2026/01/05`, `date=2026-01-05` or part
    of a name, else the day, in UTC, on which it was modified.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    new: bool = Field(
        False,
        description="Whether to take only files whose content no earlier run has added to the output folder.",
    )
    settle: float = Field(
        60,
        ge=0,
        description="For how many seconds a new file must have been left unmodified to be taken.",
    )
    since: date | None = Field(
        None, description="The first day whose files are taken, such as 2026-01-01."
    )
    until: date | None = Field(
        None, description="The day after the last one whose files are taken."
    )

    @model_validator(mode="after")
    def _fits_together(self) -> "FileSelection":
        if self.since and self.until and self.since >= self.until:
            raise ValueError(f"until must be later than since {self.since}, got: {self.until}")
        return self


class ScoreRequest(BaseModel):
    """What is scored, with which model, and where the scores go."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(
        description="A name of the registry, for the version in production when the run begins, or the folder of a run."
    )
    input: str = Field(
        description="A CSV, JSONL or Parquet file, a glob of such files, or a folder; local or s3://."
    )
    output: str = Field(
        description="The folder for the scores, local or s3://; what is already there is not scored again."
    )
    text_column: str = Field("text", description="The column of the input that holds the text.")
    id_column: str | None = Field(
        None,
        description="The column that names each row; by default id, if it holds texts or whole numbers.",
    )
    time_column: str | None = Field(
        None,
        description="The column of readings that holds the time stamp; by default as in training.",
    )
    group_column: str | None = Field(
        None,
        description="The column that says which device or person a reading is of; by default as in training.",
    )
    every: int | None = Field(
        None,
        ge=1,
        description="Readings from one window to the next; by default the last window of each device to forecast, and "
        "half a window to give labels.",
    )
    precision: ScoringPrecision = Field(
        "auto",
        description="What the recurrent layers compute in: fp32, bf16 or int8; auto: what the run's config.json says, "
        "or fp32 on a machine without units for that.",
    )
    selection: FileSelection = Field(
        FileSelection(),
        description="Which files are taken: all, those that are new, those of some days.",
    )
    reading: FileOptions = Field(
        FOUND,
        description="How the files are read: separator, encoding and the like, where they are not to be found.",
    )
    execution: Execution = Field(Execution(), description="Where the shards are done, and how.")
    limits: Limits = Field(
        Limits(),
        description="The rules for the rows, each with the value from which it warns and from which it fails.",
    )
    gate: bool = Field(
        False,
        description="Whether the run fails, after its scores are written, where a rule fails.",
    )
    registry: Path = Field(Path("models"), description="The folder of the registry.")

    @property
    def columns(self) -> Columns:
        """The columns of reviews."""
        return Columns(text=self.text_column, id=self.id_column)
