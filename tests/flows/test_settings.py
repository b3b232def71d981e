"""Who asks for a model does not matter: the same data give the same settings."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError
from typer.testing import Result

from flows.errors import InputError
from flows.parameters import (
    ReviewsData,
    ReviewsModel,
    ReviewsTraining,
    SensorsData,
    SensorsModel,
    SensorsTraining,
)
from flows.steps.prepare.reviews import prepare
from flows.steps.prepare.settings import reviews_settings, sensors_data, sensors_settings
from rnnfast.models.config import ModelConfig
from rnnfast.models.presets import TextFacts
from rnnfast.models.window_rules import SeriesFacts
from rnnfast.series import Season
from rnnfast.series.order import DAY

RunCli = Callable[..., Result]
SCHEDULES = Path(__file__).parents[2] / "flows" / "prefect.yaml"
READINGS = SeriesFacts(rows=34_000, longest=4_000, channels=2, step=DAY // 144, unit="")


def scheduled(name: str) -> dict[str, Any]:
    """What a deployment asks for."""
    deployments = yaml.safe_load(SCHEDULES.read_text(encoding="utf-8"))["deployments"]
    [found] = [each["parameters"] for each in deployments if each["name"] == name]
    return dict(found["request"])


def asked_for(
    command: str, how: str, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch, output: Path
) -> Any:
    """The request that comes to the flow."""
    from flows.reviews import reviews
    from flows.sensors import sensors

    flow = {"reviews": reviews, "sensors": sensors}[command]
    asked: list[Any] = []
    if how == "command":
        with monkeypatch.context() as patch:
            patch.setattr(f"flows.{command}.{command}", asked.append)
            patch.setattr("flows.cli.training.show_run", lambda _: None)
            assert run_cli(command, "--output", output).exit_code == 0
    else:
        asked += [scheduled(f"train-{command}") if how == "schedule" else {"output": output}]
    return flow.validate_parameters({"request": asked[0]})["request"]


@pytest.mark.parametrize("facts", [None, TextFacts(rows=10_800, unspaced=0.0, words=30)])
def test_a_command_a_schedule_and_python_train_the_same_classifier(
    server: None,
    run_cli: RunCli,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    facts: TextFacts | None,
) -> None:
    ways = [
        asked_for("reviews", how, run_cli, monkeypatch, tmp_path / "run")
        for how in ("command", "schedule", "python")
    ]
    [first, *others] = [
        reviews_settings(asked.data, asked.model, asked.training, facts) for asked in ways
    ]
    assert others == [first, first]
    assert first.model.hidden_size == 128  # as suits the sample
    assert first.model.word_weights  # as the preset has it


@pytest.mark.parametrize("facts", [None, READINGS])
def test_a_command_a_schedule_and_python_train_the_same_forecaster(
    server: None,
    run_cli: RunCli,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    facts: SeriesFacts | None,
) -> None:
    ways = [
        asked_for("sensors", how, run_cli, monkeypatch, tmp_path / "run")
        for how in ("command", "schedule", "python")
    ]
    found = []
    for asked in ways:
        data = sensors_data(asked.data, asked.model)
        found.append((data, sensors_settings(data, asked.model, asked.training, facts)))
    [first, *others] = found
    assert others == [first, first]
    assert (first[1].model.lookback, first[1].training.epochs) == (144, 6)


def test_the_scheduled_sample_is_solved(server: None, tmp_path: Path) -> None:
    """Its words alone say little: a model that is not made for it is right in two of three cases."""
    from flows.reviews import reviews

    asked = scheduled("train-reviews") | {"output": tmp_path / "run", "registration": None}
    run = reviews(**reviews.validate_parameters({"request": asked}))
    assert json.loads((run / "metrics.json").read_text())["test"]["accuracy"] >= 0.99
    (tmp_path / "parts").mkdir()
    facts = prepare(ReviewsData(), None, tmp_path / "cache", tmp_path / "parts").facts
    settings = reviews_settings(ReviewsData(), ReviewsModel(), ReviewsTraining(), facts)
    config = json.loads((run / "config.json").read_text())
    assert ModelConfig(**config["model"]) == settings.model
    assert config["training"] == settings.training.model_dump(mode="json")


def test_what_was_asked_for_counts_most(reviews_csv: Path) -> None:
    data = ReviewsData(dataset=str(reviews_csv))
    chinese = TextFacts(rows=100, unspaced=0.9, words=30)
    found = reviews_settings(data, ReviewsModel(hidden_size=7), ReviewsTraining(epochs=9), chinese)
    assert (found.model.hidden_size, found.training.epochs) == (7, 9)
    assert found.model.word_weights
    assert found.model.split_by == "characters"
    spaces = data.model_copy(update={"split_by": "spaces"})
    assert (
        reviews_settings(spaces, ReviewsModel(), ReviewsTraining(), chinese).model.split_by
        == "spaces"
    )
    taught = reviews_settings(ReviewsData(), ReviewsModel(preset="lecture"), ReviewsTraining())
    assert (taught.model.hidden_size, taught.model.word_weights) == (64, False)


def test_a_preset_says_how_readings_are_read() -> None:
    taught = SensorsModel(preset="lecture", cell="rnn")
    data = sensors_data(SensorsData(), taught)
    assert (data.order, data.validation_share) == ("file", 0.0)
    asked = sensors_data(SensorsData(validation_share=0.3), taught)
    assert (asked.order, asked.validation_share) == ("file", 0.3)
    usual = sensors_data(SensorsData(), SensorsModel())
    assert (usual.order, usual.validation_share) == ("time", 0.1)
    with pytest.raises(InputError, match="--cell must be rnn for --preset lecture, got 'gru'"):
        sensors_data(SensorsData(), SensorsModel(preset="lecture"))


def test_a_season_that_was_found_is_the_period() -> None:
    data, training = SensorsData(dataset="x.csv"), SensorsTraining()
    facts = replace(READINGS, seasons=(Season(144, "day", 0.8),), stretches=(3000, 400, 800))
    assert sensors_settings(data, SensorsModel(), training, facts).model.period == 144
    short = SensorsModel(lookback=100)
    assert sensors_settings(data, short, training, facts).model.period == 1
    asked = SensorsModel(period=5)
    assert sensors_settings(data, asked, training, facts).model.period == 5


def test_only_a_recurrent_model_reads_segments() -> None:
    data = SensorsData(dataset="etth1")
    facts = replace(READINGS, stretches=(8640, 2880, 2880), training=8640)
    for cell, form in (("gru", "segments"), ("mlp", "direct")):
        found = sensors_settings(data, SensorsModel(cell=cell), SensorsTraining(), facts).model
        assert (found.form, found.wide) == (form, cell == "gru")
        assert (found.segment > 1) == (cell == "gru")


def test_auto_trains_a_recurrent_network() -> None:
    assert SensorsModel().cell == "auto"
    data = SensorsData(dataset="x.csv")
    for facts in (None, READINGS):
        assert sensors_settings(data, SensorsModel(), SensorsTraining(), facts).model.cell == "gru"
    assert SensorsModel(cell="linear").asked["cell"] == "linear"


def test_a_request_has_the_rules_of_what_it_asks_for() -> None:
    with pytest.raises(ValidationError, match="hidden_size"):
        ReviewsModel(hidden_size=0)
    with pytest.raises(ValidationError, match="hiden_size"):
        ReviewsModel(hiden_size=8)
    assert ReviewsModel(hidden_size="8").asked == {"cell": "auto", "hidden_size": 8}
    assert ReviewsTraining().asked == {}
