"""Writes the page that tells of a scoring run, beside its scores.

It is there before the gate is closed and before `_SUCCESS`: who waits for that finds the page, and where a gate is
closed the page says why. A run that is killed before has left none, or that of the run before; the next run, which
finds the shards done, writes it.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flows import REPORT
from flows.parameters import ScoreRequest
from flows.steps.score.job import Judged, ScoringJob
from flows.store.json_files import read_json
from flows.store.ledger import Ledger
from flows.store.outputs import REJECTED, Outputs, Record
from flows.store.registry import now, version_at
from flows.store.storage import redacted
from rnnfast.evaluation.drift import Tally
from rnnfast.evaluation.profiles import Profile
from rnnfast.labels.numbers import Numbers
from rnnfast.reports.pages import Picture
from rnnfast.reports.scoring import Scoring, scoring_page
from rnnfast.reports.training import parameters
from rnnfast.scoring.scorers import Scorer, SensorScorer
from rnnfast.training.run_folder import CONFIG

MOST_REASONS = 20  # of rejection that are told apart
LAST_RUNS = 10  # that are listed, of a folder to which runs add


def report_scores(
    model: Path,
    job: ScoringJob,
    judged: Judged,
    drift: Mapping[str, Any],
    seconds: dict[str, float],
    request: ScoreRequest,
) -> tuple[Picture, ...]:
    """Writes `report.html` into the output folder, and returns its plots.

    Args:
        model: folder of its run.
        job: what was done.
        judged: the rows, and what the run did.
        drift: how far the rows are from those of training, as in `drift.json`.
        seconds: that each stage took.
        request: what the run was given.
    """
    outputs, summary = job.outputs, judged.summary
    config = read_json(model / CONFIG)
    name, version = version_at(model) or (model.name, None)
    profile = Profile.load(model) or Profile(Tally(), Tally(), Tally())
    noun = "reviews" if isinstance(job.scorer, Scorer) else "readings"
    rate = {f"{noun}_per_second": summary.read / seconds["shards"]} if summary.read else {}
    about = {"name": name, "version": version, "digest": job.scorer.digest, "folder": str(model)}
    scoring = Scoring(
        run={
            "at": now(),
            "files": summary.files,
            "shards": summary.shards,
            "skipped": summary.skipped,
            "rows": sum(record.rows for record in judged.records),
            "rejected": sum(record.rejected for record in judged.records),
            "input_rows": sum(record.input_rows for record in judged.records),
        },
        model=about,
        config=config,
        tally=judged.tally,
        reference=profile.reference,
        scaler=_scaler(job.scorer),
        drift=drift,
        seconds=seconds | {"total": sum(seconds.values())},
        throughput=rate,
        parameters={
            "Scored with": about,
            **_given(request),
            "What decides the rows": {k: v for k, v in outputs.settings.items() if k != "model"},
            **{name: part for name, part in parameters(config).items() if part},
        },
        reasons=_reasons(outputs, judged.records),
        failed=judged.failed,
        added=_added(outputs) if judged.runs else None,
        closed=request.gate and drift["status"] == "failed",
    )
    page = scoring_page(scoring)
    outputs.folder.write(REPORT, page.content)
    return page.pictures


def _given(request: ScoreRequest) -> dict[str, dict[str, Any]]:
    """What a run was given, by heading, without what must not be read by others."""
    rules = {
        name: ", ".join("off" if bound is None else f"{bound:g}" for bound in bounds)
        for name, bounds in request.limits
    }
    return {
        "Input": {"input": redacted(request.input)} | request.selection.model_dump(mode="json"),
        "Execution": request.execution.model_dump(mode="json"),
        "Limits": {"gate": request.gate} | rules,
    }


def _scaler(scorer: Scorer | SensorScorer) -> dict[str, tuple[float, float]]:
    """Mean and standard deviation in training, of each channel that is forecast, or of labels that are numbers."""
    target = scorer.target
    if target is not None:
        if isinstance(target, Numbers):
            return {"number": (target.mean, target.scale)}
        return {}
    assert isinstance(scorer, SensorScorer)
    model, series = scorer.model, scorer.series
    return {
        name: (float(model.mean[place]), float(model.scale[place]))
        for name, place in zip(series.targets, series.target_places, strict=True)
    }


def _reasons(outputs: Outputs, records: Sequence[Record]) -> list[dict[str, Any]]:
    """Why rows were rejected, the most frequent reason first, each with the place of the first such row."""
    counts: Counter[str] = Counter()
    first: dict[str, str] = {}
    for record in records:
        if not record.rejected:
            continue
        content = (outputs.folder / REJECTED).read(f"{record.key}.jsonl")
        for row in map(json.loads, content.splitlines()):
            reason = row["reason"].partition(", got ")[
                0
            ]  # the value that it quotes is of that row alone
            if reason not in counts and len(counts) >= MOST_REASONS:
                reason = "another reason"
            counts[reason] += 1
            first.setdefault(reason, f"{row['input']}, row {row['row']}")
    return [
        {"reason": reason, "rows": count, "first": first[reason]}
        for reason, count in counts.most_common()
    ]


def _added(outputs: Outputs) -> dict[str, Any]:
    """What there is in a folder to which runs add."""
    ledger = Ledger.of(outputs.folder)
    runs = ledger.done
    return {
        "files": len(ledger.live),
        "shards": len({key for entry in ledger.live.values() for key in entry.shards}),
        "rows": sum(run.rows for run in runs),
        "replaced": any(run.replaced for run in runs),
        "count": len(runs),
        "last": [
            {
                "id": run.id.partition("-")[0].lstrip("0"),
                "at": run.at,
                "files": len(run.files),
                "rows": run.rows,
                "rejected": run.rejected,
                "model": run.model,
            }
            for run in reversed(runs[-LAST_RUNS:])
        ],
    }
