"""Runs side by side: what they were made with, what they reached, and what that took.

Runs can be compared that do the same: reviews with reviews, forecasts with forecasts, labels of windows with
labels. A figure is marked as the best only where it is the only one of its value, and, where it was measured, only
where all were on the same rows.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from rnnfast.reports.pages import write_page
from rnnfast.reports.plots import LINES, Plot, overlaid_plot
from rnnfast.reports.training import title
from rnnfast.reports.wording import Part, duration, finite, heading, number, pairs, percent

_MOST = len(ascii_uppercase)

FIGURES: tuple[tuple[str, str, bool, Callable[[Any], str]], ...] = (
    ("test.accuracy", "Accuracy", True, lambda value: percent(value, 2)),
    ("test_without_duplicates.accuracy", "Accuracy without duplicates", True,
     lambda value: percent(value, 2)),
    ("test.auc", "AUC", True, lambda value: number(value, 4)),
    ("test.f1", "F1", True, lambda value: number(value, 4)),
    ("test.macro_f1", "Macro F1", True, lambda value: number(value, 4)),
    ("test.log_loss", "Log loss", False, lambda value: number(value, 4)),
    ("test.brier", "Brier score", False, lambda value: number(value, 4)),
    ("test.calibration.expected_calibration_error", "Calibration error", False,
     lambda value: number(value, 4)),
    ("test.micro_f1", "Micro F1", True, lambda value: number(value, 4)),
    ("test.subset_accuracy", "All labels right", True, lambda value: percent(value, 2)),
    ("test.top_3", "Top 3", True, lambda value: percent(value, 2)),
    ("test.mse", "MSE", False, lambda value: number(value, 4)),
    ("test.mae", "MAE", False, lambda value: number(value, 4)),
    ("test.rmse", "RMSE", False, lambda value: number(value, 4)),
    ("test.r2", "R²", True, lambda value: number(value, 4)),
    ("test.rank_correlation", "Rank correlation", True, lambda value: number(value, 4)),
    ("test.skill", "Skill against persistence, or the mean", True, lambda value: number(value, 4)),
    ("test.width", "Width of the interval", False, lambda value: number(value, 4)),
    ("validation.accuracy", "Accuracy on validation", True, lambda value: percent(value, 2)),
    ("validation.mse", "MSE on validation", False, lambda value: number(value, 4)),
    ("seconds.train", "Training", False, duration),
    ("seconds.total", "Whole job", False, duration),
    ("throughput.train_tokens_per_second", "Training, tokens per second", True, number),
    ("throughput.train_readings_per_second", "Training, readings per second", True, number),
    ("throughput.score_reviews_per_second", "Scoring, reviews per second", True, number),
    ("throughput.score_windows_per_second", "Scoring, windows per second", True, number),
)  # fmt: skip
"""Place in `metrics.json`, name, whether more is better, and how the value is written."""

COMPARISON_SECTIONS = (
    ("runs", "Runs"),
    ("figures", "Figures"),
    ("curves", "Training"),
    ("parameters", "Parameters"),
)
"""Anchor of a section, and its heading."""

CURVES = {
    "loss": "Training loss by epoch; lower is better.",
    "validation_loss": "Validation loss by epoch; lower is better.",
    "validation_accuracy": "Validation accuracy by epoch; higher is better.",
}


TEST_DATA = (
    ("data", ("dataset", "sha256", "test_dataset", "test_share", "split_seed", "test_groups")),
    ("data", ("text_column", "label_column", "group_column")),
    ("series", ("targets", "time_column", "order", "step", "unit", "carry", "sentinels")),
    ("model", ("horizon",)),
)
"""What in `config.json` settles the test rows and their truth."""


@dataclass(frozen=True, eq=False)
class ComparedRun:
    """A run: the letter that stands for it, the name of its folder, and what is in there."""

    letter: str
    name: str
    config: Part
    metrics: Part

    @property
    def task(self) -> str:
        """What it does: reviews, with what their labels are other than classes, or what windows are for."""
        if self.config.get("kind") == "sensors":
            return str(self.config["model"]["task"])
        task = (self.config.get("target") or {}).get("task", "classify")
        return "reviews" if task == "classify" else f"reviews, {task}"


@dataclass(frozen=True)
class Row:
    """A value of every run.

    Attributes:
        name: of the value.
        shown: of each run, as text.
        best: place of the best run; None where none is, or nobody can tell.
    """

    name: str
    shown: list[str]
    best: int | None = None


@dataclass(frozen=True, eq=False)
class Comparison:
    """Runs side by side.

    Attributes:
        runs: in the order in which they were given.
        parameters: those that are not the same in all runs.
        figures: what the runs reached and took.
        same_rows: whether they were measured on the same test rows, as far as the runs tell.
    """

    runs: list[ComparedRun]
    parameters: list[Row]
    figures: list[Row]
    same_rows: bool


def compare(folders: Sequence[Path]) -> Comparison:
    """Reads runs and sets them side by side.

    Raises:
        ValueError: fewer than two folders, or too many; one that is not that of a run; or runs that do not do the
            same.
    """
    if not 2 <= len(folders) <= _MOST:
        raise ValueError(f"RUN must be given 2 to {_MOST} times, got: {len(folders)}")
    names = _names(folders)
    runs = [
        ComparedRun(letter, name, _read(folder, "config.json"), _read(folder, "metrics.json"))
        for letter, name, folder in zip(ascii_uppercase, names, folders, strict=False)
    ]
    for run in runs[1:]:
        if run.task != runs[0].task:
            raise ValueError(
                f"RUN must be runs that do the same, got: {runs[0].name} ({runs[0].task}) and "
                f"{run.name} ({run.task})"
            )
    same_rows = len({str(_test_data(run)) for run in runs}) == 1
    return Comparison(runs, list(_parameters(runs)), list(_figures(runs, same_rows)), same_rows)


def write_comparison(path: Path, comparison: Comparison) -> None:
    """Writes the page of a comparison, one file, to `path`; its folder must exist."""
    curves = list(_curves(comparison.runs))
    write_page(
        path,
        "compare.html.jinja",
        title=f"{len(comparison.runs)} runs compared",
        comparison=comparison,
        titles=[title(run.config) for run in comparison.runs],
        sections=[
            (name, words) for name, words in COMPARISON_SECTIONS if name != "curves" or curves
        ],
        curves=curves,
        colours=[LINES[place % len(LINES)] for place in range(len(comparison.runs))],
    )


def _names(folders: Sequence[Path]) -> list[str]:
    """The last parts of the paths, as many as tell them apart."""
    parts = [folder.absolute().parts for folder in folders]
    for count in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-count:]) for part in parts]
        if len(set(names)) == len(names):
            break
    return names


def _read(folder: Path, name: str) -> Part:
    try:
        content = json.loads((folder / name).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(
            f"RUN must be the folder of a run, with config.json and metrics.json; "
            f"{folder / name}: {error}"
        ) from error
    needed = "model" if name == "config.json" else "test"
    if not isinstance(content, dict) or not isinstance(content.get(needed), dict):
        raise ValueError(f"{folder / name} must hold {needed!r}, it does not")
    return content


def _test_data(run: ComparedRun) -> list[object]:
    """Which rows a run was measured on, and what was asked of them, as far as the run tells.

    The content of a user's files is not told, only how many rows they have, and how many of each label.
    """
    test = run.metrics["test"]
    parts = [(run.config.get(part) or {}, names) for part, names in TEST_DATA]
    facts = [part.get(name) for part, names in parts for name in names]
    return [*facts, test.get("rows"), [sum(row) for row in test.get("confusion_matrix") or []]]


def _parameters(runs: Sequence[ComparedRun]) -> Iterator[Row]:
    flat = [dict(pairs(run.config)) for run in runs]
    for name in dict.fromkeys(name for each in flat for name in each):
        values = [each.get(name, "") for each in flat]
        if len(set(values)) > 1:
            yield Row(name, values)


def _figures(runs: Sequence[ComparedRun], same_rows: bool) -> Iterator[Row]:
    rows = [run.metrics["test"].get("rows") for run in runs]
    yield Row("Test rows", [number(count) for count in rows])
    for place, name, more, written in FIGURES:
        values = [_at(run.metrics, place) for run in runs]
        if any(map(finite, values)):
            cost = place.startswith(("seconds", "throughput"))
            best = _best(values, more) if same_rows or cost else None
            yield Row(name, [written(value) for value in values], best)
    if runs[0].task == "forecast" or runs[0].task.endswith("regress"):
        asked = [(run.config.get("target") or run.config["model"]).get("coverage") for run in runs]
        covered = [_at(run.metrics, "test.coverage") for run in runs]
        known = [finite(a) and finite(c) for a, c in zip(asked, covered, strict=True)]
        if any(known):
            off = [abs(c - a) if k else None for c, a, k in zip(covered, asked, known, strict=True)]
            best = _best(off, False) if same_rows else None
            yield Row("True values in the interval", list(map(percent, covered)), best)
    worst = [_worst_drift(run.metrics) for run in runs]
    if any(map(finite, worst)):
        yield Row("Largest drift of the test rows", [number(value, 3) for value in worst])


def _at(part: Any, place: str) -> Any:
    for name in place.split("."):
        part = part.get(name) if isinstance(part, dict) else None
    return part


def _best(values: Sequence[Any], more: bool) -> int | None:
    known = [value for value in values if finite(value)]
    if len(known) < 2:
        return None
    best = max(known) if more else min(known)
    return values.index(best) if known.count(best) == 1 else None


def _worst_drift(metrics: Part) -> float | None:
    features = _at(metrics, "drift.features") or {}
    return max((feature["psi"] for feature in features.values()), default=None)


def _curves(runs: Sequence[ComparedRun]) -> Iterator[tuple[str, str, Plot, list[list[object]]]]:
    """Name, caption and plot of each curve, and its table: by epoch, the value of each run."""
    for key, caption in CURVES.items():
        curves = {
            run.letter: [epoch[key] for epoch in run.metrics.get("history") or [] if key in epoch]
            for run in runs
        }
        drawn = {letter: values for letter, values in curves.items() if values}
        if not drawn:
            continue
        ends = ", ".join(f"{letter} ends at {number(v[-1], 4)}" for letter, v in drawn.items())
        plot = overlaid_plot(key, drawn, f"Lines by epoch of {heading(key).lower()}: {ends}.")
        longest = max(map(len, drawn.values()))
        table = [
            [values[epoch] if epoch < len(values) else "" for values in curves.values()]
            for epoch in range(longest)
        ]
        yield heading(key), caption, plot, table
