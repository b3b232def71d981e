"""Scores files of reviews or of readings with the model of a run: plans the shards, has them done, and lists them."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

from flows.apart import require_apart, shard_files
from flows.errors import GateError, InputError
from flows.parameters import Execution, FileSelection, ScoreRequest
from flows.progress import rows_bar
from flows.steps.prepare.checks import report_checks
from flows.steps.score.check_drift import check_drift
from flows.steps.score.incoming import arrivals, between
from flows.steps.score.job import Judge, Judged, ScoringJob, Summary, scoring_job
from flows.steps.score.new import progress_new, require_ledger, score_new
from flows.store.ledger import LEDGER, Ledger
from flows.store.outputs import MANIFEST
from flows.store.storage import File, base_folder, changed, common_folder, redacted
from flows.tables.inputs import find_files
from flows.unfinished import at_end
from rnnfast.evaluation.checks import worst
from rnnfast.evaluation.drift import Tally

EVERYTHING = FileSelection()

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """What a run would do.

    Attributes:
        files: those that it would take.
        shards: of all of them.
        done: how many of these are done; None where only the work itself tells.
        repeated: how many files it would leave since their content is there already.
        waiting: how many that may still be written to.
        failed: by name those that cannot be read, with the reason, where that keeps no other one from being scored.
    """

    files: list[File]
    shards: int
    done: int | None
    repeated: int = 0
    waiting: int = 0
    failed: Mapping[str, str] = field(default_factory=dict)


def score_files(
    model: Path,
    request: ScoreRequest,
    *,
    report: bool = True,
    on_judged: Callable[[Summary], object] | None = None,
) -> Summary:
    """Scores the files that an address names, all or those that are selected, and holds their rows against training.

    A closed gate ends the job after the scores are written: how the rows have moved is known only when all were
    read, and each score is right for its row. But `_SUCCESS` is not there then, so that nobody who waits for it
    takes them up unseen.

    Args:
        model: folder of the run that the request names.
        request: which files, and how. The output folder gets one Parquet file a shard, with the columns of
            `review_scores`, FORECASTS or `window_labels`, and what else `flows.store.outputs` says, or
            `flows.store.ledger` where what is new is added.
        report: whether a page tells of it; the scores that a training leaves have a place in its own report.
        on_judged: called with what was done as soon as the rows are judged, before anything of it ends the job.

    Raises:
        GateError: a rule fails, and the request has a gate; or what is new is added with it, and there are rows of
            another model that it has kept back.
        InputError: `model` is not the folder of a run, or there is no such file or column, or no
            row that can be scored; of new files one that cannot be read, when all others are done.
    """
    job = scoring_job(model, request)

    def judge(judged: Judged) -> None:
        started = perf_counter()
        counted, summary = (judged.tally, judged.rejected), judged.summary
        checks, drift = check_drift(
            model, job.scorer, *counted, request.limits, job.outputs, judged.runs
        )
        if report:
            # Here, since it draws: the first shard does not wait for the libraries of that.
            from flows.steps.report.scores import report_scores

            seconds = {"shards": judged.seconds, "checks": perf_counter() - started}
            summary.pictures = report_scores(model, job, judged, drift, seconds, request)
        summary.checks, summary.drift, summary.seconds = worst(checks), drift, judged.seconds
        if on_judged:
            on_judged(summary)
        try:
            report_checks(checks, request.gate)
        except GateError:
            summary.log_account()
            raise

    files = _found(job, request)
    if request.selection.new:
        return score_new(job, str(model), files, request, judge)
    _require_no_ledger(job)
    return _run(job, files, request.execution, judge)


def plan_files(model: Path, request: ScoreRequest) -> Plan:
    """What `score_files` would do; reads the files, and writes nothing."""
    job = scoring_job(model, request)
    files = _found(job, request)
    if not request.selection.new:
        _require_no_ledger(job)
        return Plan(files, *job.progress(files))
    ledger = Ledger.of(job.outputs.folder)
    require_ledger(job.outputs, ledger)
    found = arrivals(files, ledger, request.selection.settle)
    new, shards, done, failed = progress_new(job, found)
    return Plan(new, shards, done, len(found.repeated), len(found.waiting), failed)


def _require_no_ledger(job: ScoringJob) -> None:
    """Raises InputError where the output folder is one to which runs add."""
    if (job.outputs.folder / LEDGER).sizes():
        raise InputError(
            f"--new must be given for an --output that was filled by it, {job.outputs.folder} was"
        )


def _found(job: ScoringJob, request: ScoreRequest) -> list[File]:
    """The files that are selected, with their places below the folder that all are in.

    Where not all files are taken at once, that folder must not depend on which there are.
    """
    pattern, selection = request.input, request.selection
    files = find_files(pattern, "--input", job.kinds, job.options, may_be_none=selection.new)
    require_apart("--input", pattern, files, job.outputs.folder, shard_files(files))
    if selection == EVERYTHING:
        folder = common_folder(files)
        return [file.below(folder) for file in files]
    folder = base_folder(pattern, "--input")
    chosen = between([file.below(folder) for file in files], selection)
    if not chosen and not selection.new:
        raise InputError(
            f"--since and --until must leave a file of {redacted(pattern)!r}, none of its {len(files)} is of a day "
            f"from {selection.since} on and before {selection.until}"
        )
    return chosen


def _require_unchanged(files: Sequence[File]) -> None:
    """Raises InputError where a file is no longer what was planned: rows may be missing, or be halves."""
    if found := changed(files):
        more = f", and {len(found) - 1:,} more" if len(found) > 1 else ""
        raise InputError(
            f"--input must stay as it is while it is read, {found[0]} has changed{more}; run it again, "
            "which keeps the scores of all rows that are the same"
        )


def _run(job: ScoringJob, files: list[File], execution: Execution, judge: Judge) -> Summary:
    """Has all shards of the files done, lists them, and has what was counted of them judged."""
    started = perf_counter()
    outputs, tally = job.outputs, Tally()
    executor = execution.executor(job.memory)
    summary = Summary(files=len(files))
    with at_end(outputs.end):
        outputs.begin()
        with job.together(files, executor) as (work, shards):
            with rows_bar("scoring", sum(file.size for file in files)) as advance:
                for done in executor.run(work, shards):
                    record = summary.count(done)
                    tally.include(done.tally)
                    advance(record.input_rows, done.size)
            if summary.rows == 0:
                found = f"{summary.rejected} rejected ones" if summary.rejected else "no row"
                raise InputError(f"--input must hold a row that can be scored, it has {found}")
            _require_unchanged(files)
            others = outputs.finish(summary.records, summary.account.as_json())
    if others:
        logger.warning(
            "%s has %d shards of other inputs or models too; %s lists those of this run",
            outputs.folder,
            others,
            MANIFEST,
        )
    seconds = perf_counter() - started
    judge(Judged(summary, summary.records, seconds, tally, summary.rejected))
    outputs.succeed()
    summary.seconds = perf_counter() - started
    return summary
