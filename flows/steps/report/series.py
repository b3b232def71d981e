"""Measures a trained model of windows on the readings that it has not seen."""

from collections.abc import Mapping
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import torch

from flows.progress import bar
from flows.steps.prepare.gather import Readings
from flows.steps.prepare.series import part_windows
from flows.steps.report.beside import NOTHING, Beside
from rnnfast.evaluation.checks import USUAL, Check, Limits, check
from rnnfast.evaluation.choice import beaten_by, block_means
from rnnfast.evaluation.drift import Tally
from rnnfast.evaluation.intervals import TrackedIntervals
from rnnfast.evaluation.metrics import ForecastErrors
from rnnfast.evaluation.profiles import Profile, tally_errors, tally_forecasts, tally_scores
from rnnfast.models.choices import DeviceChoice
from rnnfast.models.window_model import WindowModel
from rnnfast.scoring.scorers import SensorScorer
from rnnfast.series.windows import Windows

EXAMPLE_WINDOWS = 3  # windows shown: the worst, and of the others the one in the middle
LEAST_SHOWN = 24, 3  # of the past, at least so many readings and so many horizons are shown


def evaluate_series(
    parts: Path,
    run: Path,
    profile: Profile,
    beside: Mapping[str, Beside] = NOTHING,
    limits: Limits = USUAL,
    device: DeviceChoice = "cpu",
) -> tuple[dict[str, Any], list[Check]]:
    """Measures a model on the windows of the validation and the test part, and saves the profile of its readings.

    Args:
        parts: folder that `prepare_series` filled.
        run: folder with the trained model.
        profile: what the readings are like; what the model gives is added.
        beside: what stands beside it, by name.
        limits: the rules.
        device: where the model computes.

    Returns:
        Of `metrics.json` what is known then: "test", "validation", some "windows", how many of these a second were
        measured, and by what the model is "beaten", if it is. Errors of forecasts are in the units of the readings,
        or in standard deviations of the channel where the data set is published so. And the rule that says whether
        it is beaten.
    """
    scorer = SensorScorer.load(run, device=device)
    started = perf_counter()
    test = _measured(scorer, parts, "test", profile.test)
    assert test is not None
    seconds = perf_counter() - started
    validation = _measured(scorer, parts, "validation", profile.validation)
    profile.save(run)
    cell = scorer.model.config.cell
    others = {name: each.errors for name, each in beside.items() if name != cell}
    beaten = beaten_by(cell, block_means(test.errors), others)
    measured = {
        "test": test.figures,
        "validation": None if validation is None else validation.figures,
        "throughput": {"score_windows_per_second": len(test.errors) / seconds},
        "windows": test.examples,
        **({"beaten": beaten} if beaten else {}),
    }
    excess = beaten.get("excess", 0.0)
    return measured, [check(limits, "beaten", f"{cell} on the test windows", excess)]


def label_floor(parts: Path, run: Path) -> dict[str, Beside]:
    """How well what knows the labels of the training windows alone does on the test windows, by name."""
    scorer = SensorScorer.load(run)
    target = scorer.target
    if target is None:
        return {}
    truths = []
    for part in ("train", "test"):
        found = part_windows(parts, part, scorer.model.config)
        assert found is not None
        truths.append(found[1].numpy())
    train, test = truths
    errors = target.errors(test, target.floor(train, len(test)))
    return {target.floor_name: Beside(target.floor_figures(train, test), block_means(errors))}


def measured_beside(parts: Path, run: Path) -> Beside:
    """How a model does on the test windows that stands beside another one."""
    measured = _measured(SensorScorer.load(run), parts, "test", Tally())
    assert measured is not None
    return Beside(measured.figures, block_means(measured.errors))


def figures_on_test(parts: Path, scorer: SensorScorer, own: SensorScorer) -> dict[str, Any] | None:
    """The figures of another model on the test windows of a job, in the units in which its `own` are.

    Args:
        parts: folder that `prepare_series` filled.
        scorer: reads the same channels and gives the same targets, as far ahead, or the same labels.
        own: the model that the job has trained.

    Returns:
        What `evaluate_series` has under "test"; None where the other model reads so much more of the past, or
        windows to classify of another length, that these are not its windows.
    """
    config, ours = scorer.model.config, own.model.config
    found = part_windows(parts, "test", ours)
    assert found is not None
    windows, truth, readings = found
    if config.gives_labels:
        if config.lookback != ours.lookback:
            return None
        with bar("comparing", len(windows), unit="windows") as advance:
            return _label_figures(scorer, windows, truth, Tally(), advance).figures
    runs = windows.runs + np.array([ours.lookback - config.lookback, 0])
    of_run = np.searchsorted(readings.runs[:, 1], windows.runs[:, 0], "right")
    if (runs[:, 0] < readings.runs[of_run, 0]).any():
        return None
    windows = Windows(windows.values, runs, config.lookback + config.horizon)
    series = _devices(readings, windows)
    units = own.model if own.series.standardised else None
    with bar("comparing", len(windows), unit="windows") as advance:
        return _forecast_errors(scorer, windows, series, Tally(), advance, units)[0].result()


class _Measured(NamedTuple):
    """The figures of a part, how wrong each window is (N,), and some of the windows."""

    figures: dict[str, Any]
    errors: np.ndarray
    examples: list[dict[str, Any]]


