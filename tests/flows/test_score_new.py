"""Runs that score what is new, some of which are killed, under models that change."""

import errno
import gzip
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from jobs import asked, score_files
from pyarrow import fs
from pydantic import ByteSize

from flows import REPORT
from flows.errors import InputError
from flows.parameters import Execution, FileSelection
from flows.steps.prepare import partition
from flows.steps.score import files as score_step
from flows.steps.score import new as score_new
from flows.steps.score import reviews as score_reviews
from flows.steps.score.files import Plan, plan_files
from flows.steps.score.job import Summary, scoring_job
from flows.store import ledger as ledger_module
from flows.store.ledger import Ledger
from flows.store.locks import locked
from flows.store.outputs import DRIFT, MANIFEST, SUCCESS
from flows.store.storage import File, Folder
from flows.tables import ranges
from rnnfast.scoring.scorers import Scorer

ALONE, ALL, NEW = Execution(workers=1), FileSelection(), FileSelection(new=True, settle=0)
Score = Callable[..., Summary]


@pytest.fixture
def score(run_dir: Path, tmp_path: Path) -> Score:
    """Scores the folder `in` into `out`, with small shards."""
    (tmp_path / "in").mkdir()
    execution = Execution(workers=1, shard_rows=2)

    def call(model: Path = run_dir, selection: FileSelection = NEW) -> Summary:
        places = (str(tmp_path / "in"), None, tmp_path / "out")
        return score_files(model, *places, execution=execution, selection=selection)

    return call


def put(folder: Path, name: str, *texts: str, modified: float = 1e9) -> Path:
    path = folder / "in" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("text\n" + "".join(f"{text}\n" for text in texts))
    os.utime(path, (modified, modified))
    return path


def rows(folder: Path) -> Counter[str]:
    """The ids of all rows of the output."""
    return Counter(
        row["id"]
        for path in (folder / "out").glob("*.parquet")
        for row in pq.read_table(path).to_pylist()
    )


def ids(name: str, count: int) -> Counter[str]:
    return Counter(f"{name}:{i + 1}" for i in range(count))


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def plan(
    model: Path, folder: Path, selection: FileSelection = ALL, execution: Execution = ALONE
) -> Plan:
    """What scoring the folder `in` into `out` would do."""
    source = str(folder / "in")
    request = asked(model, source, None, folder / "out", selection=selection, execution=execution)
    return plan_files(model, request)


def test_what_is_new_is_added(score: Score, tmp_path: Path) -> None:
    put(tmp_path, "day1/a.csv", "good", "bad", "good")
    first = score()
    assert (first.files, first.shards, first.rows, first.nothing) == (1, 2, 3, "")
    # Alone in its folder or not: the names of rows do not depend on which files are new.
    put(tmp_path, "day2/a.csv", "bad", modified=1e8)
    put(tmp_path, "day2/b.csv", "good", "bad", "good")
    second = score()
    assert (second.files, second.shards, second.rows) == (1, 1, 1)
    assert rows(tmp_path) == ids("day1/a.csv", 3) + ids("day2/a.csv", 1)
    out = tmp_path / "out"
    assert (out / SUCCESS).exists()
    assert not (out / MANIFEST).exists()
    before = tree(out)
    third = score()
    assert third.nothing == "nothing new; 3 files in the input"
    assert third.files == 0
    assert tree(out) == before
    runs = Ledger.of(Folder.at(out, "--output")).done
    assert [(run.rows, [e.name for e in run.files]) for run in runs] == [
        (3, ["day1/a.csv"]), (1, ["day2/a.csv"])
    ]  # fmt: skip
    keys = {key for run in runs for entry in run.files for key in entry.shards}
    assert {path.stem for path in out.glob("*.parquet")} == keys
    assert {path.stem for path in (out / "tally").glob("*.json")} == keys
    assert [e.name for e in runs[1].repeated] == ["day2/b.csv"]


def test_nothing_there_yet(score: Score, tmp_path: Path) -> None:
    assert score().nothing == "nothing new; 0 files in the input"
    put(tmp_path, "a.csv", "good", modified=time.time())
    waiting = score(selection=FileSelection(new=True))
    assert waiting.nothing == "nothing new, 1 that may still be written to; 1 file in the input"
    assert not (tmp_path / "out").exists()


