"""Turns texts without labels into what a language model reads: one row of ids, each text ended by id 1.

Of files nothing is held but a batch of rows. Which texts are held out follows from what they say: the same text is
never on both sides.
"""

import hashlib
import logging
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from torch.nn import functional as F

from flows.datasets import DATASETS
from flows.datasets.base import open_reviews
from flows.errors import InputError
from flows.parameters import TextsData
from flows.progress import bar, rows_bar
from flows.steps.prepare.duplicates import text_digests
from flows.steps.prepare.encode import ENCODING_BATCH, IDS
from flows.store.file_options import FileOptions
from flows.store.storage import File
from flows.tables.columns import Columns
from flows.tables.files import read_batches
from flows.tables.inputs import find_files
from flows.tables.readers import READERS
from flows.wording import counted
from rnnfast.models.language import END
from rnnfast.models.presets import UNSPACED_SHARE
from rnnfast.text.reference import SplitBy
from rnnfast.text.vocabulary import Vocabulary, unspaced_share, vectorize

TEXT_SCHEMA = pa.schema([pa.field("text", pa.string(), nullable=False)])
PADDED_IDS = 1 << 22  # ids of some texts, padded to the longest, in memory at a time
_DRAWS = 1 << 16  # that digests are cut down to, to draw by

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PreparedTexts:
    """What is known of texts that were written into parts.

    Attributes:
        split_by: what parts their words.
        rows: how many there are, of each part, and of those that were left out.
        words: about how many the training texts have.
    """

    split_by: SplitBy
    rows: dict[str, int]
    words: int


def prepare_texts(data: TextsData, archive: Path | None, parts: Path) -> PreparedTexts:
    """Writes `train.parquet` and `validation.parquet` into the folder `parts`, with a column text.

    Args:
        data: what to read.
        archive: of a data set that has one, downloaded.
        parts: the folder.

    Raises:
        InputError: a file cannot be read, or there are too few texts.
    """
    rows = {"train_rows": 0, "validation_rows": 0, "rejected_rows": 0}
    unspaced, words = 0.0, 0
    with ExitStack() as stack:
        train, validation = (
            stack.enter_context(
                pq.ParquetWriter(parts / f"{part}.parquet", TEXT_SCHEMA, compression="zstd")
            )
            for part in ("train", "validation")
        )
        for texts, rejected in _texts(data, archive):
            rows["rejected_rows"] += rejected
            if not len(texts):
                continue
            if not words:
                unspaced = unspaced_share(texts)
            held = text_digests(pa.chunked_array([texts])) % _DRAWS < data.validation_share * _DRAWS
            for name, writer, chosen in (("train", train, ~held), ("validation", validation, held)):
                own = texts.filter(pa.array(chosen))
                writer.write_table(pa.table([own], schema=TEXT_SCHEMA))
                rows[f"{name}_rows"] += len(own)
                if name == "train":
                    words += _count(own, unspaced)
    for name in ("train", "validation"):
        if rows[f"{name}_rows"] == 0:
            raise InputError(
                f"--texts must hold enough texts to hold some out, found {counted(sum(rows.values()), 'row')} in "
                f"{data.texts!r}, of which none is for {name}"
            )
    if rows["rejected_rows"]:
        logger.warning("%s without a text left out", counted(rows["rejected_rows"], "row"))
    split_by: SplitBy = "characters" if unspaced >= UNSPACED_SHARE else "spaces"
    return PreparedTexts(split_by if data.split_by == "auto" else data.split_by, rows, words)


def _count(texts: pa.Array, unspaced: float) -> int:
    """About how many words texts have."""
    if unspaced >= UNSPACED_SHARE:
        return int(pc.sum(pc.utf8_length(texts)).as_py() or 0)
    return int(pc.sum(pc.list_value_length(pc.utf8_split_whitespace(texts))).as_py() or 0)


def _texts(data: TextsData, archive: Path | None) -> Iterator[tuple[pa.Array, int]]:
    """The texts, but for test texts of a data set that has a name, and how many rows had none."""
    if data.is_named:
        for texts in DATASETS[data.texts].texts(archive):
            yield texts, 0
    else:
        yield from texts_of_files(data.texts, "--texts", data.text_column, data.reading)


def texts_of_files(
    pattern: str, argument: str, text_column: str, reading: FileOptions
) -> Iterator[tuple[pa.Array, int]]:
    """The texts of files of one's own, and how many rows had none.

    Args:
        pattern: a file, folder or glob.
        argument: what the command line calls it.
        text_column: the column of the texts.
        reading: how the files are read.

    Raises:
        InputError: there is no such file, or it cannot be read.
    """
    files: list[File] = find_files(pattern, argument, tuple(READERS), reading)
    with rows_bar("reading texts", sum(file.size for file in files)) as advance:
        for file in files:
            for batch in read_batches(file, Columns(text_column), file.name, only=("text",)):
                yield batch.table["text"].combine_chunks(), len(batch.rejected)
                advance(len(batch.table), 0)
            advance(0, file.size)


def encode_corpus(path: Path, vocabulary: Vocabulary, folder: Path) -> str:
    """Writes the ids of a part, one text after the other, each ended by END.

    Args:
        path: Parquet file of the part.
        vocabulary: gives the ids.
        folder: to write into; it is made.

    Returns:
        The SHA-256 of what was written, in hexadecimal.
    """
    folder.mkdir(parents=True)
    digest = hashlib.sha256()
    with (
        open_reviews(path) as file,
        (folder / IDS).open("wb") as id_file,
        bar("texts to ids", file.metadata.num_rows, unit="rows") as advance,
    ):
        for batch in file.iter_batches(ENCODING_BATCH, columns=["text"]):
            for texts in _portions(batch["text"]):
                longest = int(pc.max(pc.utf8_length(texts)).as_py()) + 1
                padded, lengths = vectorize(
                    texts, vocabulary, longest, threads=torch.get_num_threads()
                )
                padded = F.pad(padded, (0, 1), value=END)
                ids = padded[torch.arange(padded.shape[1]) <= lengths[:, None]].numpy()
                digest.update(ids.data)
                id_file.write(ids.data)
            advance(batch.num_rows)
    return digest.hexdigest()


def _portions(texts: pa.Array) -> Iterator[pa.Array]:
    """The texts, so many at a time that the ids of all, padded to the longest, are few."""
    lengths = np.asarray(pc.utf8_length(texts)) + 2
    start = longest = 0
    for row, length in enumerate(lengths):
        longest = max(longest, int(length))
        if row > start and (row + 1 - start) * longest > PADDED_IDS:
            yield texts[start:row]
            start, longest = row, int(length)
    yield texts[start:]


def about(data: TextsData, prepared: PreparedTexts) -> dict[str, Any]:
    """Where the texts come from, for the record."""
    told = data.model_dump(exclude={"mirror"}, exclude_none=True)
    return {**told, "dataset": data.texts, **prepared.rows}
