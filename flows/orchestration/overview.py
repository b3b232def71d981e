"""The first page of `rnnfast serve`: the models in production, the runs, and the scores."""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from flows import REPORT
from flows.errors import InputError
from flows.orchestration.showing import RUNS, SCORES, reports
from flows.store.registry import models
from rnnfast.reports.pages import page
from rnnfast.reports.wording import heading, number, percent

MODELS = "models"
RUNS_SHOWN = 50  # runs on the page, the newest; the list of the folder has all


class ShownRun(NamedTuple):
    """A line about a training: when it ended, on what, which model, and what it reached."""

    link: str
    name: str
    ended: str
    data: str
    model: str
    figure: str


class InProduction(NamedTuple):
    """A line about a model."""

    name: str
    version: int | None
    since: str
    figure: str
    why: str


class Scores(NamedTuple):
    """A line about a folder of scores."""

    link: str
    name: str
    written: str


def overview(root: Path) -> bytes:
    """The page for a folder with `runs`, `models` and `scores`, of which any may be absent."""
    ended = sorted((root / RUNS).glob(f"*/{REPORT}"), key=_time, reverse=True)
    return page(
        "overview.html.jinja",
        title="Models, runs and scores",
        sections=[("models", "Models"), ("runs", "Runs"), ("scores", "Scores")],
        models=list(_models(root / MODELS)),
        runs=[_run(report.parent) for report in ended[:RUNS_SHOWN]],
        older=max(0, len(ended) - RUNS_SHOWN),
        scores=[_scores(root, report) for report in sorted(reports(root, root / SCORES))],
    ).content


def _models(registry: Path) -> Iterator[InProduction]:
    try:
        found = models(registry)
    except InputError:  # there is no registry yet
        return
    for model in found:
        standing = model.standing()
        if standing.production is None:
            yield InProduction(model.name, None, "", "", "")
            continue
        last = standing.promotions[-1]
        metrics = model.record(last.version).get("metrics") or {}
        since = _minute(datetime.fromisoformat(last.at).timestamp())
        yield InProduction(model.name, last.version, since, key_figure(metrics), last.reason)


def _run(folder: Path) -> ShownRun:
    config, metrics = _read(folder / "config.json"), _read(folder / "metrics.json")
    data = config.get("data") or {}
    return ShownRun(
        link=f"{RUNS}/{quote(folder.name)}/{REPORT}",
        name=folder.name,
        ended=_minute(_time(folder / REPORT)),
        data=str(data.get("dataset", "unknown")),
        model=_model(config),
        figure=key_figure(metrics.get("test") or metrics.get("validation") or {}),
    )


def _model(config: Mapping[str, Any]) -> str:
    cell = (config.get("model") or {}).get("cell")
    if cell is None:
        return "unknown"
    return f"{heading(cell)}, language model" if config.get("kind") == "language" else heading(cell)


def _scores(root: Path, report: Path) -> Scores:
    place = report.relative_to(root)
    return Scores(quote(str(place)), str(place.parent.relative_to(SCORES)), _minute(_time(report)))


def key_figure(test: Mapping[str, Any]) -> str:
    """What a model reached on its test rows, in a few words: the accuracy, or the error of its numbers or forecasts."""
    if "accuracy" in test:
        return f"{percent(test['accuracy'])} correct"
    if "micro_f1" in test:
        return f"F1 {percent(test['micro_f1'])}, all labels right for {percent(test['subset_accuracy'])}"
    if "rank_correlation" in test:
        return f"mean absolute error {number(test['mae'])}, R² {number(test['r2'], 3)}"
    if "perplexity" in test:
        return f"perplexity {number(test['perplexity'], 1)}"
    if "mse" not in test:
        return "unknown"
    skill = f", skill {percent(test['skill'])}" if "skill" in test else ""
    return f"mean squared error {number(test['mse'])}{skill}"


def _read(path: Path) -> dict[str, Any]:
    """The content of a file of a run; nothing where it is none, as in a folder that somebody else has put there."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _time(path: Path) -> float:
    return path.stat().st_mtime


def _minute(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"