def test_a_file_that_changed_is_scored_again_in_its_place(score: Score, tmp_path: Path) -> None:
    put(tmp_path, "a.csv", "good", "bad", "one")
    put(tmp_path, "b.csv", "other")
    score()
    put(tmp_path, "a.csv", "good", "bad", "one", "more", modified=2e9)
    again = score()
    assert (again.files, again.shards, again.skipped) == (1, 2, 1)
    assert rows(tmp_path) == ids("a.csv", 4) + ids("b.csv", 1)
    assert len(list((tmp_path / "out" / "tally").iterdir())) == 3  # of the old content none
    os.unlink(tmp_path / "in" / "a.csv")
    assert score().nothing
    assert rows(tmp_path) == ids("a.csv", 4) + ids("b.csv", 1)


def another(run_dir: Path, folder: Path) -> Path:
    """The same model but for a word."""
    folder.mkdir()
    for path in run_dir.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "vocabulary.txt").write_text("[UNK]\npad\nother\nbad\n")
    return folder


def test_another_model_scores_what_is_new_alone(
    score: Score, run_dir: Path, tmp_path: Path
) -> None:
    put(tmp_path, "a.csv", "good")
    score()
    before = tree(tmp_path / "out")
    model = another(run_dir, tmp_path / "another")
    assert score(model).nothing
    put(tmp_path, "b.csv", "bad")
    assert score(model).rows == 1
    del before[DRIFT], before[REPORT]  # of the last run
    assert before.items() <= tree(tmp_path / "out").items()
    runs = Ledger.of(Folder.at(tmp_path / "out", "--output")).done
    assert [run.model for run in runs] == [str(run_dir), str(model)]
    assert [run.settings["model"] for run in runs] == [
        Scorer.load(m).digest for m in (run_dir, model)
    ]


def killed(score: Score, monkeypatch: pytest.MonkeyPatch, after: int = 1) -> None:
    """A run that ends in the midst, as if it were killed: nothing of it is put right."""
    original, calls = Scorer.score, 0

    def dies(self: Scorer, *arguments: object) -> object:
        nonlocal calls
        calls += 1
        if calls > after:
            raise KeyboardInterrupt
        return original(self, *arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Scorer, "score", dies)
        with pytest.raises(KeyboardInterrupt):
            score()


