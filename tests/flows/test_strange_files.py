"""Archives, ledgers, lineage and records from strangers: a clear error, and nothing written where they lead to."""

import json
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from jobs import score_files

from flows.datasets import hapt, imdb
from flows.errors import ArchiveError, InputError
from flows.parameters import Execution, FileSelection
from flows.store.ledger import LEDGER, Ledger
from flows.store.registry import PRODUCTION, RECORD, Model
from flows.store.storage import Folder
from flows.tables.columns import Columns
from tests.flows.test_dialects import read
from tests.flows.test_imdb import Pack, reviews, urls

RunCli = Callable[..., Result]
ALONE, NEW = Execution(workers=1, shard_rows=2), FileSelection(new=True, settle=0)
LINES = "id,text\na,good\nb,bad\nc,a good one\n"
SENSOR = "RawData/{}_exp01_user01.txt"


def tree(folder: Path) -> dict[Path, bytes]:
    """Every file below a folder."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def tenths(content: bytes) -> Iterator[bytes]:
    """What is left of it, cut at every tenth byte; behind the last two come a bracket and a line end."""
    return (content[:end] for end in range(0, len(content) - 2, 10))


@pytest.fixture
def scored(run_dir: Path, tmp_path: Path) -> Path:
    """The output of a run that scored what was new."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.csv").write_text(LINES)
    again(run_dir, tmp_path)
    return tmp_path / "out"


def again(run_dir: Path, tmp_path: Path) -> None:
    places = (run_dir, str(tmp_path / "in"), Columns(id="id"), tmp_path / "out")
    score_files(*places, execution=ALONE, selection=NEW, report=False)


