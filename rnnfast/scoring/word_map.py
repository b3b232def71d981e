"""The word vectors of a model of reviews in two dimensions, each word with the score that it has alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import nn

from rnnfast.labels.classes import Classes
from rnnfast.models.texts import WideAndDeep
from rnnfast.scoring.scorers import Scorer

WORDS = 240  # on the map
FREQUENT = 4000  # the words that are looked at: those of rare words have hardly been trained


def word_map(scorer: Scorer) -> dict[str, Any] | None:
    """The map, or None for a model without word vectors, or of other labels than two classes.

    Of the most frequent words those are shown whose scores, alone, are the highest and the lowest, and the most
    frequent of the others, a third each. The places are the first two principal components of their vectors (Pearson,
    1901), turned so that the first rises with the score.

    Returns:
        ``variance``, the share of the two components (2,), and ``words``: each with ``word``, ``x``, ``y`` and
        ``score``, the one that moves the score most first.
    """
    if not (isinstance(scorer.target, Classes) and scorer.target.is_pair):
        return None
    model = scorer.model.deep if isinstance(scorer.model, WideAndDeep) else scorer.model
    embedding = getattr(model, "embedding", None)
    if not isinstance(embedding, nn.Embedding):
        return None
    words = list(scorer.vocabulary.words[2 : 2 + FREQUENT])
    if len(words) < 3:
        return None
    scores = scorer.score(words)
    chosen = _chosen(scores, WORDS)
    vectors = embedding.weight.detach().numpy()[chosen + 2].astype(np.float64)
    vectors -= vectors.mean(0)
    left, sizes, _ = np.linalg.svd(vectors, full_matrices=False)
    places = left[:, :2] * sizes[:2]
    # The sign of a component means nothing; a fixed one gives the same map every time.
    for axis, guide in zip(places.T, (scores[chosen], np.arange(len(chosen))), strict=True):
        axis *= -1 if np.dot(axis, guide - guide.mean()) < 0 else 1
    return {
        "variance": (sizes[:2] ** 2 / (sizes**2).sum()).tolist(),
        "words": [
            {"word": words[i], "x": round(x, 4), "y": round(y, 4), "score": round(float(scores[i]), 4)}
            for i, (x, y) in zip(chosen.tolist(), places.tolist(), strict=True)
        ],
    }  # fmt: skip


def _chosen(scores: np.ndarray, count: int) -> np.ndarray:
    """Places of the words to show, by how far their score is from the middle one."""
    order = np.argsort(scores, kind="stable")
    third = min(count // 3, len(scores) // 3)
    ends = np.concatenate([order[:third], order[-third:]])
    others = np.setdiff1d(np.arange(len(scores)), ends)[: count - len(ends)]
    chosen = np.concatenate([ends, others])
    distance = np.abs(scores[chosen] - np.median(scores))
    return chosen[np.argsort(-distance, kind="stable")]
