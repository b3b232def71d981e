"""What a model of windows reads, and how it is trained, where nobody says so: rules on the facts of the readings.

A rule is a function of facts alone, and knows no name of a data set. What comes before what is said in
`flows.steps.prepare.settings`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rnnfast.models.config import RECURRENT
from rnnfast.series.seasons import Season

LOOKBACK = 720  # readings, at most: 30 days of hours
PLAIN_LOOKBACK = 96  # likewise, where each reading is a step of the network, or no season is known
HORIZON = 24  # readings ahead, where no season is known
SEGMENTS = 15  # steps of the network over the look-back, about so many
NEAR = 4  # steps ahead that a network reads single readings for, all channels together
WINDOWS = 8192  # that an epoch takes; of more, which overlap, every so many
_STEPS = 600  # of the optimizer, at least, however few windows there are
EPOCHS = 60  # at most
LABELLED, _LEAST_LABELLED = 128, 8  # readings of a window that has a label
_LABEL_STEPS = 1200  # of the optimizer that gives labels, at least, however few windows there are
_PARTS = 4  # times that the training part has to hold the look-back


@dataclass(frozen=True)
class SeriesFacts:
    """What the readings of a model of windows are like, on their grid.

    Attributes:
        rows: how many there are, of all devices together.
        longest: of them the longest stretch without a gap.
        channels: columns of numbers, the calendar's among them.
        step: from one to the next, in microseconds; with a `unit`, in units.
        unit: of `rnnfast.series.calendar_steps`, where the step is none of a fixed length; else empty.
        targets: channels to forecast.
        training: rows of the training part.
        stretches: rows of the longest stretch without a gap of each part: to train, to validate if any, to test. To
            give labels, what three of four stretches of a label are as long as, or longer.
        seasons: of the targets in the training part.
    """

    rows: int
    longest: int
    channels: int
    step: int
    unit: str
    targets: int = 1
    training: int = 0
    stretches: tuple[int, ...] = ()
    seasons: tuple[Season, ...] = ()


def suited_to_series(facts: SeriesFacts, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of `WindowConfig` that follow from the readings; `chosen` are fields that are known already.

    To forecast:

    - The horizon is the shortest season, else HORIZON; no more than half of what the validation or the test part holds
      without a gap.
    - A recurrent network reads *segments* and forecasts each channel by itself where the horizon is above NEAR; else it
      reads every reading of all channels. It is mixed with a linear part (`wide`).
    - The look-back is as many whole seasons as LOOKBACK and a quarter of the training part hold, without a season or
      with single readings as PLAIN_LOOKBACK. A segment is about a 15th of it, in whole parts.
    - The last reading is taken from each window (`last`, of single readings `residual`).
    - The season is the clearest that the look-back holds, 1 where there is none.
    - The hidden state grows with the training part, from 32 to 128.

    >>> day = Season(steps=24, name="day", strength=0.5)
    >>> facts = SeriesFacts(11_520, 11_520, 7, 3_600_000_000, "", 7, 8_640, (8_640, 2_880, 2_880), (day,))
    >>> found = suited_to_series(facts, {})
    >>> found["horizon"], found["form"], found["lookback"], found["segment"], found["hidden_size"]
    (24, 'segments', 720, 48, 128)
    """
    if chosen.get("task", "forecast") != "forecast":
        return _suited_to_labels(facts, chosen)
    known = {name: value for name, value in chosen.items() if value is not None}
    horizon = known.get("horizon") or _horizon(facts)
    recurrent = known.get("cell", "gru") in RECURRENT
    form = known.get("form") or ("segments" if horizon > NEAR else "direct")
    lookback = known.get("lookback") or _lookback(facts, horizon, plain=form != "segments")
    fitting = [season for season in facts.seasons if season.steps <= lookback]
    found: dict[str, Any] = {
        "horizon": horizon,
        "lookback": lookback,
        "period": max(fitting, key=lambda each: each.strength).steps if fitting else 1,
        "hidden_size": _width(facts.training * facts.targets),
    }
    if not recurrent:
        return found
    found["form"] = form
    found["wide"] = form != "recursive"
    if form == "segments":
        found |= {"segment": _segment(lookback), "normalise": "last", "dropout": 0.3}
    elif form == "direct":
        found["normalise"] = "residual"
    return found