@pytest.mark.parametrize("change", ["nothing", "model", "content", "input gone", "settings"])
def test_what_a_killed_run_left_is_neither_lost_nor_doubled(
    score: Score, run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    put(tmp_path, "a.csv", "good")
    score()
    put(tmp_path, "b.csv", "good", "bad", "one")
    put(tmp_path, "c.csv", "bad", "good")
    killed(score, monkeypatch)
    assert len(list((tmp_path / "out").glob("b-*.parquet"))) == 1
    assert not (tmp_path / "out" / SUCCESS).exists()
    expected = ids("a.csv", 1) + ids("b.csv", 3) + ids("c.csv", 2)
    if change == "nothing":
        assert score().skipped == 1
    elif change == "model":
        assert score(another(run_dir, tmp_path / "another")).skipped == 0
    elif change == "content":
        put(tmp_path, "b.csv", "another", modified=2e9)
        score()
        expected = ids("a.csv", 1) + ids("b.csv", 1) + ids("c.csv", 2)
    elif change == "input gone":
        (tmp_path / "in" / "b.csv").unlink()
        (tmp_path / "in" / "c.csv").unlink()
        score()
        expected = ids("a.csv", 1)
    else:
        places = (str(tmp_path / "in"), None, tmp_path / "out")
        score_files(run_dir, *places, execution=ALONE, selection=NEW)
    assert rows(tmp_path) == expected
    assert (tmp_path / "out" / SUCCESS).exists()
    assert not Ledger.of(Folder.at(tmp_path / "out", "--output")).left
    assert score().nothing


@pytest.mark.parametrize("step", ["write", "_remove_stale"])
def test_killed_while_a_file_takes_the_place_of_another(
    score: Score, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    put(tmp_path, "a.csv", "good")
    score()
    put(tmp_path, "a.csv", "good", "new", "text", modified=2e9)
    original = Ledger.write

    def dies(*arguments: Any) -> None:
        if step == "write" and not arguments[1].done:
            return original(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(*(Ledger, "write") if step == "write" else (score_new, step), dies)
        with pytest.raises(KeyboardInterrupt):
            score()
    (tmp_path / "in" / "a.csv").unlink()
    assert score().nothing
    # Whichever content the ledger says that there is.
    assert rows(tmp_path) == ids("a.csv", 1 if step == "write" else 3)
    ledger = Ledger.of(Folder.at(tmp_path / "out", "--output"))
    assert {path.stem for path in (tmp_path / "out").glob("*.parquet")} == set(
        ledger.live["a.csv"].shards
    )
    assert not ledger.left


def test_killed_within_a_shard_that_is_not_done_again(
    score: Score, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "a.csv", "good")
    score()
    before = tree(tmp_path / "out")
    (tmp_path / "in" / "b.csv").write_bytes(b"text,other\n,1\nbad,2\n")
    original = Folder.write

    def dies(folder: Folder, name: str, content: bytes) -> None:
        if name.endswith(".parquet"):
            raise KeyboardInterrupt
        original(folder, name, content)

    with monkeypatch.context() as patch:
        patch.setattr(Folder, "write", dies)
        with pytest.raises(KeyboardInterrupt):
            score()
    assert len(list((tmp_path / "out" / "rejected").iterdir())) == 1
    (tmp_path / "in" / "b.csv").unlink()
    assert score().nothing
    assert tree(tmp_path / "out") == before
    # What somebody else has put there is not ours to remove.
    (tmp_path / "out" / "all.parquet").write_bytes(b"")
    put(tmp_path, "b.csv", "bad")
    score()
    assert (tmp_path / "out" / "all.parquet").exists()


def test_runs_that_never_end_leave_one_file(
    score: Score, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_module, "MOST_FILES", 2)
    put(tmp_path, "a.csv", "good")
    for _ in range(5):
        killed(score, monkeypatch, after=0)
    assert len(list((tmp_path / "out" / "runs").iterdir())) == 1
    # Those of a version that kept them all.
    ledger = Ledger.of(Folder.at(tmp_path / "out", "--output"))
    for number in range(2, 6):
        ledger.write(replace(ledger.left[0], id=f"{number:08}-x"))
    assert score().rows == 1
    assert score().nothing


def test_a_file_that_cannot_be_read_keeps_no_other_from_being_scored(
    score: Score, tmp_path: Path
) -> None:
    put(tmp_path, "a.csv", "good", "bad", "good")
    score()
    before = tree(tmp_path / "out")
    (tmp_path / "in" / "a.csv").write_text("other\n1\n")
    # Its first shards are scored before it ends too early.
    lines = "text\n" + "".join(f"{os.urandom(500_000).hex()}\n" for _ in range(9))
    (tmp_path / "in" / "b.csv.gz").write_bytes(gzip.compress(lines.encode())[:-1000])
    message = (
        r"--input must hold files that can be read, 2 of 2 new ones cannot, .*; (a|b)\.csv.*: "
    )
    with pytest.raises(InputError, match=message):
        score()
    assert before.items() - tree(tmp_path / "out").items() == {(SUCCESS, b"")}
    put(tmp_path, "c.csv", "good")
    with pytest.raises(InputError, match="2 of 3 new ones cannot"):
        score()
    assert rows(tmp_path) == ids("a.csv", 3) + ids("c.csv", 1)
    put(tmp_path, "a.csv", "good", "bad", modified=3e9)
    (tmp_path / "in" / "b.csv.gz").unlink()
    score()
    assert rows(tmp_path) == ids("a.csv", 2) + ids("c.csv", 1)
    assert (tmp_path / "out" / SUCCESS).exists()


def test_a_file_that_the_system_does_not_hand_out_keeps_no_other_from_being_scored(
    score: Score, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "a.csv", "good")
    score()
    put(tmp_path, "a.csv", "good", "changed", modified=2e9)
    put(tmp_path, "b.csv", "bad")
    original = File.sha256

    with monkeypatch.context() as patch:
        patch.setattr(File, "sha256", lambda f: original(f) if f.name != "a.csv" else denied())
        for expected in ("1 of 2 new ones", "1 of 1 new ones"):
            with pytest.raises(InputError, match=rf"{expected} cannot, .*; a\.csv: .*denied"):
                score()
            assert rows(tmp_path) == ids("a.csv", 1) + ids("b.csv", 1)
            assert not (tmp_path / "out" / SUCCESS).exists()
    score()
    assert rows(tmp_path) == ids("a.csv", 2) + ids("b.csv", 1)


@pytest.mark.parametrize("name", ["score_reviews._read", "ranges.row_ranges"])
def test_a_file_that_is_gone_when_it_is_scored(
    score: Score, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    put(tmp_path, "a.csv", "good")
    put(tmp_path, "b.csv", "bad")
    module, _, function = name.partition(".")
    owner = {"ranges": ranges, "score_reviews": score_reviews}[module]
    original = getattr(owner, function)

    def gone(what: Any, *arguments: Any) -> Any:
        file = what if isinstance(what, File) else what.file
        if file.name == "a.csv":
            Path(file.path).unlink(missing_ok=True)
        return original(what, *arguments)

    monkeypatch.setattr(owner, function, gone)
    with pytest.raises(InputError, match=r"1 of 2 new ones cannot, .*; a\.csv: .*it was removed"):
        score()
    assert rows(tmp_path) == ids("b.csv", 1)
    assert score().nothing
    assert (tmp_path / "out" / SUCCESS).exists()


def test_a_file_of_what_arrow_does_not_know(
    score: Score, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "a.csv", "good")
    put(tmp_path, "b.csv", "bad")
    original = score_reviews._read

    def fails(shard: Any, *arguments: Any) -> Any:
        if shard.file.place == "a.csv":
            raise pa.ArrowNotImplementedError("no such cast")
        return original(shard, *arguments)

    monkeypatch.setattr(score_reviews, "_read", fails)
    with pytest.raises(InputError, match=r"1 of 2 new ones cannot, .*; a\.csv: no such cast"):
        score()
    assert rows(tmp_path) == ids("b.csv", 1)


def test_an_output_that_cannot_be_written_ends_the_run(
    score: Score, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "a.csv", "good")
    original = Folder.write

    def full(folder: Folder, name: str, content: bytes) -> None:
        if name.endswith(".parquet"):
            raise OSError(errno.ENOSPC, "No space left on device")
        original(folder, name, content)

    with monkeypatch.context() as patch:
        patch.setattr(Folder, "write", full)
        with pytest.raises(OSError, match="No space left"):
            score()
    assert score().rows == 1


def test_a_file_that_made_way_for_one_that_cannot_be_read_is_there_once(
    score: Score, tmp_path: Path
) -> None:
    old = put(tmp_path, "a.csv", "good", "bad")
    score()
    old.rename(tmp_path / "in" / "b.csv")
    put(tmp_path, "a.csv", modified=2e9).write_text("other\n1\n")
    with pytest.raises(InputError, match="1 of 2 new ones cannot"):
        score()
    assert rows(tmp_path) == ids("b.csv", 2)
    put(tmp_path, "a.csv", "new", modified=3e9)
    score()
    assert rows(tmp_path) == ids("a.csv", 1) + ids("b.csv", 2)


def test_new_files_without_a_row_that_can_be_scored(score: Score, tmp_path: Path) -> None:
    put(tmp_path, "a.csv")
    (tmp_path / "in" / "b.csv").write_bytes(b"text,other\n,1\n")
    done = score()
    assert (done.files, done.rows, done.rejected) == (2, 0, 1)
    assert score().nothing


def test_two_runs_do_not_add_to_a_folder_at_a_time(score: Score, tmp_path: Path) -> None:
    put(tmp_path, "a.csv", "good")
    (tmp_path / "out").mkdir()
    with locked(tmp_path / "out"):
        assert score().nothing == f"another run adds to {tmp_path / 'out'}"
    assert score().rows == 1


def test_an_argument_that_is_refused_leaves_all_as_it_is(
    score: Score, run_dir: Path, tmp_path: Path
) -> None:
    put(tmp_path, "a.csv", "good")
    score()
    before = tree(tmp_path / "out")
    put(tmp_path, "b.csv", "bad")
    places = (str(tmp_path / "in"), None, tmp_path / "out")
    execution = Execution(workers=1, memory_limit=ByteSize(1))
    with pytest.raises(InputError, match="--memory-limit"):
        score_files(run_dir, *places, execution=execution, selection=NEW)
    assert tree(tmp_path / "out") == before


def test_folders_filled_in_another_way_are_left_alone(score: Score, tmp_path: Path) -> None:
    put(tmp_path, "a.csv", "good")
    score(selection=FileSelection())
    before = tree(tmp_path / "out")
    with pytest.raises(InputError, match="--output must be new, or have been filled with --new"):
        score()
    assert tree(tmp_path / "out") == before
    (tmp_path / "out").rename(tmp_path / "plain")
    score()
    with pytest.raises(
        InputError, match="--new must be given for an --output that was filled by it"
    ):
        score(selection=FileSelection())


def readings(folder: Path, *names: str) -> None:
    """Files of 30 hours of two devices each, and a row that cannot be read."""
    (folder / "in").mkdir(exist_ok=True)
    for name in names:
        lines = [f"{10**9 + 3600 * i},{d},{20 + i % 5},{i % 7}" for i in range(30) for d in "xy"]
        content = ["when,device,temp,load", *lines, f"{name},x,1,1", ""]
        (folder / "in" / f"{name}.csv").write_text("\n".join(content))


def test_readings_of_a_run_that_was_killed(
    forecaster: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readings(tmp_path, "a", "b")
    places = (forecaster, str(tmp_path / "in"), None, tmp_path / "out")
    with monkeypatch.context() as patch:
        patch.setattr(score_new, "_done", None)
        with pytest.raises(TypeError):
            score_files(*places, execution=ALONE, selection=NEW)
    assert len(Ledger.of(Folder.at(tmp_path / "out", "--output")).left) == 1
    readings(tmp_path, "c")
    done = score_files(*places, execution=ALONE, selection=NEW)
    # Of each file and device a forecast of 4 steps.
    assert (done.files, done.skipped, done.rows, done.rejected) == (3, 2, 24, 3)
    assert score_files(*places, execution=ALONE, selection=NEW).nothing
    assert len(list((tmp_path / "out").glob("*.parquet"))) == 3


def test_a_plan_of_readings(
    forecaster: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readings(tmp_path, "a", "b")
    before = tree(tmp_path)
    for selection, expected in ((ALL, (1, 0)), (NEW, (2, 0))):
        planned = plan(forecaster, tmp_path, selection)
        assert (planned.shards, planned.done) == expected
        assert len(planned.files) == 2
    with monkeypatch.context() as patch:
        patch.setattr(partition, "PARTITION_BYTES", 1000)
        planned = plan(forecaster, tmp_path)
        assert (planned.shards > 1, planned.done) == (True, None)
    assert tree(tmp_path) == before
    score_files(forecaster, str(tmp_path / "in"), None, tmp_path / "out", execution=ALONE)
    assert plan(forecaster, tmp_path).done == 1


def test_no_day_of_an_input_whose_address_has_keys(
    run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(score_step, "find_files", lambda *_, **__: [])
    monkeypatch.setattr(score_step, "base_folder", lambda *_: "bucket/in")
    days = FileSelection.model_validate({"until": "2026-01-01"})
    with pytest.raises(InputError, match="leave a file of 's3://bucket/in', none") as caught:
        plan_files(
            run_dir,
            asked(run_dir, "s3://KEY:SECRET@bucket/in", None, tmp_path / "out", selection=days),
        )
    assert "SECRET" not in str(caught.value)


def test_backfill(score: Score, tmp_path: Path) -> None:
    for day in ("2026/01/31", "2026/02/01", "2026/02/02"):
        put(tmp_path, f"{day}/a.csv", day)
    february = {"since": "2026-02-01", "until": "2026-03-01"}
    alone = FileSelection.model_validate(february)
    assert score(selection=alone).rows == 2
    assert rows(tmp_path) == ids("2026/02/01/a.csv", 1) + ids("2026/02/02/a.csv", 1)
    assert score(selection=alone).skipped == 2
    with pytest.raises(
        InputError, match=r"--since and --until must leave a file of .*, none of its 3 is of a day"
    ):
        score(selection=FileSelection.model_validate({"until": "2026-01-01"}))
    (tmp_path / "out").rename(tmp_path / "alone")
    added = FileSelection.model_validate(february | {"new": True, "settle": 0})
    assert score(selection=added).rows == 2
    assert score(selection=added).nothing
    assert score().rows == 1


def test_the_names_of_files_directly_below_the_root(
    run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = File(fs.LocalFileSystem(), "/data-of-no-one.csv", 1)
    monkeypatch.setattr(score_step, "find_files", lambda *_, **__: [file])
    for selection in (ALL, NEW):
        request = asked(run_dir, file.path, None, tmp_path / "out", selection=selection)
        [found] = score_step._found(scoring_job(run_dir, request), request)
        assert found.place == "data-of-no-one.csv"


def test_a_plan_changes_nothing(score: Score, run_dir: Path, tmp_path: Path) -> None:
    planning = partial(plan, run_dir, tmp_path, execution=Execution(workers=1, shard_rows=2))
    put(tmp_path, "a.csv", "good", "bad", "good")
    put(tmp_path, "b.csv", "bad", modified=time.time())
    new = FileSelection(new=True)
    before = tree(tmp_path)
    planned = planning(new)
    assert ([file.name for file in planned.files], planned.shards, planned.done) == (
        ["a.csv"],
        2,
        0,
    )
    assert (planned.repeated, planned.waiting) == (0, 1)
    assert tree(tmp_path) == before
    score(selection=new)
    before = tree(tmp_path)
    assert planning(new).files == []
    assert tree(tmp_path) == before
    (tmp_path / "out").rename(tmp_path / "added")
    (tmp_path / "in" / "b.csv").rename(tmp_path / "b.csv")
    score(selection=ALL)
    (tmp_path / "b.csv").rename(tmp_path / "in" / "b.csv")
    before = tree(tmp_path)
    everything = planning()
    assert ([file.name for file in everything.files], everything.shards, everything.done) == (
        ["a.csv", "b.csv"],
        3,
        2,
    )
    assert tree(tmp_path) == before


def test_a_plan_tells_what_cannot_be_read(
    score: Score, run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planning = partial(plan, run_dir, tmp_path, execution=Execution(workers=1, shard_rows=2))
    put(tmp_path, "a.csv", "good", "bad", "good")
    put(tmp_path, "b.csv").write_text("other\n1\n2\n3\n")
    put(tmp_path, "c.parquet")
    put(tmp_path, "d.csv", "bad")
    original = File.sha256
    monkeypatch.setattr(File, "sha256", lambda f: original(f) if f.name != "d.csv" else denied())
    planned = planning(NEW)
    assert ([file.name for file in planned.files], planned.shards, planned.done) == (
        ["a.csv"],
        2,
        0,
    )
    assert sorted(planned.failed) == ["b.csv", "c.parquet", "d.csv"]
    assert "--text-column must name a column" in planned.failed["b.csv"]
    with pytest.raises(InputError, match="3 of 4 new ones cannot"):
        score()
    with pytest.raises(InputError, match="--new must be given for an --output that was filled"):
        planning()


def denied() -> str:
    raise PermissionError(errno.EACCES, "Permission denied")


def dies_at(patch: pytest.MonkeyPatch, moment: int) -> None:
    """Has the process die when it has changed so many files."""
    left = moment

    def dying(change: Callable[..., None]) -> Callable[..., None]:
        def call(*arguments: Any) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise KeyboardInterrupt
            change(*arguments)

        return call

    for name in ("write", "remove"):
        patch.setattr(Folder, name, dying(getattr(Folder, name)))


@pytest.mark.soak
@pytest.mark.parametrize("is_gone", [False, True])
def test_killed_at_every_moment(
    score: Score, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_gone: bool
) -> None:
    out = tmp_path / "out"
    for moment in count():
        for folder in ("in", "out"):
            shutil.rmtree(tmp_path / folder, ignore_errors=True)
        put(tmp_path, "a.csv", "good")
        put(tmp_path, "b.csv", "moved", "away")
        score()
        # Another content, another name, a file that cannot be read, and one with a row that cannot be scored.
        put(tmp_path, "a.csv", "good", "new", "text", modified=2e9)
        (tmp_path / "in" / "b.csv").rename(tmp_path / "in" / "c.csv")
        put(tmp_path, "b.csv").write_text("other\n1\n")
        put(tmp_path, "d.csv").write_text("text,other\ngood,1\n,1\n")
        with monkeypatch.context() as patch:
            dies_at(patch, moment)
            with pytest.raises((KeyboardInterrupt, InputError)) as end:
                score()
        if end.type is InputError:
            break
        for path in (tmp_path / "in").iterdir():
            if is_gone or path.name == "b.csv":
                path.unlink()
        score()
        ledger = Ledger.of(Folder.at(out, "--output"))
        live = {key for entry in ledger.live.values() for key in entry.shards}
        assert {path.stem for path in out.glob("*.parquet")} == live
        assert {path.stem for path in (out / "tally").iterdir()} == live
        assert {path.stem for path in (out / "rejected").glob("*")} <= live
        assert ledger.live.keys() - {"d.csv"} in ({"a.csv", "b.csv"}, {"a.csv", "c.csv"})
        assert sum(rows(tmp_path).values()) in ((3, 6) if is_gone else (6,))
        assert (out / SUCCESS).exists()
        assert not ledger.left
        assert score().nothing
    assert moment > 20


SCORING = """
import sys
from pathlib import Path
from flows.parameters import Execution, FileSelection, ScoreRequest
from flows.steps.prepare import partition
from flows.steps.score import new as score_new
from flows.steps.score.files import score_files
model, source, output = sys.argv[1:4]
print("ready", flush=True)
score_files(Path(model), ScoreRequest(
    model=model, input=source, output=output, execution=Execution(workers=1, shard_rows=20),
    selection=FileSelection(new=True, settle=0),
))
print("done", flush=True)
"""


def kill_scoring(run_dir: Path, folder: Path, times: int) -> None:
    chosen = random.Random(20_26)
    models = [run_dir, another(run_dir, folder / "another")]
    expected: Counter[str] = Counter()
    for turn in range(times):
        for i in range(5):
            name = f"{turn}/{i}.csv"
            put(folder, name, *(f"good {turn} {i} {row}" for row in range(200)))
            expected += ids(name, 200)
        command = [sys.executable, "-c", SCORING, models[turn % 2], folder / "in", folder / "out"]
        process = subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(chosen.uniform(0, 0.4))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        found = rows(folder)
        assert found <= expected
        assert set(found.values()) <= {1}
    score_files(run_dir, str(folder / "in"), None, folder / "out", execution=ALONE, selection=NEW)
    assert rows(folder) == expected
    output = Folder.at(folder / "out", "--output")
    ledger = Ledger.of(output)
    assert not ledger.left
    listed = [key for run in ledger.done for entry in run.files for key in entry.shards]
    assert sorted(listed) == sorted(path.stem for path in (folder / "out").glob("*.parquet"))
    assert not list((folder / "out").rglob(".*"))
    for key in listed:
        json.loads(output.read(f"{key}.json"))


def test_runs_that_are_killed(run_dir: Path, tmp_path: Path) -> None:
    kill_scoring(run_dir, tmp_path, 2)


@pytest.mark.soak
def test_many_runs_that_are_killed(run_dir: Path, tmp_path: Path) -> None:
    kill_scoring(run_dir, tmp_path, 10)
