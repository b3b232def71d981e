"""From readings with labels of any kind to a model, its figures, its scores and its report, without Prefect."""

import json
from pathlib import Path

import numpy as np
import pytest

from flows.parameters import SensorsData, SensorsModel, SensorsTraining
from flows.steps.prepare.check_data import check_sensors_data
from flows.steps.prepare.gather import open_readings
from flows.steps.prepare.series import prepare_series
from flows.steps.prepare.settings import SensorsSettings, sensors_data, sensors_settings
from flows.steps.report.metrics import metrics_of
from flows.steps.report.series import evaluate_series, label_floor, measured_beside
from flows.steps.score.readings import scored, window_labels
from flows.steps.train.choose import choose_windows
from flows.steps.train.train import train_windows
from rnnfast.evaluation.checks import Limits
from rnnfast.evaluation.drift import Tally
from rnnfast.models.windows import beside
from rnnfast.reports.training import write_report
from rnnfast.scoring import SensorScorer, Stream

LABELS = {
    "regress": lambda level, rest: f"{rest / 10}",
    "tag": lambda level, rest: ("hot", "hot;loud", "loud")[level],
    "classify": lambda level, rest: f"state {level}",
}


def write_machines(path: Path, task: str) -> str:
    """Ten machines, each in three states that the mean of `x` tells, with 40 readings of each."""
    draw = np.random.default_rng(0)
    lines = ["time,machine,x,noise,y"]
    for machine in range(10):
        for i in range(120):
            level = i // 40
            x, noise = 3 * level + i / 40 + draw.normal(0, 0.3), draw.normal()
            lines.append(f"{i},m{machine},{x:.3f},{noise:.3f},{LABELS[task](level, 119 - i)}")
    path.write_text("\n".join(lines) + "\n")
    return str(path)


@pytest.mark.parametrize("task", LABELS)
def test_from_readings_to_labels_of_any_kind(task: str, tmp_path: Path) -> None:
    asked = SensorsData(
        dataset=write_machines(tmp_path / "a.csv", task), group_column="machine", label_column="y"
    )
    model = SensorsModel(lookback=12, hidden_size=8, cell="gru")
    training = SensorsTraining(epochs=3, learning_rate=0.01)
    data = sensors_data(asked, model)
    assert data.chosen_task == task  # as the column says
    parts, run, cache = (tmp_path / name for name in ("parts", "run", "cache"))
    for folder in (parts, run, cache):
        folder.mkdir()
    prepared = prepare_series(
        data, None, lambda facts: sensors_settings(data, model, training, facts).model, parts
    )
    assert "y" not in prepared.info.channels
    settings = sensors_settings(data, model, training, prepared.facts)
    checks, profile = check_sensors_data(parts, prepared, Limits(), gate=True)
    history = train_windows(parts, prepared, settings, run, cache)
    folders, others = {}, {}
    for config in beside(settings.model):
        folder = folders[config.cell] = parts / config.cell
        folder.mkdir()
        train_windows(parts, prepared, SensorsSettings(config, settings.training), folder, cache)
        others[config.cell] = measured_beside(parts, folder)
    found, choice = choose_windows(parts, run, folders, Limits(), replace=True)
    others |= label_floor(parts, run)
    scorer = SensorScorer.load(run)
    assert scorer.target is not None
    assert scorer.target.task == task
    measured, lost = evaluate_series(parts, run, profile, others, Limits())
    figures = {name: each.figures for name, each in others.items()}
    main, more = scorer.target.main
    assert more * measured["test"][main] > more * figures[scorer.target.floor_name][main]
    if task == "regress":
        assert measured["test"]["coverage"] > 0.7
    # The readings alone are enough to score, and each window has its row.
    [table] = scored(scorer, open_readings(parts), None, Tally())
    assert table.schema == window_labels(scorer.target)
    assert np.isfinite(scorer.target.read(table)).all()
    metrics = metrics_of(
        [measured, choice],
        history,
        prepared.rows,
        [*checks, *found, *lost],
        profile,
        None,
        figures,
    )
    config = json.loads((run / "config.json").read_text())
    write_report(tmp_path / "report.html", config, json.loads(json.dumps(metrics)))
    page = (tmp_path / "report.html").read_text()
    assert {"regress": "mean absolute error", "tag": "F1 of all labels"}.get(
        task, "correctly"
    ) in page


def test_a_stream_gives_numbers(tmp_path: Path) -> None:
    from rnnfast.labels import Numbers
    from rnnfast.models import WindowConfig, build_window_model
    from rnnfast.training.run_folder import SeriesInfo

    model = build_window_model(WindowConfig(task="regress", cell="gru"), 2, labels=1)
    info = SeriesInfo(channels=("a", "b"), step=1)
    target = Numbers(names=("days",), mean=50.0, scale=10.0)
    stream = Stream(SensorScorer(model.eval(), info, "", target))
    given = stream.read({"pump": np.array([1.0, 2.0])})["pump"]
    assert given.shape == (1,)
    assert 20 < given[0] < 80
