"""How Prefect runs the steps.

Prefect keeps what ran when and how it ended; what was made stays in files. So no result is stored
and none is cached, and what passes between tasks are paths. How far a task is, it shows as a progress artifact.
"""

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Any, ParamSpec, TypeVar, cast
from uuid import UUID

from prefect import Task, task
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import FlowRunContext, TaskRunContext
from prefect.states import Crashed
from prefect.tasks import exponential_backoff

from flows.errors import TransferError
from flows.progress import StageProgress, listeners

P = ParamSpec("P")
R = TypeVar("R")

UPDATE = 5.0  # seconds from one update of a progress artifact to the next
SLOW = 2.0  # seconds of an answer after which the server is spared the updates

logger = logging.getLogger(__name__)


def as_task(step: Callable[P, R], *, retries: int = 0) -> Task[P, R]:
    """A task of a step; transfers that broke off are tried again, after 1, 2, 4, ... seconds."""
    decorate = task(
        retries=retries,
        retry_delay_seconds=exponential_backoff(1),
        retry_condition_fn=_may_pass,
        cache_policy=NO_CACHE,
        persist_result=False,
    )
    return decorate(step)


def _may_pass(_: Task[..., Any], __: TaskRun, state: State[Any]) -> bool:
    if isinstance(state.data, TransferError):
        logger.warning("%s", state.data)
        return True
    return False


def record_crash(message: str) -> None:
    """Has Prefect's server note that the run which is under way, if there is one, has crashed."""
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return
    # A client of its own: a signal may have come in the midst of a request of the run's.
    with get_client({"timeout": 6}, sync_client=True) as client:
        client.set_flow_run_state(context.flow_run.id, Crashed(message=message), force=True)


@dataclass
class _Artifact:
    """A progress artifact, and when it may be updated next; without an id where the server had none."""

    id: UUID | None
    next: float


_artifacts: dict[tuple[UUID, str], _Artifact] = {}  # by task run and title


def _show_progress(standing: StageProgress) -> None:
    """Creates and updates the progress artifact of the work that a task is at, if it is in one.

    What is done must not depend on it: a server that answers with an error is not asked again, one that answers late
    only at the end.
    """
    context = TaskRunContext.get()
    if context is None:
        return
    key = context.task_run.id, standing.title
    artifact, now = _artifacts.get(key), monotonic()
    if artifact is not None and now < artifact.next and not standing.is_done:
        return
    percent = 100 * standing.part
    try:
        if artifact is None:
            name = re.sub("[^a-z0-9]+", "-", standing.title.lower())
            created = create_progress_artifact(percent, name, _described(standing))
            artifact = _artifacts[key] = _Artifact(cast(UUID, created), 0)
        elif artifact.id is not None:
            update_progress_artifact(artifact.id, percent, _described(standing))
        late = monotonic() - now > SLOW
    except Exception as error:
        logger.debug("no progress artifact: %s", error)
        artifact = _artifacts[key] = _Artifact(None, 0)
        late = True
    artifact.next = float("inf") if late else monotonic() + UPDATE
    if standing.is_done:
        del _artifacts[key]


def _described(standing: StageProgress) -> str:
    left = standing.seconds_left
    ahead = "" if left is None else f", {left:,.0f} s left"
    return f"{standing.rows:,} rows, {standing.rows_per_second:,.0f} a second{ahead}"


listeners.append(_show_progress)
