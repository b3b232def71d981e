"""Registers a trained model, and puts it into production where it is better than what is there.

Better is measured on the test rows of the new model's job, which the version in production scores once more: the same
rows, the same metric. It may have been trained on some of them, which only makes it harder to beat. Classifiers have to
have an accuracy that is higher by the margin, models that give tags a micro F1, and those that give numbers or
forecasts a mean squared error that is lower by that share. The first version is held against what needs no model, the
most frequent label, the mean or persistence, and so are all others.
"""

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import flows
import rnnfast
from flows.errors import InputError
from flows.parameters import Registration
from flows.steps.prepare.download import sha256
from flows.steps.report import reviews, series
from flows.steps.report.publish import PARTS_FOLDER
from flows.store.json_files import read_json
from flows.store.registry import Model, Registered, now
from rnnfast.scoring.scorers import Scorer, SensorScorer, load_scorer
from rnnfast.training.run_folder import CONFIG, RunFolderError

_SLACK = 1e-12  # a gain that is the margin but for rounding

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Judgement:
    """Whether a model is better than another, and the figures in words."""

    passes: bool
    reason: str


def register(
    run: Path, output: Path, metrics: Mapping[str, Any], registration: Registration
) -> Registered:
    """Makes a version of a finished run, and promotes it where it is better.

    A model that is registered already is not registered again; one that is still a candidate is compared once more.

    Args:
        run: the folder of the run, with its parts.
        output: where it is going to be, for the record.
        metrics: its figures on the test rows.
        registration: the name, and the margin.

    Raises:
        InputError: `run` is not the folder of a run.
    """
    try:
        scorer = load_scorer(run)
    except RunFolderError as error:
        raise InputError(f"--register: {error}") from error
    model = Model(registration.registry.absolute() / registration.name)
    number = model.add(run, _lineage(run, output, metrics, scorer), leave_out=PARTS_FOLDER)
    promoted = False
    while not promoted and model.standing().status(number) == "candidate":
        rival = model.standing().production
        judgement = _judged(run, scorer, metrics, model, rival, registration.margin)
        if not judgement.passes:
            model.keep_back(number, judgement.reason)
            break
        # Where another one has come into production meanwhile, that is the one to beat.
        promoted = model.promote(number, judgement.reason, instead_of=rival)
    standing = model.standing()
    status, reason = standing.status(number), standing.reason(number)
    done = Registered(model.name, number, status, reason, promoted)
    logger.info("version %d of %s: %s, %s", done.version, done.name, done.status, done.reason)
    return done


def judged(
    metrics: Mapping[str, Any], rival: Mapping[str, Any] | None, name: str, margin: float
) -> Judgement:
    """Holds the figures of a model on the test rows against those of another one, or of none.

    Args:
        metrics: of the new model: with `accuracy` and `confusion_matrix`, `micro_f1`, or `mse` and `skill`.
        rival: of the other one, on the same rows; None: what needs no model.
        name: the other's.
        margin: see `Registration`.
    """
    if "accuracy" in metrics:
        matrix = metrics["confusion_matrix"]
        floor = max(map(sum, matrix)) / sum(map(sum, matrix))
        before = floor if rival is None else rival["accuracy"]
        gain = metrics["accuracy"] - before
        figures = f"accuracy {metrics['accuracy']:.4f}, {name} has {before:.4f}"
    elif "micro_f1" in metrics:
        before = 0.0 if rival is None else rival["micro_f1"]
        gain = metrics["micro_f1"] - before
        figures = f"micro F1 {metrics['micro_f1']:.4f}, {name} has {before:.4f}"
    else:
        skill = metrics["skill"] or 0.0
        gain = skill if rival is None else _share_less(metrics["mse"], rival["mse"])
        measured = f"skill {skill:.4f} against it" if rival is None else f"MSE {rival['mse']:.4g}"
        figures = f"MSE {metrics['mse']:.4g}, {name}: {measured}"
    passes = gain > 0 and gain >= margin - _SLACK
    verdict = "better by at least" if passes else "not better by"
    return Judgement(passes, f"{figures}; {verdict} {margin:g} on {metrics['rows']:,} test rows")


def _share_less(new: float, old: float) -> float:
    return 1 - new / old if old > 0 else 0.0


def _judged(
    run: Path,
    scorer: Scorer | SensorScorer,
    metrics: Mapping[str, Any],
    model: Model,
    rival: int | None,
    margin: float,
) -> Judgement:
    least = _without_model(metrics)
    judgement = judged(metrics, None, least, margin)
    if rival is None or not judgement.passes:
        return judgement
    name = f"version {rival} in production"
    try:
        figures = _figures_of_rival(run / PARTS_FOLDER, load_scorer(model.path(rival)), scorer)
    except RunFolderError as error:
        return Judgement(False, f"{name} cannot be measured: {error}")
    if figures is None:
        return Judgement(False, f"{name} cannot be measured on these test rows, it reads others")
    return judged(metrics, figures, name, margin)


def _without_model(metrics: Mapping[str, Any]) -> str:
    """What needs no model, by the figures of one that does."""
    if "accuracy" in metrics:
        return "the most frequent label"
    if "micro_f1" in metrics:
        return "no label at all"
    return "persistence" if "by_horizon" in metrics else "the mean"


def _figures_of_rival(
    parts: Path, rival: Scorer | SensorScorer, scorer: Scorer | SensorScorer
) -> dict[str, Any] | None:
    """On the test rows of the new model's job; None where the other one is for something else."""
    if isinstance(rival, Scorer) and isinstance(scorer, Scorer):
        same = _labels(rival) == _labels(scorer)
        return reviews.figures_on_test(parts, rival) if same else None
    if isinstance(rival, SensorScorer) and isinstance(scorer, SensorScorer):
        same = _purpose(rival) == _purpose(scorer)
        return series.figures_on_test(parts, rival, scorer) if same else None
    return None


def _labels(scorer: Scorer | SensorScorer) -> tuple[object, ...]:
    """What the labels are, without what training says of them."""
    target = scorer.target
    return (target.task, target.names) if target else ()


def _purpose(scorer: SensorScorer) -> tuple[object, ...]:
    series, config = scorer.series, scorer.model.config
    horizon = config.horizon if config.task == "forecast" else None
    step = series.step, series.unit
    return config.task, series.channels, series.targets, _labels(scorer), step, horizon


def _lineage(
    run: Path, output: Path, metrics: Mapping[str, Any], scorer: Scorer | SensorScorer
) -> dict[str, Any]:
    config = read_json(run / CONFIG)
    files = sorted(path for path in (run / PARTS_FOLDER).iterdir() if path.is_file())
    return {
        "digest": scorer.digest,
        "registered": now(),
        "run": str(output),
        "seed": config["training"]["seed"],
        "metrics": {
            name: value for name, value in metrics.items() if isinstance(value, int | float)
        },
        "parameters": {"model": config["model"], "training": config["training"]},
        "data": {**config["data"], "parts_sha256": {path.name: sha256(path) for path in files}},
        "code": {**config["versions"], "source_sha256": source_digest()},
    }


@cache
def source_digest() -> str:
    """SHA-256 in hexadecimal of the Python sources of both packages: which code it was, whatever its version says."""
    digest = hashlib.sha256()
    for package in (rnnfast, flows):
        folder = Path(package.__path__[0])
        for path in sorted(folder.rglob("*.py")):
            digest.update(f"{path.relative_to(folder.parent)}\0{sha256(path)}\n".encode())
    return digest.hexdigest()
