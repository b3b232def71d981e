"""What a run tells Prefect beside its state: that a model came into production, and that data has moved."""

import logging
from collections.abc import Mapping
from typing import Any

from prefect.events import emit_event

from flows.store.registry import Registered
from flows.store.storage import redacted

PROMOTED, DRIFTED = "rnnfast.model.promoted", "rnnfast.data.drifted"

logger = logging.getLogger(__name__)


def tell_promotion(registered: Registered) -> None:
    """Says that a version has come into production, where it has."""
    if registered.promoted:
        payload = {"version": registered.version, "reason": registered.reason}
        _tell(PROMOTED, registered.name, payload)


def tell_drift(output: str, content: Mapping[str, Any]) -> None:
    """Says that rows are not like those of training, where a check of the content of `drift.json` did not pass."""
    if content["status"] != "passed":
        past = [each for each in content["checks"] if each["status"] != "passed"]
        reason = "; ".join(f"{each['rule']} of {each['of']} {each['value']:.3g}" for each in past)
        _tell(DRIFTED, redacted(output), {"status": content["status"], "reason": reason})


def _tell(event: str, name: str, payload: dict[str, Any]) -> None:
    logger.info("%s %s: %s", event, name, payload["reason"])
    resource = {"prefect.resource.id": f"{event}.{name}", "prefect.resource.name": name}
    try:
        emit_event(event, resource, payload=payload)
    except Exception as error:  # what is done must not depend on it
        logger.warning("Prefect did not take the event %s: %s", event, error)
