"""The loop that trains all models, its rows, checkpoints and workers, and what a training leaves."""

from rnnfast.training.checkpoint import Checkpoint, CheckpointError
from rnnfast.training.loop import DivergedError, Progress, fit
from rnnfast.training.prediction import forecasts, predict
from rnnfast.training.rows import Futures, LabelledWindows, Reviews
from rnnfast.training.settings import LoopSettings, TrainingSettings, WindowTraining
from rnnfast.training.streams import TextStream
from rnnfast.training.workers import Workers

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "DivergedError",
    "Futures",
    "LabelledWindows",
    "LoopSettings",
    "Progress",
    "Reviews",
    "TextStream",
    "TrainingSettings",
    "WindowTraining",
    "Workers",
    "fit",
    "forecasts",
    "predict",
]
