"""Counts the words of the training rows and keeps the most frequent."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq

from flows.errors import InputError
from flows.progress import bar
from rnnfast.models import ModelConfig
from rnnfast.text import Vocabulary


def build_vocabulary(parts: Path, config: ModelConfig, folder: Path) -> Path:
    """Builds the vocabulary of `train.parquet` in the folder `parts`.

    Returns:
        The path of the vocabulary's file, in `folder`.

    Raises:
        InputError: the texts have no word.
    """
    path = folder / "vocabulary.txt"
    try:
        vocabulary = Vocabulary.build(
            _texts(parts / "train.parquet"),
            max_tokens=config.max_tokens,
            min_frequency=config.min_frequency,
        )
    except ValueError as error:
        raise InputError(f"--text-column: {error}") from error
    vocabulary.save(path)
    return path


def _texts(path: Path) -> Iterator[str]:
    with pq.ParquetFile(path) as file, bar("counting words", file.metadata.num_rows) as advance:
        for batch in file.iter_batches(batch_size=4096, columns=["text"]):
            yield from batch.column("text").to_pylist()
            advance(batch.num_rows)
