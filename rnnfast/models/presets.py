"""Where the settings of a model come from that nobody asked for: presets, and what the data decide.

A preset says what measured best for a cell, whatever the data. The rules below it look at the facts of the data that a
model is trained on. What comes before what is said in `flows.steps.prepare.settings`, for all who start a job.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_args

from rnnfast.models.choices import Cell, Preset, WindowCell

UNSPACED_SHARE = 0.05  # of the letters, from which on each character of such a script is a word

# Preset -> cell -> what differs from the defaults of ModelConfig and TrainingSettings.
PRESETS: dict[Preset, dict[Cell, dict[str, dict[str, Any]]]] = {
    "default": {
        "rnn": {
            "model": {"hidden_size": 64, "word_weights": True, "distinct_words": True},
            "training": {},
        },
        "gru": {"model": {}, "training": {}},
        "lstm": {"model": {}, "training": {}},
        "mlp": {"model": {"embedding_size": 32}, "training": {}},
        "cnn": {
            "model": {"word_dropout": 0.1, "channel_dropout": 0.2},
            "training": {"epochs": 3, "vector_learning_rate": 0.005, "vector_epsilon": 1e-6},
        },
        "ngrams": {"model": {"sequence_length": 1000}, "training": {}},
    },
    # The model that people are taught, with what it reads of the padding.
    "lecture": {
        "rnn": {
            "model": {
                "sequence_length": 500,
                "padding": "before",
                "read_padding": True,
                "embedding_scale": 1.0,
                "hidden_size": 64,
                "num_layers": 2,
                "pooling": "last",
                "dropout": 0.0,
                "word_dropout": 0.0,
                "channel_dropout": 0.0,
            },
            "training": {
                "epochs": 20,
                "learning_rate": 0.01,
                "vector_learning_rate": 0.01,
                "vector_epsilon": 1e-8,
                "schedule": "constant",
                "averaging": 0.0,
            },
        },
    },
}

# Preset -> cell -> what differs from the defaults of WindowConfig, WindowTraining and the data.
WINDOW_PRESETS: dict[Preset, dict[WindowCell, dict[str, dict[str, Any]]]] = {
    "default": {cell: {"model": {}, "training": {}, "data": {}} for cell in get_args(WindowCell)},
    # The forecaster that people are taught: one channel, the next reading, rows as the file has them.
    "lecture": {
        "rnn": {
            "model": {
                "lookback": 64,
                "horizon": 1,
                "form": "direct",
                "segment": 1,
                "hidden_size": 32,
                "num_layers": 1,
                "dropout": 0.0,
                "normalise": "none",
                "quantiles": False,
            },
            "training": {
                "epochs": 20,
                "learning_rate": 1e-3,
                "schedule": "constant",
                "averaging": 0.0,
                "loss": "mse",
                "batch_size": 32,
            },
            "data": {"order": "file", "validation_share": 0.0},
        },
    },
}


@dataclass(frozen=True)
class TextFacts:
    """What the training rows of a classifier of texts are like.

    Attributes:
        rows: how many there are.
        unspaced: share of the letters that are of scripts without spaces between words.
    """

    rows: int
    unspaced: float


def suited_to_texts(facts: TextFacts) -> dict[str, Any]:
    """Fields of `ModelConfig` that follow from the rows.

    >>> suited_to_texts(TextFacts(rows=1000, unspaced=0.9))
    {'split_by': 'characters'}
    """
    if facts.unspaced < UNSPACED_SHARE:
        return {}
    return {"split_by": "characters"}
