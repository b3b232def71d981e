"""Trains a language model and measures it on texts that were held out."""

import math
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from flows.parameters import ONE_PROCESS, Processes
from flows.steps.prepare.corpus import encode_corpus
from flows.steps.prepare.settings import LanguageSettings
from flows.steps.train.job import TRAIN_PART, VALIDATION_PART, LanguageJob
from flows.steps.train.train import trained
from rnnfast.models.language import END, LanguageModel
from rnnfast.scoring.scorers import save_language_run
from rnnfast.text.vocabulary import Vocabulary

SAMPLES, SAMPLE_WORDS = 5, 60


def pretrain_model(
    parts: Path,
    vocabulary: Path,
    settings: LanguageSettings,
    source: Mapping[str, Any],
    run: Path,
    cache: Path,
    processes: Processes = ONE_PROCESS,
) -> dict[str, Any]:
    """Trains and saves a language model.

    Args:
        parts: folder with `train.parquet` and `validation.parquet`.
        vocabulary: file of the vocabulary.
        settings: of model and training.
        source: where the texts come from, for the record.
        run: folder to save the model in.
        cache: a checkpoint is kept here while the model is trained, and found when this is called again after it was
            killed.
        processes: that train it.

    Returns:
        The figures: `history`, `validation` with loss and perplexity, `samples` and `words`.

    Raises:
        InputError: the training diverged, or cannot be done by these processes.
        WorkerError: the processes failed.
    """
    words = Vocabulary.load(vocabulary, settings.model.split_by)
    with TemporaryDirectory(prefix="ids-", dir=parts) as name:
        folder = Path(name)
        digests = [
            encode_corpus(parts / f"{part}.parquet", words, folder / part)
            for part in (TRAIN_PART, VALIDATION_PART)
        ]
        job = LanguageJob(
            parts=folder,
            data_digest="-".join(digests),
            model=settings.model,
            training=settings.training,
            vocabulary_size=len(words),
        )
        model, rows, validation, history = trained(job, cache, processes)
        assert isinstance(model, LanguageModel)
        assert validation is not None
        # The weights that were kept, in float32, whatever they were trained in.
        measured = validation.measure(model)
        counts = {"train_words": rows.units, "validation_words": validation.units}
    save_language_run(run, model, words, training=settings.training, data=dict(source))
    return {
        "history": history,
        "validation": {**measured, "perplexity": math.exp(min(measured["loss"], 700.0))},
        "samples": _samples(model, words),
        "words": {**counts, "vocabulary": len(words)},
    }


def _samples(model: LanguageModel, words: Vocabulary) -> list[str]:
    """Texts that the model has made up."""
    known = list(words)
    between = "" if words.split_by == "characters" else " "
    texts = model.sample(SAMPLES, SAMPLE_WORDS)
    return [between.join(known[each] for each in text if each != END) for text in texts]
