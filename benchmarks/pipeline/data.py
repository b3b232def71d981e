"""Reviews for `make bench-pipeline`: those of IMDB, repeated with changes until there are enough."""

import random
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

GROUP = 65_536  # rows of a row group, as of a shard
SCHEMA = pa.schema([("id", pa.string()), ("text", pa.string())])


def write_reviews(texts: list[str], rows: int, path: Path) -> Path:
    """Writes so many reviews as one Parquet file, unless it is there; returns `path`.

    Every repetition has the texts in an order of its own, each turned about a space of its own, so that none
    is the same as before while the words stay what they are.
    """
    if not path.exists():
        temporary = path.with_suffix(".partial")
        with pq.ParquetWriter(temporary, SCHEMA) as writer:
            reviews = enumerate(islice(_changed(texts), rows))
            while part := list(islice(reviews, GROUP)):
                ids, changed = [f"r{number}" for number, _ in part], [text for _, text in part]
                writer.write_table(pa.table([ids, changed], schema=SCHEMA), GROUP)
        temporary.rename(path)
    return path


def _changed(texts: list[str]) -> Iterator[str]:
    for repetition in count():
        draw = random.Random(repetition)
        for text in draw.sample(texts, len(texts)):
            place = text.find(" ", draw.randrange(len(text) + 1)) if repetition else -1
            yield text if place < 0 else f"{text[place + 1 :]} {text[:place]}"
