"""Trained models are promoted where they are better on the same rows."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from flows.parameters import Registration, SensorsData
from flows.steps.prepare.series import PreparedSeries, prepare_series
from flows.steps.report.series import _measured, figures_on_test
from flows.steps.train import register as step
from flows.steps.train.register import judged, source_digest
from flows.store.json_files import read_json
from flows.store.registry import Model, Registered
from rnnfast.evaluation.drift import Tally
from rnnfast.models.window_config import WindowConfig
from rnnfast.models.windows import build_window_model
from rnnfast.scoring.scorers import SensorScorer, save_sensors_run
from rnnfast.training.settings import WindowTraining

Finished = Callable[..., Path]


@pytest.fixture
def registration(tmp_path: Path) -> Registration:
    return Registration(name="reviews", registry=tmp_path / "models", margin=0.1)


def register(run: Path, output: Path, registration: Registration) -> Registered:
    """Registers a run by the figures that it claims of itself."""
    metrics = read_json(run / "metrics.json")["test"]
    return step.register(run, output, metrics, registration)


def test_the_first_one_has_to_beat_the_most_frequent_label(
    finished: Finished, registration: Registration, tmp_path: Path
) -> None:
    guessed = register(finished("a", 5), tmp_path / "a", registration)
    assert (guessed.version, guessed.status) == (1, "candidate")
    assert guessed.reason == (
        "accuracy 0.5000, the most frequent label has 0.5000; not better by 0.1 on 1,000 test rows"
    )
    better = register(finished("b", 6), tmp_path / "b", registration)
    assert (better.version, better.status) == (2, "production")


def test_promoted_by_the_margin_and_kept_without(
    finished: Finished, registration: Registration, tmp_path: Path
) -> None:
    outcomes = [
        register(finished(name, right, seed=seed), tmp_path / name, registration)
        for name, right, seed in (
            ("a", 7, 0),
            ("b", 8, 0),
            ("equal", 8, 1),
            ("worse", 7, 2),
            ("c", 9, 0),
        )
    ]
    assert [each.status for each in outcomes] == [
        "production", "production", "candidate", "candidate", "production"
    ]  # fmt: skip
    assert outcomes[2].reason == (
        "accuracy 0.8000, version 2 in production has 0.8000; not better by 0.1 on 1,000 test rows"
    )
    standing = Model(registration.registry / "reviews").standing()
    assert [standing.status(n) for n in range(1, 6)] == [
        "retired", "retired", "candidate", "candidate", "production"
    ]  # fmt: skip


def test_an_equal_one_is_not_better_whatever_the_margin(
    finished: Finished, registration: Registration, tmp_path: Path
) -> None:
    registration = registration.model_copy(update={"margin": 0.0})
    register(finished("a", 8), tmp_path / "a", registration)
    assert register(finished("b", 8, seed=1), tmp_path / "b", registration).status == "candidate"


def test_the_same_run_twice_changes_nothing(
    finished: Finished, registration: Registration, tmp_path: Path
) -> None:
    for name, right in (("a", 8), ("b", 7)):
        run = finished(name, right)
        first = register(run, tmp_path / name, registration)
        before = {p: p.read_bytes() for p in registration.registry.rglob("*") if p.is_file()}
        again = register(run, tmp_path / "elsewhere", registration)
        assert again == replace(first, promoted=False)
        after = {p: p.read_bytes() for p in registration.registry.rglob("*") if p.is_file()}
        assert after == before


def test_a_registration_that_was_interrupted_is_taken_up(
    finished: Finished, registration: Registration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = finished("a", 8)
    with monkeypatch.context() as patch:
        patch.setattr(Model, "promote", None)
        with pytest.raises(TypeError):
            register(run, tmp_path / "a", registration)
    assert Model(registration.registry / "reviews").standing().production is None
    again = register(run, tmp_path / "a", registration)
    assert (again.version, again.status) == (1, "production")


def test_another_one_that_comes_into_production_meanwhile_is_the_one_to_beat(
    finished: Finished, registration: Registration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(finished("a", 6), tmp_path / "a", registration)
    original, best = step.judged, finished("best", 9)
    calls = 0

    def judge(*arguments: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 2:
            monkeypatch.setattr(step, "judged", original)
            register(best, tmp_path / "best", registration)
        return original(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(step, "judged", judge)
    outcome = register(finished("b", 8), tmp_path / "b", registration)
    assert outcome.status == "candidate"
    assert "version 3 in production has 0.9000" in outcome.reason


def test_models_for_something_else_are_not_compared(
    finished: Finished, registration: Registration, tmp_path: Path
) -> None:
    register(finished("a", 7), tmp_path / "a", registration)
    other = register(finished("b", 10, labels=("no", "yes")), tmp_path / "b", registration)
    assert (other.status, "cannot be measured on these test rows" in other.reason) == (
        "candidate",
        True,
    )
    (registration.registry / "reviews" / "1" / "model.safetensors").write_bytes(b"")
    broken = register(finished("c", 10), tmp_path / "c", registration)
    assert (broken.status, "version 1 in production cannot be measured: " in broken.reason) == (
        "candidate",
        True,
    )


def test_the_lineage(finished: Finished, registration: Registration, tmp_path: Path) -> None:
    register(finished("a", 8, seed=5), tmp_path / "runs" / "a", registration)
    record = Model(registration.registry / "reviews").record(1)
    assert record["run"] == str(tmp_path / "runs" / "a")
    assert record["seed"] == 5
    assert record["metrics"]["accuracy"] == 0.8
    assert record["parameters"]["model"]["cell"] == "ngrams"
    assert set(record["data"]["parts_sha256"]) == {"test.parquet"}
    assert record["code"]["source_sha256"] == source_digest()
    assert re.fullmatch("[0-9a-f]{64}", source_digest())


@pytest.mark.parametrize(
    ("metrics", "rival", "margin", "passes"),
    [
        ({"mse": 0.5, "skill": 0.3}, None, 0.1, True),
        ({"mse": 0.5, "skill": 0.05}, None, 0.1, False),
        ({"mse": 0.5, "skill": 0.0}, None, 0.0, False),
        ({"mse": 0.0, "skill": None}, None, 0.0, False),
        ({"mse": 0.9, "skill": 0.3}, {"mse": 1.0}, 0.1, True),
        ({"mse": 0.91, "skill": 0.3}, {"mse": 1.0}, 0.1, False),
        ({"mse": 0.0, "skill": 1.0}, {"mse": 0.0}, 0.0, False),
        ({"accuracy": 0.805, "confusion_matrix": [[1, 0], [0, 1]]}, {"accuracy": 0.8}, 0.005, True),
        (
            {"accuracy": 0.8049, "confusion_matrix": [[1, 0], [0, 1]]},
            {"accuracy": 0.8},
            0.005,
            False,
        ),
        ({"accuracy": 0.7, "confusion_matrix": [[6, 0], [3, 1]]}, None, 0.1, True),
    ],
)
def test_what_is_better(
    metrics: dict[str, object], rival: dict[str, float] | None, margin: float, passes: bool
) -> None:
    assert judged(metrics | {"rows": 10}, rival, "it", margin).passes is passes


@pytest.fixture
def prepared(tmp_path: Path) -> PreparedSeries:
    """In the folder `parts` those of a job that forecasts two channels 4 steps ahead from the last 12 readings."""
    path = tmp_path / "readings.csv"
    lines = ["time,temp,load"]
    for i in range(300):
        if i % 90 not in range(40, 50):  # gaps
            lines.append(f"{1_700_000_000 + 3600 * i},{20 + 5 * np.sin(i / 4):.4f},{i % 7}")
    path.write_text("\n".join(lines) + "\n")
    work = tmp_path / "parts"
    work.mkdir()
    return prepare_series(SensorsData(dataset=str(path)), None, lambda _: config(12), work)


@pytest.fixture
def parts(prepared: PreparedSeries, tmp_path: Path) -> Path:
    return tmp_path / "parts"


def config(lookback: int, **more: object) -> WindowConfig:
    return WindowConfig.model_validate(
        {
            "cell": "gru",
            "lookback": lookback,
            "horizon": 4,
            "hidden_size": 4,
            "form": "direct",
            **more,
        }
    )


def forecaster(
    prepared: PreparedSeries, folder: Path, lookback: int, *, standardised: bool = False
) -> SensorScorer:
    folder.mkdir()
    info = prepared.info.model_copy(update={"standardised": standardised})
    model = build_window_model(config(lookback), 2, info.target_places, 0, seed=lookback)
    model.set_scaler(prepared.scaler)
    save_sensors_run(folder, model, training=WindowTraining(), series=info, data={})
    return SensorScorer.load(folder)


@pytest.mark.parametrize("standardised", [False, True])
def test_forecasts_of_the_same_readings_in_the_same_units(
    prepared: PreparedSeries, parts: Path, tmp_path: Path, standardised: bool
) -> None:
    own = forecaster(prepared, tmp_path / "own", 12, standardised=standardised)
    figures = _measured(own, parts, "test", Tally())[0]
    assert figures is not None
    assert figures_on_test(parts, own, own) == figures
    # Another lookback, other units and another scaler change neither the rows nor their truth.
    shorter = forecaster(prepared, tmp_path / "shorter", 5, standardised=not standardised)
    shorter.model.mean.add_(3.0)
    shorter.model.scale.mul_(2.0)
    others = figures_on_test(parts, shorter, own)
    assert others is not None
    assert others["rows"] == figures["rows"]

    def persistence(of: dict[str, float]) -> float:
        return of["mse"] / (1 - of["skill"])

    assert persistence(others) == pytest.approx(persistence(figures), rel=1e-4)
    assert others["mse"] != pytest.approx(figures["mse"], rel=1e-3)


def test_forecasts_from_readings_that_are_not_there(
    prepared: PreparedSeries, parts: Path, tmp_path: Path
) -> None:
    own = forecaster(prepared, tmp_path / "own", 12)
    assert figures_on_test(parts, forecaster(prepared, tmp_path / "longer", 60), own) is None


def test_sensors_that_forecast_something_else_are_not_compared(
    prepared: PreparedSeries, parts: Path, tmp_path: Path
) -> None:
    own = forecaster(prepared, tmp_path / "own", 12)
    other = replace(own, series=own.series.model_copy(update={"targets": ("load",)}))
    assert step._figures_of_rival(parts, other, own) is None
    assert step._figures_of_rival(parts, own, own) == figures_on_test(parts, own, own)
    assert prepared.rows
    assert prepared.info.targets == ("temp", "load")


def test_forecasters_by_their_error(
    prepared: PreparedSeries, parts: Path, tmp_path: Path, registration: Registration
) -> None:
    outcomes = []
    for name, skill, share in (
        ("a", 0.3, 1.0),
        ("b", 0.3, 0.95),
        ("c", 0.3, 0.5),
        ("d", 0.05, 0.1),
    ):
        run = tmp_path / name
        scorer = forecaster(prepared, run, 8 + len(outcomes))
        shutil.copytree(parts, run / "parts")
        figures = figures_on_test(parts, scorer, scorer)
        assert figures is not None
        # What each claims of itself; what is in production is measured.
        previous = outcomes[0][1] if outcomes else figures["mse"]
        test = figures | {"mse": previous * share, "skill": skill}
        (run / "metrics.json").write_text(json.dumps({"test": test}))
        outcomes.append((register(run, run, registration).status, figures["mse"]))
    assert [status for status, _ in outcomes] == [
        "production",
        "candidate",
        "production",
        "candidate",
    ]
    reason = Model(registration.registry / "reviews").standing().reason(4)
    assert "persistence: skill 0.0500 against it; not better by 0.1" in reason
