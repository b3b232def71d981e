"""Explains what a classifier of texts does: the words that moved the scores of examples, and the map of its words."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rnnfast.evaluation.attribution import word_effects
from rnnfast.scoring.scorers import Scorer
from rnnfast.scoring.word_map import word_map


def describe(run: Path, examples: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """The examples of a run with the "effects" of their words and what parts these, "split_by"; and its "words".

    Args:
        run: folder with the trained model.
        examples: rows of a kind, each with its "text", and the place of the label that words speak for, "called".
    """
    scorer = Scorer.load(run)
    return {
        "examples": {
            kind: [_explained(scorer, example) for example in of_kind]
            for kind, of_kind in examples.items()
        },
        "words": word_map(scorer),
    }


def _explained(scorer: Scorer, example: Mapping[str, Any]) -> dict[str, Any]:
    split_by = scorer.config.split_by
    odds = partial(scorer.log_odds, place=example["called"])
    effects = word_effects(example["text"], odds, split_by=split_by)
    return {**example, "split_by": split_by, "effects": [round(effect, 4) for effect in effects]}
