from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.datasets import DATASETS, base
from flows.datasets.base import SCHEMA, Archive, Dataset, Splits
from flows.errors import InputError
from flows.parameters import ReviewsData
from flows.steps.prepare import reviews as step
from flows.steps.prepare.label_kinds import LabelSurvey
from flows.steps.prepare.reviews import DUPLICATES, PARTS, prepare
from flows.tables import readers
from rnnfast.labels.target import Target
from rnnfast.models.presets import TextFacts


def rows(n: int, first: int = 0) -> pa.Table:
    texts = [f"text {i}" for i in range(first, first + n)]
    labels = pa.array([i % 2 for i in range(n)], pa.int8())
    return pa.table([texts, texts, labels, [f"g{i // 4}" for i in range(n)]], schema=SCHEMA)


def test_parts_and_what_is_known_about_them(tmp_path: Path, reviews_csv: Path) -> None:
    data = ReviewsData(dataset=str(reviews_csv), group_column="movie")
    about = prepare(data, None, tmp_path / "cache", tmp_path)
    assert about.facts == TextFacts(rows=80, unspaced=0.0, words=5)
    parts = written(tmp_path).values()
    movies = [set(part["group"].to_pylist()) for part in parts]
    assert sum(part.num_rows for part in parts) == 120
    assert set.union(*movies) == {f"m{i}" for i in range(12)}
    assert sum(map(len, movies)) == 12
    assert about.rows == {
        "train_rows": 80,
        "validation_rows": 10,
        "test_rows": 30,
        "unlabelled_rows": 0,
        "duplicates_in_train_and_test": 0,
    }
    assert about.source["validation_drawn_by"] == "group"
    assert about.source["group_column"] == "movie"


def written(folder: Path) -> dict[str, pa.Table]:
    return {part: pq.read_table(folder / f"{part}.parquet") for part in PARTS}


def prepared(folder: Path, name: str, **data: object) -> dict[str, pa.Table]:
    """The parts that files of one's own become."""
    (folder / name).mkdir()
    prepare(ReviewsData.model_validate(data), None, folder / "cache", folder / name)
    return written(folder / name)


def test_neither_batches_nor_files_decide_where_a_row_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [f"r{i},text {i},{i % 2},{f'g{i // 3}' if i % 5 else ''}\n" for i in range(900)]
    for name, chunks in (("one", [lines]), ("many", [lines[:10], lines[10:11], lines[11:]])):
        (tmp_path / name).mkdir()
        for number, chunk in enumerate(chunks):
            path = tmp_path / name / f"part{number}.csv"
            path.write_text("id,text,label,group\n" + "".join(chunk))
    options = {"group_column": "group", "split_seed": 7}
    first = prepared(tmp_path, "a", dataset=str(tmp_path / "one"), **options)
    monkeypatch.setattr(readers, "CSV_BLOCK", 64)
    monkeypatch.setattr(base, "GROUP_ROWS", 50)
    second = prepared(tmp_path, "b", dataset=str(tmp_path / "many"), **options)
    assert first == second
    ids = [row for part in first.values() for row in part["id"].to_pylist()]
    assert sorted(ids) == sorted(f"r{i}" for i in range(900))
    groups = pq.ParquetFile(tmp_path / "b" / "train.parquet").metadata
    assert max(groups.row_group(i).num_rows for i in range(groups.num_row_groups)) == 50
    other = prepared(tmp_path, "c", dataset=str(tmp_path / "one"), group_column="group")
    assert other["test"] != first["test"]


def test_texts_of_two_parts_are_marked(tmp_path: Path) -> None:
    lines = [f"Text {i % 80},{i % 2}\n" for i in range(100)]
    (tmp_path / "a.csv").write_text("text,label\n" + "".join(lines))
    parts = prepared(tmp_path, "a", dataset=str(tmp_path / "a.csv"))
    rest = {*parts["train"]["text"].to_pylist(), *parts["validation"]["text"].to_pylist()}
    marks = np.load(tmp_path / "a" / DUPLICATES).tolist()
    assert marks == [text in rest for text in parts["test"]["text"].to_pylist()]
    assert any(marks)
    (tmp_path / "again").mkdir()
    data = ReviewsData(dataset=str(tmp_path / "a.csv"))
    about = prepare(data, None, tmp_path / "cache", tmp_path / "again")
    assert about.rows["duplicates_in_train_and_test"] == sum(marks)


