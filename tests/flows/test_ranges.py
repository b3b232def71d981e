"""Ranges of rows: read one by one they are the file."""

import gzip
from codecs import BOM_UTF8
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.accounts import Rejected
from flows.errors import InputError
from flows.store import storage
from flows.store.file_options import FileOptions
from flows.store.storage import File, find
from flows.tables import ranges, readers, repeated
from flows.tables.columns import Columns
from flows.tables.files import read_batches
from flows.tables.pieces import REPEATED, UNCLOSED
from flows.tables.ranges import row_ranges
from flows.tables.readers import RowRange

Content = tuple[list[tuple[str, str]], list[Rejected]]


def file_of(path: Path) -> File:
    [file] = find(str(path), "--x", tuple(readers.READERS))
    return file


def content(file: File, rows: RowRange | None = None) -> Content:
    good: list[tuple[str, str]] = []
    bad: list[Rejected] = []
    for batch in read_batches(file, Columns(), "n", rows):
        good += zip(batch.table["id"].to_pylist(), batch.table["text"].to_pylist(), strict=True)
        bad += batch.rejected
    return good, bad


def in_parts(file: File, most_rows: int, most_bytes: int) -> Content:
    found = list(row_ranges(file, most_rows, most_bytes))
    assert [r.start for r in found] == [0, *(r.stop for r in found)][:-1] if found else True
    assert sum(r.size for r in found) <= file.size
    if file.kind != "parquet":
        assert all(r.stop - r.start <= most_rows for r in found)
    parts = [content(file, rows) for rows in found]
    return [row for part in parts for row in part[0]], [row for part in parts for row in part[1]]


def by_arrow(path: Path) -> tuple[list[str], list[int]]:
    """The texts that can be used, and the places of the rows with other than the right number of fields.

    Arrow reads all in one piece, in letters of which none is broken.
    """
    places: list[int] = []

    def skip(row: pa_csv.InvalidRow) -> str:
        places.append(row.number - 1)
        return "skip"

    table = pa_csv.read_csv(
        pa.py_buffer(path.read_bytes().removeprefix(BOM_UTF8).decode("latin-1").encode()),
        pa_csv.ReadOptions(use_threads=False),
        pa_csv.ParseOptions(newlines_in_values=True, invalid_row_handler=skip),
        pa_csv.ConvertOptions(
            include_columns=["text"], column_types={"text": pa.string()}, null_values=[""],
            strings_can_be_null=True, quoted_strings_can_be_null=False,
        ),
    )  # fmt: skip
    raw = [text.encode("latin-1") for text in table["text"].to_pylist() if text is not None]
    return [text for each in raw if "\ufffd" not in (text := each.decode(errors="replace"))], places


# What is no UTF-8 is written so and becomes a byte of its own.
PIECES = ["\udce9", "a", '"', '""', ",", "\n", "\r", "\r\n", "é", 'b"', '"c,d"', '"\n"', '","']
HEADS = ["text,other\n", "text\n", "other,text\r\n", '"text",x\r', "\n\ntext\n"]


@given(
    st.sampled_from(["", "\ufeff"]),
    st.sampled_from(HEADS),
    st.lists(st.sampled_from(PIECES), max_size=40),
    st.sampled_from([1, 2, 5]),
    st.sampled_from([5, 50, 10**6]),
    st.sampled_from([1, 3, 4096]),
)
def test_any_csv_is_cut_where_arrow_ends_its_rows(
    tmp_path_factory: pytest.TempPathFactory,
    mark: str,
    head: str,
    body: list[str],
    most_rows: int,
    most_bytes: int,
    block: int,
) -> None:
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    path.write_bytes((mark + head + "".join(body)).encode("utf-8", "surrogateescape"))
    # Of so few rows nobody can tell how they are written.
    file = replace(file_of(path), options=FileOptions(separator=",", escape="none"))
    try:
        texts, misshapen = by_arrow(path)
    except pa.ArrowInvalid:
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(storage, "BLOCK", block)
        whole = content(file)
        assert in_parts(file, most_rows, most_bytes) == whole
    if any(row.reason in (UNCLOSED, REPEATED) for row in whole[1]):
        return  # which Arrow does not know
    assert [text for _, text in whole[0]] == texts
    assert [row.place for row in whole[1] if "expected" in row.reason] == misshapen


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.csv.gz", "a.csv"])
def test_files_whose_rows_are_lines(tmp_path: Path, name: str) -> None:
    lines = ["text,id"] if "csv" in name else []
    for i in range(100):
        lines += [f'"text {i}",x{i}' if "csv" in name else f'{{"text": "text {i}", "id": "x{i}"}}']
        lines += [""] * (i % 3 == 0)
    lines.insert(50, "a,b,c" if "csv" in name else "{no json")
    data = "\n".join(lines).encode()
    path = tmp_path / name
    path.write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    whole = content(file_of(path))
    assert len(whole[0]) == 100
    assert len(whole[1]) == 1
    for bounds in ((7, 10**6), (1000, 200), (1, 1), (1000, 10**6)):
        assert in_parts(file_of(path), *bounds) == whole


