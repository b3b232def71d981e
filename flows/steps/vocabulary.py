"""Counts the words of the training rows and keeps the most frequent."""

from pathlib import Path

from flows.datasets.base import open_reviews
from flows.errors import InputError
from flows.progress import bar
from rnnfast.models import ModelConfig
from rnnfast.text import Vocabulary
from rnnfast.word_counts import WordCounts


def build_vocabulary(parts: Path, config: ModelConfig, folder: Path) -> Path:
    """Builds the vocabulary of `train.parquet` in the folder `parts`.

    Returns:
        The path of the vocabulary's file, in `folder`.

    Raises:
        InputError: the texts have no word.
    """
    path = folder / "vocabulary.txt"
    try:
        vocabulary = Vocabulary.from_counts(
            _counts(parts / "train.parquet"),
            max_tokens=config.max_tokens,
            min_frequency=config.min_frequency,
        )
    except ValueError as error:
        raise InputError(f"--text-column: {error}") from error
    vocabulary.save(path)
    return path


def _counts(path: Path) -> WordCounts:
    counts = WordCounts()
    with open_reviews(path) as file, bar("counting words", file.metadata.num_rows) as advance:
        for batch in file.iter_batches(batch_size=4096, columns=["text"]):
            counts.add(batch.column("text"))
            advance(batch.num_rows)
    return counts