def changed(scored: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Has the ledger of a run say something else."""
    [path] = (scored / LEDGER).glob("*.json")
    content = json.loads(path.read_text())
    change(content["runs"][0])
    path.write_text(json.dumps(content))


def test_a_ledger_that_is_cut_off_anywhere(scored: Path) -> None:
    [path] = (scored / LEDGER).glob("*.json")
    for part in tenths(path.read_bytes()):
        path.write_bytes(part)
        with pytest.raises(InputError, match="must be the ledger of a run"):
            Ledger.of(Folder.at(scored, "--output"))


@pytest.mark.parametrize(
    "change",
    [
        lambda run: run.update(id="../../../victim"),
        lambda run: run.update(id="1"),
        lambda run: run["files"][0].update(shards=["../victim"]),
        lambda run: run["files"][0].update(size=1e400),
        lambda run: run["files"][0].update(size="large"),
        lambda run: run.update(files=None),
        lambda run: run.pop("model"),
    ],
)
def test_a_ledger_that_lies(
    scored: Path, run_dir: Path, tmp_path: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    (tmp_path / "victim.json").write_text("mine")
    changed(scored, change)
    before = tree(tmp_path)
    with pytest.raises(InputError, match=r"runs/\S+ must be the ledger of a run"):
        again(run_dir, tmp_path)
    assert tree(tmp_path) == before


def test_a_ledger_that_is_none_ends_the_command(
    server: None, run_cli: RunCli, scored: Path, run_dir: Path, tmp_path: Path
) -> None:
    [path] = (scored / LEDGER).glob("*.json")
    path.write_bytes(b"[" * 100_000)
    before = tree(tmp_path)
    options = ["--model", run_dir, "--input", tmp_path / "in", "--id-column", "id", "--new"]
    result = run_cli("score", *options, "--output", scored, "--settle", "0")
    assert (result.exit_code, "must be the ledger of a run" in result.output) == (2, True)
    assert tree(tmp_path) == before


def test_a_record_that_is_none_is_written_anew(run_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(LINES)
    places = (run_dir, str(tmp_path / "a.csv"), Columns(id="id"), tmp_path / "out")
    score_files(*places, execution=ALONE, report=False)
    whole = tree(tmp_path / "out")
    for path in [p for p in whole if p.suffix == ".json" and p.name not in ("drift.json",)]:
        for content in (b"", b"[]", b'{"key": "../../x"}', whole[path][:-20], b"\xff", b"[" * 9999):
            path.write_bytes(content)
            score_files(*places, execution=ALONE, report=False)
            assert tree(tmp_path / "out") == whole


@pytest.fixture
def model(tmp_path: Path) -> Model:
    """A model with a version in production."""
    (tmp_path / "run").mkdir()
    made = Model(tmp_path / "models/reviews")
    made.promote(made.add(tmp_path / "run", {"digest": "d", "seed": 1}, "parts"), "the first")
    return made


def test_a_registry_that_is_cut_off_anywhere(model: Model) -> None:
    for path, called in (
        (model.folder / PRODUCTION, model.standing),
        (model.path(1) / RECORD, lambda: model.record(1)),
    ):
        for part in tenths(path.read_bytes()):
            path.write_bytes(part)
            with pytest.raises(InputError, match=rf"{path} must be"):
                called()


@pytest.mark.parametrize("content", ["[]", "null", '{"digest": 1}', "{}", '{"promotions": [{}]}'])
def test_a_registry_of_other_things(
    server: None, run_cli: RunCli, model: Model, content: str
) -> None:
    before = tree(model.folder)
    for path in (model.folder / PRODUCTION, model.path(1) / RECORD):
        if content == "{}" and path.name == PRODUCTION:
            continue  # nothing was ever in production
        whole = path.read_text()
        path.write_text(content)
        result = run_cli("models", "list", "--registry", model.folder.parent)
        assert (result.exit_code, "must be" in result.output) == (2, True), result.output
        path.write_text(whole)
    assert tree(model.folder) == before


def packed(path: Path, *members: tuple[str, str | bytes], kind: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", kind) as file:
        for name, content in members:
            file.writestr(name, content)
    return path


def read_zip(path: Path) -> list[str]:
    return [text for text, _ in read(path, columns=Columns())[0]]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_zip_with_two_files_of_one_name(tmp_path: Path) -> None:
    path = packed(tmp_path / "a.zip", ("a.csv", "text\none\n"), ("a.csv", "text\ntwo\n"))
    with pytest.raises(InputError, match=r"a\.zip must be .*different names, 'a\.csv'"):
        read_zip(path)


@pytest.mark.parametrize("name", ["../../a.csv", "/etc/a.csv", "c:\\a.csv", "x/../../a.csv"])
def test_names_in_a_zip_lead_nowhere(tmp_path: Path, name: str) -> None:
    path = packed(tmp_path / "in.zip", (name, "text\none\n"))
    if ".." in name:
        with pytest.raises(InputError, match=r"in\.zip"):
            read_zip(path)
    else:
        assert read_zip(path) == ["one"]
    assert list(tmp_path.iterdir()) == [path]


def test_a_zip_that_is_cut_off_or_spoilt_anywhere(tmp_path: Path) -> None:
    whole = packed(tmp_path / "a.zip", ("a.csv", "text\n" + "one good\n" * 99)).read_bytes()
    for part in tenths(whole):
        (tmp_path / "a.zip").write_bytes(part)
        with pytest.raises(InputError, match=r"a\.zip"):
            read_zip(tmp_path / "a.zip")
    for place in range(len(whole)):
        (tmp_path / "a.zip").write_bytes(
            whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :]
        )
        try:
            assert len(read_zip(tmp_path / "a.zip")) <= 99
        except InputError as error:
            assert "a.zip" in str(error)  # noqa: PT017, most of them, but not those of a time


def hapt_archive(path: Path, **changes: str | bytes) -> Path:
    contents: dict[str, str | bytes] = {
        SENSOR.format("acc"): "1 2 3\n" * 9,
        SENSOR.format("gyro"): "1 2 3\n" * 9,
        "RawData/labels.txt": "1 1 1 1 9\n1 1 2 5 7\n",
    }
    return packed(path, *(contents | changes).items())


def test_an_archive_of_recordings_that_is_spoilt_anywhere(tmp_path: Path) -> None:
    path = hapt_archive(tmp_path / "a.zip")
    assert [table.num_rows for table in hapt.read(path)] == [9]
    whole = path.read_bytes()
    for place in range(len(whole)):
        for content in (
            whole[:place] if place % 10 == 0 else b"",
            whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :],
        ):
            path.write_bytes(content)
            try:
                tables = list(hapt.read(path))
            except ArchiveError:
                continue
            assert [table.num_rows for table in tables] == [9]


@pytest.mark.parametrize(
    "changes",
    [
        {"RawData/labels.txt": "1 1\n"},
        {"RawData/labels.txt": ""},
        {"RawData/labels.txt": "a b c d e\n"},
        {SENSOR.format("gyro"): "1 2 3\n" * 8},
        {SENSOR.format("acc"): "\n"},
        {SENSOR.format("acc"): "1 2\n" * 9},
    ],
)
def test_recordings_that_do_not_fit(tmp_path: Path, changes: dict[str, str]) -> None:
    with pytest.raises(ArchiveError, match="must be the whole archive of HAPT"):
        list(hapt.read(hapt_archive(tmp_path / "a.zip", **changes)))


def test_reviews_that_are_there_twice_are_huge_or_devices(pack: Pack, tmp_path: Path) -> None:
    path = tmp_path / "a.tar.gz"
    with pytest.raises(ArchiveError, match=r"'aclImdb/t\w+/neg/0_2\.txt' is there twice"):
        imdb.read(pack(path, [*reviews(), *reviews()]))
    with pytest.raises(ArchiveError, match="33,554,432 bytes, more than 16,777,216"):
        imdb.read(pack(path, [*reviews(), ("aclImdb/train/neg/5_2.txt", bytes(32 << 20))]))
    for kind in (tarfile.CHRTYPE, tarfile.BLKTYPE):
        device = tarfile.TarInfo("aclImdb/train/pos/9_9.txt")
        device.type = kind
        with pytest.raises(ArchiveError, match="is a link or a device"):
            imdb.read(pack(path, [*reviews(), device]))
    lying = tarfile.TarInfo("aclImdb/train/neg/5_2.txt")
    lying.size = 1 << 62
    with pytest.raises(ArchiveError):
        imdb.read(pack(path, [*reviews(), lying]))


def test_an_archive_of_reviews_that_is_cut_off_anywhere(pack: Pack, tmp_path: Path) -> None:
    path = pack(tmp_path / "a.tar.gz", [*reviews(), *urls()])
    for part in tenths(path.read_bytes()):
        path.write_bytes(part)
        with pytest.raises(ArchiveError, match=r"a\.tar\.gz must"):
            imdb.read(path)
