"""What `metrics.json` holds: the parts that the steps of a training come to, put together."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from flows.accounts import account_of_training
from rnnfast.evaluation.checks import Check, as_json
from rnnfast.evaluation.profiles import Profile, quantiles


def metrics_of(
    measured: Sequence[Mapping[str, Any]],
    history: Sequence[Mapping[str, Any]],
    rows: Mapping[str, Any],
    checks: Sequence[Check],
    profile: Profile,
    drift: Mapping[str, Any] | None,
    baseline: Mapping[Any, Any],
) -> dict[str, Any]:
    """The metrics of a run.

    Args:
        measured: what the steps that measure came to; of the same name, such as "throughput", all counts.
        history: of the training, epoch by epoch.
        rows: how many there are, of each part and kind.
        checks: of the rows before the training.
        profile: what the rows are like.
        drift: how far the test rows are from those of training.
        baseline: figures of what stands beside the model, by name; may be empty.
    """
    [rate] = [name for name in history[0] if name.endswith("_per_second")]
    throughput = {f"train_{rate}": fmean(epoch[rate] for epoch in history)}
    metrics: dict[str, Any] = {}
    for part in measured:
        throughput |= part.get("throughput", {})
        metrics |= part
    return metrics | {
        "throughput": throughput,
        "history": history,
        "data": rows,
        "account": account_of_training(rows).as_json(),
        "checks": as_json(checks),
        "profile": quantiles(profile.training.features),
        **({"drift": drift} if drift else {}),
        **({"baseline": baseline} if baseline else {}),
    }
