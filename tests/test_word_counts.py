"""Counts are exact, whoever counts what in which order, and however little memory there is."""

import random
from pathlib import Path

import pytest

from rnnfast.text.reference import count_words
from rnnfast.text.vocabulary import Vocabulary
from rnnfast.text.word_counts import FAN_IN, WordCounts


@pytest.fixture(scope="module")
def texts() -> list[str]:
    """Frequent words with rare ones in between, of which many are equally rare."""
    rng = random.Random(0)
    words = [f"w{i}" for i in range(2000)] + ["\u00e9t\u00e9", "\U0001f600", "\ue000", "\U00010000"]
    weights = [1 / (1 + i) for i in range(len(words))]
    return [" ".join(rng.choices(words, weights, k=20)) for _ in range(3000)]


def ranked(texts: list[str]) -> list[tuple[str, int]]:
    return sorted(count_words(texts).items(), key=lambda item: (-item[1], item[0]))


@pytest.mark.parametrize("max_distinct", [1, 20, 300, 1_000_000])
@pytest.mark.parametrize("size", [0, 1, 50, 10_000])
def test_counts_are_exact_in_any_memory(texts: list[str], max_distinct: int, size: int) -> None:
    counts = WordCounts(max_distinct)
    counts.add(texts)
    assert counts.most_frequent(size) == ranked(texts)[:size]


@pytest.mark.parametrize("shards", [1, 2, 7, FAN_IN * 3])
def test_shards_in_any_order_give_the_same_bytes(
    texts: list[str], shards: int, tmp_path: Path
) -> None:
    whole = WordCounts()
    whole.add(texts)
    whole.save(tmp_path / "whole")
    rng = random.Random(shards)
    shuffled = rng.sample(texts, len(texts))
    paths = [tmp_path / f"{i}" for i in range(shards)]
    for i, path in enumerate(paths):
        part = WordCounts(rng.choice((10, 100, 10_000)))
        part.add(shuffled[i::shards])
        part.save(path)
    rng.shuffle(paths)
    total = WordCounts()
    for path in paths:
        total.include(path)
    total.save(tmp_path / "total")
    assert (tmp_path / "total").read_bytes() == (tmp_path / "whole").read_bytes()
    assert Vocabulary.from_counts(total, max_tokens=100) == Vocabulary.build(texts, max_tokens=100)


def test_counting_goes_on_after_a_look_at_the_counts(texts: list[str]) -> None:
    counts = WordCounts()
    counts.add(texts[:1000])
    assert counts.most_frequent(5) == ranked(texts[:1000])[:5]
    counts.add(texts[1000:])
    assert counts.most_frequent(5) == ranked(texts)[:5]


def test_the_table_holds_no_more_than_it_says() -> None:
    counts = WordCounts(20)
    for i in range(200):
        counts.add([f"a b c unique{i}"])
        assert len(counts._table) <= 20 + 4
    long = WordCounts(20)
    for i in range(20):
        long.add([f"{i}" + "x" * 1000])
        assert (
            len(long._table) == 1
        )  # though there is room for 20 words, there is not for their bytes
    assert len(long.most_frequent(100)) == 20


def test_the_saved_file(tmp_path: Path) -> None:
    counts = WordCounts()
    counts.add(["b \U00010000 a \ue000", "B"])
    counts.save(tmp_path / "counts")
    expected = "a\t1\nb\t2\n\ue000\t1\n\U00010000\t1\n\t4\n"
    assert (tmp_path / "counts").read_text(encoding="utf-8") == expected


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is cut off behind word 0"),
        (b"a\t1\nb\t", "is cut off behind word 1"),
        (b"a\t1\n", "is cut off behind word 1"),
        (b"a\tx\n", "has no count behind word 0"),
        (b"a\t1\n\t1\nb\t1\n\t1\n", "goes on behind its last line behind word 1"),
        (b"a\t1 \n", "has no count behind word 0"),
        (b"b\t1\na\t1\n\t2\n", "must be sorted behind word 1"),
        (b"a\t1\na\t1\n\t2\n", "must be sorted behind word 1"),
        (b"a\t1\n\t2\n", "must end with the number of words behind word 1"),
    ],
)
def test_a_broken_file_is_an_error(tmp_path: Path, content: bytes, problem: str) -> None:
    path = tmp_path / "counts"
    path.write_bytes(content)
    counts = WordCounts()
    counts.include(path)
    with pytest.raises(ValueError, match=f"{path} must hold counts of words, it {problem}"):
        counts.most_frequent(3)


def test_a_file_that_is_not_there_and_a_full_disk_are_errors(tmp_path: Path) -> None:
    counts = WordCounts()
    with pytest.raises(FileNotFoundError):
        counts.include(tmp_path / "counts")
    counts.add(["a"])
    with pytest.raises(OSError, match="No space left"):
        counts.save("/dev/full")


def test_counts_reject_bounds() -> None:
    with pytest.raises(ValueError, match="max_distinct must be at least 1, got: 0"):
        WordCounts(0)


def test_no_word_is_no_vocabulary() -> None:
    with pytest.raises(ValueError, match="texts must hold at least one word"):
        Vocabulary.from_counts(WordCounts())
