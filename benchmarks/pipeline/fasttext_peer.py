"""fastText, what people pick for speed: a linear model of words, and of pairs of words.

Run as a script, it trains on one file of reviews and scores another, and prints accuracy and speed. It is given the
words of rnnfast's rule, and making them is not counted as its time.
"""

import json
import random
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import process_time

import fasttext
import pyarrow.parquet as pq

from rnnfast.text import standardize


def main(train: Path, test: Path, pairs: bool, rounds: int) -> None:
    """Files have the columns text and label, of 0 and 1."""
    texts, labels = _lines(test)
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
        lines = [f"__label__{label} {text}" for text, label in zip(*_lines(train), strict=True)]
        random.Random(0).shuffle(lines)  # it learns them in the order of the file
        file.writelines(lines)
        file.flush()
        model = fasttext.train_supervised(
            file.name, wordNgrams=2 if pairs else 1, dim=10, lr=0.5 if pairs else 0.1, epoch=5 if pairs else 10,
            thread=1, verbose=0, seed=0,
        )  # fmt: skip
    # The binding's own call: what stands before it fails with numpy 2.
    seconds = []
    for _ in range(rounds):
        started = process_time()
        found, _ = model.f.multilinePredict(texts, 1, 0.0, "strict")
        seconds.append(process_time() - started)
    right = sum(each[0] == f"__label__{label}" for each, label in zip(found, labels, strict=True))
    print(json.dumps({"accuracy": right / len(labels), "per_second": len(texts) / median(seconds)}))


def _lines(path: Path) -> tuple[list[str], list[int]]:
    table = pq.read_table(path, columns=["text", "label"])
    return [standardize(text) + "\n" for text in table["text"].to_pylist()], table[
        "label"
    ].to_pylist()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] == "pairs", int(sys.argv[4]))