def _label_figures(
    scorer: SensorScorer, windows: Windows, truth: torch.Tensor, tally: Tally, advance: Any
) -> _Measured:
    target = scorer.target
    assert target is not None
    parts = []
    for numbers, outputs in scorer.forecasts(windows):
        parts.append(target.given(outputs))
        tally_scores(tally, parts[-1], target)
        advance(len(numbers))
    given = np.concatenate(parts)
    errors = target.errors(truth.numpy(), given)
    return _Measured(target.figures(truth.numpy(), given), errors, [])


def _measured(scorer: SensorScorer, parts: Path, part: str, tally: Tally) -> _Measured | None:
    """How a model does on a part; None without the part. What the model gives is counted in the tally."""
    found = part_windows(parts, part, scorer.model.config)
    if found is None:
        return None
    windows, truth, readings = found
    with bar(f"measuring {part}", len(windows), unit="windows") as advance:
        if scorer.target is not None:
            return _label_figures(scorer, windows, truth, tally, advance)
        units = scorer.model if scorer.series.standardised else None
        series = _devices(readings, windows)
        errors, of_window = _forecast_errors(scorer, windows, series, tally, advance, units)
    shown = [
        _example(scorer, windows, number, readings.times)
        for number in _telling(of_window, scorer.model.config.horizon)
    ]
    return _Measured(errors.result(), of_window, shown)


def _devices(readings: Readings, windows: Windows) -> np.ndarray:
    """Which device each run of the windows is of (R,)."""
    of_run = np.searchsorted(readings.runs[:, 1], windows.runs[:, 0], "right")
    result: np.ndarray = readings.groups[of_run]
    return result


def _forecast_errors(
    scorer: SensorScorer,
    windows: Windows,
    series: np.ndarray,
    tally: Tally,
    advance: Any,
    units: WindowModel | None,
) -> tuple[ForecastErrors, np.ndarray]:
    """The errors of all windows, and of each its mean squared one, in standard deviations (N,).

    Those of all are in the standard deviations of the model `units`, or in the units of the readings. Intervals follow
    the errors of each device (`series` of a run), as they do where its readings are scored.
    """
    model = scorer.model
    errors = ForecastErrors(model.config.horizon, scorer.series.targets)
    of_window = np.empty(len(windows))
    calibrated = bool(model.margins.any())
    intervals = TrackedIntervals(model)
    for numbers, output in scorer.forecasts(windows):
        taken = model.standardised(windows.take(numbers))[..., model.targets].numpy()
        past, truth = taken[:, : model.config.lookback], taken[:, model.config.lookback :]
        low, high = intervals.ends(series[windows.run_of(numbers).numpy()], output, truth)
        forecast = output[..., 0].numpy()
        tally_forecasts(tally, scorer.series.targets, output.numpy())
        tally_errors(tally, scorer.series.targets, forecast - truth)
        of_window[numbers.numpy()] = ((forecast - truth) ** 2).mean((1, 2))
        last = past[:, -1]
        if units is not model:
            truth, forecast, low, high, last = (
                _rescaled(model, units, each) for each in (truth, forecast, low, high, last)
            )
        errors.update(truth, forecast, last, (low, high) if calibrated else None)
        advance(len(numbers))
    return errors, of_window


def _telling(of_window: np.ndarray, horizon: int) -> list[int]:
    """The numbers of the worst windows by the error of each (N,), then that of the median one."""
    order = np.argsort(-of_window, kind="stable")
    apart: list[int] = []
    for number in order.tolist():
        # The worst window's neighbours are as bad, and the same.
        if all(abs(number - other) > horizon for other in apart):
            apart.append(number)
        if len(apart) == EXAMPLE_WINDOWS:
            break
    return [*apart, int(order[len(order) // 2])]


def _in_units(model: WindowModel, values: np.ndarray) -> np.ndarray:
    mean, scale = model.mean[model.targets].numpy(), model.scale[model.targets].numpy()
    result: np.ndarray = values * scale + mean
    return result


def _rescaled(model: WindowModel, other: WindowModel | None, values: np.ndarray) -> np.ndarray:
    """From the standard deviations of one model to those of another, or to the units of the readings."""
    values = _in_units(model, values)
    if other is None:
        return values
    mean, scale = other.mean[other.targets].numpy(), other.scale[other.targets].numpy()
    result: np.ndarray = (values - mean) / scale
    return result


def _example(
    scorer: SensorScorer, windows: Windows, number: int, times: np.ndarray
) -> dict[str, Any]:
    """A window and its forecast of the first target, in the units of the readings."""
    model = scorer.model
    numbers = torch.tensor([number])
    taken = windows.take(numbers)
    with torch.inference_mode():
        forecast = model(taken[:, : model.config.lookback])
    low, high = (_in_units(model, end.numpy())[0, :, 0] for end in model.interval(forecast))
    series = taken[0, :, model.targets[0]]
    lookback = model.config.lookback
    shown = max(LEAST_SHOWN[0], LEAST_SHOWN[1] * model.config.horizon)
    stamp = np.datetime64(int(times[int(windows.starts(numbers)) + lookback]), "us")
    return {
        "channel": scorer.series.targets[0],
        "time": str(stamp.astype("datetime64[s]")).replace("T", " "),
        "past": series[max(0, lookback - shown) : lookback].tolist(),
        "truth": series[lookback:].tolist(),
        "forecast": _in_units(model, forecast[..., 0].numpy())[0, :, 0].tolist(),
        "low": low.tolist() if model.margins.any() else None,
        "high": high.tolist() if model.margins.any() else None,
    }
