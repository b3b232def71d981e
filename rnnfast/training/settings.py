"""How models are trained: settings that need no torch."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class LoopSettings(BaseModel):
    """How any model is trained. Immutable; unknown names fail."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(4, ge=1, le=1000, description="Passes over the training rows.")
    batch_size: int = Field(64, ge=1, description="Rows in a step.")
    learning_rate: float = Field(2e-3, gt=0, description="Of Adam; the peak of a schedule.")
    schedule: Literal["one-cycle", "constant"] = Field(
        "one-cycle", description="How the learning rate changes over the steps."
    )
    weight_decay: float = Field(0.0, ge=0, description="Decoupled, as AdamW has it.")
    clip: float = Field(1.0, gt=0, description="Largest norm of all gradients together.")
    averaging: float = Field(
        0.99,
        ge=0,
        lt=1,
        description="Decay of a moving average of the weights, less in the first steps; 0: none.",
    )
    patience: int = Field(
        0, ge=0, description="Stop after so many epochs without a new best one; 0: never."
    )
    regularization: float = Field(0.1, gt=0, description="Strength of a linear model's L2 penalty.")
    seed: int = Field(0, ge=0, description="Of weights, order and dropout.")


class TrainingSettings(LoopSettings):
    """How a model of reviews is trained."""

    vector_learning_rate: float = Field(
        0.02, gt=0, description="Of word vectors and weights, as learning_rate."
    )
    vector_epsilon: float = Field(
        1e-5, gt=0, description="Adam's epsilon for these: damps those of rare words."
    )


class WindowTraining(LoopSettings):
    """How a model of windows of readings is trained."""

    loss: Literal["mse", "mae", "huber"] = Field(
        "mse", description="Of a forecast, in standard deviations of the channel."
    )
    stride: int = Field(
        0,
        ge=0,
        description="Every so many readings a training window starts; 0: at each to forecast, after "
        "half a window to classify.",
    )
