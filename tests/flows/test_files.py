import bz2
import gzip
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import fs

from flows.datasets.base import Splits
from flows.datasets.labelled import LabelledFiles
from flows.errors import InputError, TransferError
from flows.steps.prepare.label_kinds import distinct_names
from flows.store.storage import File, find
from flows.tables import files, readers
from flows.tables.columns import Columns
from flows.tables.files import Batch
from rnnfast.labels.classes import Classes

LABELLED = Columns("text", "label")
ROWS = [
    {"text": "A good one", "label": "pos", "movie": "m1"},
    {"text": 'Bad,\n"really" bad é', "label": "neg", "movie": None},
    {"text": "", "label": "pos", "movie": "m2"},
]


def read_batches(path: Path, columns: Columns, name: str) -> Iterator[Batch]:
    [file] = find(str(path), "--x", tuple(readers.READERS))
    return files.read_batches(file, columns, name)


def read(pattern: str, columns: Columns) -> Splits:
    """All rows of labelled files."""
    found = LabelledFiles.find(pattern, columns, "--dataset")
    labels: Counter[str] = Counter()
    for keys, _ in found.read_keys():
        labels.update(keys["label"].to_pylist())
    names = distinct_names(labels, columns.label or "")
    tables = found.read_reviews(Classes(names=names))
    return Splits(pa.concat_tables(tables), None, names)


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    """The rows in the format that the name says."""
    names = list(rows[0])
    if ".parquet" in path.name:
        pq.write_table(pa.Table.from_pylist(rows), path)
        return path
    if ".jsonl" in path.name:
        text = "".join(json.dumps(row) + "\n" for row in rows)
    else:
        quoted = [
            ["" if v is None else '"' + str(v).replace('"', '""') + '"' for v in row.values()]
            for row in rows
        ]
        text = "".join(",".join(row) + "\n" for row in [names, *quoted])
    pack = {".gz": gzip.compress, ".bz2": bz2.compress}.get(path.suffix.lower(), bytes)
    path.write_bytes(pack(text.encode()))
    return path


FORMATS = ["a.csv", "a.jsonl", "a.parquet", "a.csv.gz", "A.CSV.GZ", "a.jsonl.bz2"]


@pytest.mark.parametrize("name", FORMATS)
def test_same_rows_from_every_format(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, ROWS)
    splits = read(str(path), Columns("text", "label", group="movie"))
    assert splits.labels == ("neg", "pos")
    assert splits.test is None
    assert splits.train.to_pylist() == [
        {"id": f"{name}:{i + 1}", "text": row["text"], "label": int(row["label"] == "pos"),
         "group": row["movie"]}
        for i, row in enumerate(ROWS)
    ]  # fmt: skip


