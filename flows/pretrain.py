"""The pretrain job: from texts without labels to a language model that classifiers start from."""

from pathlib import Path
from time import perf_counter

from prefect import flow

from flows import cache_folder
from flows.apart import require_data_apart
from flows.orchestration.artifacts import show_pretraining
from flows.orchestration.engine import as_task
from flows.orchestration.training_run import download_task, finish_task, publish_task
from flows.parameters import PretrainRequest
from flows.progress import stage
from flows.steps.prepare.corpus import about, prepare_texts
from flows.steps.prepare.settings import language_settings
from flows.steps.prepare.vocabulary import build_vocabulary
from flows.steps.report.publish import PARTS_FOLDER, dated, new_run
from flows.steps.train.pretrain import pretrain_model

prepare_task = as_task(prepare_texts)
vocabulary_task = as_task(build_vocabulary)
train_task = as_task(pretrain_model)


@flow(name="pretrain", persist_result=False)
def pretrain(request: PretrainRequest) -> Path:
    """Trains a language model of texts without labels, for `init` of a training of reviews.

    Args:
        request: What to learn from, what to train, and where the run goes.

    Returns:
        The folder of the run. Where anything fails there is no such folder.
    """
    started = perf_counter()
    seconds: dict[str, float] = {}
    output, data, cache = dated(request.output).absolute(), request.data, cache_folder()
    request.require_use(language_settings(request, "spaces", 0).training.batch_size)
    require_data_apart(data, output)
    with new_run(output, request.overwrite) as run:
        parts = run / PARTS_FOLDER
        with stage("download", seconds):
            archive = download_task(data.archive, cache, data.mirror) if data.archive else None
        with stage("prepare", seconds):
            prepared = prepare_task(data, archive, parts)
            settings = language_settings(request, prepared.split_by, prepared.words)
            request.processes.require_use(settings.model.cell, settings.training.batch_size)
        with stage("vocabulary", seconds):
            vocabulary = vocabulary_task(parts, settings.model, parts, request.execution)
        with stage("train", seconds):
            source = about(data, prepared)
            metrics = train_task(parts, vocabulary, settings, source, run, cache, request.processes)
        seconds["total"] = perf_counter() - started
        pictures = finish_task(run, {**metrics, "data": prepared.rows}, seconds)
        publish_task(run, output, request.overwrite)
    show_pretraining(output, metrics, pictures)
    return output
