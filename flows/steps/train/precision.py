"""Chooses the precision that a trained model scores in, and writes it into the run's `config.json`.

A precision that was chosen stays: whoever scores with the run afterwards takes what its folder says, so that no score
depends on how long something took that day.
"""

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq

from flows.errors import InputError
from flows.parameters import TrainingRequest
from flows.steps.prepare.series import part_windows
from flows.steps.train.choose import block_errors, sampled
from flows.store.json_files import write_json
from rnnfast.models.choices import DeviceChoice, Precision
from rnnfast.models.precision import DeviceError, find_device, is_fast, precisions
from rnnfast.scoring.scorers import Scorer, SensorScorer, load_scorer
from rnnfast.training.run_folder import CONFIG

MARGIN = 1.2
"""How many times as fast as what is wider a precision must be: less is within what a clock may be wrong by."""

REPEATS = 3  # of which the fastest one counts: the first one packs the weights

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Measured:
    """What a precision came to on the validation part.

    Attributes:
        precision: it.
        figure: the accuracy of classes, the micro F1 of tags, or the mean squared error in standard deviations.
        loss: how much accuracy or F1 it costs beside fp32, as a share, or by which share the error is higher.
        seconds: of one run over the part.
    """

    precision: Precision
    figure: float
    loss: float
    seconds: float


def choose_precision(parts: Path, run: Path, request: TrainingRequest) -> dict[str, Any]:
    """Settles the precision of a run, as its request says.

    Args:
        parts: folder that `prepare` or `prepare_series` filled.
        run: folder with the trained model, whose `config.json` is told.
        request: with the precision that is wanted, and what it may cost.

    Returns:
        Of `metrics.json` the "precision": what was chosen, and what each came to; nothing where fp32 was asked for.

    Raises:
        InputError: the device has not what is wanted.
    """
    wanted, limit, device = (
        request.score_precision,
        request.score_loss,
        request.execution.device_here,
    )
    if wanted == "fp32":
        return {}
    measured: list[Measured] = []
    if wanted == "auto":
        measured = list(_measured(parts, run, device))
        chosen = chosen_of(measured, limit)
    else:
        try:
            load_scorer(run, wanted, device)
        except DeviceError as error:
            raise InputError(f"--score-{error}") from error
        chosen = wanted
    content = json.loads((run / CONFIG).read_text(encoding="utf-8"))
    write_json(run / CONFIG, content | {"scoring": chosen})
    logger.info("scores in %s%s", chosen, _said(measured))
    return {
        "precision": {
            "scoring": chosen,
            "limit": limit if measured else None,
            "measured": [asdict(each) for each in measured],
        }
    }


def chosen_of(measured: list[Measured], limit: float) -> Precision:
    """The fastest precision whose loss is within the limit; fp32 where none is, or nothing was measured.

    Args:
        measured: fp32 first, what is narrower behind it.
        limit: of the loss.
    """
    best = measured[0] if measured else None
    for each in measured[1:]:
        if best is not None and each.loss <= limit and each.seconds * MARGIN <= best.seconds:
            best = each
    return best.precision if best is not None else "fp32"


def _said(measured: list[Measured]) -> str:
    parts = [
        f"{each.precision} {measured[0].seconds / each.seconds:.1f} times as fast as fp32, loss {each.loss:.4%}"
        for each in measured[1:]
    ]
    return f": {'; '.join(parts)}" if parts else ""


def _measured(parts: Path, run: Path, device: DeviceChoice) -> Iterator[Measured]:
    """What each precision comes to that the device has units for; nothing without a validation part."""
    place = find_device(device)
    exact = None
    for precision in precisions(place):
        if precision != "fp32" and not is_fast(precision, place):
            continue
        trial = _trial(load_scorer(run, precision, device), parts)
        if trial is None:
            return
        seconds = []
        for _ in range(REPEATS):
            started = perf_counter()
            given = trial.give()
            seconds.append(perf_counter() - started)
        figure = trial.figure(given)
        exact = figure if exact is None else exact
        loss = _rise(exact, figure) if trial.is_error else exact - figure
        yield Measured(precision, figure, loss, min(seconds))


def _rise(exact: float, figure: float) -> float:
    """By which share an error is above that in float32."""
    return figure / exact - 1 if exact > 0 else 0.0


class _Trial(NamedTuple):
    """A scoring of the validation part.

    Attributes:
        give: what is timed: it makes what the model says of the rows.
        figure: how good that is.
        is_error: whether the figure is an error, and not a share of what is right.
    """

    give: Callable[[], np.ndarray]
    figure: Callable[[np.ndarray], float]
    is_error: bool


def _trial(scorer: Scorer | SensorScorer, parts: Path) -> _Trial | None:
    """None without a validation part."""
    return _of_reviews(scorer, parts) if isinstance(scorer, Scorer) else _of_windows(scorer, parts)


def _of_reviews(scorer: Scorer, parts: Path) -> _Trial:
    rows = pq.read_table(parts / "validation.parquet", columns=["text", "label"])
    target = scorer.target
    figure = partial(target.summary, target.truth(rows["label"]))
    return _Trial(partial(scorer.score, rows["text"]), figure, target.is_error)


def _of_windows(scorer: SensorScorer, parts: Path) -> _Trial | None:
    found = part_windows(parts, "validation", scorer.model.config)
    if found is None:
        return None
    windows, truth, _ = found
    target = scorer.target
    if target is None:
        give = partial(block_errors, scorer, windows, truth)
        return _Trial(give, lambda errors: float(errors.mean()), is_error=True)
    places, chosen = sampled(windows)

    def given() -> np.ndarray:
        return np.concatenate([target.given(outputs) for _, outputs in scorer.forecasts(chosen)])

    return _Trial(given, partial(target.summary, truth[places].numpy()), target.is_error)
