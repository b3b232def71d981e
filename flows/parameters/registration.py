"""Under which name a model is registered."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field


class Registration(BaseModel):
    """Under which name a trained model is registered, and what it must beat to come into production."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$",
        description="The name of the model in the registry.",
    )
    registry: Path = Field(Path("models"), description="The folder of the registry.")
    margin: float = Field(
        0.005,
        ge=0,
        lt=1,
        description="Least gain over the version in production: in accuracy, or by which share of its mean squared "
        "error that of forecasts must be lower.",
    )
