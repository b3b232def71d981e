"""`make bench-text`: that its peers find the same words, and that it refuses them where they do not."""

import io
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from benchmarks import text as bench
from rnnfast.text.vocabulary import Vocabulary, vectorize

TEXTS = pa.array(
    [
        "It's GREAT...but<br />long, 8/10 \u2605\u2605",
        "caf\u00e9 co\u00adoperate \u2764\ufe0f pad \u00a0(2004)",
        "word " * (bench.LENGTH + 5),
    ]
)


def test_arrow_columns_hold_the_same_words() -> None:
    vocabulary = Vocabulary.build(TEXTS, max_tokens=12)
    expected = vectorize(TEXTS, vocabulary, bench.LENGTH)[0].numpy()
    bench.require_equal("ids", bench.arrow_ids(vocabulary, bench.same_words)(TEXTS), expected)
    found = pc.value_counts(bench.same_words(TEXTS).values).to_pylist()
    counts = {count["values"]: count["counts"] for count in found}
    bench.require_equal("counts", counts, dict(bench.rnnfast_counts(TEXTS).most_frequent(100)))


def test_other_words_are_refused() -> None:
    vocabulary = Vocabulary.build(TEXTS)
    ids = bench.arrow_ids(vocabulary, bench.split_lower)(TEXTS)
    expected = vectorize(TEXTS, vocabulary, bench.LENGTH)[0].numpy()
    with pytest.raises(bench.MismatchError, match="ids must be those of rnnfast, 2 of 3 rows"):
        bench.require_equal("ids", ids, expected)
    with pytest.raises(bench.MismatchError, match="counts must be those of rnnfast"):
        bench.require_equal("counts", {"a": 1}, {"a": 1, "b": 1})


def test_only_the_labelled_reviews_are_read(tmp_path: Path) -> None:
    names = ["train/pos/0_9.txt", "test/neg/1_2.txt", "train/unsup/0_0.txt", "train/urls_pos.txt"]
    with tarfile.open(tmp_path / "archive.tar.gz", "w:gz") as archive:
        for name in names:
            member = tarfile.TarInfo(f"aclImdb/{name}")
            member.size = len(name)
            archive.addfile(member, io.BytesIO(name.encode()))
    assert bench.read(tmp_path / "archive.tar.gz").to_pylist() == [names[1], names[0]]
