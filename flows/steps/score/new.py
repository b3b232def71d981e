"""Scores what has come into an input since the last run, each content once.

Files are new by their content, so that it matters neither how old they are nor what they are called. One that has
another content than the one that was taken replaces it: what was scored of the other one goes. What was scored by an
earlier model stays as it is. The readings of a file are taken by themselves, since those of the files before it have
been scored: no window reaches from one file into another. A file that cannot be read does not keep the others from
being scored; the run fails afterwards, and so does the next one until it is whole or gone. A gate that is closed
fails the run when its rows are scored and in the ledger: the next run does not score them again, but judges them again,
together with its own, until they are accepted. A run of another model cannot judge them: with a gate it accepts its own
rows, and fails since those are left; without one it accepts all. `_SUCCESS` is there when none is left.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import pyarrow as pa

from flows.errors import GateError, InputError
from flows.executors import Executor
from flows.executors.base import Result
from flows.parameters import ScoreRequest
from flows.progress import rows_bar
from flows.steps.score.incoming import Arrivals, arrivals
from flows.steps.score.job import FilesWork, Judge, Judged, ScoringJob, Summary
from flows.steps.score.reviews import Done
from flows.store.ledger import Entry, Ledger, ScoringRun, with_shards
from flows.store.locks import locked
from flows.store.outputs import Outputs, Record
from flows.store.registry import version_at
from flows.store.storage import File, Folder
from flows.tables.ranges import FileRows
from flows.unfinished import at_end
from flows.wording import counted
from rnnfast.evaluation.drift import Tally
from rnnfast.training.run_folder import CONFIG

logger = logging.getLogger(__name__)


def score_new(
    job: ScoringJob,
    model: str,
    files: list[File],
    request: ScoreRequest,
    judge: Judge,
) -> Summary:
    """Has the shards of new files done, enters them in the ledger, and has what was counted of them judged.

    One run at a time adds to a folder. On this machine another one has nothing to do meanwhile; at an object store
    it is for whoever starts the runs to see to it.

    Args:
        job: what there is to do.
        model: folder of its model, for the ledger.
        files: of the input, old ones and new ones.
        request: how; with its gate rows that an earlier run has added with another model must have been accepted.
        judge: of the rows that this run, and those before it that were not accepted, have added with its model.

    Raises:
        GateError: of `judge`, or there are such rows.
        InputError: the output folder was filled without a ledger, or a new file cannot be read.
    """
    outputs = job.outputs
    with at_end(outputs.end), _alone(outputs.folder) as is_alone:
        if not is_alone:
            return Summary(nothing=f"another run adds to {outputs.folder}")
        started = perf_counter()
        ledger = Ledger.of(outputs.folder)
        require_ledger(outputs, ledger)
        found = arrivals(files, ledger, request.selection.settle)
        _remove_left(outputs, ledger, {entry for _, entry in found.taken})
        arrived = _described(found, len(files))
        logger.info("%s", arrived)
        if not (found.is_any or ledger.left or ledger.unaccepted):
            if ledger.done:
                # The last run may have been killed before it said so, or the files gone that it could not read.
                outputs.succeed()
            return Summary(nothing=arrived)
        # First, so that an argument that it refuses leaves nothing behind.
        executor = request.execution.executor(job.memory)
        outputs.begin()
        unaccepted = ledger.unaccepted
        run = _begun(model, found, outputs, ledger)
        summary = Summary(files=len(run.files))
        entered = _enter(job, run, found, executor, ledger, summary)
        seconds = perf_counter() - started
        # Before files that failed are: these fail again in the next run, these rows are not scored again.
        held = _held(outputs, unaccepted) if request.gate else []
        tally, rejected, judged = _counted(outputs, [*unaccepted, entered.run])
        if judged:
            rows = Judged(
                summary, entered.records, seconds, tally, rejected, judged, entered.failed
            )
            judge(rows)
        if entered.run.has_entries or len(held) < len(unaccepted):
            accepted = replace(entered.run, accepted=True, held=tuple(each.id for each in held))
            ledger.write(accepted)
        if held:
            raise GateError(sorted({_left_by(each, model) for each in held}))
        if entered.failed:
            summary.log_account()
            raise _unreadable(entered.failed, len(run.files) + len(found.failed))
        outputs.succeed()
        summary.seconds = perf_counter() - started
        summary.nothing = "" if run.files else arrived
        return summary


@dataclass(frozen=True)
class _Entered:
    """A run that is done, as the ledger has it.

    Attributes:
        run: its entry.
        records: of the shards of those files that could be read.
        failed: why the others could not be read, by their name.
    """

    run: ScoringRun
    records: list[Record]
    failed: dict[str, str]


def _enter(
    job: ScoringJob,
    run: ScoringRun,
    found: Arrivals,
    executor: Executor,
    ledger: Ledger,
    summary: Summary,
) -> _Entered:
    """Has the new files scored, and enters the run in the ledger."""
    records, failed = _scored(job, [file for file, _ in found.taken], executor, summary)
    failed |= found.failed
    own = [record for record in records if record.input not in failed]
    done = _done(run, own, failed, ledger)
    # Killed at any moment: no shard goes before it is written that it does not count, and none is left in a
    # folder whose ledger has no run, which would be taken for one that was filled without it.
    if done.has_entries:
        ledger.write(done)
    _remove_stale(job.outputs, ledger, done, records)
    if not done.has_entries:
        ledger.forget([run])
    return _Entered(done, own, failed)


def _unreadable(failed: dict[str, str], count: int) -> InputError:
    """Of so many new files some cannot be read."""
    name, reason = next(iter(failed.items()))
    return InputError(
        f"--input must hold files that can be read, {len(failed)} of {count} new ones cannot, "
        f"the others are scored; {name}: {reason}"
    )


@contextmanager
def _alone(folder: Folder) -> Iterator[bool]:
    """Makes the folder, and yields whether no other run of this machine adds to it while the block lasts."""
    folder.make()
    if not folder.is_local:
        yield True
        return
    with locked(Path(folder.path), wait=False) as free:
        yield free


def _begun(model: str, found: Arrivals, outputs: Outputs, ledger: Ledger) -> ScoringRun:
    """A run on what was found, in the ledger, in place of those that were killed: nothing else of them is left."""
    ledger.folder.sweep()
    ledger.merge()
    run = ScoringRun(
        ledger.next_id(),
        datetime.now(UTC).isoformat(timespec="seconds"),
        model,
        outputs.settings,
        files=tuple(entry for _, entry in found.taken),
        repeated=tuple(found.repeated),
        replaced=tuple(found.replaced),
    )
    ledger.write(run)
    ledger.forget(ledger.left)
    return run


def _scored(
    job: ScoringJob, files: list[File], executor: Executor, summary: Summary
) -> tuple[list[Record], dict[str, str]]:
    """The records of all shards, and the files that cannot be read, by name, with the reason."""
    records: list[Record] = []
    failed: dict[str, str] = {}
    with job.apart() as work, rows_bar("scoring", sum(f.size for f in files)) as advance:
        for done in executor.run(_Sparing(work), _planned(job, files)):
            if isinstance(done, Failed):
                failed.setdefault(done.name, done.reason)
            else:
                records.append(summary.count(done))
                advance(done.record.input_rows, done.size)
    return records, failed


def _done(
    run: ScoringRun, records: list[Record], failed: dict[str, str], ledger: Ledger
) -> ScoringRun:
    """A run as it has ended: without the files that failed, which count as they did before.

    But not where what such a file was has been taken under another name, as of a file that was moved out of the way.
    """
    done = [entry for entry in run.files if entry.name not in failed]
    taken = {entry.sha256 for entry in done}
    shards: dict[str, list[str]] = {}
    for record in records:
        shards.setdefault(record.input, []).append(record.key)
    return replace(
        run,
        done=True,
        files=with_shards(done, shards),
        replaced=tuple(
            name for name in run.replaced if name not in failed or ledger.live[name].sha256 in taken
        ),
        rows=sum(record.rows for record in records),
        rejected=sum(record.rejected for record in records),
    )


def _counted(outputs: Outputs, runs: list[ScoringRun]) -> tuple[Tally, int, tuple[str, ...]]:
    """What was counted of the rows that runs have added with the present model, and how many were rejected.

    And the ids of these runs, without those that took no file.
    """
    own = [run for run in runs if _digest(run.settings) == _digest(outputs.settings)]
    # Files whose content changes may have the same first shards; those that went with the old content are not found.
    keys = {key for run in own for entry in run.files for key in entry.shards}
    found = [each for key in sorted(keys) if (each := outputs.find(key))]
    tally = Tally()
    for _, of_shard in found:
        tally.include(of_shard)
    rejected = sum(record.rejected for record, _ in found)
    return tally, rejected, tuple(run.id for run in own if run.files)


def _held(outputs: Outputs, runs: list[ScoringRun]) -> list[ScoringRun]:
    """Those of the runs whose rows are of another model, as far as they are still there."""
    others = [run for run in runs if _digest(run.settings) != _digest(outputs.settings)]
    there = outputs.keys() if others else set()
    return [run for run in others if any(not there.isdisjoint(e.shards) for e in run.files)]


def _digest(settings: Any) -> str:
    """That of the model, of all that decides the rows; empty where nobody put it down."""
    return str((settings or {}).get("model", ""))


def _left_by(run: ScoringRun, model: str) -> str:
    """That the rows of a run wait for its model, and where that is: not where another one has taken its place."""
    folder = Path(run.model)
    digest = _digest(run.settings) or "unknown"
    if run.model == model or not (folder / CONFIG).is_file():
        return (
            f"rows are not accepted whose model is no longer in {folder}, its digest was {digest}"
        )
    version = version_at(folder)
    name = f"version {version[1]} of {version[0]}" if version else f"the model of {folder}"
    return f"rows of {name} are not accepted, a run with --model {folder} judges them"


def _remove_left(outputs: Outputs, ledger: Ledger, taken: set[Entry]) -> None:
    """Removes the shards that killed runs left, or did not come to remove; but those that this run would come to."""
    left = ledger.left
    if left and all(
        run.settings == outputs.settings and taken.issuperset(run.files) for run in left
    ):
        return
    known = {key for entry in ledger.live.values() for key in entry.shards}
    for key in sorted(outputs.keys() - known):
        outputs.remove(key)


def _remove_stale(outputs: Outputs, ledger: Ledger, run: ScoringRun, records: list[Record]) -> None:
    """Removes the shards of content that was replaced, and of files that failed."""
    kept = {entry.name: entry for entry in run.files}
    kept |= {name: e for name, e in ledger.live.items() if name not in run.replaced}
    stale = {record.key for record in records}
    stale |= {key for name in run.replaced for key in ledger.live[name].shards}
    for key in sorted(stale - {key for entry in kept.values() for key in entry.shards}):
        outputs.remove(key)


def _described(found: Arrivals, count: int) -> str:
    """What was found, in words."""
    parts = [
        f"{len(found.taken)} new" if found.taken else "nothing new",
        *([f"{len(found.replaced)} changed"] if found.replaced else []),
        *([f"{len(found.repeated)} seen again"] if found.repeated else []),
        *([f"{len(found.waiting)} that may still be written to"] if found.waiting else []),
        *([f"{len(found.failed)} that cannot be read"] if found.failed else []),
    ]
    return f"{', '.join(parts)}; {counted(count, 'file')} in the input"


def progress_new(job: ScoringJob, found: Arrivals) -> tuple[list[File], int, int, dict[str, str]]:
    """The files that a run on what was found would take, their shards, how many are done, and the files that fail.

    A file whose content is not what it should be may turn out to fail only when it is scored.
    """
    files: list[File] = []
    done: list[bool] = []
    failed = dict(found.failed)
    with job.apart() as work:
        for file, entry in found.taken:
            shards = [_sparing(work.find, item) for item in _planned(job, [file])]
            reasons = [each.reason for each in shards if isinstance(each, Failed)]
            if reasons:
                failed[entry.name] = reasons[0]
            else:
                files.append(file)
                done += [each is not None for each in shards]
    return files, len(done), sum(done), failed


def require_ledger(outputs: Outputs, ledger: Ledger) -> None:
    """Raises InputError where the folder has shards that no ledger knows of."""
    if not ledger.files and outputs.keys():
        raise InputError(
            f"--output must be new, or have been filled with --new, {outputs.folder} was filled without it"
        )


@dataclass(frozen=True)
class Failed:
    """A file that cannot be read, and why."""

    name: str
    reason: str


def _planned(job: ScoringJob, files: list[File]) -> Iterator[FileRows | File | Failed]:
    """The shards of files, and those of them that have none since they cannot be read."""
    for file in files:
        try:
            yield from job.shards_of(file)
        except (InputError, OSError, pa.ArrowException) as error:
            yield Failed(file.place, str(error))


@dataclass(frozen=True)
class _Sparing:
    """Work that goes on where a file cannot be read, so that it keeps no other one from being scored."""

    work: FilesWork

    def start(self, threads: int) -> Callable[[FileRows | File | Failed], Done | Failed]:
        return partial(_sparing, self.work.start(threads))


def _sparing(do: Callable[[Any], Result], item: FileRows | File | Failed) -> Result | Failed:
    """Does a shard, unless its file cannot be read."""
    if isinstance(item, Failed):
        return item
    try:
        return do(item)
    except (InputError, OSError, pa.ArrowException) as error:
        # The system tells errors of the output, or of a disk that is full, by the same types.
        file = item.file if isinstance(item, FileRows) else item
        if isinstance(error, OSError) and _can_be_read(file):
            raise
        return Failed(file.place, str(error))


def _can_be_read(file: File) -> bool:
    try:
        file.sha256()
    except OSError:
        return False
    return True
