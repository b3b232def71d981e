import json
from pathlib import Path

import pytest

from flows.errors import InputError
from flows.steps.report.publish import (
    PARTS_FOLDER,
    check_output,
    finish,
    new_run,
    partial_runs,
    publish,
    remove_run,
    replaced,
    sweep_run,
)
from flows.store.locks import locked

METRICS = {"test": {"rows": 2, "accuracy": 0.5, "confusion_matrix": [[1, 0], [1, 0]]}}


def build(run: Path, mark: str = "new") -> None:
    (run / "config.json").write_text(json.dumps({"labels": ["neg", "pos"], "mark": mark}))
    (run / PARTS_FOLDER / "train.parquet").write_bytes(b"rows")


def test_a_run_appears_whole(tmp_path: Path) -> None:
    output = tmp_path / "new folder" / "run"
    with new_run(output, overwrite=False) as run:
        build(run)
        assert not output.exists()
        assert finish(run, METRICS, {"train": 1.5, "total": 2.0})
        assert not output.exists()
        assert publish(run, output, overwrite=False) == output
    assert sorted(path.name for path in output.iterdir()) == [
        "config.json", "metrics.json", "report.html"
    ]  # fmt: skip
    metrics = json.loads((output / "metrics.json").read_text())
    assert metrics == METRICS | {"seconds": {"train": 1.5, "total": 2.0}}
    assert list(output.parent.iterdir()) == [output]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_run_that_fails_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    def fail() -> None:
        with new_run(tmp_path / "run", overwrite=False) as run:
            build(run)
            raise error

    with pytest.raises(error):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder_may_be_filled(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with new_run(tmp_path / "run", overwrite=False) as run:
        build(run)
        finish(run, METRICS, {})
        publish(run, tmp_path / "run", overwrite=False)
    assert (tmp_path / "run" / "report.html").exists()


def test_what_is_there_is_replaced_only_on_request(tmp_path: Path) -> None:
    output = tmp_path / "run"
    for mark, overwrite in (("old", False), ("new", True)):
        with new_run(output, overwrite) as run:
            build(run, mark)
            finish(run, METRICS, {})
            publish(run, output, overwrite)
    assert json.loads((output / "config.json").read_text())["mark"] == "new"
    assert list(tmp_path.iterdir()) == [output]
    with pytest.raises(InputError, match="--output must be new or an empty folder"):
        check_output(output, overwrite=False)


def test_a_run_is_put_back_where_the_new_one_does_not_come(tmp_path: Path) -> None:
    output = tmp_path / "run"
    with new_run(output, overwrite=False) as run:
        build(run, "old")
        finish(run, METRICS, {})
        publish(run, output, overwrite=False)

    def move_away() -> None:
        with new_run(output, overwrite=True) as run:
            build(run)
            with replaced(output):
                assert not output.exists()
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        move_away()
    assert json.loads((output / "config.json").read_text())["mark"] == "old"
    assert list(tmp_path.iterdir()) == [output]


def test_only_runs_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").touch()
    for path in (tmp_path, tmp_path / "photo.jpg"):
        with pytest.raises(InputError, match="--overwrite only replaces the folder of a run"):
            check_output(path, overwrite=True)


def left_by_a_killed_job(output: Path, *, whole: bool) -> Path:
    """A hidden folder such as `new_run` or `replaced` makes, which nobody is at."""
    left = output.with_name(f".{output.name}.0123abcd.partial")
    (left / PARTS_FOLDER).mkdir(parents=True)
    build(left, "old")
    if whole:
        (left / "report.html").touch()
        (left / PARTS_FOLDER / "train.parquet").unlink()
        (left / PARTS_FOLDER).rmdir()
    return left


@pytest.mark.parametrize("name", ["run", "run.v2[1]"])
def test_what_a_killed_job_left_goes_with_the_next_run(tmp_path: Path, name: str) -> None:
    output = tmp_path / name
    left = left_by_a_killed_job(output, whole=False)
    other = left_by_a_killed_job(tmp_path / "another", whole=False)
    with new_run(output, overwrite=False) as run, new_run(output, overwrite=False) as beside:
        assert {run, beside} < set(tmp_path.iterdir())
        assert not left.exists()
    assert list(tmp_path.iterdir()) == [other]


def test_a_run_that_was_moved_away_by_a_killed_job_comes_back(tmp_path: Path) -> None:
    output = tmp_path / "run"
    left = left_by_a_killed_job(output, whole=True)
    with pytest.raises(InputError, match="--output must be new"), new_run(output, overwrite=False):
        pass
    assert json.loads((output / "config.json").read_text())["mark"] == "old"
    assert list(tmp_path.iterdir()) == [output]
    left = left_by_a_killed_job(output, whole=True)
    assert sweep_run(left)
    assert list(tmp_path.iterdir()) == [output]
    remove_run(output)
    assert list(tmp_path.iterdir()) == []


def test_what_a_job_is_at_stays(tmp_path: Path) -> None:
    left = left_by_a_killed_job(tmp_path / "run", whole=False)
    with locked(left):
        assert partial_runs(tmp_path) == [left]
        assert not sweep_run(left)
    assert sweep_run(left)
    assert partial_runs(tmp_path) == []
