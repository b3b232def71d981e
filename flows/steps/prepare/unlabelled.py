"""The texts without labels of a training, for the model to label: those that no part of the rows has."""

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from flows.datasets.base import TEXT_BATCH, open_reviews
from flows.errors import InputError
from flows.parameters import ReviewsData
from flows.steps.prepare.corpus import TEXT_SCHEMA, texts_of_files
from flows.steps.prepare.duplicates import among, text_digests
from flows.wording import counted
from rnnfast.labels.classes import Classes
from rnnfast.labels.target import Target

UNLABELLED, TO_COUNT = "unlabelled.parquet", "words"
_PARTS = ("train", "validation", "test")

logger = logging.getLogger(__name__)


def prepare_unlabelled(data: ReviewsData, target: Target, parts: Path) -> int:
    """Writes the texts into the folder of the parts, and into a folder below it those to count words of.

    The latter are these texts and those of the training rows. A text that a labelled row has is left out: of a training
    row the label is known, and what a validation or test row says must come from other rows.

    Args:
        data: what to read.
        target: what the labels are.
        parts: folder that `prepare` has filled.

    Returns:
        How many texts there are.

    Raises:
        InputError: the labels are no classes, a file cannot be read, or no text is left.
    """
    assert data.pseudo_labels is not None
    if not isinstance(target, Classes):
        raise InputError(
            f"--pseudo-labels must be left out with --task {target.task}: it is for classes, of which one is the surest"
        )
    known = np.sort(np.concatenate([_digests(parts / f"{part}.parquet") for part in _PARTS]))
    kept = left_out = 0
    (parts / TO_COUNT).mkdir()
    with (
        pq.ParquetWriter(parts / UNLABELLED, TEXT_SCHEMA, compression="zstd") as own,
        pq.ParquetWriter(
            parts / TO_COUNT / "train.parquet", TEXT_SCHEMA, compression="zstd"
        ) as all_,
    ):
        for batch in _batches(parts / "train.parquet"):
            all_.write_table(pa.table([batch], schema=TEXT_SCHEMA))
        for texts, rejected in texts_of_files(
            data.pseudo_labels, "--pseudo-labels", data.text_column, data.reading
        ):
            is_new = ~among(known, text_digests(pa.chunked_array([texts])))
            found = texts.filter(pa.array(is_new & (np.asarray(pc.utf8_length(texts)) > 0)))
            for writer in (own, all_):
                writer.write_table(pa.table([found], schema=TEXT_SCHEMA))
            kept += len(found)
            left_out += len(texts) - len(found) + rejected
    if not kept:
        raise InputError(
            f"--pseudo-labels must hold texts that no labelled row has, found none among {counted(left_out, 'row')} "
            f"in {data.pseudo_labels!r}"
        )
    logger.info(
        "%s without labels; %s left out, without a text or with that of a labelled row",
        counted(kept, "text"),
        counted(left_out, "row"),
    )
    return kept


def _batches(path: Path) -> Iterator[pa.Array]:
    with open_reviews(path) as file:
        for batch in file.iter_batches(TEXT_BATCH, columns=["text"]):
            yield batch["text"]


def _digests(path: Path) -> np.ndarray:
    found = [text_digests(pa.chunked_array([batch])) for batch in _batches(path)]
    return np.concatenate(found) if found else np.empty(0, np.uint64)
