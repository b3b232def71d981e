"""The reviews job: from labelled reviews to a trained model, its figures and its scores."""

from dataclasses import replace
from pathlib import Path

from prefect import flow

from flows.orchestration.engine import as_task
from flows.orchestration.training_run import training_run
from flows.parameters import ReviewsModel, ReviewsRequest, ReviewsTraining
from flows.steps.prepare.check_data import check_reviews_data
from flows.steps.prepare.checks import report_checks
from flows.steps.prepare.reviews import prepare
from flows.steps.prepare.settings import reviews_settings
from flows.steps.prepare.unlabelled import TO_COUNT, prepare_unlabelled
from flows.steps.prepare.vocabulary import build_vocabulary
from flows.steps.report.describe import describe
from flows.steps.report.metrics import metrics_of
from flows.steps.report.reviews import baselines, evaluate, measured_beside, validate
from flows.steps.report.spread import measured_seeds
from flows.steps.train.precision import choose_precision
from flows.steps.train.pseudo_labels import learn_again, rows_again, with_training
from flows.steps.train.seeds import average_reviews, of_seeds
from flows.steps.train.train import train

prepare_task = as_task(prepare)
unlabelled_task = as_task(prepare_unlabelled)
vocabulary_task = as_task(build_vocabulary)
check_task = as_task(check_reviews_data)
train_task = as_task(train)
again_task = as_task(learn_again)
seeds_task = as_task(measured_seeds)
average_task = as_task(average_reviews)
beside_task = as_task(measured_beside)
baselines_task = as_task(baselines)
precision_task = as_task(choose_precision)
validate_task = as_task(validate)
evaluate_task = as_task(evaluate)
describe_task = as_task(describe)

YARDSTICK = ReviewsModel(cell="ngrams"), ReviewsTraining()


@flow(name="reviews", persist_result=False)
def reviews(request: ReviewsRequest) -> Path:
    """Trains a classifier of reviews and leaves a folder that scoring needs nothing beside.

    Args:
        request: What to learn from, what to train, and where the run goes.

    Returns:
        The folder of the run. Where anything fails there is no such folder.
    """
    data, asked = request.data, (request.model, request.training)
    settings = reviews_settings(data, *asked)
    request.require_use(settings.model.cell, settings.training.batch_size)
    with training_run("reviews", request) as run:
        parts = run.parts
        # Extract: the archive, checked, and the rows of its three parts.
        archive = run.downloaded()
        with run.stage("prepare"):
            prepared = prepare_task(data, archive, run.cache, parts)
            settings = reviews_settings(data, *asked, prepared.facts)
            request.processes.require_use(settings.model.cell, settings.training.batch_size)
            if data.pseudo_labels is not None:
                texts = unlabelled_task(data, prepared.target, parts)
                rows = rows_again(prepared.facts.rows, texts, data.sure_share)
                again = reviews_settings(data, *asked, replace(prepared.facts, rows=rows))
        # Transform: words, weights, figures.
        with run.stage("vocabulary"):
            words = parts / TO_COUNT if data.pseudo_labels is not None else parts
            vocabulary = vocabulary_task(
                words, settings.model, parts, request.execution, settings.init
            )
        with run.stage("check"):
            checks, profile = check_task(
                parts, prepared, vocabulary, settings.model, request.limits, request.gate
            )
        with run.stage("train"):
            # Of members each keeps all that it has: their mean is compared with n-grams.
            choose = settings.choose and not request.ensemble
            single = replace(settings, choose=choose)
            seeds = of_seeds(single, request.seeds, run.folder, parts)
            [trained, *_] = [
                train_task(
                    parts,
                    vocabulary,
                    of_seed,
                    prepared.source,
                    folder,
                    run.cache,
                    request.processes,
                    prepared.target,
                )
                for of_seed, folder in seeds
            ]
        worth = trained.parts
        if data.pseudo_labels is not None:
            with run.stage("pseudo-labels"):
                [learned, *_] = [
                    again_task(
                        parts,
                        vocabulary,
                        with_training(of_seed, again.training),
                        prepared.source,
                        folder,
                        run.cache,
                        data.sure_share,
                        request.processes,
                        request.execution.device_here,
                    )
                    for of_seed, folder in seeds
                ]
            trained = learned.trained or trained
            worth = trained.parts | learned.figures
        spread = seeds_task(parts, seeds, measured_beside, request.ensemble)
        if request.ensemble:
            with run.stage("average"):
                worth = average_task(
                    parts,
                    vocabulary,
                    settings,
                    [folder for _, folder in seeds],
                    prepared.source,
                    prepared.target,
                )
        beside = baselines_task(parts, run.folder)
        # A wide model has n-grams in it, which are measured already.
        if request.yardstick and settings.model.cell != "ngrams" and not settings.model.wide:
            with run.stage("yardstick"):
                folder = parts / "yardstick"
                folder.mkdir()
                other = reviews_settings(data, *YARDSTICK, prepared.facts)
                words = vocabulary_task(parts, other.model, folder, request.execution)
                train_task(
                    parts,
                    words,
                    other,
                    prepared.source,
                    folder,
                    run.cache,
                    request.processes.alone,
                    prepared.target,
                )
                beside["ngrams"] = beside_task(parts, folder)
        with run.stage("precision"):
            precision = precision_task(parts, run.folder, request)
        with run.stage("evaluate"):
            device = request.execution.device_here
            validated = validate_task(parts, run.folder, profile, device)
        # Load: the scores of the test rows, and what they say.
        scored = run.scored(id_column="id")
        with run.stage("describe"):
            tested, found = evaluate_task(
                parts, run.folder, profile, scored.records, beside, request.limits
            )
            report_checks(found, request.gate)
            described = describe_task(run.folder, tested["examples"])
            measured = validated, tested, described, worth, precision, spread
            run.metrics = metrics_of(
                measured,
                trained.history,
                prepared.rows,
                [*checks, *found],
                profile,
                scored.drift,
                {name: each.figures for name, each in beside.items()},
            )
    return run.output
