"""The sensors job: from readings to a trained model, its figures and its scores."""

from functools import partial
from pathlib import Path

from prefect import flow

from flows.orchestration.engine import as_task
from flows.orchestration.training_run import training_run
from flows.parameters import SensorsRequest
from flows.steps.prepare.check_data import check_sensors_data
from flows.steps.prepare.checks import report_checks
from flows.steps.prepare.series import prepare_series
from flows.steps.prepare.settings import SensorsSettings, sensors_data, sensors_settings
from flows.steps.report.beside import Beside
from flows.steps.report.metrics import metrics_of
from flows.steps.report.series import evaluate_series, label_floor, measured_beside
from flows.steps.report.spread import measured_seeds
from flows.steps.score.readings import least_memory
from flows.steps.train.choose import choose_windows
from flows.steps.train.precision import choose_precision
from flows.steps.train.seeds import average_windows, of_seeds
from flows.steps.train.train import train_windows
from rnnfast.evaluation.profiles import level_of
from rnnfast.models.windows import beside

prepare_task = as_task(prepare_series)
check_task = as_task(check_sensors_data)
train_task = as_task(train_windows)
seeds_task = as_task(measured_seeds)
average_task = as_task(average_windows)
beside_task = as_task(measured_beside)
precision_task = as_task(choose_precision)
choose_task = as_task(choose_windows)
floor_task = as_task(label_floor)
evaluate_task = as_task(evaluate_series)


@flow(name="sensors", persist_result=False)
def sensors(request: SensorsRequest) -> Path:
    """Trains a forecaster, or a model that gives windows labels, and leaves a folder that scoring needs.

    Args:
        request: What to learn from, what to train, and where the run goes.

    Returns:
        The folder of the run. Where anything fails there is no such folder.
    """
    data = sensors_data(request.data, request.model)
    settings_by = partial(sensors_settings, data, request.model, request.training)
    request.require_use(request.model.network, settings_by().training.batch_size)
    request.execution.require_use(least_memory())
    with training_run("sensors", request) as run:
        parts = run.parts
        # Extract: the archive, checked, the readings on their grid, and what part each is in.
        archive = run.downloaded()
        with run.stage("prepare"):
            prepared = prepare_task(data, archive, lambda facts: settings_by(facts).model, parts)
            settings = settings_by(prepared.facts)
            request.processes.require_use(request.model.network, settings.training.batch_size)
        # Transform: weights, figures.
        with run.stage("check"):
            level = level_of(settings.model)
            checks, profile = check_task(parts, prepared, request.limits, request.gate, level)
        with run.stage("train"):
            seeds = of_seeds(settings, request.seeds, run.folder, parts)
            [history, *_] = [
                train_task(parts, prepared, of_seed, folder, run.cache, request.processes)
                for of_seed, folder in seeds
            ]
        spread = seeds_task(parts, seeds, measured_beside, request.ensemble)
        if request.ensemble:
            with run.stage("average"):
                average_task(parts, prepared, settings, [folder for _, folder in seeds])
        others: dict[str, Beside] = {}
        folders: dict[str, Path] = {}
        with run.stage("baselines"):
            for config in beside(settings.model, request.yardstick):
                folder = folders[config.cell] = parts / config.cell
                folder.mkdir()
                other = SensorsSettings(config, settings.training)
                train_task(parts, prepared, other, folder, run.cache, request.processes.alone)
                others[config.cell] = beside_task(parts, folder)
            others |= floor_task(parts, run.folder)
        with run.stage("choose"):
            automatic = request.model.cell == "auto"
            found, choice = choose_task(
                parts, run.folder, folders, request.limits, replace=automatic
            )
            report_checks(found, request.gate)
        with run.stage("precision"):
            precision = precision_task(parts, run.folder, request)
        with run.stage("evaluate"):
            device = request.execution.device_here
            measured, lost = evaluate_task(
                parts, run.folder, profile, others, request.limits, device
            )
            report_checks(lost, request.gate)
        # Load: the scores of the test readings, and what they say.
        forecasts = settings.model.task == "forecast"
        scored = run.scored(every=settings.model.horizon if forecasts else None)
        with run.stage("describe"):
            run.metrics = metrics_of(
                [measured, choice, precision, spread],
                history,
                prepared.rows,
                [*checks, *found, *lost],
                profile,
                scored.drift,
                {name: each.figures for name, each in others.items()},
            )
    return run.output
