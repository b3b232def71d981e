"""Files as they come: any dialect, any wrapping, and every line of them accounted for."""

import bz2
import gzip
import json
import lzma
import zipfile
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from flows.accounts import Rejected
from flows.datasets.labelled import LabelledFiles
from flows.errors import InputError
from flows.store import storage
from flows.store.file_options import FOUND, FileOptions
from flows.store.storage import File
from flows.tables import json_rows
from flows.tables.columns import Columns
from flows.tables.files import read_batches
from flows.tables.heads import dialect_of
from flows.tables.inputs import find_files
from flows.tables.pieces import REPEATED, UNCLOSED
from flows.tables.ranges import row_ranges
from flows.tables.readers import READERS
from rnnfast.labels import classes_of

KINDS = tuple(READERS)
Read = tuple[list[tuple[str, str | None]], list[Rejected]]


def files(path: Path, options: FileOptions = FOUND) -> list[File]:
    return find_files(str(path), "--input", KINDS, options)


def read(path: Path, options: FileOptions = FOUND, columns: Columns | None = None) -> Read:
    """Texts and labels, and what is rejected; by ranges of few rows the same as at once."""
    columns = columns or Columns(label="label")
    rows: list[tuple[str, str | None]] = []
    rejected: list[Rejected] = []
    for file in files(path, options):
        whole, parts = [], []
        for batch in read_batches(file, columns, "n"):
            labels = (
                batch.table["label"].to_pylist() if columns.label else [None] * len(batch.table)
            )
            whole += [*zip(batch.table["text"].to_pylist(), labels, strict=True)]
            rejected += batch.rejected
        bad = []
        for each in row_ranges(file, 2, 10**6):
            for batch in read_batches(file, columns, "n", each):
                labels = (
                    batch.table["label"].to_pylist() if columns.label else [None] * len(batch.table)
                )
                parts += [*zip(batch.table["text"].to_pylist(), labels, strict=True)]
                bad += batch.rejected
        assert parts == whole
        assert bad == rejected[len(rejected) - len(bad) :]
        rows += whole
    return rows, rejected


def written(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


GOOD = [("good, very", "1"), ("bad", "0"), ("fine", "1")]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", 'text,label\n"good, very",1\nbad,0\nfine,1\n', "separator ',', UTF-8, header in line 1"),
        ("a.csv", "text;label\ngood, very;1\nbad;0\nfine;1\n", "separator ';'"),
        ("a.csv", "text|label\ngood, very|1\nbad|0\nfine|1\n", "separator '|'"),
        ("a.csv", "text\tlabel\ngood, very\t1\nbad\t0\nfine\t1\n", "separator tab"),
        ("a.tsv", "text\tlabel\ngood, very\t1\nbad\t0\nfine\t1", "separator tab"),
        ("a.csv", "sep=;\r\ntext;label\r\ngood, very;1\r\nbad;0\r\nfine;1\r\n", "header in line 2"),
        ("a.csv", "# made by hand\n\ntext;label\ngood, very;1\nbad;0\nfine;1\n", "header in line 3"),
        ("a.csv", 'text,label\r"good, very",1\rbad,0\rfine,1', "separator ','"),
        ("a.csv", 'text,label\r\n"good, very",1\nbad,0\r\n\r\nfine,1', "separator ','"),
        ("a.csv", '\ufefftext,label\n"good, very",1\nbad,0\nfine,1\n', "UTF-8"),
        ("a.csv", '\ufefftext,label\n"good, very",1\nbad,0\nfine,1\n'.encode("utf-16-le"), "UTF-16-LE"),
        ("a.csv", '\ufefftext,label\n"good, very",1\nbad,0\nfine,1\n'.encode("utf-16-be"), "UTF-16-BE"),
        ("a.csv", 'text,label\n"good, very",1\nbad,0\nfine,1\n'.encode("utf-16-le"), "UTF-16-LE"),
        ("a.csv", ' Text , LABEL\n"good, very",1\nbad,0\nfine,1\n', "header in line 1"),
        ("a.csv", ',text,label\n0,"good, very",1\n1,bad,0\n2,fine,1\n', "header in line 1"),
        ("a.csv", 'text,label,\n"good, very",1,\nbad,0,\nfine,1,\n', "header in line 1"),
        ("part-00000", 'text,label\n"good, very",1\nbad,0\nfine,1\n', "separator ','"),
        ("a.txt", "text;label\ngood, very;1\nbad;0\nfine;1\n", "separator ';'"),
        ("a.csv.xz", lzma.compress(b'text,label\n"good, very",1\nbad,0\nfine,1\n'), "separator ','"),
        ("a.csv.bz2", bz2.compress(b"text;label\ngood, very;1\nbad;0\nfine;1\n"), "separator ';'"),
        ("a.csv.gz", gzip.compress("text;label\ngood, very;1\nbad;0\nfine;1\n".encode("utf-16"), mtime=0), "UTF-16"),
    ],
)  # fmt: skip
def test_the_dialect_is_found_and_said(
    tmp_path: Path, name: str, content: str | bytes, said: str
) -> None:
    path = written(tmp_path / name, content)
    assert read(path) == (GOOD, [])
    assert said in str(dialect_of(files(path)[0]))


