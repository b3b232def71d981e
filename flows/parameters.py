"""What the flows take: typed, checked before anything starts, one line of explanation each."""

import os
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from flows.datasets import DATASETS
from flows.datasets.base import Archive
from flows.datasets.readers import Columns


class ReviewsData(BaseModel):
    """Labelled reviews: a data set by its name, or files of one's own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str = Field("sample", description=f"{', '.join(DATASETS)}, or a file or glob.")
    mirror: str | None = Field(
        default_factory=lambda: os.environ.get("RNNFAST_MIRROR") or None,
        description="Folder or address to download from; by default RNNFAST_MIRROR.",
    )
    text_column: str = Field("text", description="Column of a file that holds the text.")
    label_column: str = Field("label", description="Column of a file with one of two labels.")
    group_column: str | None = Field(
        None, description="Column of a file; rows of one group stay on one side of a split."
    )
    id_column: str | None = Field(None, description="Column of a file that names the row.")
    test_dataset: str | None = Field(
        None, description="Files with the test rows; else they are split off."
    )
    test_share: float = Field(
        0.2, gt=0, lt=1, description="Share of the rows for testing where nothing says which."
    )
    validation_share: float = Field(
        0.1, gt=0, lt=1, description="Share of the training rows that choose the epoch."
    )
    split_seed: int = Field(0, ge=0, description="Of the splits; the same gives the same rows.")

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
