"""What the training of a language model takes."""

import os
from pathlib import Path
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field

from flows.datasets import DATASETS
from flows.datasets.base import Archive
from flows.parameters.execution import Execution, Processes
from flows.parameters.settings import Request, asks_for
from flows.store.file_options import FOUND, FileOptions
from flows.tables.columns import Columns
from flows.tables.readers import READERS
from rnnfast.models.choices import LanguageCell, LanguagePreset, SplitChoice
from rnnfast.models.language_config import LanguageConfig
from rnnfast.training.settings import LoopSettings


class TextsData(BaseModel):
    """Texts without labels: of a data set by its name, or in files of one's own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    texts: str = Field(
        "sample",
        description="The name of a known data set, whose test texts are never read, or a file, folder or glob.",
    )
    mirror: str | None = Field(
        default_factory=lambda: os.environ.get("RNNFAST_MIRROR") or None,
        description="The folder or address to take archives from; by default what RNNFAST_MIRROR names.",
    )
    text_column: str = Field(
        "text", description="The column of your own files that holds the text."
    )
    validation_share: float = Field(
        0.02,
        gt=0,
        lt=1,
        description="The share of the texts, from 0 to 1, that is held out to measure the perplexity.",
    )
    split_by: SplitChoice = Field(
        "auto",
        description="What separates words: spaces, or characters for scripts without spaces; auto looks at the texts.",
    )
    reading: FileOptions = Field(
        FOUND,
        description="How your own files are read; what is not given is found from each file.",
    )
    kinds: ClassVar[tuple[str, ...]] = tuple(READERS)

    @property
    def is_named(self) -> bool:
        """Whether the texts are those of a data set that has a name."""
        return self.texts in DATASETS

    @property
    def archive(self) -> Archive | None:
        """What has to be downloaded."""
        return DATASETS[self.texts].archive if self.is_named else None

    @property
    def own_files(self) -> dict[str, str]:
        """The address of the user's own files, by the option that gives it."""
        return {} if self.is_named else {"--texts": self.texts}

    @property
    def columns(self) -> Columns:
        """The columns of the user's own files."""
        return Columns(self.text_column)


@asks_for(LanguageConfig)
class LanguageRequest(Request):
    """A language model."""

    decided = frozenset({"split_by"})  # see `TextsData`

    preset: LanguagePreset = Field(
        "default",
        description="Where the settings of model and training come from: a model that is trained in minutes (default), "
        "or a larger one that classifiers gain more from (best).",
    )
    cell: LanguageCell = Field("gru", description="The recurrent layer: rnn, gru or lstm.")


@asks_for(LoopSettings)
class LanguageTraining(Request):
    """How a language model is trained."""

    decided = frozenset({"regularization", "class_weights"})


class PretrainRequest(BaseModel):
    """A training of a language model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    output: Path = Field(
        description="The folder to leave; new, or empty. {time} in it is when the run begins."
    )
    overwrite: bool = Field(False, description="Whether to replace a run that is there.")
    data: TextsData = Field(TextsData(), description="What to learn from.")
    model: LanguageRequest = Field(LanguageRequest(), description="What to train.")
    training: LanguageTraining = Field(
        LanguageTraining(),
        description="How to train it; what is left out follows from the number of words.",
    )
    execution: Execution = Field(Execution(), description="Where words are counted, and how.")
    processes: Processes = Field(Processes(), description="That train the model.")

    def require_use(self, batch_size: int) -> None:
        """Raises InputError where a device or an engine is not there, or processes have nothing to do."""
        self.execution.require_place()
        self.processes.require_use(self.model.cell, batch_size)
