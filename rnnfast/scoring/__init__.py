"""Trained models at work: scores of texts, forecasts and labels of readings, in batches or one at a time."""

from rnnfast.scoring.scorers import (
    Scorer,
    SensorScorer,
    load_scorer,
    save_run,
    save_sensors_run,
)
from rnnfast.scoring.streams import Stream
from rnnfast.scoring.word_map import word_map

__all__ = [
    "Scorer",
    "SensorScorer",
    "Stream",
    "load_scorer",
    "save_run",
    "save_sensors_run",
    "word_map",
]