def training_for_series(facts: SeriesFacts, model: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of `WindowTraining` that follow from the readings and the fields of the model, to forecast.

    An epoch takes WINDOWS windows or less. There are eight epochs, of few windows so many that the optimizer takes
    _STEPS steps. Training ends where a quarter of them, three at least, bring nothing new.

    >>> facts = SeriesFacts(11_520, 11_520, 7, 3_600_000_000, "", 7, 8_640, (8_640, 2_880, 2_880))
    >>> found = training_for_series(facts, {"lookback": 720, "horizon": 96, "form": "segments"})
    >>> found["stride"], found["batch_size"], found["epochs"], found["patience"]
    (1, 64, 8, 3)
    """
    if model.get("task", "forecast") != "forecast":
        return _training_for_labels(facts, model)
    windows = max(1, facts.training - model["lookback"] - model["horizon"] + 1)
    stride = -(-windows // WINDOWS)
    windows //= stride
    batch = 64 if windows >= 2048 else 32 if windows >= 512 else 16
    epochs = min(EPOCHS, max(8, -(-_STEPS * batch // max(windows, 1))))
    segments = model.get("form") == "segments"
    found: dict[str, Any] = {
        "stride": stride,
        "batch_size": batch,
        "epochs": epochs,
        "patience": max(3, epochs // 4),
        "learning_rate": 1e-3 if segments else 3e-3,
        "loss": "mae" if segments else "mse",
    }
    return found | ({"averaging": 0.0} if segments else {})


def _suited_to_labels(facts: SeriesFacts, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """The same to give labels.

    - A window is as long as three of four stretches of a label are, at most LABELLED; of numbers half of such a
      stretch, so that a device has several.
    - Of long windows four readings are one step. The network reads them from both ends, and pools all its states.
    - The hidden state is 64. Of classes and tags half of what it says is dropped in training; a number that all units
      together give cannot miss half of them.
    """
    usual = facts.stretches[0] if facts.stretches else facts.longest
    most = usual // 2 if chosen.get("task") == "regress" else usual
    lookback = chosen.get("lookback") or max(_LEAST_LABELLED, min(LABELLED, most) // 4 * 4)
    found: dict[str, Any] = {"lookback": lookback, "hidden_size": 64}
    if chosen.get("cell", "gru") in RECURRENT:
        long = lookback > 64 and lookback % 4 == 0
        found |= {"segment": 4 if long else 1, "bidirectional": True, "pooling": "mean+max"}
    return found | {"dropout": 0.0 if chosen.get("task") == "regress" else 0.5}


def _training_for_labels(facts: SeriesFacts, model: Mapping[str, Any]) -> dict[str, Any]:
    """The same to give labels: windows start a quarter of their length apart, and the optimizer takes _LABEL_STEPS.

    Where labels are numbers windows start a sixteenth apart, for each reading has another one.
    """
    stride = max(1, model["lookback"] // (16 if model["task"] == "regress" else 4))
    windows = max(1, facts.training // stride)
    while windows > WINDOWS * 4:
        stride, windows = 2 * stride, windows // 2
    batch = 64 if windows >= 2048 else 32 if windows >= 512 else 16
    epochs = min(EPOCHS, max(8, -(-_LABEL_STEPS * batch // windows)))
    return {
        "stride": stride,
        "batch_size": batch,
        "epochs": epochs,
        "patience": max(4, epochs // 3),
    }


def _horizon(facts: SeriesFacts) -> int:
    season = facts.seasons[0].steps if facts.seasons else HORIZON
    return max(1, min([season, *(rows // 2 for rows in facts.stretches[1:])]))


def _lookback(facts: SeriesFacts, horizon: int, *, plain: bool) -> int:
    """Whole seasons where one fits, else whole segments."""
    training = facts.stretches[0] if facts.stretches else facts.longest
    room = max(2, min(LOOKBACK, (training - horizon) // _PARTS))
    season = facts.seasons[0].steps if facts.seasons else 0
    if plain or not season:
        room = min(room, max(PLAIN_LOOKBACK, 0 if plain else 2 * horizon))
    if 1 < season <= room:
        return room // season * season
    return room // SEGMENTS * SEGMENTS if room > SEGMENTS else room


def _segment(lookback: int) -> int:
    """The part of the look-back that is nearest to a 15th of it."""
    whole = [size for size in range(1, lookback + 1) if lookback % size == 0]
    return min(whole, key=lambda size: abs(size - lookback / SEGMENTS))


def _width(readings: int) -> int:
    return 128 if readings >= 30_000 else 64 if readings >= 5_000 else 32
