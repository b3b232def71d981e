"""How Prefect runs the steps.

Prefect keeps what ran when and how it ended; what was made stays in files. So no result is stored
and none is cached, and what passes between tasks are paths.
"""

import logging
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from prefect import Task, task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import FlowRunContext
from prefect.states import Crashed
from prefect.tasks import exponential_backoff

from flows.errors import TransferError

P = ParamSpec("P")
R = TypeVar("R")

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
    with get_client({"timeout": 2}, sync_client=True) as client:
        client.set_flow_run_state(context.flow_run.id, Crashed(message=message), force=True)
