"""Holds rows that were scored against those of training: the rules for the data, and how far each feature has moved.

What was counted of each shard adds up, whoever counted it; so the outcome depends on the rows alone.
"""

import json
import logging
from pathlib import Path
from typing import Any

from flows.steps.prepare.checks import check_forecast, check_readings, check_texts
from flows.store.outputs import DRIFT, Outputs
from rnnfast.evaluation.checks import Check, Limits, as_json, check, worst
from rnnfast.evaluation.drift import Drift, Tally, drift
from rnnfast.evaluation.profiles import ERROR_OF, LEVEL_LESS, Profile
from rnnfast.scoring.scorers import Scorer, SensorScorer

NINE_OF_TEN = 0.9
FEW_ROWS = 50  # of training or validation; fewer are too few to fail other rows by
_SLACK = 1.5  # times what the training part itself has, from which on an index is no chance

logger = logging.getLogger(__name__)


def check_drift(
    run_dir: Path,
    scorer: Scorer | SensorScorer,
    tally: Tally,
    rejected: int,
    limits: Limits,
    outputs: Outputs,
    runs: tuple[str, ...] = (),
) -> tuple[list[Check], dict[str, Any]]:
    """Writes `drift.json` beside the scores.

    Args:
        run_dir: folder of the run, with its profile.
        scorer: its model.
        tally: of all rows that were scored.
        rejected: how many could not be.
        limits: the rules.
        outputs: where the scores are.
        runs: whose rows they are, where runs add to a folder; else none.

    Returns:
        The checks, and the content of `drift.json`. A feature that was counted on fewer than FEW_ROWS rows before can
        have moved by chance alone, so it warns at most. Without a profile, in the run of an earlier version, there are
        no checks of drift.
    """
    of = "the scored rows"
    if isinstance(scorer, Scorer):
        rows = tally.counts["rows"] + rejected
        found = check_texts(limits, tally, of)
    else:
        rows = tally.counts["readings"] + rejected
        found = check_readings(limits, tally, scorer.series.own, of)
        if scorer.model.config.task == "forecast":
            found.append(check_forecast(limits, tally))
    found.append(check(limits, "rejected", of, rejected / max(rows, 1)))
    profile = Profile.load(run_dir) or Profile(Tally(), Tally(), Tally())
    if not profile.reference:
        logger.warning("%s has no profile of its training rows to compare with", run_dir)
    errors = _error_checks(profile, tally, limits)
    found += errors
    is_harmless = bool(errors) and worst(errors) == "passed"
    moved = {
        name: drift(before, tally.features[name])
        for name, before in profile.reference.items()
        if not name.startswith(ERROR_OF.format(""))
        and before.total
        and name in tally.features
        and tally.features[name].total
    }
    for name, feature in moved.items():
        usual = _SLACK * profile.usual(name, tally.features[name].total)
        index = feature.beyond_chance if feature.index > usual else 0.0
        is_level = LEVEL_LESS.format(name.removeprefix("forecast of ")) in moved
        rule = "level" if is_level or is_harmless else "psi"
        enough = profile.reference[name].total >= FEW_ROWS
        found.append(check(limits, rule, name, index, can_fail=enough))
        if name in profile.training.features:
            found.append(check(limits, "outside", name, feature.outside))
    content: dict[str, Any] = {
        **({"runs": runs} if runs else {}),
        "status": worst(found),
        "rows": rows,
        "rejected": rejected,
        "checks": as_json(found),
        "features": {name: _told(feature) for name, feature in moved.items()},
    }
    outputs.folder.write(DRIFT, (json.dumps(content, indent=1) + "\n").encode())
    return found, content


def _error_checks(profile: Profile, tally: Tally, limits: Limits) -> list[Check]:
    """How large the errors of forecasts are whose truth is known by now, beside those of the validation rows."""
    found = []
    for name, before in profile.validation.features.items():
        now = tally.features.get(name)
        if not name.startswith(ERROR_OF.format("")) or now is None or not now.total:
            continue
        usual, own = before.quantile(NINE_OF_TEN), now.quantile(NINE_OF_TEN)
        if usual and own is not None:
            found.append(
                check(limits, "errors", name.removeprefix(ERROR_OF.format("")), own / usual)
            )
    return found


def _told(feature: Drift) -> dict[str, Any]:
    return {
        "psi": feature.index,
        "psi_by_chance": feature.chance,
        "outside": feature.outside,
        "edges": feature.edges,
        "training": feature.training,
        "now": feature.now,
    }
