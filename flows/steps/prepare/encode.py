"""Turns the texts of a part into ids, in flat files that training maps into memory.

The ids of all rows stand one after the other, so that a row takes the space of its words, and what is not
read need not be in memory. They are written in one pass over the Parquet file, a batch of rows at a time.
"""

import hashlib
from pathlib import Path

import numpy as np
import torch

from flows.datasets.base import open_reviews
from flows.progress import bar
from rnnfast.labels.numbers import Numbers
from rnnfast.labels.tags import Tags
from rnnfast.labels.target import Target
from rnnfast.models.config import ModelConfig
from rnnfast.models.texts import PAIR
from rnnfast.text.vocabulary import Vocabulary, vectorize
from rnnfast.training.rows import Reviews

ENCODING_BATCH = 4096  # rows in memory at a time
IDS, OFFSETS, ENCODED_LABELS = "ids.i32", "offsets.i64", "labels"


def encode(
    path: Path, vocabulary: Vocabulary, config: ModelConfig, folder: Path, target: Target = PAIR
) -> str:
    """Writes the ids, the place of each row among them, and the labels of a part.

    Args:
        path: Parquet file of the part.
        vocabulary: gives the ids.
        config: of the model; a text is cut as it says.
        folder: to write into; it is made.
        target: what the labels are.

    Returns:
        The SHA-256 of what was written, in hexadecimal.
    """
    folder.mkdir(parents=True)
    digest = hashlib.sha256()
    end = 0
    with (
        open_reviews(path) as file,
        (folder / IDS).open("wb") as id_file,
        (folder / OFFSETS).open("wb") as offset_file,
        (folder / ENCODED_LABELS).open("wb") as label_file,
        bar("texts to ids", file.metadata.num_rows, unit="rows") as advance,
    ):
        offset_file.write(end.to_bytes(8, "little"))
        for batch in file.iter_batches(ENCODING_BATCH, columns=["text", "label"]):
            padded, lengths = vectorize(
                batch["text"],
                vocabulary,
                config.sequence_length,
                threads=torch.get_num_threads(),
            )
            ids = padded[torch.arange(padded.shape[1]) < lengths[:, None]].numpy()
            offsets = (lengths.cumsum(0) + end).numpy()
            labels = np.ascontiguousarray(target.truth(batch["label"]))
            for part, to in ((ids, id_file), (offsets, offset_file), (labels, label_file)):
                digest.update(part.data)
                to.write(part.data)
            end = int(offsets[-1])
            advance(batch.num_rows)
    return digest.hexdigest()


def open_encoded(
    folder: Path, config: ModelConfig, target: Target = PAIR, balanced: bool = False
) -> Reviews:
    """The rows that `encode` wrote into a folder, padded as the model reads them.

    With `balanced`, each class has the same say.
    """
    whole_width = config.read_padding or config.cell == "mlp"
    labels = mapped(folder / ENCODED_LABELS, _dtype_of(target))
    if isinstance(target, Tags):
        labels = labels.view(-1, len(target.names))
    weights = target.weights(labels.numpy()) if balanced else None
    return Reviews(
        mapped(folder / IDS, torch.int32),
        mapped(folder / OFFSETS, torch.int64),
        labels,
        config.sequence_length if whole_width else None,
        config.padding,
        target,
        None if weights is None else torch.from_numpy(weights).float(),
    )


def _dtype_of(target: Target) -> torch.dtype:
    """In which labels are written."""
    if isinstance(target, Numbers):
        return torch.float64
    if isinstance(target, Tags):
        return torch.int8
    return torch.int8 if target.storage.bit_width == 8 else torch.int16


def mapped(path: Path, dtype: torch.dtype) -> torch.Tensor:
    """A file as a tensor, of which the system reads what is asked for."""
    # Shared: of a private map, which could be written to, the system has to promise the memory.
    return torch.from_file(
        str(path), shared=True, size=path.stat().st_size // dtype.itemsize, dtype=dtype
    )
