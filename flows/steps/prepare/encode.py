"""Turns the texts of a part into ids, in flat files that training maps into memory.

The ids of all rows stand one after the other, so that a row takes the space of its words, and what is not
read need not be in memory. They are written in one pass over the Parquet file, a batch of rows at a time.
"""

import hashlib
from pathlib import Path

import torch

from flows.datasets.base import open_reviews
from flows.progress import bar
from rnnfast.models.config import ModelConfig
from rnnfast.text.vocabulary import Vocabulary, vectorize
from rnnfast.training.rows import Reviews

ENCODING_BATCH = 4096  # rows in memory at a time
IDS, OFFSETS, ENCODED_LABELS = "ids.i32", "offsets.i64", "labels.i8"


def encode(path: Path, vocabulary: Vocabulary, config: ModelConfig, folder: Path) -> str:
    """Writes the ids, the place of each row among them, and the labels of a part.

    Args:
        path: Parquet file of the part.
        vocabulary: gives the ids.
        config: of the model; a text is cut as it says.
        folder: to write into; it is made.

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
            labels = batch["label"].to_numpy()
            for part, to in ((ids, id_file), (offsets, offset_file), (labels, label_file)):
                digest.update(part.data)
                to.write(part.data)
            end = int(offsets[-1])
            advance(batch.num_rows)
    return digest.hexdigest()


def open_encoded(folder: Path, config: ModelConfig) -> Reviews:
    """The rows that `encode` wrote into a folder, padded as the model reads them."""
    whole_width = config.read_padding or config.cell == "mlp"
    return Reviews(
        _mapped(folder / IDS, torch.int32),
        _mapped(folder / OFFSETS, torch.int64),
        _mapped(folder / ENCODED_LABELS, torch.int8),
        config.sequence_length if whole_width else None,
        config.padding,
    )


def _mapped(path: Path, dtype: torch.dtype) -> torch.Tensor:
    """A file as a tensor, of which the system reads what is asked for."""
    # Shared: of a private map, which could be written to, the system has to promise the memory.
    return torch.from_file(
        str(path), shared=True, size=path.stat().st_size // dtype.itemsize, dtype=dtype
    )
