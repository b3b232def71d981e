import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.datasets import DATASETS
from flows.datasets.base import SCHEMA, Archive, Dataset, Splits
from flows.parameters import ReviewsData
from flows.steps.prepare import PARTS, in_both, prepare


def rows(n: int, first: int = 0) -> pa.Table:
    texts = [f"text {i}" for i in range(first, first + n)]
    labels = pa.array([i % 2 for i in range(n)], pa.int8())
    return pa.table([texts, texts, labels, [f"g{i // 4}" for i in range(n)]], schema=SCHEMA)


def test_parts_and_what_is_known_about_them(tmp_path: Path, reviews_csv: Path) -> None:
    data = ReviewsData(dataset=str(reviews_csv), group_column="movie")
    assert prepare(data, None, tmp_path / "cache", tmp_path) == tmp_path
    parts = [pq.read_table(tmp_path / f"{part}.parquet") for part in PARTS]
    movies = [set(part["group"].to_pylist()) for part in parts]
    assert sum(part.num_rows for part in parts) == 120
    assert set.union(*movies) == {f"m{i}" for i in range(12)}
    assert sum(map(len, movies)) == 12
    about = json.loads((tmp_path / "data.json").read_text())
    assert about["rows"] == {
        "train_rows": 80,
        "validation_rows": 10,
        "test_rows": 30,
        "duplicates_in_train_and_test": 0,
    }
    assert about["source"]["validation_drawn_by"] == "group"
    assert about["source"]["group_column"] == "movie"


def test_same_text_but_for_case_and_outer_space() -> None:
    def texts(*values: str) -> pa.Table:
        return pa.table({"text": list(values)})

    train = texts("A good one. ", "ÉTÉ", "bad")
    test = texts("a GOOD one.", "a good one", "été\n", "BAD", "worse")
    assert in_both(train, test).to_pylist() == [True, False, True, True, False]


def test_tables_of_an_archive_are_kept_by_its_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[bytes] = []

    def read(archive: Path | None) -> Splits:
        assert archive is not None
        reads.append(archive.read_bytes())
        return Splits(rows(80), rows(20, first=70), ("bad", "good"))

    dataset = Dataset("made-up", "made up", Archive("a.bin", "http://127.0.0.1:9/", "0"), read)
    monkeypatch.setitem(DATASETS, "made-up", dataset)
    data = ReviewsData(dataset="made-up")
    archive = tmp_path / "a.bin"
    counts = []
    for content in (b"one", b"one", b"two"):
        archive.write_bytes(content)
        work = tmp_path / f"work{len(counts)}"
        work.mkdir()
        prepare(data, archive, tmp_path / "cache", work)
        counts.append(json.loads((work / "data.json").read_text())["rows"])
    assert reads == [b"one", b"two"]
    assert counts[0] == counts[1] == counts[2]
    assert counts[0]["duplicates_in_train_and_test"] == 10
    assert counts[0]["train_rows"] + counts[0]["validation_rows"] == 80


def test_a_named_data_set_has_its_own_test_rows() -> None:
    with pytest.raises(ValueError, match="test_dataset must not be given for 'sample'"):
        ReviewsData(dataset="sample", test_dataset="other.csv")


def test_the_mirror_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RNNFAST_MIRROR", "/a/folder")
    assert ReviewsData().mirror == "/a/folder"
    assert ReviewsData(mirror="/another").mirror == "/another"
