"""Runs side by side: the differences, the best of each figure, and one whole page."""

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest

from rnnfast.reports.comparison import compare, write_comparison
from tests.test_report import CONFIG, FORECAST_CONFIG, METRICS, Page, forecast_metrics


def write_run(folder: Path, config: dict[str, Any], metrics: dict[str, Any]) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "metrics.json").write_text(json.dumps(metrics))
    return folder


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    """Two runs of reviews that differ in the hidden size, the accuracy, the time and the epochs."""
    config, metrics = copy.deepcopy(CONFIG), copy.deepcopy(METRICS)
    config["model"]["hidden_size"] = 256
    metrics["test"] |= {"accuracy": 0.9, "auc": None}
    metrics["seconds"]["train"] = 300.0
    metrics["history"] = metrics["history"][:2]
    return [
        write_run(tmp_path / "a" / "run", CONFIG, METRICS),
        write_run(tmp_path / "b" / "run", config, metrics),
    ]


def test_what_differs_and_what_is_best(runs: list[Path]) -> None:
    found = compare(runs)
    assert [run.name for run in found.runs] == ["a/run", "b/run"]
    assert [(row.name, row.shown) for row in found.parameters] == [
        ("model.hidden_size", ["128", "256"])
    ]
    rows = {row.name: (row.shown, row.best) for row in found.figures}
    assert rows["Accuracy"] == (["88.34%", "90.00%"], 1)
    assert rows["AUC"] == (["0.9512", "n/a"], None)  # nothing to be better than
    assert rows["F1"][1] is None  # they are alike
    assert rows["Training"] == (["2 min 02 s", "5 min 00 s"], 0)
    assert rows["Largest drift of the test rows"][0] == ["0.310", "0.310"]
    assert found.same_rows


def test_other_test_rows_have_no_best(runs: list[Path]) -> None:
    path = runs[1] / "config.json"
    path.write_text(path.read_text().replace('"dataset": "imdb"', '"dataset": "mine.csv"'))
    found = compare(runs)
    assert not found.same_rows
    rows = {row.name: row.best for row in found.figures}
    assert rows["Accuracy"] is None
    assert rows["Training"] == 0  # that is the same thing all the same


@pytest.mark.parametrize(
    ("config", "part", "name", "value"),
    [
        (CONFIG, "data", "text_column", "title"),
        (CONFIG, "data", "label_column", "urgent"),
        (CONFIG, "data", "group_column", "movie"),
        (FORECAST_CONFIG, "series", "targets", ["heat"]),
        (FORECAST_CONFIG, "series", "step", 60_000_000),
        (FORECAST_CONFIG, "model", "horizon", 2),
    ],
)
def test_what_was_asked_of_the_rows_is_the_same(
    config: dict[str, Any], part: str, name: str, value: object, tmp_path: Path
) -> None:
    kind = {"kind": "sensors"} if config is FORECAST_CONFIG else {}
    metrics = forecast_metrics() if kind else METRICS
    other = config | kind | {part: config[part] | {name: value}}
    one = write_run(tmp_path / "a", config | kind, metrics)
    assert compare([one, write_run(tmp_path / "b", config | kind, metrics)]).same_rows
    assert not compare([one, write_run(tmp_path / "c", other, metrics)]).same_rows


def test_as_many_rows_of_other_labels_are_other_rows(runs: list[Path]) -> None:
    path = runs[1] / "metrics.json"
    metrics = json.loads(path.read_text())
    (right, wrong), others = metrics["test"]["confusion_matrix"]
    metrics["test"]["confusion_matrix"] = [[right - 1, wrong + 1], others]
    path.write_text(json.dumps(metrics))
    assert compare(runs).same_rows
    metrics["test"]["confusion_matrix"] = [[right - 1, wrong], [others[0] + 1, others[1]]]
    path.write_text(json.dumps(metrics))
    assert not compare(runs).same_rows


def test_the_page_is_whole_and_loads_nothing(runs: list[Path], tmp_path: Path) -> None:
    names = [*runs, write_run(tmp_path / "<b>&", CONFIG, METRICS)]
    write_comparison(tmp_path / "compare.html", compare(names))
    page = Page((tmp_path / "compare.html").read_text(encoding="utf-8"))
    words = page.words()
    for told in ("3 runs compared", "tanh RNN on imdb", "90.00% best", "model.hidden_size"):
        assert told in words
    assert "<b>&" in page.text
    assert len(page.all("svg")) == 3
    assert all(len(svg["aria-label"] or "") > 40 for svg in page.all("svg"))
    assert not page.all("script")
    assert not re.search(r"https?:|@import|#0000", page.source)
    levels = [int(tag[1]) for tag, _, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels == [1, 2, 2, 2, 2]
    ids = [attributes["id"] for _, attributes, _ in page.elements if attributes.get("id")]
    assert len(ids) == len(set(ids))


def test_runs_of_sensors(tmp_path: Path) -> None:
    config = {"kind": "sensors", **FORECAST_CONFIG}
    better = forecast_metrics()
    better["test"] = {**better["test"], "mse": 0.4, "coverage": 0.95}
    folders = [
        write_run(tmp_path / "a", config, forecast_metrics()),
        write_run(tmp_path / "b", config, better),
    ]
    found = compare(folders)
    rows = {row.name: (row.shown, row.best) for row in found.figures}
    assert rows["MSE"] == (["0.5000", "0.4000"], 1)
    assert rows["True values in the interval"] == (["91.3%", "95.0%"], 0)  # 90% were asked for
    write_comparison(tmp_path / "compare.html", found)
    page = Page((tmp_path / "compare.html").read_text(encoding="utf-8"))
    assert "All parameters are the same." in page.words()
    assert not page.all("svg")  # there is no history


@pytest.mark.parametrize("count", [1, 27])
def test_too_few_or_too_many(runs: list[Path], count: int) -> None:
    with pytest.raises(ValueError, match=f"RUN must be given 2 to 26 times, got: {count}"):
        compare([runs[0]] * count)


def test_what_cannot_be_compared(runs: list[Path], tmp_path: Path) -> None:
    config = {"kind": "sensors", **FORECAST_CONFIG}
    sensors = write_run(tmp_path / "s", config, forecast_metrics())
    with pytest.raises(ValueError, match=r"the same, got: a/run \(reviews\) and .* \(forecast\)"):
        compare([*runs, sensors])
    with pytest.raises(ValueError, match=r"RUN must be the folder of a run.*none/config\.json"):
        compare([runs[0], tmp_path / "none"])
    (runs[1] / "metrics.json").write_text("{}")
    with pytest.raises(ValueError, match=r"metrics\.json must hold 'test'"):
        compare(runs)