def test_quotes_that_spark_escapes(tmp_path: Path) -> None:
    rows = [f'{i},"it said \\"no\\", twice; C:\\\\dir",{i % 2}' for i in range(400)]
    path = written(tmp_path / "a.csv", "\n".join(["id,text,label", *rows]) + "\n")
    found, rejected = read(path)
    assert found == [('it said "no", twice; C:\\dir', str(i % 2)) for i in range(400)]
    assert not rejected
    assert "quotes escaped by '\\\\'" in str(dialect_of(files(path)[0]))


@pytest.mark.parametrize("block", [1, 7, 1 << 20])
def test_a_quote_that_is_not_closed_costs_its_line(
    tmp_path: Path, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "BLOCK", block)
    path = written(
        tmp_path / "a.csv",
        'id,text,label\n1,a,1\n2,"b,0\n3,c,1\n4,"d",0\n5,"two\nlines",1\n6,"f,0\n7,g,1\n',
    )
    found, rejected = read(path)
    assert found == [("a", "1"), ("c", "1"), ("d", "0"), ("two\nlines", "1"), ("g", "1")]
    assert rejected == [Rejected(2, UNCLOSED), Rejected(6, UNCLOSED)]


def test_a_header_once_more_is_no_row(tmp_path: Path) -> None:
    one = "\ufeffid,text,label\n1,a,1\n2,b,0\n"
    found, rejected = read(written(tmp_path / "a.csv", one + one))
    assert found == [("a", "1"), ("b", "0")] * 2
    assert rejected == [Rejected(3, REPEATED)]


LINES = [
    "1,a,1",
    '2,"b,0',
    '3,"c"",1',
    "4,d",
    "5,e,1,",
    "",
    '6,f",0',
    "# 7",
    "id,text,label",
    "8,\0,1",
    '9,"","',
]


@given(
    st.lists(st.sampled_from([*LINES, '10,"x\ny",1']), max_size=12),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.booleans(),
    st.sampled_from([1, 5, 4096]),
)
def test_every_line_is_a_row_or_rejected_or_goes_on(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], end: str, ended: bool, block: int
) -> None:
    content = end.join(["id,text,label", "0,first,1", *lines]) + (end if ended else "")
    path = written(tmp_path_factory.mktemp("csv") / "a.csv", content)
    options = FileOptions(separator=",", escape="none")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(storage, "BLOCK", block)
        [file] = files(path, options)
        found, rejected = read(path, options)
        each = list(row_ranges(file, 1, 10**6))
        ends = [0, *(len(_lines(file, 0, row.end)) for row in each)]
    # A range of one row each: they follow each other, hold all lines, and each gives a row or a rejected one.
    assert [row.begin for row in each[1:]] == [row.end for row in each[:-1]]
    assert len(each) == len(found) + len(rejected)
    given_lines = [
        line for line in content.replace("\r\n", "\n").replace("\r", "\n").split("\n") if line
    ]
    assert ends[-1] == len(given_lines)
    multiline = sum(len(_lines(file, row.begin, row.end)) - 1 for row in each)
    assert len(found) + len(rejected) + multiline == len(given_lines) - 1
    if not any(line.startswith(('9,"', '3,"', '10,"', '2,"')) for line in lines):
        assert multiline == 0


def _lines(file: File, begin: int, end: int) -> list[bytes]:
    """The lines of a part of a file that are not empty."""
    return [line for line in file.between(begin, end).to_pybytes().splitlines() if line]