def test_the_first_line_of_jsonl_says_for_every_range_which_columns_there_are(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a"}\n{"text": "b", "id": "x"}\n{"text": "c", "id": "y"}\n')
    assert in_parts(file_of(path), 1, 100)[0] == [("n:1", "a"), ("n:2", "b"), ("n:3", "c")]


def parquet(path: Path, rows: int, group: int) -> File:
    table = pa.table({"text": [f"text {i}" for i in range(rows)]})
    pq.write_table(table, path / "a.parquet", row_group_size=group)
    return file_of(path / "a.parquet")


@pytest.mark.parametrize(("group", "most"), [(10, 25), (10, 10), (100, 30), (17, 10), (7, 3)])
def test_parquet(tmp_path: Path, group: int, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "BATCH_ROWS", 4)
    file = parquet(tmp_path, 100, group)
    assert in_parts(file, most, 10**9) == content(file)
    sizes = [r.stop - r.start for r in row_ranges(file, most, 10**9)]
    assert max(sizes) <= 2 * most


def test_parquet_is_cut_where_row_groups_end_unless_they_are_large(tmp_path: Path) -> None:
    def ends(group: int, most: int) -> list[int]:
        return [r.stop for r in row_ranges(parquet(tmp_path, 100, group), most, 10**9)]

    assert ends(10, 25) == [20, 40, 60, 80, 100]
    assert ends(20, 15) == [20, 40, 60, 80, 100]
    assert ends(50, 20) == [20, 40, 50, 70, 90, 100]


def test_large_texts_make_small_ranges(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": [f"{i}" * 10_000 for i in range(64)]}), tmp_path / "a.parquet",
                   use_dictionary=False)  # fmt: skip
    found = list(row_ranges(file_of(tmp_path / "a.parquet"), 65_536, 100_000))
    assert len(found) > 5
    assert found[-1].stop == 64


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
@pytest.mark.parametrize("data", [b"", b"text", b"text\n", b"\n\n"])
def test_files_without_rows(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    found = list(row_ranges(file_of(tmp_path / name), 10, 10))
    rows = sum(r.stop - r.start for r in found)
    assert rows == (0 if name == "a.csv" else len(data.splitlines()))


@pytest.mark.parametrize("is_last", [False, True])
def test_a_quote_that_is_not_closed_ends_the_search_for_rows(
    tmp_path: Path, is_last: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "CSV_BLOCK", 100)
    monkeypatch.setattr(storage, "BLOCK", 10)
    path = tmp_path / "a.csv"
    path.write_bytes(b'text\na\n"b' + b"\nc" * 1000 + (b"" if is_last else b'"\nd\n'))
    read: list[int] = []
    scan = ranges.blocks

    def counted(stream: pa.NativeFile) -> Iterator[bytes]:
        for block in scan(stream):
            read.append(len(block))
            yield block

    monkeypatch.setattr(ranges, "blocks", counted)
    with pytest.raises(InputError, match=r"a\.csv, row 2: .* a quote that is not closed"):
        list(row_ranges(file_of(path), 10, 10**6))
    assert sum(read) < 200
    with pytest.raises(InputError, match=r"a\.csv, row 2: .* a quote that is not closed"):
        content(file_of(path))


def test_rows_that_fit_into_a_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "CSV_BLOCK", 100)
    path = tmp_path / "a.csv"
    path.write_bytes(b"text\n" + (b"a" * 99 + b"\n") * 5)
    assert len(in_parts(file_of(path), 2, 10**6)[0]) == 5
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "' + "a" * 500 + '"}\n')
    assert len(in_parts(file_of(path), 2, 10**6)[0]) == 1


def in_memory(path: Path) -> list[int]:
    """The bytes of text in each range of at most a thousand rows and some 100,000 bytes."""
    texts = pq.read_table(path)["text"].cast(pa.string())
    found = list(row_ranges(file_of(path), 1000, 100_000, "text"))
    assert [r.start for r in found] == [0, *(r.stop for r in found)][:-1]
    assert found[-1].stop == len(texts)
    return [texts.slice(r.start, r.stop - r.start).nbytes for r in found]


@pytest.mark.parametrize("group", [50, 1000])
@pytest.mark.parametrize("kind", [pa.string(), pa.dictionary(pa.int32(), pa.string())])
def test_texts_that_the_file_has_once_count_as_often_as_they_occur(
    tmp_path: Path, group: int, kind: pa.DataType
) -> None:
    texts = [f"{row % 7}" * 5000 if row < 300 else "short" for row in range(2000)]
    table = pa.table({"text": pa.array([*texts, None]).cast(kind), "id": [*range(2001)]})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=group)
    sizes = in_memory(tmp_path / "a.parquet")
    assert max(sizes) <= 2 * 100_000 + 10_000
    # The short ones after them are not cut the smaller for it.
    assert len(sizes) <= 300 * 5000 / 50_000 + 8
    file = file_of(tmp_path / "a.parquet")
    parts = [content(file, rows) for rows in row_ranges(file, 1000, 100_000, "text")]
    assert [row for part in parts for row in part[0]] == content(file)[0]


def test_texts_that_differ_are_cut_by_the_footer_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pq.ParquetFile, "iter_batches", None)
    texts = [f"{row}" * 300 for row in range(3000)]
    pq.write_table(pa.table({"text": texts}), tmp_path / "a.parquet")
    monkeypatch.setattr(repeated, "DICTIONARY", 1 << 16)
    ranges_of = [list(row_ranges(file_of(tmp_path / "a.parquet"), 9999, 99_999, text))
                 for text in ("text", None)]  # fmt: skip
    assert ranges_of[0] == ranges_of[1]
    assert len(ranges_of[0]) > 9


def test_few_rows_of_repeated_texts_are_read_at_a_time(tmp_path: Path) -> None:
    for name, texts in (("a", ["a" * 5000] * 3000), ("b", [f"{i}" * 500 for i in range(3000)])):
        pq.write_table(pa.table({"text": texts}), tmp_path / f"{name}.parquet")
    repeated_texts, others = (
        [b.table.num_rows for b in read_batches(file_of(tmp_path / name), Columns(), "n")]
        for name in ("a.parquet", "b.parquet")
    )
    assert repeated_texts == [512] * 5 + [440]
    assert others == [3000]