@pytest.mark.parametrize("name", FORMATS)
def test_small_batches_give_the_same_rows(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[dict[str, object]] = [{"text": f"text {i}", "label": i % 2} for i in range(100)]
    path = write(tmp_path / name, rows)
    monkeypatch.setattr(readers, "BATCH_ROWS", 7)
    monkeypatch.setattr(readers, "CSV_BLOCK", 64)
    batches = list(read_batches(path, LABELLED, name))
    assert len(batches) > 5
    table = pa.concat_tables([batch.table for batch in batches])
    assert table["text"].to_pylist() == [row["text"] for row in rows]
    assert [place for batch in batches for place in batch.places.to_pylist()] == [*range(1, 101)]


def test_ids_from_a_column_of_that_name_or_another(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", [{"id": "x", "key": "k", "text": "t", "label": 1}])
    assert next(read_batches(path, LABELLED, "a")).table["id"].to_pylist() == ["x"]
    named = Columns("text", "label", id="key")
    assert next(read_batches(path, named, "a")).table["id"].to_pylist() == ["k"]


def test_one_column_may_serve_twice(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", ROWS)
    batch = next(read_batches(path, Columns("text", "label", group="label"), "a"))
    assert batch.table["group"].to_pylist() == ["pos", "neg", "pos"]


def test_a_glob_is_read_in_order(tmp_path: Path) -> None:
    for i in (2, 1):
        write(tmp_path / f"part{i}.csv", [{"text": f"t{i}", "label": i}])
    splits = read(str(tmp_path / "part*.csv"), LABELLED)
    assert splits.train["text"].to_pylist() == ["t1", "t2"]


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ([0, 1], ("0", "1")),
        ([True, False], ("false", "true")),
        ([10, 9], ("9", "10")),
        ([-1, 1], ("-1", "1")),
        (["yes", "no"], ("no", "yes")),
        (["10", "9a"], ("10", "9a")),
    ],
)
@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
def test_which_label_is_one(
    tmp_path: Path, values: list[object], labels: tuple[str, str], name: str
) -> None:
    path = write(tmp_path / name, [{"text": "t", "label": value} for value in values])
    splits = read(str(path), LABELLED)
    assert splits.labels == labels
    for value, encoded in zip(values, splits.train["label"].to_pylist(), strict=True):
        assert labels[encoded] == str(value).lower()


# Bad rows, one after a good one, and where and why each is rejected.
BAD = {
    "null.csv": (b"text,label\ngood,1\n,0\nfine,1\n", 2, "the text is missing"),
    "latin.csv": (b"text,label\ngood,1\ncaf\xe9,0\nfine,1\n", 2, "the text is not UTF-8"),
    "short.csv": (b"text,label\ngood,1\nonly\nfine,1\n", 2, "2 fields expected, found 1"),
    "long.csv": (b"text,label\ngood,1\na,b,c\nfine,1\n", 2, "2 fields expected, found 3"),
    "both.csv": (b"text,label\ngood,1\ncaf\xe9, really,2\nfine,3\n", 2, "fields expected"),
    "marked.csv": (b'\xef\xbb\xbf"text",label\ngood,1\n\xe9,2,3\nfine,3\n', 2, "fields expected"),
    "null.jsonl": (b'{"text":"good"}\n{"text":null}\n{"text":"fine"}\n', 2, "the text is missing"),
    "none.jsonl": (b'{"text":"good"}\n{}\n{"text":"fine"}\n', 2, "the text is missing"),
    "latin.jsonl": (b'{"text":"good"}\n\n{"text":"caf\xe9"}\n{"text":"fine"}\n', 3, "not UTF-8"),
    "half.jsonl": (b'{"text":"good"}\n{"text":"ha\n{"text":"fine"}\n', 2, "not JSON"),
    "list.jsonl": (b'{"text":"good"}\n["text"]\n{"text":"fine"}\n', 2, "not a JSON object"),
    "number.jsonl": (b'{"text":"good"}\n{"text":7}\n{"text":"fine"}\n', 2, "the text is 7"),
    "deep.jsonl": (
        b'{"text":"good"}\n{"text":"a","x":' + b"[" * 100_000 + b'}\n{"text":"fine"}\n',
        2,
        "deeply",
    ),
    "mark.jsonl": (b'\xef\xbb\xbf{"text":"good"}\n[]\n{"text":"fine"}\n', 2, "not a JSON object"),
    "lone.jsonl": (b'{"text":"good"}\n{"text":"\\ud800"}\n{"text":"fine"}\n', 2, "not UTF-8"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_rows_are_set_aside_with_place_and_reason(tmp_path: Path, name: str) -> None:
    content, place, reason = BAD[name]
    path = tmp_path / name
    path.write_bytes(content)
    batches = list(read_batches(path, Columns(), name))
    assert pa.concat_tables([b.table for b in batches])["text"].to_pylist() == ["good", "fine"]
    [rejected] = [row for batch in batches for row in batch.rejected]
    assert rejected.place == place
    assert reason in rejected.reason
    good = [p for batch in batches for p in batch.places.to_pylist()]
    assert good == ([1, 3] if place == 2 else [1, 4])


@pytest.mark.parametrize("block", [40, 64, 1 << 20])
def test_rows_with_two_faults_cost_no_other_row(
    tmp_path: Path, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "CSV_BLOCK", block)
    rows = {
        b"plain,x": None,
        b"a, b,c": "2 fields expected, found 3",
        '"quoted, ""é""",ä'.encode(): None,
        b"caf\xe9,2": "the text is not UTF-8",
        b"caf\xe9, really,2": "2 fields expected, found 3",
    }
    path = tmp_path / "a.csv"
    path.write_bytes(b"\n".join(["teäxt,x".encode(), *[*rows] * 9]))
    batches = list(read_batches(path, Columns("teäxt", group="x"), "n"))
    table = pa.concat_tables([batch.table for batch in batches])
    assert table["text"].to_pylist() == ["plain", 'quoted, "é"'] * 9
    assert table["group"].to_pylist() == ["x", "ä"] * 9
    assert table["id"].to_pylist() == [f"n:{5 * i + row}" for i in range(9) for row in (1, 3)]
    assert [row for batch in batches for row in batch.rejected] == [
        (place, reason) for place, reason in enumerate([*rows.values()] * 9, 1) if reason
    ]


def test_bad_rows_at_the_end_of_a_csv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "CSV_BLOCK", 32)
    path = tmp_path / "a.csv"
    path.write_bytes(b"text,label\n" + b"good,1\n" * 20 + b"a,b,c\n" * 20)
    batches = list(read_batches(path, Columns(), "a"))
    assert sum(batch.table.num_rows for batch in batches) == 20
    assert [row.place for b in batches for row in b.rejected] == [*range(21, 41)]


def test_invalid_utf8_in_parquet(tmp_path: Path) -> None:
    raw = pa.array([b"good", b"caf\xe9", None, b"fine"], pa.binary())
    # What a writer that does not check would leave.
    texts = pa.StringArray.from_buffers(4, raw.buffers()[1], raw.buffers()[2], raw.buffers()[0], 1)
    pq.write_table(pa.table({"text": texts}), tmp_path / "a.parquet")
    [batch] = read_batches(tmp_path / "a.parquet", Columns(), "a")
    assert batch.table["text"].to_pylist() == ["good", "fine"]
    assert batch.places.to_pylist() == [1, 4]
    assert batch.rejected == [(2, "the text is not UTF-8"), (3, "the text is missing")]


@pytest.mark.parametrize(
    "kind",
    [pa.string(), pa.large_string(), pa.string_view(), pa.binary(),
     pa.dictionary(pa.int32(), pa.string())],
)  # fmt: skip
def test_every_kind_of_text_in_parquet(tmp_path: Path, kind: pa.DataType) -> None:
    texts = pa.array(["a", "b", "a"], pa.string()).cast(kind)
    pq.write_table(pa.table({"text": texts}), tmp_path / "a.parquet")
    [batch] = read_batches(tmp_path / "a.parquet", Columns(), "a")
    assert batch.table["text"].to_pylist() == ["a", "b", "a"]


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet"])
def test_a_missing_column_is_named_beside_those_there_are(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, ROWS)
    with pytest.raises(InputError) as error:
        read(str(path), Columns("review", "label"))
    for part in ("--text-column", "'review'", "'text', 'label', 'movie'", name):
        assert part in str(error.value)


ID = b"0123456789abcdef"


@pytest.mark.parametrize(
    ("ids", "shown"),
    [
        (pa.array([ID], pa.binary(16)), ID.hex()),
        (pa.array([ID]), ID.hex()),
        (pa.array([ID]).dictionary_encode(), ID.hex()),
        (pa.array([ID], pa.uuid()), "30313233-3435-3637-3839-616263646566"),
    ],
)
def test_ids_in_bytes_are_used_where_they_are_asked_for(
    tmp_path: Path, ids: pa.Array, shown: str
) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"id": ids, "text": ["a"]}), path)
    for columns, found in ((Columns(), "n:1"), (Columns(id="id"), shown)):
        [batch] = read_batches(path, columns, "n")
        assert batch.table["id"].to_pylist() == [found]


