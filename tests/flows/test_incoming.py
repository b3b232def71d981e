"""Which files a run takes: by their date, and each content once."""

import os
import time
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from pydantic import ValidationError

from flows.parameters import FileSelection
from flows.steps.score.incoming import arrivals, between, file_date
from flows.store import ledger as ledger_module
from flows.store.ledger import Entry, Ledger, ScoringRun, with_shards
from flows.store.storage import File, Folder, base_folder, find

OLD = datetime(2026, 3, 4, tzinfo=UTC).timestamp()


def put(path: Path, content: str, modified: float = OLD) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    os.utime(path, (modified, modified))
    return path


def found(folder: Path) -> list[File]:
    files = find(str(folder), "--input", ("csv",), may_be_none=True)
    return [file.below(str(folder)) for file in files]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("2026/01/05/x.csv", date(2026, 1, 5)),
        ("a/date=2026-01-05/x.csv", date(2026, 1, 5)),
        ("x-2026-01-05.csv", date(2026, 1, 5)),
        ("2025/12/31/x-2026-01-05T10.csv", date(2026, 1, 5)),
        ("2026-01-05-2026-13-01.csv", date(2026, 1, 5)),
        ("2026/01-05/x.csv", date(2026, 3, 4)),
        ("12026-01-05.csv", date(2026, 3, 4)),
        ("2026-01-051.csv", date(2026, 3, 4)),
        ("x.csv", date(2026, 3, 4)),
    ],
)
def test_the_date_of_a_file(tmp_path: Path, path: str, expected: date) -> None:
    # A date in the path of the input's folder is none of the file's.
    folder = tmp_path / "2020-02-02"
    put(folder / path, "x")
    [file] = found(folder)
    assert file_date(file) == expected


def test_from_a_day_on_and_before_another(tmp_path: Path) -> None:
    for day in ("01-01", "01-31", "02-01"):
        put(tmp_path / f"2026-{day}.csv", day)
    files = found(tmp_path)

    def names(**days: str) -> list[str]:
        selection = FileSelection.model_validate(days)
        return [file.name[5:10] for file in between(files, selection)]

    assert names() == ["01-01", "01-31", "02-01"]
    assert names(since="2026-01-02") == ["01-31", "02-01"]
    assert names(until="2026-02-01") == ["01-01", "01-31"]
    assert names(since="2026-01-31", until="2026-02-01") == ["01-31"]
    with pytest.raises(
        ValidationError, match="until must be later than since 2026-02-01, got: 2026-02-01"
    ):
        names(since="2026-02-01", until="2026-02-01")


def test_the_folder_that_all_files_are_below(tmp_path: Path) -> None:
    put(tmp_path / "a" / "b" / "x.csv", "x")
    for pattern, expected in (
        ("a", "a"),
        ("a/", "a"),
        ("a/*/x.csv", "a"),
        ("a/b/x.csv", "a/b"),
        ("a/b*/*", "a"),
    ):
        assert base_folder(str(tmp_path / pattern), "--input") == str(tmp_path / expected)


class Inbox:
    """An input folder, and the ledger of what was taken of it."""

    def __init__(self, folder: Path) -> None:
        self.input, self.output = folder / "in", Folder.at(folder / "out", "--output")
        self.input.mkdir()

    def take(self, settle: float = 60) -> dict[str, list[str]]:
        """Takes what there is, and tells what it was."""
        ledger = Ledger.of(self.output)
        files = found(self.input)
        arrived = arrivals(files, ledger, settle)
        entries = tuple(entry for _, entry in arrived.taken)
        run = ScoringRun(ledger.next_id(), "", "model", None, True, entries,
                  tuple(arrived.repeated), tuple(arrived.replaced))  # fmt: skip
        ledger.write(run)
        what = {
            "taken": [entry.name for entry in entries],
            "repeated": [entry.name for entry in arrived.repeated],
            "replaced": arrived.replaced,
            "waiting": [file.name for file in arrived.waiting],
        }
        return {name: names for name, names in what.items() if names}


@pytest.fixture
def inbox(tmp_path: Path) -> Inbox:
    return Inbox(tmp_path)


def test_each_content_once(inbox: Inbox) -> None:
    put(inbox.input / "b.csv", "1")
    put(inbox.input / "c.csv", "1")
    put(inbox.input / "d.csv", "2")
    assert inbox.take() == {"taken": ["b.csv", "d.csv"], "repeated": ["c.csv"]}
    assert inbox.take() == {}
    put(inbox.input / "a.csv", "2")
    assert inbox.take() == {"repeated": ["a.csv"]}
    assert inbox.take() == {}


def test_a_late_file_is_as_new_as_any(inbox: Inbox) -> None:
    put(inbox.input / "b.csv", "1")
    assert inbox.take() == {"taken": ["b.csv"]}
    put(inbox.input / "2020" / "a.csv", "2", modified=OLD - 10**8)
    assert inbox.take() == {"taken": ["2020/a.csv"]}


