"""What reads texts, what reads windows of readings, and their presets."""

from rnnfast.models.config import ModelConfig
from rnnfast.models.folded import FoldedClassifier
from rnnfast.models.presets import PRESETS
from rnnfast.models.texts import RecurrentClassifier, WideAndDeep, build_model
from rnnfast.models.window_config import WindowConfig
from rnnfast.models.windows import (
    RecurrentForecaster,
    RecurrentWindowClassifier,
    build_window_model,
)

__all__ = [
    "PRESETS",
    "FoldedClassifier",
    "ModelConfig",
    "RecurrentClassifier",
    "RecurrentForecaster",
    "RecurrentWindowClassifier",
    "WideAndDeep",
    "WindowConfig",
    "build_model",
    "build_window_model",
]
