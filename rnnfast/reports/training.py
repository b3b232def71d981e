"""One run as one self-contained HTML page: what it reached, how, and what it was made with.

`write_report` turns the two dictionaries of a run, `config` and `metrics`, into a page that needs
no script, no network and no other file. Its words and tables stand in `templates/sections`, one
file a section; how values are written stands in `rnnfast.reports.wording`, the plots in `rnnfast.reports.plots`. So a
new section is one line in `TRAINING_SECTIONS` and one template of that name.

Left out on purpose: whatever would have to be computed from the model or the data. The page shows
what the dictionaries hold, and the intervals that follow from that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rnnfast.reports.pages import Picture, write_page
from rnnfast.reports.plots import stage_seconds
from rnnfast.reports.wording import MAX_EXAMPLE_CHARACTERS, Part, heading

TRAINING_SECTIONS: tuple[tuple[str, str, Callable[[Part, Part], object]], ...] = (
    ("result", "Result", lambda _, metrics: not _is_forecast(metrics)),
    ("forecast", "Result", lambda _, metrics: _is_forecast(metrics)),
    ("horizon", "Error by step ahead", lambda _, metrics: metrics["test"].get("by_horizon")),
    ("windows", "Forecasts", lambda _, metrics: metrics.get("windows")),
    ("figures", "All figures", lambda _, metrics: not _is_forecast(metrics)),
    ("classes", "By label", lambda _, metrics: metrics["test"].get("by_class")),
    ("seeds", "Seeds", lambda _, metrics: metrics.get("seeds")),
    ("training", "Training", lambda config, metrics: metrics.get("history")),
    ("confusion", "Confusion matrix", lambda _, metrics: metrics["test"].get("confusion_matrix")),
    ("calibration", "Calibration", lambda _, metrics: metrics["test"].get("calibration")),
    ("examples", "Examples", lambda _, metrics: any((metrics.get("examples") or {}).values())),
    ("words", "Map of words", lambda _, metrics: metrics.get("words")),
    ("checks", "Data checks", lambda _, metrics: metrics.get("checks")),
    ("drift", "Drift", lambda _, metrics: (metrics.get("drift") or {}).get("features")),
    ("precision", "Precision", lambda _, metrics: metrics.get("precision")),
    ("time", "Time", lambda _, metrics: stage_seconds(metrics) or metrics.get("throughput")),
    ("parameters", "Parameters", lambda config, metrics: config),
)
"""Template and anchor of a section, its heading, and what it shows: without that, no section."""


def _is_forecast(metrics: Part) -> bool:
    """Whether a run is of forecasts; those of labels that are numbers have squared errors as well."""
    return "mse" in metrics["test"] and kind_of(metrics["test"]) == "forecast"


def kind_of(test: Part) -> str:
    """What was measured, by the figures: forecast, number, tags, pair (of classes), or classes."""
    if "rank_correlation" in test:
        return "number"
    if "mse" in test:
        return "forecast"
    if "micro_f1" in test:
        return "tags"
    return "pair" if "auc" in test else "classes"


CHECKED = {
    "when": "Before the training",
    "what": "the data",
    "then": "the run continued",
}
"""What the section of the checks says of them."""

MAX_EXAMPLES = 6
"""Examples shown of each kind, right and wrong."""

MOST_CLASSES_SHOWN = 30
"""Classes of a confusion matrix that is shown; of more the table by label says which are hard."""

MAX_FEATURES = 20
"""Features whose drift is drawn, those that moved most; the table has them all."""


def write_report(path: Path, config: Part, metrics: Part) -> tuple[Picture, ...]:
    """Write the page of one run to `path`, whole or not at all, and return its plots.

    Args:
        path: the file to write; its folder must exist, a file of that name is replaced.
        config: what the run was made with: `model`, `training`, `data`, `labels`, `versions`.
        metrics: what came out: `test` (needed), `test_without_duplicates`, `validation`,
            `baseline`, `history`, `examples`, `words`, `checks`, `drift`, `profile`,
            `precision`, `seeds`, `seconds`, `throughput`, `data`.

    A part that is absent is left out; a value that is absent, NaN or infinite reads "n/a". The same
    input gives the same bytes with the same version of matplotlib.

    Raises:
        ValueError: `metrics` has no mapping `test`.
    """
    if not isinstance(metrics.get("test"), Mapping):
        given = ", ".join(map(str, metrics)) or "no key at all"
        raise ValueError(f"metrics must hold the test figures under 'test', got: {given}")
    return write_page(
        path,
        "report.html.jinja",
        title=title(config),
        config=config,
        metrics=metrics,
        test=metrics["test"],
        parts=measured(metrics),
        labels=[str(label) for label in _labels(config)],
        noun=noun(config),
        kind=kind_of(metrics["test"]),
        by_class=sorted(
            (metrics["test"].get("by_class") or {}).items(), key=lambda each: each[1]["f1"] or 0.0
        ),
        stages=stage_seconds(metrics),
        sections=[
            (name, words) for name, words, part in TRAINING_SECTIONS if part(config, metrics)
        ],
        checked=CHECKED,
        which_rows="training rows",
        drifted="test",
        parameters=parameters(config) | {"Rows": metrics.get("data")},
        max_examples=MAX_EXAMPLES,
        max_example_characters=MAX_EXAMPLE_CHARACTERS,
        max_features=MAX_FEATURES,
        most_classes=MOST_CLASSES_SHOWN,
    )


def title(config: Part) -> str:
    """A run in a few words: its cell, and what it was trained on."""
    model, data = config.get("model", {}), config.get("data", {})
    cell = heading(model.get("cell", "model"))
    if model.get("cell") == "rnn" and "nonlinearity" in model:
        cell = f"{model['nonlinearity']} {cell}"
    return f"{cell} on {data['dataset']}" if "dataset" in data else cell


def noun(config: Part) -> str:
    """What a model of a run is given: reviews or windows."""
    return "windows" if "series" in config else "reviews"


def parameters(config: Part) -> dict[str, Part | None]:
    """What a run was made with, by the names that a reader knows."""
    known = {
        "Model": "model",
        "Training": "training",
        "Data": "data",
        "Readings": "series",
        "Versions": "versions",
    }
    return {name: config.get(key) for name, key in known.items()}


def measured(metrics: Part) -> dict[str, Part]:
    """The parts of the metrics that can stand side by side, under the names that a reader knows."""
    baselines = metrics.get("baseline") or {}
    parts = {
        "Test": metrics["test"],
        "Test without duplicates": metrics.get("test_without_duplicates"),
        **{f"{heading(key)} on test": part for key, part in baselines.items()},
        "Validation": metrics.get("validation"),
    }
    return {name: part for name, part in parts.items() if part}


def _labels(config: Part) -> Sequence[object]:
    names: Sequence[object] | None = (config.get("target") or {}).get("names")
    known = names or config.get("series", {}).get("labels") or config.get("labels")
    return known or ("negative", "positive")