def test_a_file_that_may_still_be_written_to_waits(inbox: Inbox) -> None:
    put(inbox.input / "a.csv", "1", time.time() - 30)
    put(inbox.input / "b.csv", "2", time.time() - 90)
    put(inbox.input / "c.csv", "3", time.time() + 10**6)  # of a wrong clock
    assert inbox.take() == {"taken": ["b.csv", "c.csv"], "waiting": ["a.csv"]}
    assert inbox.take(settle=10) == {"taken": ["a.csv"]}


def test_a_file_that_changes_while_it_is_read_waits(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put(inbox.input / "a.csv", "1")
    original = File.sha256

    def grows(file: File) -> str:
        digest = original(file)
        put(path, "12", OLD)
        return digest

    with monkeypatch.context() as patch:
        patch.setattr(File, "sha256", grows)
        assert inbox.take() == {"waiting": ["a.csv"]}
    assert inbox.take() == {"taken": ["a.csv"]}


def test_a_file_that_changed_takes_its_own_place(inbox: Inbox) -> None:
    put(inbox.input / "a.csv", "1")
    put(inbox.input / "b.csv", "1")
    assert inbox.take() == {"taken": ["a.csv"], "repeated": ["b.csv"]}
    # What was its content is that of the other one, which nobody has taken so far.
    put(inbox.input / "a.csv", "2", OLD + 1)
    assert inbox.take() == {"taken": ["a.csv", "b.csv"], "replaced": ["a.csv"]}
    assert {name: entry.size for name, entry in Ledger.of(inbox.output).live.items()} == {
        "a.csv": 1,
        "b.csv": 1,
    }
    put(inbox.input / "a.csv", "1", OLD + 2)
    assert inbox.take() == {"replaced": ["a.csv"], "repeated": ["a.csv"]}
    assert list(Ledger.of(inbox.output).live) == ["b.csv"]
    assert inbox.take() == {}


def test_a_file_that_was_only_touched_is_read_once_more(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(inbox.input / "a.csv", "1")
    inbox.take()
    put(inbox.input / "a.csv", "1", OLD + 1)
    assert inbox.take() == {"repeated": ["a.csv"]}
    monkeypatch.setattr(File, "sha256", None)  # what is known is not read
    assert inbox.take() == {}


def test_many_runs_become_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_module, "MOST_FILES", 5)
    output = Folder.at(tmp_path / "out", "--output")
    entries = [Entry(f"{i}.csv", i, 10 * i, f"digest {i}") for i in range(30)]
    for entry in entries:
        ledger = Ledger.of(output)
        ledger.merge()
        run = ScoringRun(ledger.next_id(), "now", "model", {"a": 1}, files=(entry,))
        ledger.write(run)
        whole = with_shards([entry], {entry.name: ["b", "a"]})
        done = ScoringRun(run.id, "now", "model", {"a": 1}, done=True, files=whole, rows=7)
        ledger.write(done)
        if entry.name in ("5.csv", "20.csv"):
            ledger.write(replace(done, accepted=True))
    names = list((output / "runs").sizes())
    assert len(names) < 8
    ledger = Ledger.of(output)
    assert list(ledger.seen.values()) == entries
    assert ledger.live["7.csv"].shards == ("a", "b")
    assert [run.rows for run in ledger.done] == [7] * 30
    assert ledger.unaccepted == ledger.done[21:]
    assert [run.id for run in ledger.done] == sorted({run.id for run in ledger.done})
    # Killed when the merged file was there and the others too: nothing is there twice.
    ledger.write(ledger.done[0])
    assert Ledger.of(output).done == ledger.done


def test_a_run_that_is_accepted_may_leave_earlier_ones_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_module, "MOST_FILES", 2)
    output = Folder.at(tmp_path, "--output")

    def unaccepted(run: str, *held: str, accepted: bool = True) -> list[str]:
        ledger = Ledger.of(output)
        ledger.merge()
        ledger.write(ScoringRun(run, "", "", None, done=True, accepted=accepted, held=held))
        return [run.id for run in Ledger.of(output).unaccepted]

    assert unaccepted("1-a", accepted=False) == ["1-a"]
    assert unaccepted("2-a", "1-a") == ["1-a"]
    assert unaccepted("3-a", accepted=False) == ["1-a", "3-a"]
    assert unaccepted("4-a", "1-a", "3-a") == ["1-a", "3-a"]
    assert unaccepted("5-a", "3-a") == ["3-a"]
    assert unaccepted("6-a") == []


def test_a_run_that_is_not_done_counts_for_nothing(tmp_path: Path) -> None:
    output = Folder.at(tmp_path, "--output")
    ledger = Ledger.of(output)
    ledger.write(ScoringRun(ledger.next_id(), "", "", None, files=(Entry("a.csv", 1, 1, "x"),)))
    again = Ledger.of(output)
    assert (again.live, again.seen, len(again.left), again.files) == ({}, {}, 1, 1)
    assert again.next_id() > again.left[0].id
    again.forget(again.left)
    assert list(tmp_path.iterdir()) == []
