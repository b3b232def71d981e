"""What reads texts, what reads windows of readings, and their presets."""

from rnnfast.models.config import ModelConfig
from rnnfast.models.folded import FoldedClassifier
from rnnfast.models.language import LanguageModel, build_language_model, start_from
from rnnfast.models.language_config import LanguageConfig
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
    "LanguageConfig",
    "LanguageModel",
    "ModelConfig",
    "RecurrentClassifier",
    "RecurrentForecaster",
    "RecurrentWindowClassifier",
    "WideAndDeep",
    "WindowConfig",
    "build_language_model",
    "build_model",
    "build_window_model",
    "start_from",
]
