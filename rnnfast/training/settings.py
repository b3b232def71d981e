"""How models are trained: settings that need no torch."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from rnnfast.models.choices import TrainingPrecision


class LoopSettings(BaseModel):
    """How any model is trained. Immutable; unknown names fail."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(
        4, ge=1, le=1000, description="How many times training passes over its rows."
    )
    batch_size: int = Field(64, ge=1, description="How many rows one step of training takes.")
    learning_rate: float = Field(
        2e-3, gt=0, description="The learning rate of Adam, or the peak of its schedule."
    )
    schedule: Literal["one-cycle", "constant"] = Field(
        "one-cycle",
        description="How the learning rate changes over the steps: one-cycle or constant.",
    )
    weight_decay: float = Field(0.0, ge=0, description="The weight decay, decoupled as in AdamW.")
    clip: float = Field(
        1.0,
        gt=0,
        description="The largest norm that all gradients may have together; larger ones are scaled down.",
    )
    averaging: float = Field(
        0.99,
        ge=0,
        lt=1,
        description="Decay of a moving average of the weights, less in the first steps; 0: none.",
    )
    patience: int = Field(
        0,
        ge=0,
        description="After how many epochs without a new best one training stops; 0 never stops it.",
    )
    regularization: float = Field(
        0.1, gt=0, description="The strength of the L2 penalty of a linear model."
    )
    class_weights: Literal["none", "balanced"] = Field(
        "none",
        description="Whether each class, or tag, has the same say in training, however few rows it has: "
        "balanced, or none.",
    )
    precision: TrainingPrecision = Field(
        "fp32",
        description="What the recurrent layers compute in: fp32, or bf16 with sums and weights in float32.",
    )
    seed: int = Field(
        0, ge=0, description="The seed of the weights, of the order of the rows and of dropout."
    )


class TrainingSettings(LoopSettings):
    """How a model of reviews is trained."""

    vector_learning_rate: float = Field(
        0.02, gt=0, description="The learning rate of word vectors and word weights."
    )
    vector_epsilon: float = Field(
        1e-5,
        gt=0,
        description="Adam's epsilon for word vectors and weights; a larger one slows those of rare words.",
    )
    layer_decay: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Of a model that starts from a language model: the learning rate of each layer below the head, as "
        "a share of that of the layer above.",
    )
    unfreeze: Literal["at once", "gradually"] = Field(
        "at once",
        description="Of a model that starts from a language model: whether all layers learn at once, or gradually, the "
        "head first and one more layer with each epoch.",
    )


class WindowTraining(LoopSettings):
    """How a model of windows of readings is trained."""

    loss: Literal["mse", "mae", "huber"] = Field(
        "mse",
        description="The loss of a forecast, in standard deviations of the channel: mse, mae or huber.",
    )
    stride: int = Field(
        0,
        ge=0,
        description="Every so many readings a training window starts; 0: at each to forecast, after "
        "half a window to give labels.",
    )
