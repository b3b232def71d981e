"""Which of several models is kept: the best on validation rows, where that is more than chance.

Models are measured on the same blocks of validation rows, each a stretch of time or some devices. Rows of a block are
alike, blocks less so: the spread of a difference over the blocks tells how much of it is chance.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

CHOICE_BLOCKS = 8
_SURE = 1.0  # standard errors of the mean difference over blocks


@dataclass(frozen=True)
class ModelChoice:
    """The model that is kept, and what it was chosen by.

    Attributes:
        asked: name of the model that was trained, which the others stand beside.
        kept: name of the one that is kept.
        errors: of each model its mean error over the blocks.
        gain: by which share the error of the model asked for is above that of the best of the others; below 0 where
            it is below.
        is_sure: whether that is more than chance.
    """

    asked: str
    kept: str
    errors: dict[str, float]
    gain: float
    is_sure: bool

    @property
    def best_other(self) -> str:
        """The best of the others."""
        return min(
            (name for name in self.errors if name != self.asked), key=self.errors.__getitem__
        )

    def __str__(self) -> str:
        other = self.best_other
        difference = f"{abs(self.gain):.1%} {'more' if self.gain > 0 else 'less'} error than {other} on validation"
        sure = "" if self.is_sure or self.gain <= 0 else ", which may be chance"
        if self.kept == other:
            return f"kept {other}: {self.asked} has {difference}"
        return f"kept {self.asked}: it has {difference}{sure}"


def block_means(errors: np.ndarray) -> np.ndarray:
    """The mean over each of CHOICE_BLOCKS blocks of rows (B,), in their order, of the error of each row (N,)."""
    return np.array([block.mean() for block in np.array_split(errors, CHOICE_BLOCKS) if len(block)])


_SURE_ON_TEST = 2.0  # standard errors of the mean difference over rows


def beaten_by(asked: str, errors: np.ndarray, others: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Which of the others is better than a model by more than chance, on the same test rows; empty where none is.

    Args:
        asked: name of the model.
        errors: of it, of each row or block of rows (N,).
        others: the same of the others, by name.

    Returns ``by``, the best of them, ``excess``, by which share the model's mean error is above that of it, and
    ``summary``.

    Example:
        >>> beaten_by("rnn", np.ones(100), {"ngrams": np.full(100, 0.8)})["summary"]
        'ngrams is better: rnn has 25.0% more error on the test rows, which is more than chance'
    """
    found: dict[str, Any] = {}
    for name, other in others.items():
        differences = errors - other
        chance = _SURE_ON_TEST * differences.std() / len(differences) ** 0.5
        if differences.mean() <= chance or not other.mean():
            continue
        excess = float(errors.mean() / other.mean() - 1)
        if excess > found.get("excess", 0.0):
            summary = f"{name} is better: {asked} has {excess:.1%} more error on the test rows"
            summary += ", which is more than chance"
            found = {"by": name, "excess": excess, "summary": summary}
    return found


def choose(asked: str, blocks: Mapping[str, np.ndarray], *, replace: bool) -> ModelChoice:
    """Compares a model with what stands beside it.

    Args:
        asked: name of the model.
        blocks: of each model its mean error over each block of the validation rows (B,), the same blocks.
        replace: whether the best of the others is kept in its place, where it is better by more than chance.

    Example:
        >>> blocks = {"gru": np.array([1.0, 1.1, 0.9]), "linear": np.array([0.8, 0.9, 0.8])}
        >>> print(choose("gru", blocks, replace=True))
        kept linear: gru has 20.0% more error than linear on validation
    """
    errors = {name: float(each.mean()) for name, each in blocks.items()}
    other = min((name for name in errors if name != asked), key=errors.__getitem__)
    differences = blocks[asked] - blocks[other]
    chance = _SURE * differences.std() / len(differences) ** 0.5
    is_sure = bool(differences.mean() > chance)
    gain = errors[asked] / errors[other] - 1 if errors[other] else 0.0
    return ModelChoice(asked, other if replace and is_sure else asked, errors, gain, is_sure)
