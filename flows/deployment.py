"""Puts what `python -m flows serve` runs on Prefect's server: work pools, deployments, automations."""

import sys
from pathlib import Path
from subprocess import run
from typing import Any

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import State, StateType
from prefect.exceptions import ObjectAlreadyExists
from prefect.states import Crashed

from flows.automations import notification_block, put_automations
from flows.errors import FlowError

UNDER_WAY = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]


def deploy(schedules: Path, pools: list[str], notify: str | None) -> None:
    """Puts the work pools, the deployments and the automations on the server.

    Args:
        schedules: a prefect.yaml.
        pools: its work pools.
        notify: the block that sends notifications, as TYPE/NAME.

    Raises:
        InputError: there is no such block.
        FlowError: Prefect does not take the deployments.
    """
    with get_client(sync_client=True) as client:
        for pool in pools:
            try:
                client.create_work_pool(WorkPoolCreate(name=pool, type="process"))
            except ObjectAlreadyExists:
                continue
        put_automations(client, notification_block(client, notify) if notify else None)
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
    done = run([*command, "--prefect-file", str(schedules)], capture_output=True, text=True)
    if done.returncode:
        raise FlowError(f"Prefect does not take {schedules}:\n{done.stdout}{done.stderr}")


def crash_what_died(pools: list[str]) -> None:
    """Has the server know, before there is a worker, that no run of before is alive.

    Otherwise such runs would be under way for good, and keep the next ones of their deployments from beginning.
    """
    state = FlowRunFilterState(type=FlowRunFilterStateType(any_=UNDER_WAY))
    of_pools = WorkPoolFilter(name=WorkPoolFilterName(any_=pools))
    crashed: State[Any] = Crashed(message="What served it has ended.")
    with get_client(sync_client=True) as client:
        for each in client.read_flow_runs(
            flow_run_filter=FlowRunFilter(state=state), work_pool_filter=of_pools
        ):
            client.set_flow_run_state(each.id, crashed, force=True)
