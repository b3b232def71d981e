"""The sensors job: from readings to a trained model, its figures and its scores."""

from functools import partial
from pathlib import Path
from time import perf_counter

from prefect import flow

from flows import cache_folder
from flows.apart import require_data_apart
from flows.orchestration.artifacts import show_training
from flows.orchestration.engine import as_task
from flows.orchestration.events import tell_promotion
from flows.parameters import (
    ALONE,
    Execution,
    Processes,
    Registration,
    ScoreRequest,
    SensorsData,
    SensorsModel,
    SensorsTraining,
)
from flows.progress import stage
from flows.steps.prepare.check_data import check_sensors_data
from flows.steps.prepare.download import download
from flows.steps.prepare.series import prepare_series
from flows.steps.prepare.settings import SensorsSettings, sensors_data, sensors_settings
from flows.steps.report.metrics import metrics_of
from flows.steps.report.publish import PARTS, dated, finish, new_run, publish
from flows.steps.report.series import evaluate_series, measured_beside
from flows.steps.score.files import score_files
from flows.steps.score.readings import least_memory
from flows.steps.train.choose import choose_windows
from flows.steps.train.register import register
from flows.steps.train.train import train_windows
from rnnfast.evaluation.checks import Limits
from rnnfast.evaluation.profiles import level_of
from rnnfast.models.windows import beside

download_task = as_task(download, retries=4)
prepare_task = as_task(prepare_series)
check_task = as_task(check_sensors_data)
train_task = as_task(train_windows)
beside_task = as_task(measured_beside)
choose_task = as_task(choose_windows)
evaluate_task = as_task(evaluate_series)
score_task = as_task(score_files)
finish_task = as_task(finish)
register_task = as_task(register)
publish_task = as_task(publish)

DATA, MODEL, TRAINING = SensorsData(), SensorsModel(), SensorsTraining()
EXECUTION, LIMITS = Execution(), Limits()


@flow(name="sensors", persist_result=False)
def sensors(
    output: Path,
    data: SensorsData = DATA,
    model: SensorsModel = MODEL,
    training: SensorsTraining = TRAINING,
    yardstick: bool = False,
    overwrite: bool = False,
    execution: Execution = EXECUTION,
    processes: Processes = ALONE,
    registration: Registration | None = None,
    limits: Limits = LIMITS,
    gate: bool = True,
) -> Path:
    """Trains a forecaster or a classifier of windows and leaves a folder that scoring needs.

    Args:
        output: The folder to leave; new, or empty. `{time}` in it is when the run begins.
        data: What to learn from.
        model: What to train; what is left out follows from the preset and the data.
        training: How to train it; likewise.
        yardstick: Whether to train the networks without recurrence beside it as well.
        overwrite: Whether to replace a run that is at `output`.
        execution: Where the test readings are scored, and how.
        processes: That train the model; what is beside it is trained by this one.
        registration: The name to register the model under, and when to put it into production.
        limits: The rules for the rows, each with the value from which it warns and from which it fails.
        gate: Whether the run ends, before the training, where a rule fails.

    Returns:
        `output`. Where anything fails there is no such folder.
    """
    started = perf_counter()
    output = dated(output).absolute()
    data = sensors_data(data, model)
    require_data_apart(data, output)
    cache = cache_folder()
    settings_by = partial(sensors_settings, data, model, training)
    processes.require_use(model.network, settings_by().training.batch_size)
    execution.require_use(least_memory())
    seconds: dict[str, float] = {}
    with new_run(output, overwrite) as run:
        parts = run / PARTS
        # Extract: the archive, checked, the readings on their grid, and what part each is in.
        with stage("download", seconds):
            archive = download_task(data.archive, cache, data.mirror) if data.archive else None
        with stage("prepare", seconds):
            prepared = prepare_task(data, archive, lambda facts: settings_by(facts).model, parts)
            settings = settings_by(prepared.facts)
            processes.require_use(model.network, settings.training.batch_size)
        # Transform: weights, figures.
        with stage("check", seconds):
            checks, profile = check_task(parts, prepared, limits, gate, level_of(settings.model))
        with stage("train", seconds):
            history = train_task(parts, prepared, settings, run, cache, processes)
        baseline, folders = {}, {}
        with stage("baselines", seconds):
            for config in beside(settings.model, yardstick):
                folder = folders[config.cell] = parts / config.cell
                folder.mkdir()
                other = SensorsSettings(config, settings.training)
                train_task(parts, prepared, other, folder, cache)
                baseline[config.cell] = beside_task(parts, folder)
        with stage("choose", seconds):
            found, choice = choose_task(parts, run, folders, limits, replace=model.cell == "auto")
        with stage("evaluate", seconds):
            measured = evaluate_task(parts, run, profile)
        # Load: the scores of the test readings, the report, and the folder in its place.
        with stage("score", seconds):
            forecasts = settings.model.task == "forecast"
            request = ScoreRequest(
                model=str(run),
                input=str(parts / "test.parquet"),
                output=str(run / "scores"),
                every=settings.model.horizon if forecasts else None,
                execution=execution,
            )
            scored = score_task(run, request, report=False)
        with stage("describe", seconds):
            metrics = metrics_of(
                [measured, choice],
                history,
                prepared.rows,
                [*checks, *found],
                profile,
                scored.drift,
                baseline,
            )
        seconds["total"] = perf_counter() - started
        pictures = finish_task(run, metrics, seconds)
        if registration is not None:
            tell_promotion(register_task(run, output, metrics["test"], registration))
        publish_task(run, output, overwrite)
    show_training("sensors", output, {**metrics, "seconds": seconds}, pictures)
    return output
