"""What the flows take: typed, checked before anything starts, one line of explanation each."""

from flows.parameters.data import JobData, LabelledData, ReviewsData, SensorsData
from flows.parameters.execution import (
    DRIVER_MEMORY,
    NOT_BY_STEPS,
    ONE_PROCESS,
    Execution,
    Processes,
)
from flows.parameters.pretraining import (
    LanguageRequest,
    LanguageTraining,
    PretrainRequest,
    TextsData,
)
from flows.parameters.registration import Registration
from flows.parameters.scoring import FileSelection, ScoreRequest
from flows.parameters.settings import (
    Request,
    ReviewsModel,
    ReviewsTraining,
    SensorsModel,
    SensorsTraining,
)
from flows.parameters.training import ReviewsRequest, SensorsRequest, TrainingRequest

__all__ = [
    "DRIVER_MEMORY",
    "NOT_BY_STEPS",
    "ONE_PROCESS",
    "Execution",
    "FileSelection",
    "JobData",
    "LabelledData",
    "LanguageRequest",
    "LanguageTraining",
    "PretrainRequest",
    "Processes",
    "Registration",
    "Request",
    "ReviewsData",
    "ReviewsModel",
    "ReviewsRequest",
    "ReviewsTraining",
    "ScoreRequest",
    "SensorsData",
    "SensorsModel",
    "SensorsRequest",
    "SensorsTraining",
    "TextsData",
    "TrainingRequest",
]
