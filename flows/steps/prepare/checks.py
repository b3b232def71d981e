"""Rules held against what was counted of rows, the same before training and after scoring."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from flows.errors import GateError
from rnnfast.evaluation.checks import Check, Limits, check, worst
from rnnfast.evaluation.drift import Tally

logger = logging.getLogger(__name__)


def check_texts(limits: Limits, tally: Tally, of: str) -> list[Check]:
    """Checks texts: the words that are unknown, the texts that are blank or cut.

    Args:
        limits: the rules.
        tally: of `rnnfast.evaluation.profiles.tally_texts`.
        of: what the texts are, in words.
    """
    shares = {"unknown": "words", "blank": "rows", "cut": "rows"}
    return [
        check(limits, rule, of, tally.share(rule, whole) or 0.0) for rule, whole in shares.items()
    ]


def check_classes(limits: Limits, names: Sequence[str], counts: Sequence[int]) -> list[Check]:
    """Checks the training rows of classes or tags: those that are past the limit, else the one with the fewest."""
    found = [
        check(limits, "class_rows", f"{name!r:.40}", float(count))
        for name, count in zip(names, counts, strict=True)
    ]
    few = [each for each in found if each.status != "passed"]
    return few or [min(found, key=lambda each: each.value)]


def count_report(tally: Tally, report: Mapping[str, Any]) -> None:
    """Adds what `gather` reports of readings, for `check_readings` and `check_forecast`."""
    tally.counts.update(
        readings=report["readings"],
        devices=report["groups"],
        merged=report["readings_merged"],
        duplicates=report.get("duplicates_dropped", 0),
        left_out=report["steps_left_out"],
        **{f"missing {channel}": count for channel, count in report["missing"].items()},
    )


def check_readings(limits: Limits, tally: Tally, channels: tuple[str, ...], of: str) -> list[Check]:
    """Checks readings: what is missing, what lies in gaps, and what is closer than a step.

    Args:
        limits: the rules.
        tally: of `rnnfast.evaluation.profiles.tally_readings` and `count_report`.
        channels: that are read.
        of: what the readings are, in words.
    """
    counts = tally.counts
    grid = max(counts["steps"] + counts["left_out"], 1)
    missing = {name: tally.share(f"missing {name}", "readings") or 0.0 for name in channels}
    return [
        *(check(limits, "missing", f"{name} in {of}", share) for name, share in missing.items()),
        check(limits, "left_out", of, counts["left_out"] / grid),
        check(limits, "merged", of, tally.share("merged", "readings") or 0.0),
    ]


def check_forecast(limits: Limits, tally: Tally) -> Check:
    """Checks devices: how many have no forecast of what follows their last reading, `short` of a window since a gap."""
    without = tally.counts["devices"] - tally.counts["forecast"]
    return check(limits, "short", "the devices", without / max(tally.counts["devices"], 1))


def report_checks(checks: list[Check], gate: bool) -> None:
    """Logs the checks that did not pass.

    Raises:
        GateError: one failed, and `gate`.
    """
    prefixes = {"warning": "check warns", "failed": "check failed"}
    for each in checks:
        if each.status != "passed":
            logger.warning("%s: %s", prefixes[each.status], each)
    passed = sum(each.status == "passed" for each in checks)
    logger.info("%d of %d checks passed", passed, len(checks))
    if gate and worst(checks) == "failed":
        raise GateError([each for each in checks if each.status == "failed"])
