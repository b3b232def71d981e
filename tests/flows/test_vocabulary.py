from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest
from pydantic import ByteSize

from flows.datasets import base
from flows.datasets.base import SCHEMA, write_reviews
from flows.errors import InputError
from flows.executors import local
from flows.parameters import DRIVER_MEMORY, Execution
from flows.steps.prepare import vocabulary as step
from flows.steps.prepare.vocabulary import (
    LEAST_WORDS,
    MOST_WORDS,
    CountingWork,
    build_vocabulary,
    table_words,
)
from flows.steps.score.reviews import BASE_MEMORY
from flows.store.storage import Folder
from flows.tables.readers import RowRange
from flows.wording import size
from rnnfast.models.config import ModelConfig
from rnnfast.text.word_counts import WordCounts

TEXTS = [f"word{i % 71} word{i % 7} once{i}" for i in range(700)]


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with training rows, 50 in a row group."""
    monkeypatch.setattr(base, "GROUP_ROWS", 50)
    labels = pa.array([i % 2 for i in range(len(TEXTS))], pa.int8())
    rows = pa.table([TEXTS, TEXTS, labels, pa.nulls(len(TEXTS), pa.string())], schema=SCHEMA)
    write_reviews(rows, ("bad", "good"), tmp_path / "train.parquet")
    return tmp_path


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("room", [3, MOST_WORDS])
def test_neither_workers_nor_shards_make_a_difference(
    parts: Path, workers: int, room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step, "MOST_WORDS", room)
    execution = Execution(workers=workers, shard_rows=5)
    path = build_vocabulary(parts, ModelConfig(max_tokens=500), parts, execution)
    counts = Counter(word for text in TEXTS for word in text.split())
    ranked = sorted(counts, key=lambda word: (-counts[word], word))
    assert path.read_text().split() == ["[UNK]", "pad", *ranked[:498]]
    assert sorted(p.name for p in parts.iterdir()) == ["train.parquet", "vocabulary.txt"]


def test_one_shard_is_counted_in_this_process(parts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "_ProcessCrew", None)
    build_vocabulary(parts, ModelConfig(), parts, Execution(workers=2))
    with pytest.raises(TypeError):
        build_vocabulary(parts, ModelConfig(), parts, Execution(workers=2, shard_rows=20))


def test_a_shard_that_is_counted_twice_is_one_file(parts: Path) -> None:
    (parts / "counts").mkdir()
    file = Folder.at(parts, "parts").file("train.parquet")
    count = CountingWork(file, parts / "counts", MOST_WORDS).start(1)
    first, again = (count(RowRange(100, 200, 7)) for _ in range(2))
    assert first == again == (RowRange(100, 200, 7), parts / "counts" / "100.tsv")
    assert list((parts / "counts").iterdir()) == [first[1]]
    counts = WordCounts()
    counts.include(first[1])
    expected = Counter(word for text in TEXTS[100:200] for word in text.split())
    assert dict(counts.most_frequent(1000)) == expected


def test_a_failure_leaves_nothing(parts: Path) -> None:
    labels = pa.array([0, 1], pa.int8())
    rows = pa.table([["a", "b"], ["!", "?"], labels, pa.nulls(2, pa.string())], schema=SCHEMA)
    write_reviews(rows, ("bad", "good"), parts / "train.parquet")
    with pytest.raises(InputError, match="--text-column: texts must hold at least one word"):
        build_vocabulary(parts, ModelConfig(), parts)
    assert [p.name for p in parts.iterdir()] == ["train.parquet"]


@pytest.mark.parametrize("room", [None, LEAST_WORDS, 300_000])
def test_the_memory_that_is_said_is_that_of_the_tables(
    parts: Path, room: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    def memory(words: int) -> ByteSize:
        worker = BASE_MEMORY + step.READING_MEMORY + words * step.WORD_MEMORY
        return ByteSize(DRIVER_MEMORY + 2 * worker)

    execution = Execution(workers=2, memory_limit=memory(room) if room else None)
    with caplog.at_level("INFO"):
        build_vocabulary(parts, ModelConfig(), parts, execution)
    told = size(memory(room or MOST_WORDS))
    assert f"2 workers, at most {told} of memory in all" in caplog.text


def test_the_memory_limit_bounds_the_tables() -> None:
    taken = BASE_MEMORY + step.READING_MEMORY

    def words(room: int, workers: int) -> int:
        limit = ByteSize(DRIVER_MEMORY + workers * (taken + room * step.WORD_MEMORY))
        return table_words(Execution(memory_limit=limit, workers=workers))

    assert words(300_000, 1) == words(300_000, 3) == 300_000
    assert words(LEAST_WORDS, 2) == LEAST_WORDS
    assert words(5_000_000, 2) == MOST_WORDS == table_words(Execution(workers=2))
    with pytest.raises(InputError, match="--memory-limit must be at least"):
        build_vocabulary(Path(), ModelConfig(), Path(), Execution(memory_limit=ByteSize(1000)))
