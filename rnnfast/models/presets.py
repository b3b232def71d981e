"""Where the settings of a model come from that nobody asked for: presets, and what the data decide.

A preset says what measured best for a cell, whatever the data. The rules below it look at the facts of the data that a
model is trained on. What comes before what is said in `flows.steps.prepare.settings`, for all who start a job.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, get_args

from rnnfast.models.choices import LanguagePreset, Preset, TextCell, WindowCell

UNSPACED_SHARE = 0.05  # of the letters, from which on each character of such a script is a word
_LEAST_WORDS, _MOST_WORDS = 200, 2000  # that are read of a text
_LANGUAGE_STEPS = 4000  # of the optimizer, that a training of a language model has
_STEPS = 1400  # of the optimizer, that a training of a classifier of texts has

# Preset -> cell -> what differs from the defaults of ModelConfig and TrainingSettings.
PRESETS: dict[Preset, dict[TextCell, dict[str, dict[str, Any]]]] = {
    "default": {
        "rnn": {
            "model": {
                "hidden_size": 64,
                "word_weights": True,
                "distinct_words": True,
                "wide": True,
            },
            "training": {},
        },
        "gru": {"model": {"wide": True}, "training": {}},
        "lstm": {"model": {"wide": True}, "training": {}},
        "mlp": {"model": {"embedding_size": 32}, "training": {}},
        "cnn": {
            "model": {"word_dropout": 0.1, "channel_dropout": 0.2},
            "training": {"epochs": 3, "vector_learning_rate": 0.005, "vector_epsilon": 1e-6},
        },
        "ngrams": {"model": {}, "training": {}},
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
                "batch_size": 64,
                "patience": 0,
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
        words: 99 in 100 texts have at most so many words.
        outputs: of a model, as `rnnfast.labels` has them.
    """

    rows: int
    unspaced: float
    words: int
    outputs: int = 1


def suited_to_texts(facts: TextFacts) -> dict[str, Any]:
    """Fields of `ModelConfig` that follow from the rows.

    Of a text so many words are read that 99 in 100 texts are read whole, up to `_MOST_WORDS`, which bounds the memory
    and the time of a training. With several outputs single words have no weights beside those of n-grams: the kernel
    that scores adds up one a word.

    >>> suited_to_texts(TextFacts(rows=1000, unspaced=0.9, words=907))
    {'sequence_length': 907, 'split_by': 'characters'}
    """
    suited: dict[str, Any] = {"sequence_length": max(_LEAST_WORDS, min(_MOST_WORDS, facts.words))}
    if facts.unspaced >= UNSPACED_SHARE:
        suited["split_by"] = "characters"
    if facts.outputs > 1:
        suited["word_weights"] = False
    return suited


def training_suited_to_texts(facts: TextFacts) -> dict[str, Any]:
    """Fields of `TrainingSettings` that follow from the rows.

    A batch has a sixty-fourth of the rows, down to a power of two, from 16 to 64. There are as many epochs as give
    `_STEPS` steps, from 4 to 12. Training stops where two thirds of the epochs have passed without a lower loss on the
    validation rows: what depends on the order of words is often learned late.

    >>> training_suited_to_texts(TextFacts(rows=450, unspaced=0.0, words=907))
    {'batch_size': 16, 'epochs': 12, 'patience': 8}
    >>> training_suited_to_texts(TextFacts(rows=22_500, unspaced=0.0, words=907))
    {'batch_size': 64, 'epochs': 4, 'patience': 3}
    """
    batch = max(16, min(64, 1 << max(1, facts.rows // 64).bit_length() - 1))
    epochs = max(4, min(12, math.ceil(_STEPS * batch / facts.rows)))
    return {"batch_size": batch, "epochs": epochs, "patience": math.ceil(2 * epochs / 3)}


LANGUAGE_PRESETS: dict[LanguagePreset, dict[str, dict[str, Any]]] = {
    "default": {"model": {}, "training": {}},
    # Large for its texts: passes are few, so little has to keep it from learning them by heart.
    "best": {
        "model": {
            "embedding_size": 256,
            "hidden_size": 512,
            "dropout": 0.1,
            "channel_dropout": 0.05,
            "recurrent_dropout": 0.05,
        },
        "training": {"epochs": 2, "learning_rate": 2e-3, "averaging": 0.0},
    },
}

TRAINING_FROM_LANGUAGE_MODEL = {"learning_rate": 4e-3, "vector_learning_rate": 1e-3}
"""Fields of `TrainingSettings` of a classifier that starts from a language model, whose vectors are to be kept."""


def training_suited_to_words(words: int, window: int) -> dict[str, Any]:
    """Fields of `LoopSettings` that follow from how many words a language model is trained on.

    There are 64 streams, or fewer where each would have less than 100 windows, but 8 at least. There are as many
    epochs as give `_LANGUAGE_STEPS` steps, from 1 to 10.

    >>> training_suited_to_words(17_000_000, window=64)
    {'batch_size': 64, 'epochs': 1, 'learning_rate': 0.004}
    >>> training_suited_to_words(200_000, window=64)
    {'batch_size': 31, 'epochs': 10, 'learning_rate': 0.004}
    """
    windows = max(1, words // window)
    streams = max(8, min(64, windows // 100))
    epochs = max(1, min(10, math.ceil(_LANGUAGE_STEPS * streams / windows)))
    return {"batch_size": streams, "epochs": epochs, "learning_rate": 4e-3}
