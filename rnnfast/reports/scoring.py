"""One scoring run as one self-contained HTML page: what was scored, what came of it, and how like training it was.

The page has the look and the parts of the report of a training run (`rnnfast.reports.training`): the sections of
checks, drift, time and parameters are the same templates. The scores are shown as they were counted, in the
histograms that `rnnfast.evaluation.profiles` makes of them; no score is read again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from rnnfast.evaluation.drift import DEVIATIONS, Histogram, Tally, stability_index
from rnnfast.evaluation.profiles import quantiles
from rnnfast.reports.pages import Page, page
from rnnfast.reports.plots import stage_seconds
from rnnfast.reports.training import MAX_FEATURES, noun, title
from rnnfast.reports.wording import Part, number

TWENTIETHS = np.array([n / 20 for n in range(1, 20)])
"""Edges at which scores are shown; some of `rnnfast.evaluation.drift.SHARES`."""

HALVES = DEVIATIONS[::5]
"""Edges at which forecasts are shown, in standard deviations."""

MAX_CHANNELS = 6
"""Channels whose forecasts are drawn, those that moved most; the table of quantiles has them all."""

SCORING_SECTIONS = (
    ("scored", "Result"),
    ("rejected", "Rejected"),
    ("scores", "Scores"),
    ("checks", "Data checks"),
    ("drift", "Drift"),
    ("added", "Runs"),
    ("time", "Time"),
    ("parameters", "Parameters"),
)
"""Template and anchor of a section, and its heading."""

DRIFT_RULES = (
    "psi",
    "outside",
)  # of a feature against training; all other rules are of the rows alone


@dataclass(frozen=True)
class Scoring:
    """What a scoring run did, and what its rows were like.

    Attributes:
        run: `at` (when it ended), `files`, `shards`, `skipped` (shards done before), `rows` that were written,
            `rejected`, `input_rows`.
        model: `name`, `version` (None for a run that is no version of a registry), `digest`.
        config: of the model's run.
        tally: what was counted of the rows.
        reference: the features that they are compared with, `Profile.reference`; may be empty.
        scaler: mean and standard deviation of the training readings, of each channel that is forecast.
        drift: content of `drift.json`.
        seconds: of each stage, and `total`.
        throughput: rates by name.
        parameters: by heading, what the run was made with.
        reasons: why rows were rejected, each `reason`, `rows` and `first` (the place of the first such row).
        failed: files that could not be read, with the reason.
        added: of a folder that runs add to, what is in it: `files`, `shards`, `rows` that all runs wrote, whether some
            of them were `replaced`, the `count` of runs, and the `last` ones; None for another folder.
        closed: whether a rule that fails keeps the rows from being called a success.
    """

    run: Part
    model: Part
    config: Part
    tally: Tally
    reference: Mapping[str, Histogram]
    scaler: Mapping[str, tuple[float, float]]
    drift: Part
    seconds: Part
    throughput: Part
    parameters: Mapping[str, Part]
    reasons: Sequence[Part] = ()
    failed: Mapping[str, str] = field(default_factory=dict)
    added: Part | None = None
    closed: bool = False


def scoring_page(scoring: Scoring) -> Page:
    """The page of a scoring run."""
    labels = _labels(scoring.config)
    task = _task(scoring.config)
    features = scoring.tally.features
    outputs = {k: v for k, v in features.items() if _is_output(k, task) and v.total}
    inputs = {k: v for k, v in features.items() if not _is_output(k, task)}
    found = scoring.drift["checks"]
    alone = [each for each in found if each["rule"] not in DRIFT_RULES]
    moved = [each for each in found if each["rule"] in DRIFT_RULES]
    metrics = {
        "checks": alone,
        "drift": {**scoring.drift, "checks": moved},
        "profile": quantiles(inputs),
        "seconds": scoring.seconds,
        "throughput": scoring.throughput,
    }
    drawn = _drawn(scoring, outputs)
    shown = {
        "rejected": bool(scoring.reasons or scoring.failed),
        "scores": bool(outputs),
        "added": scoring.added is not None,
    }
    return page(
        "scoring.html.jinja",
        title=_title(scoring.model),
        sections=[(name, words) for name, words in SCORING_SECTIONS if shown.get(name, True)],
        run=scoring.run,
        model=scoring.model,
        what=title(scoring.config),
        metrics=metrics,
        every_check=found,
        past=[each for each in found if each["status"] != "passed"],
        reasons=scoring.reasons,
        failed=scoring.failed,
        added=scoring.added,
        judged=scoring.drift.get("runs", ()),
        unit=_unit(scoring.config),
        noun=noun(scoring.config),
        meaning=_meaning(scoring.config, labels),
        distributions=drawn,
        more=max(0, len(outputs) - MAX_CHANNELS) if task in ("forecast", "tag") else 0,
        called=list(_called(scoring, labels)),
        outputs=quantiles({k: v for k, v in outputs.items() if k != "label"}),
        quantile_unit=(
            ", in standard deviations from the training mean"
            if task in ("forecast", "regress")
            else ""
        ),
        stages=stage_seconds(metrics),
        checked={
            "when": "After the scoring",
            "what": "the rows",
            "then": (
                "the scores are not marked as a success: the file _SUCCESS is missing"
                if scoring.closed
                else "the scores were written anyway"
            ),
            "open": True,
        },
        which_rows="scored rows",
        drifted="scored",
        max_features=MAX_FEATURES,
        parameters=scoring.parameters,
    )


def _title(model: Part) -> str:
    version = f", version {model['version']}" if model.get("version") else ""
    return f"Scores by {model['name']}{version}"


def _task(config: Part) -> str:
    """What the model gives: score (of two classes, of reviews), classify, tag, regress or forecast."""
    if "series" in config:
        return str(config["model"]["task"])
    task = (config.get("target") or {}).get("task", "classify")
    return "score" if task == "classify" and len(config["labels"]) == 2 else str(task)


def _unit(config: Part) -> str:
    """What a row that is written is, in words."""
    units = {"score": "scores", "forecast": "forecasts", "regress": "numbers"}
    return units.get(_task(config), "labels")


def _meaning(config: Part, labels: Sequence[str]) -> str:
    if _task(config) == "forecast":
        return (
            "The forecasts, in standard deviations of the training readings. Look closer where they crowd at one "
            "value, or lie far from those for the validation rows."
        )
    if _task(config) == "classify":
        return "A score is the probability that the model gives to the label it predicts."
    if _task(config) == "tag":
        return "A score is the probability that a row has the label; each label has a threshold of its own."
    if _task(config) == "regress":
        return (
            "The predicted numbers, in standard deviations of the training labels. Look closer where they crowd at one "
            "value, or lie far from those for the validation rows."
        )
    return (
        f"A score is the probability of “{labels[1]}”; at 0.5 or more, that is the predicted label."
    )


def _labels(config: Part) -> list[str]:
    if _task(config) == "regress":
        return []
    known = config["series"]["labels"] if "series" in config else config["labels"]
    return [str(label) for label in known]


def _is_output(feature: str, task: str) -> bool:
    """Whether a feature is what a model gives, as `rnnfast.evaluation.profiles` names them."""
    if task == "forecast":
        return feature.startswith("forecast of ")
    return feature in ("score", "label", "number") or feature.startswith("score of ")


def _drawn(scoring: Scoring, outputs: Mapping[str, Histogram]) -> list[dict[str, Any]]:
    """The distributions of the scores, or of the forecasts of each channel, those first that moved most."""
    if "score" in outputs:
        return [_scores(scoring, "score", "Scores")]
    most = sorted(outputs, key=lambda name: -_moved(scoring, name))[:MAX_CHANNELS]
    if _task(scoring.config) == "tag":
        return [
            _scores(scoring, name, f"Scores of {name.removeprefix('score of ')}") for name in most
        ]
    return [_forecasts(scoring, name, outputs[name]) for name in most]


def _scores(scoring: Scoring, name: str, title: str) -> dict[str, Any]:
    """The distribution of probabilities."""
    edges = [0.0, *TWENTIETHS.tolist(), 1.0]
    return {
        "title": title,
        "caption": "Number of rows by score.",
        "of": "Score",
        "edges": edges,
        "bins": [f"{low:.2f} to {high:.2f}" for low, high in pairwise(edges)],
        "counts": scoring.tally.features[name].joined(TWENTIETHS).tolist(),
        "before": _scaled(scoring, name, TWENTIETHS),
    }


def _forecasts(scoring: Scoring, name: str, histogram: Histogram) -> dict[str, Any]:
    """The distribution of the forecasts of a channel, where there are any."""
    channel = name.removeprefix("forecast of ")
    title = f"Forecasts of {channel}" if channel != name else "Numbers"
    counts = histogram.joined(HALVES).tolist()
    before = _scaled(scoring, name, HALVES)
    used = [n for n, count in enumerate(counts) if count or (before and before[n] >= 0.5)]
    first, last = used[0], used[-1] + 1
    ends = [HALVES[0] - 0.5, *HALVES.tolist(), HALVES[-1] + 0.5]
    between = [f"{low:g} to {high:g}" for low, high in pairwise(HALVES)]
    bins = [f"below {HALVES[0]:g}", *between, f"{HALVES[-1]:g} and above"]
    mean, deviation = scoring.scaler[channel]
    return {
        "title": title,
        "caption": f"{title}: 0 is the mean of the training readings, {number(mean)}, "
        f"and 1 is their standard deviation, {number(deviation)}.",
        "of": "Standard deviations from the mean",
        "edges": ends[first : last + 1],
        "bins": bins[first:last],
        "counts": counts[first:last],
        "before": before[first:last] if before else None,
    }


def _scaled(scoring: Scoring, name: str, edges: np.ndarray) -> list[float] | None:
    """How many rows would be in which bin if they were like those before; None where there are none."""
    before = scoring.reference.get(name)
    if before is None or not before.total:
        return None
    rows = scoring.tally.features[name].total
    return [float(n) for n in before.joined(edges) * (rows / before.total)]


def _moved(scoring: Scoring, name: str) -> float:
    before, now = scoring.reference.get(name), scoring.tally.features[name]
    if before is None or not before.total:
        return 0.0
    edges = TWENTIETHS if name.startswith("score of ") else HALVES
    return stability_index(before.joined(edges), now.joined(edges))


def _called(scoring: Scoring, labels: Sequence[str]) -> Iterator[dict[str, Any]]:
    """How many rows have which label, and which share of the validation rows has."""
    if not labels or _task(scoring.config) == "tag":
        return
    # Of two labels of reviews the score alone tells.
    feature = "label" if "label" in scoring.tally.features else "score"
    edges = np.arange(1.0, len(labels)) if feature == "label" else np.array([0.5])
    now, before = scoring.tally.features.get(feature), scoring.reference.get(feature)
    if now is None or not now.total:
        return
    counts = now.joined(edges)
    shares = before.joined(edges) / before.total if before is not None and before.total else None
    for place, label in enumerate(labels):
        rows = int(counts[place])
        yield {
            "label": label,
            "rows": rows,
            "share": rows / now.total,
            "before": None if shares is None else float(shares[place]),
        }