def test_test_rows_of_their_own(tmp_path: Path) -> None:
    for name, labels in (("train", "01"), ("test", "10"), ("third", "012"), ("single", "1")):
        rows = [f"{name} {i},{labels[i % len(labels)]}\n" for i in range(40)]
        (tmp_path / f"{name}.csv").write_text("text,label\n" + "".join(rows))

    def own(name: str) -> dict[str, pa.Table]:
        files = {"dataset": tmp_path / "train.csv", "test_dataset": tmp_path / f"{name}.csv"}
        return prepared(tmp_path, name, **{key: str(path) for key, path in files.items()})

    parts = own("test")
    assert [len(part) for part in parts.values()] == [36, 4, 40]
    assert parts["test"]["text"].to_pylist() == [f"test {i}" for i in range(40)]
    with pytest.raises(InputError, match=r"--test-dataset must hold the labels.*found '2'"):
        own("third")
    with pytest.raises(InputError, match=r"--test-dataset must hold rows of both .*'1' alone"):
        own("single")


@pytest.mark.parametrize(
    ("line", "message"),
    [("caf\xe9,0", "row 301: the text is not UTF-8"), (",0", "row 301:")],
)
def test_nothing_is_left_of_what_cannot_be_used(tmp_path: Path, line: str, message: str) -> None:
    lines = [f"text {i},{i % 2}\n" for i in range(300)]
    content = "text,label\n" + "".join(lines) + line + "\n"
    (tmp_path / "a.csv").write_text(content, encoding="latin-1")
    with pytest.raises(InputError, match=message):
        prepared(tmp_path, "a", dataset=str(tmp_path / "a.csv"))
    assert list((tmp_path / "a").iterdir()) == []


def test_a_file_that_changes_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,label\n" + "a,0\nb,1\n" * 20)

    class Grows(LabelSurvey):
        def target(self) -> Target:
            path.write_text(path.read_text() + "c,1\n")
            return super().target()

    monkeypatch.setattr(step, "LabelSurvey", Grows)
    with pytest.raises(InputError, match=r"must stay as it is .* had 40 rows and then 41"):
        prepared(tmp_path, "a", dataset=str(path))


def test_counting_of_labels_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "CSV_BLOCK", 1000)
    lines = "".join(f"text {i},name {i}\n" for i in range(5000))
    (tmp_path / "a.csv").write_text("text,label\n" + lines)
    with pytest.raises(InputError, match=r"found at least 1,0\d\d: 'name 0' \(1 row\)"):
        prepared(tmp_path, "a", dataset=str(tmp_path / "a.csv"))


def test_files_at_an_object_store(bucket: str, tmp_path: Path) -> None:
    from pyarrow import fs

    system, path = fs.FileSystem.from_uri(f"{bucket}/labelled")
    rows = pa.table({"text": [f"text {i}" for i in range(60)], "label": [0, 1] * 30})
    for number in range(2):
        pq.write_table(rows.slice(30 * number, 30), f"{path}/{number}.parquet", filesystem=system)
    parts = prepared(tmp_path, "a", dataset=f"{bucket}/labelled/*.parquet")
    assert [len(part) for part in parts.values()] == [42, 6, 12]
    assert "1.parquet:30" in [i for part in parts.values() for i in part["id"].to_pylist()]


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
        counts.append(prepare(data, archive, tmp_path / "cache", work).rows)
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


@pytest.mark.parametrize(
    ("text", "words"),
    [("good " * 29 + "film", 30), ("\u5f88\u597d" * 30, 60)],
    ids=["spaces", "characters"],
)
def test_how_long_texts_are(tmp_path: Path, text: str, words: int) -> None:
    """Nine in ten texts are short; the training reads the others whole."""
    texts = [text if i % 10 == 0 else f"text {i}" for i in range(200)]
    labels = pa.array([i % 2 for i in range(200)])
    pq.write_table(pa.table([texts, labels], ["text", "label"]), tmp_path / "own.parquet")
    data = ReviewsData(dataset=str(tmp_path / "own.parquet"))
    assert prepare(data, None, tmp_path / "cache", tmp_path).facts.words == words
