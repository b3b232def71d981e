"""Addresses, folders and what is written, on this machine and at a local object store."""

import os
import re
import subprocess
import sys
import traceback
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from jobs import score_files

from flows import REPORT
from flows.errors import InputError
from flows.parameters import Execution, FileSelection
from flows.store.storage import HOST_NAME, Folder, find, redacted

KINDS = ("csv", "jsonl", "parquet")


@pytest.fixture(params=["local", "s3"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a folder that nothing is in."""
    if request.param == "local":
        return str(tmp_path / "root")
    return f"{request.getfixturevalue('bucket')}/{tmp_path.name}"


def paths(address: str, root: str) -> list[str]:
    return [str(file).removeprefix(f"{root}/") for file in find(address, "--x", KINDS)]


def test_files_by_name_glob_and_folder(root: str) -> None:
    folder = Folder.at(root, "--x")
    for name in ("b.csv", "a.parquet", "c.txt", "_SUCCESS", ".hidden.csv"):
        folder.write(name, b"x")
    (folder / "2026" / "01").write("d.jsonl.gz", b"x")
    (folder / "_old").write("e.csv", b"x")
    assert paths(f"{root}/b.csv", root) == ["b.csv"]
    assert paths(f"{root}/[ab].*", root) == ["a.parquet", "b.csv"]
    assert paths(f"{root}/**/d.*", root) == ["2026/01/d.jsonl.gz"]
    assert paths(root, root) == ["2026/01/d.jsonl.gz", "a.parquet", "b.csv"]
    assert paths(f"{root}/2026", root) == ["2026/01/d.jsonl.gz"]
    for pattern, rule in (
        ("missing.csv", "--x must name a file that exists"),
        ("*.json", "--x must name a file that exists"),
        ("c.txt", r"--x must name \.csv, \.jsonl or \.parquet files, got .*c\.txt"),
    ):
        with pytest.raises(InputError, match=rule):
            find(f"{root}/{pattern}", "--x", KINDS)


def test_a_glob_means_the_same_everywhere(root: str) -> None:
    folder = Folder.at(root, "--x")
    for name in ("a1.csv", "a2.csv", "a10.csv", ".a.csv"):
        folder.write(name, b"x")
    for inner in ("x", "x/y", ".old"):
        (folder / inner).write("b.csv", b"x")
    (folder / "x").write(".c.csv", b"x")
    for pattern, expected in (
        ("a?.csv", ["a1.csv", "a2.csv"]),
        ("*.csv", ["a1.csv", "a10.csv", "a2.csv"]),
        ("?a.csv", []),
        ("[.]a.csv", []),
        (".*.csv", [".a.csv"]),
        ("a[!2-9].csv", ["a1.csv"]),
        ("*/b.csv", ["x/b.csv"]),
        ("**/b.csv", ["x/b.csv", "x/y/b.csv"]),
        ("x/**/y/*", ["x/y/b.csv"]),
        ("x/**", ["x/b.csv", "x/y/b.csv"]),
        ("**", ["a1.csv", "a10.csv", "a2.csv", "x/b.csv", "x/y/b.csv"]),
        ("x**", []),
        ("a1.csv/**", []),
        (".old/**", [".old/b.csv"]),
    ):
        found = find(f"{root}/{pattern}", "--x", KINDS, may_be_none=True)
        assert [str(file).removeprefix(f"{root}/") for file in found] == expected, pattern


def test_options_of_an_address_beside_a_glob(bucket: str, tmp_path: Path) -> None:
    root = f"{bucket}/{tmp_path.name}"
    Folder.at(root, "--x").write("part-1.csv", b"x")
    assert paths(f"{root}/part-?.csv?region=us-east-1", root) == ["part-1.csv"]
    with pytest.raises(InputError, match="Unexpected query parameter in S3 URI: 'what'"):
        find(f"{root}/part-?.csv?what=1", "--x", KINDS)


def test_an_inbox_that_all_was_moved_from(root: str) -> None:
    (Folder.at(root, "--x") / "inbox").make()  # nothing, at an object store
    assert find(f"{root}/inbox", "--x", KINDS, may_be_none=True) == []
    with pytest.raises(InputError, match="--x must name a f"):
        find(f"{root}/inbox", "--x", KINDS)


@pytest.mark.parametrize("address", ["{tmp_path}/none", "s3://no-such-bucket/inbox"])
def test_an_inbox_where_nothing_can_come(bucket: str, address: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--x must name a file that exists"):
        find(address.format(tmp_path=tmp_path), "--x", KINDS, may_be_none=True)


def test_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "a.csv").touch()
    (tmp_path / os.fsdecode(b"\xff.csv")).touch()
    rule = "--x must name files whose names are UTF-8, '%s' has .*ff.csv'"
    for pattern in (str(tmp_path), f"{tmp_path}/*.csv"):
        with pytest.raises(InputError, match=rule % re.escape(pattern)):
            find(pattern, "--x", KINDS)
    assert paths(f"{tmp_path}/[a-z].csv", str(tmp_path)) == ["a.csv"]


@pytest.mark.parametrize("secret", ["SECRET", "SEC/RET", "SE CRET"])
@pytest.mark.parametrize("place", ["bucket/none", "bucket/none?what=1", "bu:cket/none", ""])
def test_no_message_tells_a_key(bucket: str, secret: str, place: str) -> None:
    address = f"s3://KEY:{secret}@{place}"
    assert redacted(address) == f"s3://{place.partition('?')[0]}"
    with pytest.raises(InputError) as raised:
        find(address, "--x", KINDS)
    text = "".join(traceback.format_exception(raised.value, limit=0))
    assert "KEY" not in text
    assert "CRET" not in text
    assert redacted(address) in text


def test_a_folder_without_files_of_the_kinds(tmp_path: Path) -> None:
    (tmp_path / "c.txt").touch()
    with pytest.raises(InputError, match="--x must name a folder with"):
        find(str(tmp_path), "--x", KINDS)


def test_a_name_with_brackets_is_a_name_where_it_exists(tmp_path: Path) -> None:
    (tmp_path / "a[1].csv").touch()
    assert paths(str(tmp_path / "a[1].csv"), str(tmp_path)) == ["a[1].csv"]


def test_an_address_that_no_file_system_knows() -> None:
    with pytest.raises(InputError, match=r"--x must be a path or a URI .*got 'what://a/b'"):
        find("what://a/b", "--x", KINDS)


def test_what_is_written_is_read_found_and_removed(root: str) -> None:
    folder = Folder.at(root, "--x") / "deep"
    assert folder.sizes() == {}
    folder.write("a", b"1")
    folder.write("a", b"22")
    folder.write("b", pa.py_buffer(b"333"))
    assert folder.sizes() == {"a": 2, "b": 3}
    assert (folder.read("a"), folder.size("b"), folder.size("c")) == (b"22", 3, None)
    with pytest.raises(FileNotFoundError):
        folder.read("c")
    folder.remove("a")
    folder.remove("a")
    assert folder.sizes() == {"b": 3}


def test_parts_of_packed_and_plain_files(tmp_path: Path) -> None:
    content = bytes(range(256)) * 100
    (tmp_path / "a.csv").write_bytes(content)
    with pa.CompressedOutputStream(str(tmp_path / "b.csv.gz"), "gzip") as file:
        file.write(content)
    for file in find(str(tmp_path), "--x", KINDS):
        assert file.between(300, 1000).to_pybytes() == content[300:1000]
        assert file.between(len(content) - 5, len(content) + 5).to_pybytes() == content[-5:]
        assert file.between(len(content) + 5, len(content) + 9).to_pybytes() == b""


def test_temporaries_of_the_dead_are_swept(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    old = tmp_path / ".x.elsewhere-7.tmp"
    names = {
        f".a.parquet.{HOST_NAME}-{dead.pid}.tmp": False,
        f".a.parquet.{HOST_NAME}-{os.getpid()}.tmp": True,
        f".a.parquet.{HOST_NAME}-{os.getppid()}.tmp": True,
        old.name: False,
        ".y.elsewhere-7.tmp": True,
        "z.tmp": True,
    }
    for name in names:
        (tmp_path / name).touch()
    os.utime(old, (0, 0))
    assert Folder.at(tmp_path, "--x").sweep() == 2
    assert {name: (tmp_path / name).exists() for name in names} == names


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    folder = Folder.at(tmp_path, "--x")
    folder.write("a", b"1")
    with pytest.raises(TypeError):
        folder.write("a", "no bytes")  # type: ignore[arg-type]
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert folder.read("a") == b"1"


def test_reviews_from_and_to_an_object_store(bucket: str, run_dir: Path, tmp_path: Path) -> None:
    """The same files as on this machine, by processes that have nothing but addresses."""
    texts = [f"a {'good' if i % 2 else 'bad'} one, number {i}" for i in range(50)]
    source = Folder.at(f"{bucket}/in", "--x")
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"text": texts}), sink)
    source.write("a.parquet", sink.getvalue())
    source.write(
        "b.csv", b"text\n" + "".join(f'"{text}"\n' for text in texts).encode() + b"\n\xff\n"
    )
    source.write("c.jsonl", "".join(f'{{"text":"{text}"}}\n' for text in texts).encode())
    execution = Execution(workers=2, shard_rows=20)
    summary = score_files(run_dir, f"{bucket}/in", None, f"{bucket}/out", execution=execution)
    assert (summary.shards, summary.rows, summary.rejected) == (9, 150, 1)
    again = score_files(run_dir, f"{bucket}/in/*", None, f"{bucket}/out", execution=execution)
    assert again.skipped == 9
    for name in source.sizes():
        Folder.at(tmp_path / "in", "--x").write(name, source.read(name))
    score_files(run_dir, str(tmp_path / "in"), None, tmp_path / "out", execution=execution)
    for folder in ("out", "out/rejected"):
        here, there = Folder.at(tmp_path / folder, "--x"), Folder.at(f"{bucket}/{folder}", "--x")
        assert here.sizes().keys() == there.sizes().keys()
        # The report tells how long a run took, all else is the same.
        same = here.sizes().keys() - {REPORT}
        assert all(here.read(name) == there.read(name) for name in same)
    page = Folder.at(f"{bucket}/out", "--x").read(REPORT).decode()
    assert "All shards were done by earlier runs" in page


def test_new_files_at_an_object_store(bucket: str, run_dir: Path) -> None:
    source, output = Folder.at(f"{bucket}/inbox", "--x"), f"{bucket}/added"
    new = FileSelection(new=True, settle=0)

    def score() -> tuple[int, str]:
        done = score_files(
            run_dir, f"{bucket}/inbox", None, output, execution=Execution(workers=1), selection=new
        )
        return done.rows, done.nothing

    assert score() == (0, "nothing new; 0 files in the input")
    (source / "day=2026-01-05").write("a.csv", b"text\ngood\nbad\n")
    (source / "day=2026-01-06").write("a.csv", b"text\ngood\n")
    assert score() == (3, "")
    assert score() == (0, "nothing new; 2 files in the input")
    source.write("copy.csv", b"text\ngood\n")
    (source / "day=2026-01-05").write("a.csv", b"text\ngood\nbad\nmore\n")
    assert score() == (3, "")
    keys = {name.split(".")[0] for name in Folder.at(output, "--x").sizes()}
    assert len(keys) == 5  # two shards, drift.json, report.html and _SUCCESS
    assert len(Folder.at(f"{output}/runs", "--x").sizes()) == 2
