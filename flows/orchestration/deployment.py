"""Puts what `python -m flows serve` runs on Prefect's server: work pools, deployments, automations."""

import logging
import sys
from pathlib import Path
from subprocess import run
from typing import Any

import yaml
from prefect.client.orchestration import SyncPrefectClient, get_client
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

from flows.errors import FlowError
from flows.orchestration.automations import notification_block, put_automations

logger = logging.getLogger(__name__)
UNDER_WAY = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]


def deploy(schedules: Path, pools: list[str], notify: str | None) -> None:
    """Puts the work pools, the deployments and the automations on the server.

    Those deployments in the pools that the file does not name go: `prefect deploy` leaves them, and they would be run
    by their schedules for good.

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
    with get_client(sync_client=True) as client:
        _delete_others(client, schedules, pools)


def _delete_others(client: SyncPrefectClient, schedules: Path, pools: list[str]) -> None:
    with schedules.open(encoding="utf-8") as file:
        named = {(each["name"], each["entrypoint"]) for each in yaml.safe_load(file)["deployments"]}
    for each in client.read_deployments(work_pool_filter=_of(pools)):
        if (each.name, each.entrypoint) not in named:
            logger.info("%s is not in %s, and is deleted", each.name, schedules)
            client.delete_deployment(each.id)


def crash_what_died(pools: list[str]) -> None:
    """Has the server know, before there is a worker, that no run of before is alive.

    Otherwise such runs would be under way for good, and keep the next ones of their deployments from beginning.
    """
    state = FlowRunFilterState(type=FlowRunFilterStateType(any_=UNDER_WAY))
    crashed: State[Any] = Crashed(message="What served it has ended.")
    with get_client(sync_client=True) as client:
        for each in client.read_flow_runs(
            flow_run_filter=FlowRunFilter(state=state), work_pool_filter=_of(pools)
        ):
            client.set_flow_run_state(each.id, crashed, force=True)


def _of(pools: list[str]) -> WorkPoolFilter:
    return WorkPoolFilter(name=WorkPoolFilterName(any_=pools))
