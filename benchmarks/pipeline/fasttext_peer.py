"""fastText, what people pick for speed: a linear model of words and pairs of words.

Run as a script, it trains on one file of reviews and scores another, and prints accuracy and speed. It is given the
words of rnnfast's rule, and making them is not counted as its time.
"""

import json
import random
import sys
import tempfile
from pathlib import Path
from time import process_time

import fasttext
import pyarrow.parquet as pq

from rnnfast.text.vocabulary import standardize


def main(train: Path, test: Path) -> None:
    """Files have the columns text and label, of 0 and 1."""
    texts, labels = _lines(test)
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
        lines = [f"__label__{label} {text}" for text, label in zip(*_lines(train), strict=True)]
        random.Random(0).shuffle(lines)  # it learns them in the order of the file
        file.writelines(lines)
        file.flush()
        model = fasttext.train_supervised(
            file.name, wordNgrams=2, dim=10, lr=0.5, epoch=5, thread=1, verbose=0, seed=0
        )
    # The binding's own call: what stands before it fails with numpy 2.
    started = process_time()
    found, _ = model.f.multilinePredict(texts, 1, 0.0, "strict")
    seconds = process_time() - started
    right = sum(each[0] == f"__label__{label}" for each, label in zip(found, labels, strict=True))
    print(json.dumps({"accuracy": right / len(labels), "per_second": len(texts) / seconds}))


def _lines(path: Path) -> tuple[list[str], list[int]]:
    texts, labels = pq.read_table(path, columns=["text", "label"])
    return [standardize(text) + "\n" for text in texts.to_pylist()], labels.to_pylist()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