def test_json_in_every_form(tmp_path: Path) -> None:
    rows = [{"text": text, "label": label} for text, label in GOOD]
    for content in (
        json.dumps(rows),
        json.dumps(rows, indent=2),
        json.dumps({"version": 1, "data": rows}),
        "\n".join(map(json.dumps, rows)),
        "\n".join(json.dumps(row, indent=1) for row in rows),
    ):
        assert read(written(tmp_path / "a.json", content)) == (GOOD, [])
    [file] = files(
        written(tmp_path / "b.json", json.dumps({"text": {"0": "a"}, "label": {"0": 1}}))
    )
    with pytest.raises(InputError, match="orient='records'"):
        list(read_batches(file, Columns(), "n"))
    [file] = files(written(tmp_path / "c.json", '[{"text": "a"}, {"text": '))
    with pytest.raises(InputError, match=r"c\.json must be JSON"):
        list(read_batches(file, Columns(), "n"))


@given(st.lists(st.dictionaries(st.text(max_size=3), st.text(max_size=5))), st.integers(1, 9))
def test_json_in_parts(rows: list[dict[str, str]], size: int) -> None:
    text = json.dumps(rows, indent=1, ensure_ascii=False)
    parts = (text[at : at + size] for at in range(0, len(text), size))
    assert [json.loads(row) for row in json_rows.json_rows(parts, "x")] == rows


def test_a_zip_of_several_files(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        packed.writestr("in/a.csv", "text;label\ngood, very;1\n")
        packed.writestr("in/b.jsonl", '{"text": "bad", "label": 0}\n')
        packed.writestr("__MACOSX/._a.csv", "x")
        pq.write_table(pa.table({"text": ["fine"], "label": [1]}), tmp_path / "c.parquet")
        packed.write(tmp_path / "c.parquet", "in/c.parquet")
    assert read(tmp_path / "a.zip") == (GOOD, [])
    with pytest.raises(InputError, match="must be a whole zip file"):
        files(written(tmp_path / "b.zip", "no zip"))


def test_a_folder_of_texts_by_class(tmp_path: Path) -> None:
    for name, text in (("pos/1", "good"), ("pos/2", "fine"), ("neg/1", "bad\nvery")):
        written(tmp_path / "in" / f"{name}.txt", text)
    found, rejected = read(tmp_path / "in")
    assert found == [("bad\nvery", "neg"), ("good", "pos"), ("fine", "pos")]
    assert not rejected
    labelled = LabelledFiles.find(str(tmp_path / "in"), Columns(label="label"), "--dataset")
    [table] = labelled.read_reviews(classes_of(("neg", "pos")))
    assert table["id"].to_pylist() == ["neg/1.txt", "pos/1.txt", "pos/2.txt"]


def test_folders_are_columns(tmp_path: Path) -> None:
    written(tmp_path / "label=1" / "day=2026-01-01" / "a.csv", "text\ngood\n")
    written(tmp_path / "label=0" / "a.jsonl", '{"text": "bad"}\n')
    folder = tmp_path / "label=a%20b"
    folder.mkdir()
    pq.write_table(pa.table({"text": ["fine"]}), folder / "a.parquet")
    assert read(tmp_path) == ([("bad", "0"), ("good", "1"), ("fine", "a b")], [])


def test_a_file_without_a_header(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = written(tmp_path / "a.csv", '1,"good, very"\n0,bad\n1,fine\n')
    options = FileOptions(header=False)
    assert read(path, options, Columns("c2", "c1")) == (GOOD, [])
    assert read(path, options, Columns("2", "1")) == (GOOD, [])
    with pytest.raises(InputError, match="--text-column must name a column"):
        read(path)
    assert "--no-header" in caplog.text


def test_names_that_occur_twice(tmp_path: Path) -> None:
    table = pa.table([["a"], ["b"], ["1"]], names=["text", "text", "label"])
    pq.write_table(table, tmp_path / "a.parquet")
    written(tmp_path / "a.csv", "text,text,label\na,b,1\n")
    for name in ("a.parquet", "a.csv"):
        with pytest.raises(InputError, match="2 of them are 'text'; rename all but one"):
            read(tmp_path / name)
    pq.write_table(table.rename_columns(["x", "x", "text"]), tmp_path / "b.parquet")
    written(tmp_path / "b.csv", "x,x,text\na,b,1\n")
    for name in ("b.parquet", "b.csv"):
        assert read(tmp_path / name, columns=Columns()) == ([("1", None)], [])


@pytest.mark.parametrize("name", ["a.xlsx", "a.feather", "a.arrow", "a.tgz"])
def test_other_formats_are_refused_with_what_to_do(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"--input must name .*: (save|write|unpack)"):
        files(written(tmp_path / name, "x"))


def test_a_text_alone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must be in a folder with others"):
        files(written(tmp_path / "a.txt", "Good film, very good.\nI liked it.\n"))


def test_options_in_place_of_what_is_found(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "text:label\ngood, very:1\nbad:0\nfine:1\n")
    assert read(path, FileOptions(separator=":")) == (GOOD, [])
    path = written(tmp_path / "b.csv", "text,label\n'good, very',1\nbad,0\nfine,1\n")
    assert read(path, FileOptions(quote="'")) == (GOOD, [])
    path = written(tmp_path / "c.csv", "text,label\ngood\\, very,1\nbad,0\nfine,1\n")
    assert read(path, FileOptions(quote="none", escape="backslash")) == (GOOD, [])
    path = written(tmp_path / "d.csv", "text,label\ncafé,1\n".encode("cp1252"))
    assert read(path, FileOptions(encoding="cp1252")) == ([("café", "1")], [])
    found, rejected = read(path)
    assert (found, rejected) == ([], [Rejected(1, "the text is not UTF-8")])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("separator", "ab"),
        ("separator", "é"),
        ("encoding", "utf-9"),
        ("decimal", "x"),
        ("quote", ""),
    ],
)
def test_options_that_make_no_sense(name: str, value: str) -> None:
    with pytest.raises(ValidationError, match=name):
        FileOptions(**{name: value})


