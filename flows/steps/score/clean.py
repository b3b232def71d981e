"""Removes what nobody needs any more: old runs and versions, and what jobs have left that were killed.

A job that runs holds the locks of its folders, which the system takes away with it, so that what is locked is in use
and what is not is nobody's.
"""

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from flows.errors import InputError
from flows.steps.report.publish import partial_runs, remove_run, sweep_run
from flows.store.locks import locked
from flows.store.registry import Model, models
from flows.wording import size
from rnnfast.training.run_folder import CONFIG

DAY_SECONDS = 24 * 3600  # seconds


@dataclass(frozen=True)
class Removable:
    """Something that can go.

    Attributes:
        path: where it is.
        what: it is, for people to read.
        bytes: that it takes.
        remove: removes it where that is still right, and returns whether it did.
    """

    path: Path
    what: str
    bytes: int
    remove: Callable[[], bool]


def clean_up(
    registry: Path, runs: Path, cache: Path, keep: int, days: float, dry_run: bool
) -> list[Removable]:
    """Removes what can go, and returns what went, or would have; see `removable`."""
    found = removable(registry, runs, cache, keep, days)
    return found if dry_run else [each for each in found if remove(each)]


def summed_up(gone: Sequence[Removable], dry_run: bool) -> str:
    """What was removed, or would be, in a line."""
    does = "Would remove" if dry_run else "Removed"
    return f"{does} {len(gone):,} folders and files, {size(sum(each.bytes for each in gone))}"


def removable(registry: Path, runs: Path, cache: Path, keep: int, days: float) -> list[Removable]:
    """What can go.

    Args:
        registry: folder of the registry, which need not exist. Of each model the last versions stay, the one in
            production, the one that a rollback leads to, and what is being scored with.
        runs: folder of runs, which need not exist. The last ones stay, and those that the versions in production and
            those that a rollback leads to were made of; of unfinished ones those that a job is at.
        cache: folder of the cache: checkpoints and parts of downloads, of jobs that do not run, and unfinished tables.
        keep: how many are the last versions or runs.
        days: age of what a job that was killed could go on with.

    Raises:
        InputError: `keep` is less than 1, or `days` less than 0.
    """
    if keep < 1:
        raise InputError(f"--keep must be at least 1, got: {keep}")
    if not days >= 0:
        raise InputError(f"--days must be at least 0, got: {days}")
    found = models(registry) if registry.is_dir() else []
    return [
        *(each for model in found for each in _versions(model, keep)),
        *_runs(runs, keep, {path for model in found for path in _sources(model)}),
        *_left_in_cache(cache, days * DAY_SECONDS),
    ]


def remove(each: Removable) -> bool:
    """Removes it, unless it is in use or gone by now; returns whether it did."""
    try:
        return each.remove()
    except FileNotFoundError:
        return False


def _versions(model: Model, keep: int) -> Iterator[Removable]:
    kept = model.kept(keep)
    for number in model.numbers():
        if number not in kept:
            path = model.path(number)
            what = f"version {number} of {model.name}, {model.standing().status(number)}"
            yield Removable(path, what, _bytes(path), partial(model.remove, number, keep))


def _sources(model: Model) -> Iterator[Path]:
    """The runs that the version in production and the one to go back to were made of."""
    for number in (model.standing().production, model.way_back()):
        if number is not None:
            yield Path(model.record(number)["run"])


def _runs(folder: Path, keep: int, needed: set[Path]) -> Iterator[Removable]:
    if not folder.is_dir():
        return
    whole = [path for path in folder.iterdir() if (path / CONFIG).is_file() and path.name[0] != "."]
    whole.sort(key=lambda path: (path / CONFIG).stat().st_mtime)
    for path in whole[:-keep]:
        if path.absolute() not in needed:
            yield Removable(path, "run", _bytes(path), partial(_remove_run, path))
    for path in partial_runs(folder):
        if not _in_use(path):
            yield Removable(path, "unfinished run", _bytes(path), partial(sweep_run, path))


def _left_in_cache(cache: Path, age: float) -> Iterator[Removable]:
    for path in sorted(cache.glob("checkpoints/*")):
        if _is_old(path, age) and not _in_use(path / "lock"):
            what = "checkpoint of a training that does not run"
            yield Removable(path, what, _bytes(path), partial(_remove_tree, path, "lock"))
    for path in sorted(cache.glob("downloads/*/*.part")):
        if _is_old(path, age) and not _in_use(path.parent / ".lock"):
            what = "part of a download"
            yield Removable(path, what, _bytes(path), partial(_remove_file, path))
    for path in sorted(cache.glob("tables/.*")):
        if _is_old(path, max(age, DAY_SECONDS)):
            yield Removable(path, "unfinished tables", _bytes(path), partial(_remove_tree, path))


def _remove_run(path: Path) -> bool:
    with locked(path, wait=False, must=False) as free:
        if free:
            remove_run(path)
        return free


def _remove_tree(path: Path, lock: str = "") -> bool:
    with locked(path / lock, wait=False, must=False) as free:
        if free:
            shutil.rmtree(path)
        return free


def _remove_file(path: Path) -> bool:
    with locked(path.parent / ".lock", wait=False, must=False) as free:
        if free:
            path.unlink()
        return free


def _in_use(path: Path) -> bool:
    try:
        with locked(path, wait=False, must=False) as free:
            return not free
    except FileNotFoundError:
        return False


def _is_old(path: Path, age: float) -> bool:
    newest = max((each.stat().st_mtime for each in [path, *path.rglob("*")]), default=0.0)
    return time.time() - newest > age


def _bytes(path: Path) -> int:
    """Of a file, or of all files in a folder."""
    files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    return sum(each.stat().st_size for each in files)