@pytest.mark.parametrize("ids", [[[1]], [{"a": 1}]])
def test_nested_ids(tmp_path: Path, ids: list[object]) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"id": ids, "text": ["a"]}), path)
    assert next(read_batches(path, Columns(), "n")).table["id"].to_pylist() == ["n:1"]
    with pytest.raises(InputError, match=r"--id-column must name a column of single values.*'id'"):
        next(read_batches(path, Columns(id="id"), "n"))


def test_integers_as_ids(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": [7, None], "text": ["a", "b"]}), tmp_path / "a.parquet")
    [batch] = read_batches(tmp_path / "a.parquet", Columns(), "n")
    assert batch.table["id"].to_pylist() == ["7", "n:2"]


@pytest.mark.parametrize("texts", [[["a"]], [{"string": "a"}]])
def test_nested_texts(tmp_path: Path, texts: list[object]) -> None:
    pq.write_table(pa.table({"text": texts}), tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r"--text-column must name a column of single values"):
        next(read_batches(tmp_path / "a.parquet", Columns(), "n"))


def test_what_arrow_cannot_do_is_an_error_of_the_input(tmp_path: Path) -> None:
    file = File(fs.LocalFileSystem(), str(tmp_path / "a.parquet"), 0)
    with pytest.raises(InputError, match=r"a\.parquet"), files.whole_file(file):
        pa.array([[1]]).cast(pa.string())


def test_an_object_store_that_does_not_answer_is_no_error_of_the_input() -> None:
    # Nothing listens there.
    system = fs.S3FileSystem(
        access_key="a", secret_key="b", endpoint_override="127.0.0.1:1", scheme="http",
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=1),
    )  # fmt: skip
    with pytest.raises(TransferError, match=r"^s3://b/a\.csv could not be read: .*AWS Error"):
        next(files.read_batches(File(system, "b/a.csv", 9), Columns(), "n"))