def test_the_decimal_mark(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "time;a;b\n1;1,5;2\n2;-0,25;3\n")
    dialect = dialect_of(files(path)[0])
    assert dialect is not None
    assert dialect.decimal == ","
    path = written(tmp_path / "b.csv", 'time,a\n1,"1,5"\n2,"2,5"\n')
    assert (dialect_of(files(path)[0]) or dialect).decimal == ","
    path = written(tmp_path / "c.csv", 'time,a\n1,"1,500"\n2,"2,500"\n')
    assert (dialect_of(files(path)[0]) or dialect).decimal == "."  # it may part thousands


def test_a_dialect_is_that_of_the_whole_file(tmp_path: Path) -> None:
    rows = ["plain,1"] * 50 + ['"a \\"b\\", c",0'] * 50
    path = written(tmp_path / "a.csv", "\n".join(["text,label", *rows]))
    [file] = files(path)
    assert len({each.dialect for each in row_ranges(file, 7, 10**6)}) == 1
    assert read(path)[1] == []
    assert replace(file, size=1) != file


LINES = "".join(f"2021-01-{day:02},{day}.5,x\n" for day in range(1, 29))


@pytest.mark.parametrize(
    ("text", "names", "header"),
    [
        ("Category: All categories\n\nday,a,b\n" + LINES, ("day", "a", "b"), 3),
        ("https://example.com\nday,a,b\n" + LINES, ("day", "a", "b"), 2),
        ("Station,Potsdam\nHeight,81\nday,a,b\n" + LINES, ("day", "a", "b"), 3),
        ("a,b\n" + LINES, ("c0", "a", "b"), 1),
        ('"title, of it"\na,b\n' + LINES, ("c0", "a", "b"), 2),
        ("day,a\n" + LINES.replace("x", ""), ("day", "a", "c3"), 1),
        ("day,a,b\n" + LINES, ("day", "a", "b"), 1),
    ],
)
def test_what_is_above_the_header_and_names_of_rows(
    tmp_path: Path, text: str, names: tuple[str, ...], header: int
) -> None:
    dialect = dialect_of(files(written(tmp_path / "a.csv", text))[0])
    assert dialect is not None
    assert (dialect.names, dialect.header, dialect.separator) == (names, header, ",")
    assert text.encode()[dialect.begin :].startswith(b"2021-01-01")


def test_sentences_with_a_comma_have_nothing_above_them(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "text\n" + "good, and nice\nbad, and long\n" * 20)
    dialect = dialect_of(files(path)[0])
    assert dialect is not None
    assert (dialect.names, dialect.header) == (("text",), 1)


@pytest.mark.parametrize(
    ("names", "odd"),
    [("date,0,1,2", False), ("2019,2020,2021", True), ("place,2019,2020", False), ("5,1,7", True)],
)
def test_numbered_columns_do_not_look_like_data(tmp_path: Path, names: str, odd: bool) -> None:
    dialect = dialect_of(files(written(tmp_path / "a.csv", f"{names}\n{names}\n"))[0])
    assert dialect is not None
    assert bool(dialect.odd) is odd
