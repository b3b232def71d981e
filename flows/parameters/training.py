"""What a training takes."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from flows.errors import InputError
from flows.parameters.data import ReviewsData, SensorsData
from flows.parameters.execution import Execution, Processes
from flows.parameters.registration import Registration
from flows.parameters.settings import ReviewsModel, ReviewsTraining, SensorsModel, SensorsTraining
from rnnfast.evaluation.checks import Limits
from rnnfast.models.choices import ScoringPrecision
from rnnfast.models.config import RECURRENT

WHAT = "What to train; what is left out follows from the preset and the data."
HOW = "How to train it; likewise."
SEEDED = (*RECURRENT, "mlp", "cnn")
"""Cells whose weights depend on the seed."""


class TrainingRequest(BaseModel):
    """What every training takes beside its data, its model and how that is trained."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    output: Path = Field(
        description="The folder to leave; new, or empty. {time} in it is when the run begins."
    )
    overwrite: bool = Field(False, description="Whether to replace a run that is there.")
    seeds: int = Field(
        1,
        ge=1,
        le=50,
        description="How many times to train the model, each with the next seed; its figures have a mean and a spread.",
    )
    ensemble: bool = Field(
        False,
        description="Whether the mean of what the models of all seeds give is kept, and not the first of them.",
    )
    yardstick: bool = Field(False, description="Whether to train simpler models beside it.")
    execution: Execution = Field(
        Execution(), description="Where words are counted and test rows scored, and how."
    )
    processes: Processes = Field(
        Processes(), description="That train the model; one alone trains what is beside it."
    )
    score_precision: ScoringPrecision = Field(
        "fp32",
        description="What the model scores in, here and later: fp32, bf16 or int8; auto: the fastest whose loss on the "
        "validation part is within score_loss.",
    )
    score_loss: float = Field(
        0.001,
        ge=0,
        lt=1,
        description="How much accuracy, or F1 of tags, auto may cost on the validation rows, or by which share the MSE "
        "of numbers and forecasts may be higher.",
    )
    registration: Registration | None = Field(
        None, description="The name to register the model under, and when it goes into production."
    )
    limits: Limits = Field(
        Limits(),
        description="The rules for the rows, each with the value from which it warns and from which it fails.",
    )
    gate: bool = Field(
        True, description="Whether the run ends, before the training, where a rule fails."
    )

    def require_use(self, cell: str, batch_size: int) -> None:
        """Raises InputError where processes or seeds have nothing to do, or a device or precision is not there."""
        if self.seeds > 1 and cell not in SEEDED:
            raise InputError(
                f"--seeds must be 1 for --cell {cell}, which no seed changes, got: {self.seeds}"
            )
        if self.ensemble and self.seeds < 2:
            raise InputError(
                f"--seeds must be 2 or more with --ensemble, which averages so many models, got: {self.seeds}"
            )
        self.processes.require_use(cell, batch_size)
        self.execution.require_place()
        if self.score_precision == "int8":
            # Loads torch, for which nobody else shall wait.
            from rnnfast.models.precision import find_device, precisions

            device = find_device(self.execution.device_here)
            if "int8" not in (known := precisions(device)):
                raise InputError(
                    f"--score-precision must be auto, {' or '.join(known)} on {device}, got: int8"
                )


class ReviewsRequest(TrainingRequest):
    """A training of a classifier of reviews."""

    data: ReviewsData = Field(ReviewsData(), description="What to learn from.")
    model: ReviewsModel = Field(ReviewsModel(), description=WHAT)
    training: ReviewsTraining = Field(ReviewsTraining(), description=HOW)


class SensorsRequest(TrainingRequest):
    """A training of a forecaster, or of a classifier of windows."""

    data: SensorsData = Field(SensorsData(), description="What to learn from.")
    model: SensorsModel = Field(SensorsModel(), description=WHAT)
    training: SensorsTraining = Field(SensorsTraining(), description=HOW)
