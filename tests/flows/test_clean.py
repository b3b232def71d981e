"""What can go goes, and nothing else."""

import json
import os
import time
from pathlib import Path

import pytest

from flows.errors import InputError
from flows.steps.score.clean import removable, remove
from flows.store.locks import locked
from flows.store.registry import Model

DAY = 24 * 3600


def put(path: Path, age: float = 0) -> Path:
    """A file of 10 bytes, so many days old, as its folder is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"0123456789")
    for each in (path, path.parent):
        os.utime(each, (time.time() - age * DAY,) * 2)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Four runs and three versions, of which the first is in production and the second the way back."""
    model = Model(tmp_path / "models" / "reviews")
    for age, name in ((9, "a"), (8, "b"), (7, "c"), (6, "d")):
        put(tmp_path / "runs" / name / "config.json", age)
        if name != "d":
            record = {"digest": name, "run": str(tmp_path / "runs" / name)}
            model.add(tmp_path / "runs" / name, record, leave_out="parts")
    model.promote(2, "first")
    model.promote(1, "by hand")
    return tmp_path


def listed(root: Path, keep: int = 1, days: float = 7) -> dict[str, tuple[str, int]]:
    found = removable(root / "models", root / "runs", root / "cache", keep, days)
    return {str(each.path.relative_to(root)): (each.what, each.bytes) for each in found}


def clean(root: Path, keep: int = 1, days: float = 7) -> list[bool]:
    return [
        remove(each)
        for each in removable(root / "models", root / "runs", root / "cache", keep, days)
    ]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_is_in_production_and_the_way_back_stay(root: Path) -> None:
    model = Model(root / "models" / "reviews")
    assert listed(root) == {"runs/c": ("run", 10)}
    model.promote(3, "better")
    what = "version 2 of reviews, retired"
    sizes = {path.name: path.stat().st_size for path in model.path(2).iterdir()}
    assert listed(root) == {
        "models/reviews/2": (what, sum(sizes.values())), "runs/b": ("run", 10)
    }  # fmt: skip
    assert listed(root, keep=2) == {"runs/b": ("run", 10)}
    assert clean(root) == [True, True]
    assert (model.numbers(), names(root / "runs")) == ([1, 3], ["a", "c", "d"])
    assert model.way_back() == 1
    assert listed(root) == {}


def test_what_is_in_use_stays(root: Path) -> None:
    model = Model(root / "models" / "reviews")
    left = put(root / "runs" / ".x.0123abcd.partial" / "parts" / "a").parent.parent
    with model.in_production():
        model.promote(2, "by hand")
        model.promote(3, "better")
        with locked(left), locked(root / "runs" / "a"):
            assert sorted(listed(root)) == ["models/reviews/1", "runs/a"]
            assert clean(root) == [False, False]
    assert clean(root) == [True, True, True]
    assert not left.exists()


def test_what_dead_jobs_left(root: Path) -> None:
    put(root / "runs" / ".x.0123abcd.partial" / "parts" / "a")
    cache = root / "cache"
    for age, name in ((8, "old"), (6, "young"), (8, "used")):
        put(cache / "checkpoints" / name / "lock", age)
        put(cache / "checkpoints" / name / "checkpoint.safetensors", age)
        put(cache / "downloads" / name / ".lock", age)
        put(cache / "downloads" / name / "x.zip.part", age)
    put(cache / "downloads" / "old" / "y.zip", 100)
    put(cache / "tables" / "imdb" / "train.parquet", 100)
    put(cache / "tables" / ".imdb.0123abcd" / "train.parquet", 100)
    used = cache / "checkpoints" / "used" / "lock", cache / "downloads" / "used" / ".lock"
    with locked(used[0]), locked(used[1]):
        assert listed(root, keep=10) == {
            "runs/.x.0123abcd.partial": ("unfinished run", 10),
            "cache/checkpoints/old": ("checkpoint of a training that does not run", 20),
            "cache/downloads/old/x.zip.part": ("part of a download", 10),
            "cache/tables/.imdb.0123abcd": ("unfinished tables", 10),
        }
        assert all(clean(root, keep=10))
    assert names(cache / "checkpoints") == ["used", "young"]
    assert names(cache / "downloads" / "old") == [".lock", "y.zip"]
    assert names(cache / "tables") == ["imdb"]
    assert names(root / "runs") == ["a", "b", "c", "d"]
    assert sorted(listed(root, keep=10)) == [
        "cache/checkpoints/used",
        "cache/downloads/used/x.zip.part",
    ]


def test_what_is_gone_by_then_is_no_error(root: Path) -> None:
    found = removable(root / "models", root / "runs", root / "cache", 1, 7)
    assert clean(root) == [True]
    assert [remove(each) for each in found] == [False]


def test_nothing_there(tmp_path: Path) -> None:
    assert listed(tmp_path) == {}
    with pytest.raises(InputError, match="--keep must be at least 1, got: 0"):
        listed(tmp_path, keep=0)
    with pytest.raises(InputError, match=r"--days must be at least 0, got: -0\.5"):
        listed(tmp_path, days=-0.5)


def test_the_flow_shows_what_it_has_removed(server: None, root: Path) -> None:
    from prefect.client.orchestration import get_client

    from flows.clean import clean as flow

    places = {"registry": root / "models", "runs": root / "runs", "cache": root / "cache"}
    assert flow(**places, keep=1, dry_run=True) == [root / "runs/c"]
    assert (root / "runs/c").is_dir()
    assert flow(**places, keep=1) == [root / "runs/c"]
    assert names(root / "runs") == ["a", "b", "d"]
    assert flow(**places, keep=1) == []
    with get_client(sync_client=True) as client:
        found = [each for each in client.read_artifacts() if each.key == "clean-removed"]
    row = {"what": "run", "path": str(root / "runs/c"), "bytes": 10}
    assert {each.description: json.loads(each.data) for each in found} == {
        "Would remove 1 folders and files, 10 bytes": [row],
        "Removed 1 folders and files, 10 bytes": [row],
        "Removed 0 folders and files, 0 bytes": [],
    }
