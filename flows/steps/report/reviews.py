"""Measures a trained model on the rows that it has not seen."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from flows.progress import rows_bar
from flows.steps.prepare.reviews import DUPLICATES
from flows.steps.report.beside import NOTHING, Beside
from flows.store.outputs import Record
from flows.store.storage import File, Folder
from flows.tables.readers import open_parquet
from rnnfast.evaluation.checks import USUAL, Check, Limits, check
from rnnfast.evaluation.choice import beaten_by
from rnnfast.evaluation.profiles import Profile, tally_scores
from rnnfast.labels.classes import Classes
from rnnfast.labels.numbers import Numbers
from rnnfast.labels.tags import SEPARATOR, Tags
from rnnfast.labels.target import Target
from rnnfast.models.choices import DeviceChoice
from rnnfast.models.texts import WideAndDeep
from rnnfast.scoring.scorers import SCORING_BATCH, Scorer

EXAMPLES = 6  # of right and of wrong scores each, half of either label


def validate(
    parts: Path, run: Path, profile: Profile, device: DeviceChoice = "cpu"
) -> dict[str, Any]:
    """Measures a model on the validation rows, and saves the profile of its rows with their scores.

    Args:
        parts: folder that `prepare` has filled.
        run: folder with the trained model.
        profile: what the rows are like.
        device: where the model computes.

    Returns:
        Of `metrics.json` what is known then: "validation", None where there are rows of one label alone, and how many
        reviews a second were scored.
    """
    scorer = Scorer.load(run, device=device)
    file = Folder.at(parts, "parts").file("validation.parquet")
    truth, given, seconds = _scored(scorer, file, "validating")
    tally_scores(profile.validation, given, scorer.target)
    profile.save(run)
    rate = {"score_reviews_per_second": len(truth) / seconds}
    return {"validation": _measured(scorer.target, truth, given), "throughput": rate}


def evaluate(
    parts: Path,
    run: Path,
    profile: Profile,
    shards: Sequence[Record],
    beside: Mapping[str, Beside] = NOTHING,
    limits: Limits = USUAL,
) -> tuple[dict[str, Any], list[Check]]:
    """Measures a model by the scores of the test rows, and saves the profile of its rows with these.

    Args:
        parts: folder that `prepare` has filled.
        run: folder with the trained model and the scores.
        profile: what the rows are like.
        shards: of the scores.
        beside: what stands beside it, by name.
        limits: the rules.

    Returns:
        Of `metrics.json` what is known then: "test", "examples", the figures "test_without_duplicates", those of
        test rows whose text is not in the training or validation rows as well, and by what it is "beaten", if it is.
        And the rule that says so.
    """
    scorer = Scorer.load(run)
    target = scorer.target
    ordered = sorted(shards, key=lambda shard: shard.first_row or 0)
    tables = [pq.read_table(run / "scores" / f"{shard.key}.parquet") for shard in ordered]
    given = target.read(pa.concat_tables(tables))
    test = Folder.at(parts, "parts").file("test.parquet")
    truth = target.truth(pq.read_table(parts / "test.parquet", columns=["label"])["label"])
    fresh = ~np.load(parts / DUPLICATES)
    tally_scores(profile.test, given, target)
    profile.save(run)
    others = {name: each.errors for name, each in beside.items()}
    beaten = beaten_by(scorer.config.cell, target.errors(truth, given), others)
    measured = {
        "test": target.figures(truth, given),
        "test_without_duplicates": _measured(target, truth[fresh], given[fresh]),
        "examples": _examples(test, target, truth, given),
        **({"beaten": beaten} if beaten else {}),
    }
    return measured, [check(limits, "beaten", scorer.config.cell, beaten.get("excess", 0.0))]


def measured_beside(parts: Path, run: Path) -> Beside:
    """How a model does on the test rows that stands beside another one."""
    return _beside(parts, Scorer.load(run))


def baselines(parts: Path, run: Path) -> dict[str, Beside]:
    """How well what stands beside every model does on the test rows, by name.

    What knows the labels of the training rows alone gives each row the same; "ngrams" are those in the model, if there
    are.
    """
    scorer = Scorer.load(run)
    target = scorer.target
    train, test = (
        target.truth(pq.read_table(parts / f"{part}.parquet", columns=["label"])["label"])
        for part in ("train", "test")
    )
    errors = target.errors(test, target.floor(train, len(test)))
    found = {target.floor_name: Beside(target.floor_figures(train, test), errors)}
    if isinstance(scorer.model, WideAndDeep):
        found["ngrams"] = _beside(parts, replace(scorer, model=scorer.model.wide))
    return found


def figures_on_test(parts: Path, scorer: Scorer) -> dict[str, Any]:
    """The figures of any model on the test rows of a job, as `evaluate` has them of its own."""
    return _beside(parts, scorer).figures


def _beside(parts: Path, scorer: Scorer) -> Beside:
    file = Folder.at(parts, "parts").file("test.parquet")
    truth, given, _ = _scored(scorer, file, "comparing")
    return Beside(scorer.target.figures(truth, given), scorer.target.errors(truth, given))


def _scored(scorer: Scorer, file: File, title: str) -> tuple[np.ndarray, np.ndarray, float]:
    """The truth of the rows of a file, what the model gives for them, and how many seconds that took."""
    started = perf_counter()
    truth, given = [], []
    with open_parquet(file) as parquet, rows_bar(title, parquet.metadata.num_rows) as advance:
        for batch in parquet.iter_batches(SCORING_BATCH, columns=["text", "label"]):
            truth.append(scorer.target.truth(batch["label"]))
            given.append(scorer.score(batch["text"]))
            advance(len(batch), len(batch))
    return np.concatenate(truth), np.concatenate(given), perf_counter() - started


def _measured(target: Target, truth: np.ndarray, given: np.ndarray) -> dict[str, Any] | None:
    """The metrics, or None where nothing is left to measure, or only one of two labels."""
    is_pair = isinstance(target, Classes) and target.is_pair
    if len(truth) == 0 or (is_pair and len(np.unique(truth)) < 2):
        return None
    return target.figures(truth, given)


def _examples(
    file: File, target: Target, truth: np.ndarray, given: np.ndarray
) -> dict[str, list[dict[str, Any]]]:
    """The clearest hits and the clearest misses, of two classes half of them of either.

    Of numbers those that are farthest off and those that are nearest, else those whose label is surest.
    """
    called = target.called(given)
    if isinstance(target, Classes) and target.is_pair:
        # How far a score is on the right side of one half.
        margins = np.where(truth == 1, given, 1 - given) - 0.5
        chosen = {
            kind: [row for label in (0, 1) for row in _farthest(margins, sign, truth == label)]
            for kind, sign in (("right", 1), ("wrong", -1))
        }
        called[:] = 1
    else:
        chosen = _clearest(target, truth, given)
    texts = _texts(file, sorted(row for rows in chosen.values() for row in rows))
    return {
        kind: [
            {
                "text": texts[row],
                "called": int(called[row]),
                **_said(target, truth[row], given[row], called[row]),
            }
            for row in rows
        ]
        for kind, rows in chosen.items()
    }


def _clearest(target: Target, truth: np.ndarray, given: np.ndarray) -> dict[str, list[int]]:
    """The rows of the clearest hits and misses."""
    errors = target.errors(truth, given)
    if isinstance(target, Numbers):
        order = np.argsort(errors, kind="stable")
        return {"right": order[:EXAMPLES].tolist(), "wrong": order[::-1][:EXAMPLES].tolist()}
    sure = given.max(1)
    return {
        kind: among[np.argsort(-sure[among], kind="stable")][:EXAMPLES].tolist()
        for kind, among in (
            ("right", np.flatnonzero(errors == 0)),
            ("wrong", np.flatnonzero(errors > 0)),
        )
    }


def _said(target: Target, truth: Any, given: Any, called: int) -> dict[str, Any]:
    """What is true of an example, and what the model gives."""
    if isinstance(target, Numbers):
        return {"label": float(truth), "score": float(given)}
    if isinstance(target, Tags):
        names = [name for name, held in zip(target.names, truth, strict=True) if held]
        return {"label": SEPARATOR.join(names) or "none", "score": float(given[called])}
    score = given if np.ndim(given) == 0 else given[called]
    return {"label": int(truth), "score": float(score)}


def _farthest(margins: np.ndarray, sign: int, among: np.ndarray) -> list[int]:
    """The rows of the largest margins of that sign, the largest first.

    Of equal ones the first rows where they are positive, the last ones where they are negative.
    """
    rows = np.flatnonzero(among & (sign * margins > 0))[::sign]
    count = min(EXAMPLES // 2, len(rows))
    sizes = sign * margins[rows]
    if count:
        rows = rows[least := sizes >= np.partition(sizes, -count)[-count]]
        sizes = sizes[least]
    result: list[int] = rows[np.argsort(-sizes, kind="stable")][:count].tolist()
    return result


def _texts(file: File, rows: list[int]) -> dict[int, str]:
    """The texts of a few rows of a file, by their number."""
    found: dict[int, str] = {}
    first = 0
    with open_parquet(file) as parquet:
        for number in range(parquet.num_row_groups):
            end = first + parquet.metadata.row_group(number).num_rows
            inside = [row for row in rows if first <= row < end]
            if inside:
                texts = parquet.read_row_group(number, columns=["text"])["text"]
                found |= {row: texts[row - first].as_py() for row in inside}
            first = end
    return found
