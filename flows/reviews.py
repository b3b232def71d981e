"""The reviews job: from labelled reviews to a trained model, its figures and its scores."""

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
    ReviewsData,
    ReviewsModel,
    ReviewsTraining,
    ScoreRequest,
)
from flows.progress import stage
from flows.steps.prepare.check_data import check_reviews_data
from flows.steps.prepare.download import download
from flows.steps.prepare.reviews import prepare
from flows.steps.prepare.settings import reviews_settings
from flows.steps.prepare.vocabulary import build_vocabulary
from flows.steps.report.describe import describe
from flows.steps.report.metrics import metrics_of
from flows.steps.report.publish import PARTS, dated, finish, new_run, publish
from flows.steps.report.reviews import baselines, evaluate, measured_beside, validate
from flows.steps.score.files import score_files
from flows.steps.train.register import register
from flows.steps.train.train import train
from rnnfast.evaluation.checks import Limits

download_task = as_task(download, retries=4)
prepare_task = as_task(prepare)
vocabulary_task = as_task(build_vocabulary)
check_task = as_task(check_reviews_data)
train_task = as_task(train)
beside_task = as_task(measured_beside)
baselines_task = as_task(baselines)
validate_task = as_task(validate)
evaluate_task = as_task(evaluate)
score_task = as_task(score_files)
describe_task = as_task(describe)
finish_task = as_task(finish)
register_task = as_task(register)
publish_task = as_task(publish)

DATA, MODEL, TRAINING = ReviewsData(), ReviewsModel(), ReviewsTraining()
EXECUTION, LIMITS = Execution(), Limits()
NGRAMS = ReviewsModel(cell="ngrams")


@flow(name="reviews", persist_result=False)
def reviews(
    output: Path,
    data: ReviewsData = DATA,
    model: ReviewsModel = MODEL,
    training: ReviewsTraining = TRAINING,
    yardstick: bool = False,
    overwrite: bool = False,
    execution: Execution = EXECUTION,
    processes: Processes = ALONE,
    registration: Registration | None = None,
    limits: Limits = LIMITS,
    gate: bool = True,
) -> Path:
    """Trains a classifier of reviews and leaves a folder that scoring needs nothing beside.

    Args:
        output: The folder to leave; new, or empty. `{time}` in it is when the run begins.
        data: What to learn from.
        model: What to train; what is left out follows from the preset and the data.
        training: How to train it; likewise.
        yardstick: Whether to set a linear model of words and pairs of words beside it.
        overwrite: Whether to replace a run that is at `output`.
        execution: Where words are counted and test rows scored, and how.
        processes: That train the model.
        registration: The name to register the model under, and when to put it into production.
        limits: The rules for the rows, each with the value from which it warns and from which it fails.
        gate: Whether the run ends, before the training, where a rule fails.

    Returns:
        `output`. Where anything fails there is no such folder.
    """
    started = perf_counter()
    output = dated(output).absolute()
    require_data_apart(data, output)
    cache = cache_folder()
    settings = reviews_settings(data, model, training)
    processes.require_use(model.cell, settings.training.batch_size)
    seconds: dict[str, float] = {}
    with new_run(output, overwrite) as run:
        parts = run / PARTS
        # Extract: the archive, checked, and the rows of its three parts.
        with stage("download", seconds):
            archive = download_task(data.archive, cache, data.mirror) if data.archive else None
        with stage("prepare", seconds):
            prepared = prepare_task(data, archive, cache, parts)
            settings = reviews_settings(data, model, training, prepared.facts)
            processes.require_use(model.cell, settings.training.batch_size)
        # Transform: words, weights, figures.
        with stage("vocabulary", seconds):
            vocabulary = vocabulary_task(parts, settings.model, parts, execution)
        with stage("check", seconds):
            checks, profile = check_task(parts, prepared, vocabulary, settings.model, limits, gate)
        with stage("train", seconds):
            source = prepared.source
            trained = train_task(parts, vocabulary, settings, source, run, cache, processes)
        baseline = baselines_task(parts, run)
        # A wide model has n-grams in it, which are measured already.
        if yardstick and model.cell != "ngrams" and not settings.model.wide:
            with stage("yardstick", seconds):
                folder = parts / "yardstick"
                folder.mkdir()
                ngrams = reviews_settings(data, NGRAMS, TRAINING, prepared.facts)
                words = vocabulary_task(parts, ngrams.model, folder, execution)
                train_task(parts, words, ngrams, source, folder, cache)
                baseline["ngrams"] = beside_task(parts, folder)
        with stage("evaluate", seconds):
            validated = validate_task(parts, run, profile)
        # Load: the scores of the test rows, the report, and the folder in its place.
        with stage("score", seconds):
            request = ScoreRequest(
                model=str(run),
                input=str(parts / "test.parquet"),
                output=str(run / "scores"),
                id_column="id",
                execution=execution,
            )
            scored = score_task(run, request, report=False)
        with stage("describe", seconds):
            tested = evaluate_task(parts, run, profile, scored.records)
            described = describe_task(run, tested["examples"])
            measured = validated, tested, described, trained.parts
            metrics = metrics_of(
                measured, trained.history, prepared.rows, checks, profile, scored.drift, baseline
            )
        seconds["total"] = perf_counter() - started
        pictures = finish_task(run, metrics, seconds)
        if registration is not None:
            tell_promotion(register_task(run, output, metrics["test"], registration))
        publish_task(run, output, overwrite)
    show_training("reviews", output, {**metrics, "seconds": seconds}, pictures)
    return output
