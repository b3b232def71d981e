"""What a scoring takes."""

from datetime import date

from pydantic import BaseModel, ConfigDict, Field, model_validator


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