def test_text_must_be_text(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", [{"text": 7, "label": 1}])
    with pytest.raises(InputError, match=r"--text-column must name a column of text.*int64"):
        read(str(path), LABELLED)


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet"])
def test_labels_must_be_two_or_more(tmp_path: Path, name: str) -> None:
    def labels(*values: object) -> str:
        rows: list[dict[str, object]] = [{"text": "t", "label": value} for value in values]
        return str(write(tmp_path / name, rows))

    with pytest.raises(InputError, match=r"--label-column 'label'.*found 1: 'a' \(3 rows\)$"):
        read(labels("a", "a", "a"), LABELLED)
    with pytest.raises(InputError, match=r"at most 1,000 .*1,001: '0' \(1 row\), .* and 996 more$"):
        read(labels(*range(1001)), LABELLED)
    assert read(labels(*range(300)), LABELLED).train["label"].to_pylist() == list(range(300))
    # A row without a label is left out.
    assert read(labels("a", None, "b"), LABELLED).train["label"].to_pylist() == [0, 1]


def test_training_data_must_be_without_bad_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"text,label\ngood,1\nbad,0\ncaf\xe9,0\n")
    with pytest.raises(InputError, match=r"--dataset .*a\.csv, row 3: the text is not UTF-8"):
        read(str(path), LABELLED)


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.csv", b""), ("a.csv", b"text,label\n"), ("a.jsonl", b""), ("a.jsonl", b"\n\n")],
)
def test_an_empty_file(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match="--dataset must hold at least one row"):
        read(str(path), LABELLED)


def test_an_empty_parquet_file(tmp_path: Path) -> None:
    pq.write_table(
        pa.table({"text": pa.array([], pa.string()), "label": []}), tmp_path / "a.parquet"
    )
    with pytest.raises(InputError, match="--dataset must hold at least one row"):
        read(str(tmp_path / "a.parquet"), LABELLED)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.parquet", b"not parquet at all, but long enough to look"),
        ("a.csv", b"te\xe9xt,label\na,1\n"),
        ("a.csv.gz", gzip.compress(b"text,label\n" + b"good,1\n" * 99, mtime=0)[:-20]),
        ("a.jsonl.gz", gzip.compress(b'{"text":"a","label":1}\n' * 99, mtime=0)[:-20]),
    ],
)
def test_a_file_that_is_not_what_its_name_says(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"{name} must be a whole"):
        read(str(path), LABELLED)
