"""Counts the words of the training rows and keeps the most frequent.

The rows are counted in shards by the workers of an executor, each shard into a file beside the rows, which all workers
have to reach. Files are merged while others are counted, 32 at a time, in one process: that takes 1% of the time of
counting them. The counts are exact, so that neither the shards nor the workers make a difference.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Lock
from uuid import uuid4

from flows.errors import InputError
from flows.parameters import DRIVER_MEMORY, Execution
from flows.progress import rows_bar
from flows.steps.score.reviews import BASE_MEMORY, SHARD_BYTES
from flows.store.storage import File, Folder, replacing
from flows.tables.ranges import row_ranges
from flows.tables.readers import BATCH_ROWS, RowRange, open_parquet, parquet_rows
from flows.unfinished import at_end
from rnnfast.models.config import ModelConfig
from rnnfast.models.language_config import LanguageConfig
from rnnfast.text.vocabulary import SplitBy, Vocabulary
from rnnfast.text.word_counts import WordCounts
from rnnfast.training.run_folder import VOCABULARY

EXECUTION = Execution()
SHARDS = 8  # of scoring that are counted together: a worker takes as long to start as some 200,000 rows do
READING_MEMORY = 64 << 20  # bytes: of the rows that are counted at the moment
WORD_MEMORY = 150  # bytes of a word in the table of a worker, the words and their counts
LEAST_WORDS, MOST_WORDS = 65_536, 1_000_000  # that such a table has room for


def build_vocabulary(
    parts: Path,
    config: ModelConfig | LanguageConfig,
    folder: Path,
    execution: Execution = EXECUTION,
    init: Path | None = None,
) -> Path:
    """Builds the vocabulary of `train.parquet` in the folder `parts`.

    Args:
        parts: where the rows are; the counts of shards are kept there meanwhile.
        config: how many words are wanted.
        folder: for the vocabulary.
        execution: where the shards are counted, and how. With a memory limit each worker's table has room for as many
            distinct words as its share of the memory is enough for; a full one is written out and counted on, which
            costs time and changes nothing else.
        init: folder of the language model whose vocabulary it is instead, without counting.

    Returns:
        The path of the vocabulary's file, in `folder`.

    Raises:
        InputError: the texts have no word, or the memory is too little.
    """
    path = folder / VOCABULARY
    if init is not None:
        shutil.copyfile(init / VOCABULARY, path)
        return path
    file = Folder.at(parts, "parts").file("train.parquet")
    with _counts(file, parts, config.split_by, execution) as counts:
        try:
            vocabulary = Vocabulary.from_counts(
                counts, max_tokens=config.max_tokens, min_frequency=config.min_frequency
            )
        except ValueError as error:
            raise InputError(f"--text-column: {error}") from error
    vocabulary.save(path)
    return path


@contextmanager
def _counts(
    file: File, parts: Path, split_by: SplitBy, execution: Execution
) -> Iterator[WordCounts]:
    """The counts of all rows; what they need of the disk is gone after the block."""
    room = table_words(execution)
    chosen = execution.executor(_memory(room))
    shards = row_ranges(file, SHARDS * execution.shard_rows, SHARDS * SHARD_BYTES)
    counts = WordCounts(room, split_by)
    folder = parts / f"counts-{uuid4().hex[:8]}"
    with at_end(partial(shutil.rmtree, folder, ignore_errors=True)):
        folder.mkdir()
        with rows_bar("counting words", file.size) as advance:
            for rows, counted in chosen.run(CountingWork(file, folder, room, split_by), shards):
                counts.include(counted)
                counted.unlink()  # is open until it is merged
                advance(rows.stop - rows.start, rows.size)
        yield counts


def table_words(execution: Execution) -> int:
    """How many distinct words a worker's table has room for.

    Without a memory limit, and on a cluster, MOST_WORDS; else what a worker's share of the memory, less what else it
    takes, has room for at WORD_MEMORY bytes each, from LEAST_WORDS to MOST_WORDS.

    Raises:
        InputError: there is not enough memory for one worker.
    """
    if execution.memory_limit is None or execution.engine == "ray":
        return MOST_WORDS
    workers = execution.fitting_workers(_memory(LEAST_WORDS))
    share = (execution.memory_limit - DRIVER_MEMORY) // workers - _memory(0)
    return min(MOST_WORDS, share // WORD_MEMORY)


def _memory(room: int) -> int:
    """Bytes that a worker takes at the most whose table has room for so many words."""
    return BASE_MEMORY + READING_MEMORY + room * WORD_MEMORY


@dataclass(frozen=True)
class CountingWork:
    """What a worker does with a shard: counts its words, and writes the counts.

    Attributes:
        file: Parquet, with a column `text`.
        folder: for the counts.
        room: distinct words that are counted in memory at a time.
        split_by: what parts words.
    """

    file: File
    folder: Path
    room: int
    split_by: SplitBy = "spaces"

    def start(self, threads: int) -> Callable[[RowRange], tuple[RowRange, Path]]:
        """Gets ready to count one shard at a time, with one thread."""
        return partial(self._do, Lock())

    def _do(self, computing: Lock, rows: RowRange) -> tuple[RowRange, Path]:
        counts = WordCounts(self.room, self.split_by)
        path = self.folder / f"{rows.start}.tsv"
        with computing, open_parquet(self.file) as parquet:
            for table, _ in parquet_rows(parquet, {"text": "text"}, BATCH_ROWS, rows):
                counts.add(table["text"])
            with replacing(path, durable=False) as temporary:
                counts.save(temporary)
        return rows, path
