"""Whether n-grams do better where they know how often a text has a word: by trial, on rows that they have not seen."""

from __future__ import annotations

import numpy as np

from rnnfast.models.config import ModelConfig
from rnnfast.models.texts import NGrams
from rnnfast.training.prediction import BATCH, model_outputs
from rnnfast.training.rows import Reviews
from rnnfast.training.settings import LoopSettings
from rnnfast.training.solvers import solve_ngrams

# A trial is small, so that it takes seconds: so many pairs are known, and rows with so many tokens are read.
_PAIRS = 30_000
_TOKENS = 1 << 22


def gain_of_counts(
    train: Reviews,
    validation: Reviews,
    config: ModelConfig,
    vocabulary_size: int,
    settings: LoopSettings,
) -> float:
    """By how many of its standard errors n-grams are less wrong on the validation rows with counts than without.

    The error of a row is that of its target, of classes whether it is wrong: a lower loss alone helps nobody. It is the
    same for all seeds.

    Args:
        train: rows that both are fitted to.
        validation: rows that tell.
        config: of the model that the n-grams are a part of.
        vocabulary_size: V.
        settings: of its training.
    """
    same_for_all = settings.model_copy(update={"seed": 0})
    errors = []
    for counts in (False, True):
        model = NGrams(
            ModelConfig(
                cell="ngrams",
                padding=config.padding,
                max_pairs=min(config.max_pairs, _PAIRS),
                ngram_counts=counts,
            ),
            vocabulary_size,
            train.target.outputs,
        )
        solve_ngrams(model, train, same_for_all, _TOKENS)
        errors.append(_errors(model, validation))
    gains = errors[0] - errors[1]
    spread = gains.std() / len(gains) ** 0.5
    return float(gains.mean() / max(spread, 1e-12))  # without any spread it is no chance


def _errors(model: NGrams, rows: Reviews) -> np.ndarray:
    """Of each row (N,), in the order of their lengths, so that little padding is read."""
    parts = [
        rows.target.errors(
            rows.labels[some].numpy(), rows.target.given(model_outputs(model, *rows.take(some)))
        )
        for some in rows.offsets.diff().argsort(stable=True).split(BATCH)
    ]
    return np.concatenate(parts)
