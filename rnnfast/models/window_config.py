"""What a model of windows of readings is: settings that need no torch."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from rnnfast.models.choices import Task, WindowCell
from rnnfast.models.config import RECURRENT, Pooling

LABELLERS = (*RECURRENT, "mlp", "cnn", "linear")
"""Cells that give a window a label, of any kind."""


class WindowConfig(BaseModel):
    """All that is needed to build a model, beside its channels. Immutable; unknown names fail."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: Task = Field(
        "forecast", description="What the model does: forecast, classify, tag or regress."
    )
    cell: WindowCell = Field(
        "gru",
        description="The kind of model: rnn, gru, lstm, linear, nlinear, dlinear, mlp, cnn, persistence, seasonal.",
    )
    form: Literal["segments", "direct", "recursive"] = Field(
        "direct", description="How a recurrent model forecasts: segments, direct or recursive."
    )
    nonlinearity: Literal["tanh", "relu"] = Field(
        "tanh", description="The nonlinearity of the cell rnn: tanh or relu."
    )
    lookback: int = Field(96, ge=2, description="How many readings the model reads.")
    horizon: int = Field(1, ge=1, description="How many readings ahead the model forecasts.")
    segment: int = Field(
        1, ge=1, description="How many readings make one step of the recurrent model."
    )
    hidden_size: int = Field(64, ge=2, description="The size of a recurrent state or hidden layer.")
    num_layers: int = Field(1, ge=1, le=16, description="How many recurrent layers are stacked.")
    bidirectional: bool = Field(
        False, description="Whether a window to classify is also read from its end."
    )
    pooling: Pooling = Field(
        "last",
        description="Which of the states of a window are classified: last, mean, max, or mean+max for both.",
    )
    dropout: float = Field(
        0.0, ge=0, lt=1, description="The share of features that training drops, from 0 to 1."
    )
    normalise: Literal["none", "residual", "last", "mean"] = Field(
        "none",
        description="Of each window: residual adds the last value to the forecast, last also takes "
        "it from the readings, mean takes their mean and divides by their deviation.",
    )
    quantiles: bool = Field(
        False, description="Whether the ends of an interval are forecast as well."
    )
    coverage: float = Field(
        0.9,
        gt=0,
        lt=1,
        description="The share of the truth that the interval is to hold, from 0 to 1.",
    )
    wide: bool = Field(
        False,
        description="Mix a recurrent forecast with a linear one, in the share that is best on the validation windows.",
    )
    period: int = Field(24, ge=1, description="Readings of a season; 1: none.")
    kernel: int = Field(
        25, ge=1, description="How many readings an average or a filter sees; an odd number."
    )
    rotation: float = Field(
        0.0,
        ge=0,
        description="By how much training turns triples of channels: the deviation of the angle, in radians.",
    )
    noise: float = Field(
        0.0, ge=0, description="How much noise training adds to readings, in standard deviations."
    )
    members: int = Field(
        1, ge=1, description="How many models, trained by themselves, are averaged."
    )

    @model_validator(mode="after")
    def _fits_together(self) -> WindowConfig:
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel must be odd, got: {self.kernel}")
        if self.cell in RECURRENT and self.lookback % self.segment:
            raise ValueError(
                f"lookback must be a multiple of segment, {self.segment}, got: {self.lookback}"
            )
        if self.gives_labels and self.cell not in LABELLERS:
            raise ValueError(
                f"cell must be {' or '.join(LABELLERS)} to {self.task}, got: {self.cell!r}"
            )
        if self.task == "forecast" and self.bidirectional:
            raise ValueError("bidirectional must be false to forecast, got: true")
        if self.cell == "seasonal" and self.period > self.lookback:
            raise ValueError(
                f"period must be at most lookback, {self.lookback}, got: {self.period}"
            )
        if self.form != "segments" and self.task == "forecast" and self.segment > 1:
            raise ValueError(f"segment must be 1 for form {self.form!r}, got: {self.segment}")
        if self.wide and (self.task != "forecast" or self.cell not in RECURRENT):
            raise ValueError(
                f"wide must be false unless a recurrent cell forecasts, got: true for {self.cell}, {self.task}"
            )
        if self.form == "recursive" and self.quantiles:
            raise ValueError("quantiles must be false for form 'recursive', got: true")
        return self

    @property
    def gives_labels(self) -> bool:
        """Whether the model gives a label for each window, of any kind, and no forecast."""
        return self.task != "forecast"

    @property
    def streams(self) -> bool:
        """Whether a hidden state can be kept from reading to reading."""
        one_way = self.cell in RECURRENT and not self.bidirectional and self.segment == 1
        one_way = one_way and self.members == 1
        if self.gives_labels:
            return one_way and self.pooling == "last"
        plain = self.normalise in ("none", "residual") and not self.wide
        return one_way and plain and self.form != "segments"
