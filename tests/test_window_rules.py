"""What is read, and how it is trained, follows from the facts of the readings."""

import dataclasses
from typing import Any

import pytest

from rnnfast.models.window_config import WindowConfig
from rnnfast.models.window_rules import (
    SeriesFacts,
    suited_to_series,
    training_for_series,
)
from rnnfast.series import Season
from rnnfast.series.order import DAY
from rnnfast.training.settings import WindowTraining

HOURS = SeriesFacts(
    rows=11_520,
    longest=11_520,
    channels=7,
    step=DAY // 24,
    unit="",
    targets=7,
    training=8_640,
    stretches=(8_640, 2_880, 2_880),
    seasons=(Season(24, "day", 0.5), Season(168, "week", 0.8)),
)


def settled(facts: SeriesFacts, **asked: Any) -> tuple[WindowConfig, WindowTraining]:
    fields = {**suited_to_series(facts, asked), **asked}
    return WindowConfig(**fields), WindowTraining(**training_for_series(facts, fields))


def test_hours_are_read_by_the_day() -> None:
    model, training = settled(HOURS)
    assert (model.horizon, model.lookback, model.segment, model.form) == (24, 720, 48, "segments")
    assert (model.period, model.normalise, model.wide, model.hidden_size) == (
        168,
        "last",
        True,
        128,
    )
    assert (training.stride, training.loss, training.averaging) == (1, "mae", 0.0)


def test_what_was_asked_for_is_kept_and_the_rest_fits_it() -> None:
    model, _ = settled(HOURS, horizon=1)
    assert (model.form, model.segment, model.normalise, model.lookback) == (
        "direct",
        1,
        "residual",
        96,
    )
    model, _ = settled(HOURS, lookback=100)
    assert model.lookback % model.segment == 0
    assert model.period == 24  # a week does not fit
    model, _ = settled(HOURS, cell="linear")
    assert (model.form, model.wide) == ("direct", False)


@pytest.mark.parametrize("rows", [12, 40, 100, 300, 1000, 5000])
@pytest.mark.parametrize("seasons", [(), (Season(12, "year", 0.9),), (Season(96, "day", 0.9),)])
def test_windows_fit_into_every_part(rows: int, seasons: tuple[Season, ...]) -> None:
    parts = round(0.72 * rows), round(0.08 * rows), round(0.2 * rows)
    facts = SeriesFacts(rows, rows, 1, DAY, "", 1, parts[0], parts, seasons)
    model, training = settled(facts)
    assert model.lookback + model.horizon <= parts[0]
    assert model.horizon <= max(1, parts[1])
    assert model.period == 1 or model.period <= model.lookback
    assert training.epochs >= 8


def test_few_windows_are_seen_more_often_and_many_are_not_all_seen() -> None:
    few = dataclasses.replace(HOURS, training=260, stretches=(260, 80, 80))
    model, training = settled(few, horizon=12)
    windows = 260 - model.lookback - 12 + 1
    assert training.epochs * windows / training.batch_size >= 500
    assert model.hidden_size == 32
    many = dataclasses.replace(HOURS, training=1_000_000)
    assert settled(many)[1].stride == 122
    assert settled(HOURS)[1].stride == 1


# Three of four stretches of a label are at least so long: the window of a class, and of a number half of it.
@pytest.mark.parametrize(
    ("usual", "of_class", "of_number"), [(10_000, 128, 128), (70, 68, 32), (9, 8, 8)]
)
def test_windows_with_labels_fit_the_stretches_of_a_label(
    usual: int, of_class: int, of_number: int
) -> None:
    facts = dataclasses.replace(HOURS, stretches=(usual,))
    for task, lookback in (("classify", of_class), ("tag", of_class), ("regress", of_number)):
        fields = suited_to_series(facts, {"task": task})
        assert (fields["lookback"], fields["segment"]) == (lookback, 4 if lookback > 64 else 1)
        training = WindowTraining(**training_for_series(facts, {"task": task, **fields}))
        assert training.stride == (max(1, lookback // 16) if task == "regress" else lookback // 4)
        # A number that units give together cannot miss half of them.
        assert (fields["dropout"] == 0) == (task == "regress")
        assert training.epochs >= 8


def test_few_windows_with_labels_are_seen_more_often() -> None:
    few, many = (
        training_for_series(
            dataclasses.replace(HOURS, training=rows), {"task": "classify", "lookback": 128}
        )
        for rows in (3_000, 10_000_000)
    )
    assert few["epochs"] > many["epochs"]
    assert many["stride"] > few["stride"]
