"""Adds to the metrics of a run what explains them: words that moved scores, the map of words, checks and drift."""

from pathlib import Path

from flows.accounts import account_of_training
from flows.steps.prepare.check_data import CHECKS
from flows.store.json_files import read_json, write_json
from flows.store.outputs import DRIFT
from rnnfast.evaluation.attribution import word_effects
from rnnfast.evaluation.profiles import Profile, quantiles
from rnnfast.scoring.scorers import Scorer, load_scorer
from rnnfast.scoring.word_map import word_map


def describe(parts: Path, run: Path) -> Path:
    """Completes the `metrics.json` of a run that is measured and has scored its test rows.

    Args:
        parts: folder of the steps before, with the checks.
        run: folder of the run.

    Returns:
        The path of `metrics.json`. It has then, beside what was there, of each of the "examples" the "effects" of
        its words and what parts these, "split_by"; "words" (`rnnfast.scoring.word_map`), "account", "checks", "drift"
        of the test rows, and the "profile" of the training rows in quantiles.
    """
    path = run / "metrics.json"
    metrics = read_json(path)
    scorer = load_scorer(run)
    if isinstance(scorer, Scorer):
        for examples in metrics["examples"].values():
            for example in examples:
                split_by = example["split_by"] = scorer.config.split_by
                example["effects"] = [
                    round(effect, 4)
                    for effect in word_effects(example["text"], scorer.log_odds, split_by=split_by)
                ]
        metrics["words"] = word_map(scorer)
    metrics["account"] = account_of_training(metrics["data"]).as_json()
    metrics["checks"] = read_json(parts / CHECKS)
    metrics["drift"] = read_json(run / "scores" / DRIFT)
    profile = Profile.load(run)
    if profile is not None:
        metrics["profile"] = quantiles(profile.training.features)
    write_json(path, metrics)
    return path
